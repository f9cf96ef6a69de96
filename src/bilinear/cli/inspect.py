"""bilinear inspect: what the model has learned about the items."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bilinear.cli import options
from bilinear.cli.output import say, say_json, tell
from bilinear.errors import ParameterValueError

NAME = "inspect"
HELP = "Items by bias, nearest neighbours, and a map of the items as PNG or HTML."
EXAMPLES = """Examples:

bilinear inspect model

bilinear inspect model --map items.png

bilinear inspect model --map items.html --report report.html
"""


def command(
    model: options.Model,
    n: options.N = 10,
    map_file: Annotated[
        Path | None,
        typer.Option("--map", help="Draw the items by their first two principal components: .png or .html."),
    ] = None,
    min_ratings: Annotated[
        int | None,
        typer.Option(help="Items with fewer ratings are left out; else the median, at least 10.", min=1),
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write everything as one HTML page.")] = None,
    json: options.Json = False,
) -> None:
    from bilinear.estimators.storage import load
    from bilinear.inspection import inspect, item_map, report_html

    if map_file is not None and map_file.suffix.lower() not in (".png", ".html"):
        raise ParameterValueError(f"--map {map_file}: end it in .png or .html")
    fitted = load(model)
    if map_file is not None:
        drawn = item_map(fitted, min_ratings=min_ratings)
        (drawn.to_png if map_file.suffix.lower() == ".png" else drawn.to_html)(map_file)
        tell(f"map of {len(drawn):,} items written to {map_file}")
    if report is not None:
        report_html(fitted, report, min_ratings=min_ratings)
        tell(f"report written to {report}")
    found = inspect(fitted, n=n, min_ratings=min_ratings)
    if json:
        say_json(found.to_dict())
    else:
        say(str(found))
