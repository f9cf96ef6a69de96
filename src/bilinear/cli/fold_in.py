"""bilinear fold-in: recommendations for a new user from a few ratings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bilinear.cli import options
from bilinear.cli.output import say, say_json, tell
from bilinear.cli.recommend import say_list
from bilinear.errors import ParameterValueError

NAME = "fold-in"
HELP = "Recommend to someone the model has not seen, from a few ratings, at once."
EXAMPLES = """Examples:

bilinear fold-in model --rate 1=5 --rate 260=4.5 --rate 2571=2

bilinear fold-in model --ratings my_ratings.csv -n 20 --json
"""


def command(
    model: options.Model,
    rate: Annotated[list[str] | None, typer.Option(help="ITEM=RATING; give it once for each item.")] = None,
    ratings: Annotated[
        Path | None, typer.Option(help="A file with an item and a rating column, one user's.")
    ] = None,
    item: options.Item = None,
    rating: options.Rating = None,
    n: options.N = 10,
    include_seen: Annotated[
        bool, typer.Option("--include-seen", help="List the rated items as well.")
    ] = False,
    candidates: options.Candidates = None,
    skip_unknown: Annotated[
        bool, typer.Option("--skip-unknown", help="Leave out items the model does not know, and name them.")
    ] = False,
    json: options.Json = False,
) -> None:
    from bilinear.data.readers import read_item_ratings
    from bilinear.estimators.storage import load

    if (rate is None) == (ratings is None):
        raise ParameterValueError("give the ratings: --rate ITEM=RATING once or more, or --ratings FILE")
    pairs = [_parse(text) for text in rate] if rate else read_item_ratings(ratings, item=item, rating=rating)
    fitted = load(model)
    person = fitted.fold_in(
        [pair[0] for pair in pairs], [pair[1] for pair in pairs], unknown="skip" if skip_unknown else "error"
    )
    ranked = person.recommend(n, exclude_seen=not include_seen, candidates=options.id_list(candidates))
    if person.unknown_items:
        tell("left out, unknown to the model: " + ", ".join(map(str, person.unknown_items)))
    if json:
        items = [place | {"title": fitted.title(place["item"])} for place in ranked.to_dicts()]
        say_json(
            {
                "bias": person.weights.bias,
                "newton_steps": person.weights.steps,
                "unknown_items": list(person.unknown_items),
                "items": items,
            }
        )
        return
    say(f"From {len(person.rated)} ratings (bias {person.weights.bias:+.3f}):")
    say_list(fitted, ranked)


def _parse(text: str) -> tuple[str, float]:
    item, equals, value = text.rpartition("=")
    try:
        if equals and item:
            return item, float(value)
    except ValueError:
        pass
    raise ParameterValueError(f"--rate {text}: write ITEM=RATING, such as 260=4.5")
