"""Looking into a fitted model: which items are liked, which are alike, and how they lie."""

from bilinear.inspection.maps import ItemMap, item_map
from bilinear.inspection.overview import ModelDescription, describe_model
from bilinear.inspection.report import report_html
from bilinear.inspection.side_by_side import SideBySide, side_by_side

__all__ = [
    "ItemMap",
    "ModelDescription",
    "SideBySide",
    "describe_model",
    "item_map",
    "report_html",
    "side_by_side",
]
