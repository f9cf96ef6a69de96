"""Looking into a fitted model: which items are liked, which are alike, and how they lie."""

from bilinear.inspection.maps import ItemMap, item_map
from bilinear.inspection.overview import ModelDescription, describe_model
from bilinear.inspection.report import report_html

__all__ = ["ItemMap", "ModelDescription", "describe_model", "item_map", "report_html"]
