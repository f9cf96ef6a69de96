"""bilinear update: further ratings or clicks for a saved model, without training on all again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bilinear.cli import options
from bilinear.cli.option_blocks import option_blocks
from bilinear.cli.output import print_json, print_note, print_text
from bilinear.cli.table_options import TableOptions, tell_table

NAME = "update"
HELP = "Let a saved model learn further ratings or clicks, without training on all again."
EXAMPLES = """Examples:

bilinear update model today.csv

bilinear update model today.csv --out updated

bilinear update model today.csv --user visitor --item product --json
"""


@option_blocks
def command(
    *,
    model: options.Model,
    ratings: options.Ratings,
    out: Annotated[
        Path | None, typer.Option(help="The folder to write; default: the model's own, which is replaced.")
    ] = None,
    reading: TableOptions,
    json: options.Json = False,
) -> None:
    from bilinear.persistence.models import load

    fitted = load(model, in_memory=True)
    n_users, n_items = len(fitted.user_vocabulary_), len(fitted.item_vocabulary_)
    table = reading.read(ratings, fitted.has_ratings_)
    tell_table(table)
    fitted.update(table)
    if fitted.report_:
        print_note("the scores in the model's report were measured before this update")
    path = model if out is None else out
    fitted.save(path)
    found = {
        "path": str(path),
        "updates": fitted.updates,
        "n_interactions": table.n_ratings,
        "n_new_users": len(fitted.user_vocabulary_) - n_users,
        "n_new_items": len(fitted.item_vocabulary_) - n_items,
    }
    if json:
        print_json(found)
        return
    print_text(
        f"{type(fitted).__name__} in {path} has learned {table.n_ratings:,} further {table.noun}s: "
        f"{found['n_new_users']:,} new users, {found['n_new_items']:,} new items"
        + ("" if fitted.updates == "exact" else "; train again from time to time, as other rows were held")
    )
