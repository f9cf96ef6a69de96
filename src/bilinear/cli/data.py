"""bilinear data: look at a table, fetch a public one, make a synthetic one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bilinear.cli import options
from bilinear.cli.option_blocks import option_blocks
from bilinear.cli.output import print_json, print_note, print_table, print_text
from bilinear.cli.table_options import TableOptions

app = typer.Typer(help="Describe a table, fetch public ones, make a synthetic one.", no_args_is_help=True)


@app.command(
    help="Counts, density, histogram of ratings or counts, time span, cold rows; with --items or --users "
    "what their columns are as features.",
    epilog="Example: bilinear data describe ratings.csv --items movies.csv",
)
@option_blocks
def describe(
    *,
    ratings: options.Ratings,
    items: options.ItemsFile = None,
    items_id: options.ItemsId = None,
    items_quote: options.ItemsQuote = "auto",
    users: options.UsersFile = None,
    users_id: options.UsersId = None,
    users_quote: options.UsersQuote = "auto",
    reading: TableOptions,
    json: options.Json = False,
) -> None:
    from bilinear.data.features.inference import describe_features

    table = reading.read(ratings)
    description = table.describe()
    sides = {
        "items": options.read_side("items", items, table.item_vocabulary, items_id, None, items_quote),
        "users": options.read_side("users", users, table.user_vocabulary, users_id, None, users_quote),
    }
    features = {side: describe_features(found) for side, found in sides.items() if found is not None}
    if json:
        shown = {side: found.to_dict() for side, found in features.items()}
        print_json(description.to_dict() | ({"features": shown} if shown else {}))
        return
    print_text(str(description))
    for found in features.values():
        print_text(f"\n{found}")


@app.command(
    name="list", help="The public data sets that can be fetched.", epilog="Example: bilinear data list"
)
def list_(json: options.Json = False) -> None:
    from dataclasses import asdict

    from bilinear.data.datasets.fetch import available

    known = available()
    if json:
        print_json([asdict(dataset) for dataset in known])
        return
    print_table(
        {
            "name": [d.name for d in known],
            "or": [d.folder for d in known],
            "what": [d.title for d in known],
            "url": [d.url for d in known],
        }
    )
    print_text("\n" + known[0].licence)
    print_text(known[0].citation)


@app.command(
    help="Download a public data set, with its checksum; goes on where a broken download stopped.",
    epilog="Example: bilinear data fetch movielens-latest-small",
)
def fetch(
    name: Annotated[
        str, typer.Argument(help="See `bilinear data list`: movielens-100k or ml-100k, and so on.")
    ],
    folder: Annotated[
        Path | None, typer.Option(help="Where to; else $BILINEAR_CACHE or the user's cache.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Again, even if it is there.")] = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    from bilinear.data.datasets.fetch import fetch, find, items_path, ratings_path

    dataset = find(name)
    fetch(name, folder, progress=None if quiet else _Download(name), force=force)
    ratings, items = ratings_path(name, folder), items_path(name, folder)
    print_note(f"{dataset.licence}\n{dataset.citation}")
    if json:
        print_json({"ratings": str(ratings), "items": str(items)})
    else:
        print_text(f"bilinear train {ratings} --items {items}")


@app.command(
    help="Write a synthetic catalogue (invented titles, planted tastes) in the layout of MovieLens.",
    epilog="Example: bilinear data synthetic demo-data",
)
def synthetic(
    folder: Annotated[Path, typer.Argument(help="Gets ratings.csv and movies.csv.")],
    n_ratings: Annotated[int, typer.Option(min=1000)] = 100_000,
    seed: options.Seed = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False,
) -> None:
    from bilinear.data.synthetic.catalogue import synthetic_catalogue, write_synthetic

    n_users = max(50, n_ratings // 100)
    n_items = max(150, round(3000 * (n_ratings / 100_000) ** 0.5))
    write_synthetic(folder, synthetic_catalogue(n_ratings, n_users, n_items, rng=seed), overwrite=overwrite)
    print_text(f"bilinear train {folder / 'ratings.csv'} --items {folder / 'movies.csv'}")


@app.command(
    help="Read a packed table whole and compare its checksums; exit code 2 where it is damaged.",
    epilog="Example: bilinear data verify ratings.packed",
)
def verify(
    folder: Annotated[Path, typer.Argument(help="A folder made by `bilinear pack`.")],
    json: options.Json = False,
) -> None:
    from bilinear.data.packed import open_packed

    table = open_packed(folder, verify=True)
    if json:
        print_json({"packed": str(folder), "n_ratings": table.n_ratings, "verified": True})
    else:
        print_text(f"{folder}: {table.n_ratings:,} {table.noun}s, as they were packed")


class _Download:
    """A progress bar of a download."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.bar: Any = None

    def __call__(self, done: int, total: int | None) -> None:
        if self.bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

            self.bar = Progress(
                TextColumn(self.name), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
                console=Console(stderr=True),
            )  # fmt: skip
            self.bar.start()
            self.task = self.bar.add_task(self.name, total=total)
        self.bar.update(self.task, completed=done, total=total)
        if total is not None and done >= total:
            self.bar.stop()
            print_note(f"{self.name}: {done:,} bytes")
            self.bar = None
