"""bilinear fold-in: recommendations for a new user from a few ratings."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from bilinear.cli import options
from bilinear.cli.output import print_json, print_note, print_text
from bilinear.cli.recommend import say_list
from bilinear.errors import ParameterValueError

NAME = "fold-in"
HELP = "Recommend to someone the model has not seen, from a few ratings or items, at once."
EXAMPLES = """Examples:

bilinear fold-in model --rate 1=5 --rate 260=4.5 --rate 2571=2

bilinear fold-in model --item 1 --item 260

bilinear fold-in model --file mine.csv -n 20 --json
"""


def command(
    model: options.Model,
    rate: Annotated[list[str] | None, typer.Option(help="ITEM=RATING; give it once for each item.")] = None,
    item: Annotated[
        list[str] | None,
        typer.Option(help="An item of the user, without a rating; may be repeated. For ranking models."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file",
            "--ratings",
            help="A file of one user's items, with ratings where the model needs them.",
        ),
    ] = None,
    item_column: Annotated[
        str | None, typer.Option(help="Name (or position from 1) of the item column of --file.")
    ] = None,
    rating: options.Rating = None,
    quote: options.Quote = "auto",
    n: options.N = 10,
    include_seen: Annotated[
        bool, typer.Option("--include-seen", help="List the given items as well.")
    ] = False,
    candidates: options.Candidates = None,
    skip_unknown: Annotated[
        bool, typer.Option("--skip-unknown", help="Leave out items the model does not know, and name them.")
    ] = False,
    json: options.Json = False,
) -> None:
    from bilinear.data.reading.readers import read_item_list, read_item_ratings
    from bilinear.persistence.models import load

    if sum(given is not None for given in (rate, item, file)) != 1:
        raise ParameterValueError(
            "give what the user likes: --rate ITEM=RATING or --item ITEM, once or more, or --file FILE"
        )
    fitted = load(model)
    items: list[Any]
    ratings: list[float] | None = None
    if item:
        items = list(item)
    elif rate or fitted.needs_ratings():
        pairs = (
            [_parse(text) for text in rate]
            if rate
            else read_item_ratings(file, item=item_column, rating=rating, quote=quote)
        )
        items, ratings = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    else:
        items = read_item_list(file, item=item_column, quote=quote)
    if ratings is None and fitted.needs_ratings():
        raise ParameterValueError(
            f"a {type(fitted).__name__} learns from ratings: --rate ITEM=RATING says how each item was liked"
        )
    person = fitted.fold_in(items, ratings, unknown="skip" if skip_unknown else "error")
    ranked = person.recommend(
        n, exclude_seen=not include_seen, candidates=options.id_list(candidates, fitted.item_vocabulary_)
    )
    if repeated := [str(given) for given, times in Counter(items).items() if times > 1]:
        print_note("given more than once, and counted once, with the last: " + ", ".join(repeated))
    if person.unknown_items:
        print_note("left out, unknown to the model: " + ", ".join(map(str, person.unknown_items)))
    if json:
        places = [place | {"title": fitted.title(place["item"])} for place in ranked.to_dicts()]
        weights = person.weights
        learned = {} if weights is None else {"bias": weights.bias, "newton_steps": weights.steps}
        print_json(learned | {"unknown_items": list(person.unknown_items), "items": places})
        return
    bias = "" if person.weights is None else f" (bias {person.weights.bias:+.3f})"
    print_text(f"From {len(person.rated)} {'ratings' if ratings is not None else 'items'}{bias}:")
    say_list(fitted, ranked)


def _parse(text: str) -> tuple[Any, float]:
    item, equals, value = text.rpartition("=")
    try:
        if equals and item:
            return item, float(value)
    except ValueError:
        pass
    raise ParameterValueError(f"--rate {text}: write ITEM=RATING, such as 260=4.5")
