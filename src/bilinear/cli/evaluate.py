"""bilinear evaluate: scores of a saved model on other rows."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from bilinear.cli import options
from bilinear.cli.option_blocks import option_blocks
from bilinear.cli.output import print_json, print_text
from bilinear.cli.table_options import TableOptions
from bilinear.errors import ParameterValueError

NAME = "evaluate"
HELP = "Measure a saved model on ratings or clicks that it was not trained on."
_LEVEL = 0.9  # of the intervals whose coverage is printed
EXAMPLES = """Examples:

bilinear evaluate model new_ratings.csv

bilinear evaluate model new_clicks.csv --cutoffs 10,20,100 --json

bilinear evaluate model new_ratings.csv --task ranking --relevant-from 4

bilinear evaluate model new_clicks.csv --engine ray
"""


@option_blocks
def command(
    *,
    model: options.Model,
    ratings: options.Ratings,
    task: options.Task = None,
    cutoffs: options.Cutoffs = None,
    relevant_from: options.RelevantFrom = None,
    negatives: Annotated[
        int | None,
        typer.Option(
            help="Ranking: among so many sampled items, not all, as some papers do; labelled as such.",
            min=1,
        ),
    ] = None,
    include_seen: Annotated[
        bool, typer.Option("--include-seen", help="Ranking: items of the training part are candidates too.")
    ] = False,
    reading: TableOptions,
    threads: options.Threads = None,
    engine: options.EngineName = None,
    seed: options.Seed = 0,
    json: options.Json = False,
) -> None:
    from bilinear.evaluation.ranking import evaluate_ranking
    from bilinear.persistence.models import load

    fitted = load(model)
    predicts = fitted.predicts_ratings
    task = options.task_of(task) or ("ratings" if predicts else "ranking")
    if task == "ratings" and not predicts:
        raise ParameterValueError(
            f"{model} holds a {type(fitted).__name__}, which ranks and predicts no ratings; --task ranking "
            "measures its lists"
        )
    protocol = None
    if task == "ranking":
        relevant = getattr(fitted, "threshold", None) if relevant_from is None else relevant_from
        protocol = options.ranking_protocol(cutoffs, relevant, seed, negatives, include_seen)
    elif cutoffs or relevant_from is not None or negatives or include_seen:
        raise ParameterValueError(
            "--cutoffs, --relevant-from, --negatives and --include-seen are for rankings: add --task ranking"
        )
    elif engine is not None:
        raise ParameterValueError(
            "--engine is for rankings: predicting ratings takes less time than sending them; leave it out, "
            "or add --task ranking"
        )
    table = reading.read(ratings, has_ratings=True if task == "ratings" else None)
    n_trained = fitted.count_trained_pairs(table)
    scores: Any
    coverage = None
    if task == "ranking":
        with options.engine_of(engine, threads) as chosen:
            scores = evaluate_ranking(fitted, table, protocol, engine=chosen)
    else:
        scores = fitted.evaluate(table, rng=seed)
        coverage = fitted.coverage(table, _LEVEL) if fitted.interval_limit >= _LEVEL else None
    if json:
        more = {} if coverage is None else {"coverage": coverage.to_dict()}
        print_json({"task": task} | scores.to_dict() | more | {"pairs_trained_on": n_trained})
        return
    print_text(str(scores))
    if coverage is not None:
        print_text(str(coverage))
    if n_trained:
        rest = "left out of the candidates and of the hits" if task == "ranking" and not include_seen else ""
        print_text(
            f"Careful: {n_trained:,} of these {table.n_ratings:,} pairs were in the training {table.noun}s, "
            + (rest or "so this is not held out; `bilinear info` shows what training measured")
        )
