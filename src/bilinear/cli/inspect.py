"""bilinear inspect: items by bias, nearest items, and a map of all items."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bilinear.cli import options
from bilinear.cli.output import print_json, print_note, print_result, print_table, print_text
from bilinear.errors import ParameterValueError

NAME = "inspect"
HELP = "What a model learned about the items: most liked, most popular, most alike; a map as PNG or HTML."
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
    from bilinear.inspection import describe_model, item_map, report_html
    from bilinear.persistence.models import load

    if map_file is not None and map_file.suffix.lower() not in (".png", ".html"):
        raise ParameterValueError(f"--map {map_file}: end it in .png or .html")
    fitted = load(model)
    if not fitted.predicts_ratings:
        if map_file is not None or report is not None:
            raise ParameterValueError(
                f"--map and --report show models of ratings; {model} holds a {type(fitted).__name__}, of "
                "which `bilinear inspect` alone lists what it knows, and `bilinear info` what was measured"
            )
        _ranking(fitted, n, min_ratings, json)
        return
    if map_file is not None:
        drawn = item_map(fitted, min_ratings=min_ratings)
        (drawn.to_png if map_file.suffix.lower() == ".png" else drawn.to_html)(map_file)
        print_note(f"map of {len(drawn):,} items written to {map_file}")
    if report is not None:
        report_html(fitted, report, min_ratings=min_ratings)
        print_note(f"report written to {report}")
    found = describe_model(fitted, n=n, min_ratings=min_ratings)
    print_result(found, json)


def _ranking(fitted: Any, n: int, min_ratings: int | None, json: bool) -> None:
    """The items with the most interactions, each with the items most like it where the model knows of any."""
    import numpy as np

    counts = np.bincount(fitted.seen_.indices, minlength=len(fitted.item_vocabulary_))
    order = np.lexsort((np.arange(len(counts)), -counts))[:n]
    rows = [int(row) for row in order if counts[row] >= (min_ratings or 1)]
    facts = {
        "model": type(fitted).__name__,
        "n_users": len(fitted.user_vocabulary_),
        "n_items": len(fitted.item_vocabulary_),
        "n_interactions": len(fitted.seen_.indices),
        "source": fitted.source_,
    }
    note, found = None, []
    for row in rows:
        item = fitted.item_vocabulary_[row]
        like: list[Any] = []
        if note is None:
            try:
                like = fitted.similar(item, 3).items.tolist()
            except ParameterValueError as error:
                note = str(error)
        found.append(
            {"item": item, "title": fitted.title(item), "taken_up": int(counts[row]), "like_it": like}
        )
    if json:
        print_json({"facts": facts, "items": found, "note": note})
        return
    print_text(
        f"{facts['model']} of {facts['n_users']:,} users and {facts['n_items']:,} items, trained on "
        f"{facts['n_interactions']:,} interactions ({facts['source']})\n\nMost interactions:"
    )
    print_table(
        {
            "times": [place["taken_up"] for place in found],
            "item": [place["title"] for place in found],
            "most like it": ["; ".join(map(fitted.title, place["like_it"])) for place in found],
        },
        right=["times"],
    )
    if note is not None:
        print_text(f"\n{note}")
