"""bilinear predict: predicted ratings for pairs of users and items."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bilinear.cli import options
from bilinear.cli.output import check_table_path, print_json, print_note, print_table, write_table
from bilinear.errors import ParameterValueError

NAME = "predict"
HELP = "Predict the ratings of (user, item) pairs: a file in, a file or a table out."
EXAMPLES = """Examples:

bilinear predict model pairs.csv --out predictions.csv

bilinear predict model pairs.parquet --out predictions.parquet

bilinear predict model pairs.csv --interval 0.9
"""


def command(
    model: options.Model,
    pairs: Annotated[
        Path, typer.Argument(help="A file with a user and an item column; other columns are ignored.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="CSV, TSV, Parquet, JSON or JSON lines; else standard output.")
    ] = None,
    interval: Annotated[
        float | None, typer.Option(help="Share of ratings within low and high, such as 0.9.")
    ] = None,
    user: options.User = None,
    item: options.Item = None,
    encoding: options.Encoding = "utf-8",
    quote: options.Quote = "auto",
    json: options.Json = False,
) -> None:
    from bilinear.data.reading.readers import read_pairs
    from bilinear.persistence.models import load

    if out is not None:
        check_table_path(out)
    fitted = load(model)
    if not fitted.predicts_ratings:
        raise ParameterValueError(
            f"{model} holds a {type(fitted).__name__}, which ranks items and predicts no ratings: use "
            "`bilinear recommend` with --candidates, or train a model of ratings (--task ratings)"
        )
    wanted = read_pairs(pairs, user=user, item=item, encoding=encoding, quote=quote)
    found = fitted.predict(wanted.users, wanted.items, interval=interval)
    columns = found.plain_columns
    unknown_users, unknown_items = int(found.unknown_user.sum()), int(found.unknown_item.sum())
    if out is not None:
        write_table(out, columns)
        if json:
            counts = {"n_unknown_users": unknown_users, "n_unknown_items": unknown_items}
            print_json({"path": str(out), "n_pairs": len(found)} | counts)
    elif json:
        print_json([dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)])
    else:
        print_table(columns, right=[name for name in ("prediction", "low", "high") if name in columns])
    print_note(
        f"{len(found):,} pairs; {unknown_users:,} with a user and {unknown_items:,} with an item that had no "
        "training ratings" + (f"; written to {out}" if out else "")
    )
