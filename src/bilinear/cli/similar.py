"""bilinear similar: items like an item."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from bilinear.cli import options
from bilinear.cli.output import say, say_json
from bilinear.cli.recommend import say_list
from bilinear.errors import ParameterValueError, UnknownIdError

NAME = "similar"
HELP = "List the items whose factors point the same way as an item's."
EXAMPLES = """Examples:

bilinear similar model 1

bilinear similar model --title 'toy story' -n 5 --json
"""


def command(
    model: options.Model,
    item: Annotated[str | None, typer.Argument(help="The id of the item.")] = None,
    title: Annotated[
        str | None, typer.Option(help="Part of its title instead, if the model has titles.")
    ] = None,
    n: options.N = 10,
    candidates: options.Candidates = None,
    json: options.Json = False,
) -> None:
    from bilinear.estimators.storage import load

    if (item is None) == (title is None):
        raise ParameterValueError("say which item: its id, or --title with part of its title")
    fitted = load(model)
    wanted: Any = find_title(fitted, title) if title is not None else known_id(fitted, item)
    ranked = fitted.similar(wanted, n, candidates=options.id_list(candidates))
    if json:
        places = [place | {"title": fitted.title(place["item"])} for place in ranked.to_dicts()]
        say_json({"item": wanted, "title": fitted.title(wanted), "similar": places})
        return
    say(f"Like {fitted.title(wanted)}:")
    say_list(fitted, ranked)


def known_id(fitted: Any, item: Any) -> Any:
    """The id as the model has it; raises UnknownIdError where it has none."""
    vocabulary = fitted.item_vocabulary_
    return vocabulary[vocabulary.row(item, "item")]


def find_title(fitted: Any, part: str) -> Any:
    """The most rated item whose title holds `part`, whatever the case.

    Raises: UnknownIdError: no title does. ParameterValueError: the model has no titles.
    """
    import numpy as np

    titles = fitted.item_texts_.get("title")
    if titles is None:
        raise ParameterValueError("this model has no titles; train with --items FILE, or give the item's id")
    counts = np.bincount(fitted.seen_.others, minlength=len(titles))
    found = [row for row, title in enumerate(titles) if part.casefold() in title.casefold()]
    if not found:
        raise UnknownIdError(f"no title has {part!r} in it")
    return fitted.item_vocabulary_[max(found, key=lambda row: (counts[row], -row))]
