"""bilinear evaluate: the errors of a saved model on other ratings."""

from __future__ import annotations

from bilinear.cli import options
from bilinear.cli.output import say, say_json

NAME = "evaluate"
HELP = "Measure a saved model on ratings that it was not trained on."
EXAMPLES = """Examples:

bilinear evaluate model new_ratings.csv

bilinear evaluate model new_ratings.csv --json
"""


def command(
    model: options.Model,
    ratings: options.Ratings,
    user: options.User = None,
    item: options.Item = None,
    rating: options.Rating = None,
    time: options.Time = None,
    query: options.Query = None,
    duplicates: options.Duplicates = None,
    encoding: options.Encoding = "utf-8",
    memory_limit: options.MemoryLimit = None,
    seed: options.Seed = 0,
    json: options.Json = False,
) -> None:
    from bilinear.estimators.storage import load

    fitted = load(model)
    table = options.read_table(
        ratings, user=user, item=item, rating=rating, time=time, query=query,
        duplicates=duplicates, encoding=encoding, memory_limit=memory_limit,
    )  # fmt: skip
    n_trained = fitted.count_trained_pairs(table)
    scores = fitted.evaluate(table, rng=seed)
    if json:
        say_json(scores.to_dict() | {"pairs_trained_on": n_trained})
        return
    say(str(scores))
    if n_trained:
        say(
            f"Careful: {n_trained:,} of these {table.n_ratings:,} pairs were in the training ratings, so "
            "this is not a held-out error; `bilinear info` shows the one measured in training"
        )
