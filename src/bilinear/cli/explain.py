"""bilinear explain: why an item has its score."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bilinear.cli import options
from bilinear.cli.output import print_json, print_text
from bilinear.errors import ParameterValueError

NAME = "explain"
HELP = "Take the score of an item for a user apart: into features, or into the user's own ratings."
EXAMPLES = """Examples:

bilinear explain model --user 42 --item 260

bilinear explain model --user 42 --item 260 --by ratings --json
"""


def command(
    model: options.Model,
    user: Annotated[str, typer.Option(help="The id of the user.")],
    item: Annotated[str, typer.Option(help="The id of the item.")],
    by: Annotated[
        str | None,
        typer.Option(
            help="items or users (their features), or ratings (the user's own); else items if it can."
        ),
    ] = None,
    n: options.N = 10,
    new_items: Annotated[
        Path | None, typer.Option(help="A file of further items, as of `bilinear recommend`.")
    ] = None,
    new_users: Annotated[
        Path | None, typer.Option(help="A file of further users, as of `bilinear recommend`.")
    ] = None,
    json: options.Json = False,
) -> None:
    from bilinear.persistence.models import load

    if by not in (None, "items", "users", "ratings"):
        raise ParameterValueError(f"--by {by}: choose items, users or ratings")
    found: Any = options.with_new(load(model), new_items, new_users).explain(user, item, by=by)
    if json:
        print_json(found.to_dict())
        return
    print_text(str(found.shortened(n)))
