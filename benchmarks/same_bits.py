"""Do two versions of the code learn the same bits? Digests of factors, lists and metrics for fixed seeds.

    python benchmarks/same_bits.py --out before.json        # with the one version
    python benchmarks/same_bits.py --against before.json    # with the other: what differs, exit code 1 if any

Digests depend on the processor (the width of its vectors): compare runs of one machine.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

import bilinear as b


def tables() -> tuple[Any, Any]:
    """Ratings with planted tastes, and the same as clicks."""
    chance = np.random.default_rng(7)
    n_users, n_items, k = 300, 120, 4
    users, items = chance.integers(0, n_users, 9000), (n_items * chance.random(9000) ** 1.6).astype(int)
    tastes = (chance.standard_normal((n_users, k)), chance.standard_normal((n_items, k)))
    scores = 3.2 + 0.5 * (tastes[0][users] * tastes[1][items]).sum(1) + 0.5 * chance.standard_normal(9000)
    ratings = np.clip(np.round(2 * scores) / 2, 0.5, 5)
    return (
        b.Interactions.from_columns(users, items, ratings, np.arange(9000.0)),
        b.Interactions.from_columns(users, items),
    )


def renamed(*names: str) -> Any:
    """The public object under the first of its names that this version has."""
    return next(getattr(b, name) for name in names if hasattr(b, name))


def rating_models() -> dict[str, Any]:
    fixed = {"n_factors": 8, "l2": 0.5, "l2_biases": 0.5, "rng": 3}
    plain, average = (
        renamed("GradientDescent", "Plain"),
        renamed("StochasticWeightAverage", "Averaged"),
    )
    running = renamed("ExponentialMovingAverage", "RunningMean")
    rules = {
        "plain": plain(), "momentum": b.Momentum(), "nesterov": b.Nesterov(), "adagrad": b.AdaGrad(),
        "row adagrad": b.RowAdaGrad(), "rmsprop": b.RMSProp(), "adam": b.Adam(), "adamw": b.AdamW(),
        "radam": b.RAdam(), "lamb": b.LAMB(), "lars": b.LARS(), "lookahead": b.Lookahead(b.Adam()),
    }  # fmt: skip
    schedules = {
        "constant": b.Constant(), "cosine": b.Cosine(), "one-cycle": b.OneCycle(), "step": b.Step(),
        "plateau": b.ReduceOnPlateau(), "restarts": b.WarmRestarts(), "flat cosine": b.FlatCosine(),
    }  # fmt: skip
    sigmoid = {"link": b.Sigmoid(), "rng": 3}
    return {
        "mean": b.GlobalMean(),
        "biases": b.BiasModel(rng=0),
        "mf": b.MatrixFactorization(rng=0),
        "mf sigmoid": b.MatrixFactorization(**sigmoid),
        "mf cross-entropy": b.MatrixFactorization(loss=b.CrossEntropy(), **sigmoid),
        "mf als": b.MatrixFactorization(solver=b.ALS(), rng=0),
        "mf sgd momentum": b.MatrixFactorization(solver=b.SGD(momentum=0.8, n_epochs=8), **fixed),
        "mf no factors": b.MatrixFactorization(**(fixed | {"n_factors": 0})),
        "course": b.fastai_recipe(rng=1),
        "averaged": b.MatrixFactorization(solver=b.MiniBatch(n_epochs=4, average=average()), **fixed),
        "running mean": b.MatrixFactorization(solver=b.MiniBatch(n_epochs=4, average=running()), **fixed),
        "decay": b.MatrixFactorization(
            solver=b.MiniBatch(n_epochs=3, weight_decay=b.WeightDecay(0.01)), **fixed
        ),
    } | {
        f"mini-batch {name}": b.MatrixFactorization(solver=b.MiniBatch(rule, n_epochs=3), **fixed)
        for name, rule in rules.items()
    } | {
        f"sgd {name}": b.MatrixFactorization(solver=b.SGD(n_epochs=5, schedule=schedule), **fixed)
        for name, schedule in schedules.items()
    }  # fmt: skip


def ranking_models() -> dict[str, Any]:
    block = renamed("BlockCoordinateDescent", "Blocks")
    losses = {
        "bpr": b.BPR(),
        "warp": b.WARP(),
        "softmax": b.SampledSoftmax(),
        "cosine": b.CosineContrastive(),
    }
    return {
        "popularity": b.Popularity(),
        "ease": b.EASE(),
        "sparse ease": b.SparseEASE(),
        "walk": b.RandomWalk(),
        "graph": b.GraphFilter(8, low_pass=0.3),
        "knn": b.ItemKNN(),
        "knn tf-idf": b.ItemKNN(similarity=b.TFIDF()),
        "knn bm25": b.ItemKNN(similarity=b.BM25()),
        "ials": b.ImplicitALS(n_factors=16, rng=0),
        "ials cholesky": b.ImplicitALS(n_factors=16, solver=b.Cholesky(), rng=0),
        "ials blocks": b.ImplicitALS(n_factors=16, solver=block(), rng=0),
        "auto": b.AutoRanker(time_budget=None, n_trials=12, rng=0),
        "blend": b.Blend((b.EASE(), b.RandomWalk()), rng=0),
    } | {
        f"sampled {name}": b.RankingFactorization(loss=loss, n_factors=8, rng=0)
        for name, loss in losses.items()
    }


def digest(*arrays: Any) -> str:
    found = hashlib.sha256()
    for array in arrays:
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()[:16]


def seen_of(model: Any, table: Any) -> dict[str, str]:
    """What of a fitted model must not change: scores, lists, fold-in, likeness."""
    found = {"scores": digest(model.score_block(np.arange(-1, 40)))}
    lists = model.recommend([5, 17, 250], n=10).lists
    found["lists"] = digest(*(ranked.items for ranked in lists), *(ranked.scores for ranked in lists))
    items = [int(model.item_vocabulary_[row]) for row in (3, 10, 40)]
    try:
        folded = model.fold_in(items, [5.0, 4.0, 1.0]).recommend(5)
        found["fold-in"] = digest(folded.items, folded.scores)
    except ValueError as error:
        found["fold-in"] = type(error).__name__
    try:
        alike = model.similar(items[0], 5)
        found["similar"] = digest(alike.items, alike.scores)
    except ValueError as error:
        found["similar"] = type(error).__name__
    parameters = model.dot_product()
    if parameters is not None:
        found["factors"] = digest(*parameters.arrays().values())
    return found


def results() -> dict[str, dict[str, str]]:
    ratings, clicks = tables()
    split, click_split = b.split_random(ratings, test=0.2, rng=0), b.split_per_user(clicks, test=0.2, rng=0)
    found: dict[str, dict[str, str]] = {}
    for name, model in rating_models().items():
        fitted = model.fit(split.train)
        scores = fitted.evaluate(split.test)
        found[name] = seen_of(fitted, ratings) | {
            "rmse": repr((scores.rmse.value, scores.rmse.low, scores.rmse.high, scores.mae.value))
        }
    for name, model in ranking_models().items():
        fitted = model.fit(click_split.train)
        scores = fitted.evaluate(click_split)
        found[name] = seen_of(fitted, clicks) | {
            str(metric): repr(scores[metric]) for metric in ("recall@20", "ndcg@10")
        }
    return found


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--against", type=Path)
    given = parser.parse_args(argv)
    now = results()
    if given.out is not None:
        given.out.write_text(json.dumps(now, indent=1))
    if given.against is None:
        print(f"{sum(map(len, now.values()))} digests of {len(now)} models")
        return 0
    before = json.loads(given.against.read_text())
    differ = [
        f"{name}: {key}"
        for name in before
        for key in before[name]
        if now.get(name, {}).get(key) != before[name][key]
    ]
    print(
        "\n".join(differ)
        or f"the same bits: {sum(map(len, before.values()))} digests of {len(before)} models"
    )
    return bool(differ)


if __name__ == "__main__":
    sys.exit(main())
