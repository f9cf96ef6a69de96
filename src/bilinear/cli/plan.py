"""bilinear plan: what training on a file will take, before it begins."""

from __future__ import annotations

from typing import Any

import typer

from bilinear.cli import options
from bilinear.cli.option_blocks import option_blocks
from bilinear.cli.output import print_json, print_text
from bilinear.cli.train import ModelName, Settings

NAME = "plan"
HELP = "Say what training on a file will take: memory, disk, CPU time. Exit code 1: it does not fit."
EXAMPLES = """Examples:

bilinear plan ratings.parquet

bilinear plan clicks.csv --model ease

bilinear plan ratings.csv --set n_factors=128 --set solver=SGD --json
"""


@option_blocks
def command(
    *,
    ratings: options.Ratings,
    model: ModelName = "auto",
    set_: Settings = None,
    task: options.Task = None,
    user: options.User = None,
    item: options.Item = None,
    rating: options.Rating = None,
    encoding: options.Encoding = "utf-8",
    quote: options.Quote = "auto",
    threads: options.Threads = None,
    json: options.Json = False,
) -> None:
    from bilinear.cli.training_plan import Wanted
    from bilinear.estimators.resource_plan import counted, planned

    how: dict[str, Any] = {"user": user, "item": item, "rating": rating, "encoding": encoding, "quote": quote}
    wanted = Wanted.of(task, model, set_, None, {}, 0, threads)
    implied = wanted.implied_task()
    table = counted(ratings, how | {"has_ratings": True if implied == "ratings" else None})
    chosen = wanted.plan(implied or ("ratings" if table.sizes.has_ratings else "ranking"))
    found = planned(table, chosen.models[chosen.name], threads)
    if json:
        print_json(found.to_dict())
    else:
        print_text(str(found))
    if not found.fits:
        raise typer.Exit(1)
