"""bilinear pack: a table as a folder that opens at once and may be larger than memory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bilinear.cli import options
from bilinear.cli.option_blocks import option_blocks
from bilinear.cli.output import print_json, print_text
from bilinear.cli.table_options import TableOptions, tell_table

NAME = "pack"
HELP = (
    "Write a table as a packed folder, which every command takes in place of the file: it opens at once, and "
    "may be larger than memory."
)
EXAMPLES = """Examples:

bilinear pack 'ratings/*.parquet' --out ratings.packed

bilinear pack ratings.csv --out ratings.packed --memory-limit 2GB

bilinear train ratings.packed --set solver=SGD
"""


@option_blocks
def command(
    *,
    ratings: options.Ratings,
    out: Annotated[Path, typer.Option(help="The folder to write; its name must be free.")],
    reading: TableOptions,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    table = reading.pack(ratings, out)
    n_bytes = sum(path.stat().st_size for path in out.iterdir())
    if json:
        facts = {"n_ratings": table.n_ratings, "n_users": table.n_users, "n_items": table.n_items}
        print_json({"packed": str(out), **facts, "bytes": n_bytes})
        return
    if not quiet:
        tell_table(table)
    print_text(f"Packed to {out}: {n_bytes:,} bytes. Next:")
    print_text(f"  bilinear train {out}")
