"""Which model for which question? Models of ratings and of rankings, from one table of ratings.

MovieLens latest-small, 20 % of the ratings held out at random (seed 0). Nothing is tuned on the
held-out part: what searches, searches on a validation part of the training ratings. Three questions:

1. what will this user give this item: RMSE (only models of ratings answer);
2. what will this user watch next and like: Recall@20, NDCG@20 among all unseen items, hits are
   ratings of 4 and more;
3. of two items that this user did watch, which was liked better: share of the pairs of held-out
   ratings of one user, of different value, that a model's scores put in order (a tie counts half).

Intervals: 95 %, bootstrap over users.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from time import process_time
from typing import Any

import common
import numpy as np
from numpy.typing import NDArray

import bilinear
from bilinear.data.splits import Split
from bilinear.estimators.measurement import fit
from bilinear.evaluation.bootstrap import Interval, mean_intervals
from bilinear.training.progress import NullProgress

LIKED = 4.0
K = 20


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--trials", type=int, default=12, help="of AutoRanker; 0 leaves it out")
    options = parser.parse_args()
    path = common.rating_file("ml-latest-small", options.data)
    if path is None:
        raise SystemExit(0)
    split = bilinear.split_random(bilinear.read_ratings(path), 0.2, rng=0)
    models = _models(options.trials)
    seconds = {}
    for name, model in models.items():
        began = process_time()
        fit(model, split.train, NullProgress())
        seconds[name] = process_time() - began
        print(f"{name}: {seconds[name]:.1f} CPU s", file=sys.stderr, flush=True)
    rated = {name: model for name, model in models.items() if hasattr(model, "predict_rows")}
    errors = bilinear.compare_ratings(rated, split.test)
    protocol = bilinear.RankingProtocol((K,), relevant_from=LIKED)
    lists = bilinear.compare(models, split, protocol, baseline="Popularity")
    order = {name: ordered_pairs(model, split) for name, model in models.items()}
    rows = [
        [
            name,
            str(errors.scores[name].rmse) if name in rated else "",
            str(lists.scores[name].means[f"recall@{K}"]),
            str(lists.scores[name].means[f"ndcg@{K}"]),
            str(order[name]),
            f"{seconds[name]:.1f}",
        ]
        for name in models
    ]
    header = ["model", "1. RMSE", f"2. Recall@{K}", f"2. NDCG@{K}", "3. pairs in order", "CPU s to fit"]
    facts = common.machine_facts("scipy")
    any_scores = lists.scores["Popularity"]
    markdown = (
        f"{common.table_text(header, rows)}\n\n"
        f"MovieLens latest-small: {split.train.n_ratings:,} ratings to train, {split.test.n_ratings:,} held "
        f"out ({split.how}); {any_scores.n_users:,} users with {any_scores.n_relevant:,} held-out ratings of "
        f"{LIKED:g} and more, ranked among all unseen of {split.train.n_items:,} items. 95 % bootstrap over "
        f"users. {common.facts_line(facts)}"
    )
    numbers = {
        "machine": facts,
        "errors": errors.to_dict(),
        "lists": lists.to_dict(),
        "pairs_in_order": {name: [by.value, by.low, by.high] for name, by in order.items()},
        "cpu_seconds": seconds,
        "chosen": {name: repr(model.model_) for name, model in models.items() if hasattr(model, "model_")},
    }
    common.publish("ratings_or_ranking", options.out, markdown, numbers)


def _models(n_trials: int) -> Mapping[str, Any]:
    models: dict[str, Any] = {
        "GlobalMean": bilinear.GlobalMean(),
        "BiasModel": bilinear.BiasModel(rng=0),
        "MatrixFactorization": bilinear.MatrixFactorization(rng=0),
        "Popularity": bilinear.Popularity(),
        "RandomWalk": bilinear.RandomWalk(item_exponent=0.4, normalization=1.0),
        "RandomWalk, threshold 4": bilinear.RandomWalk(item_exponent=0.4, normalization=1.0, threshold=LIKED),
        "EASE": bilinear.EASE(l2=100),
        "EASE, threshold 4": bilinear.EASE(l2=100, threshold=LIKED),
        "EASE, confidence log": bilinear.EASE(l2=100, confidence="log"),
    }
    if n_trials:
        models["AutoRanker"] = bilinear.AutoRanker(n_trials=n_trials, rng=0)
        models["AutoRanker, threshold 4"] = bilinear.AutoRanker(n_trials=n_trials, threshold=LIKED, rng=0)
    return models


def ordered_pairs(model: Any, split: Split) -> Interval:
    """Mean over users of the share of pairs of their held-out ratings that the scores put in order."""
    by_user = split.test.by_user
    shares = []
    for user in np.flatnonzero(by_user.counts >= 2):
        at = slice(by_user.indptr[user], by_user.indptr[user + 1])
        scores = model.score_block(np.array([user], np.int32))[0, by_user.indices[at]].astype(np.float64)
        share = _share_in_order(scores, by_user.ratings[at].astype(np.float64))
        if share is not None:
            shares.append(share)
    return mean_intervals(np.array(shares)[:, None], 0)[0]


def _share_in_order(scores: NDArray[np.float64], ratings: NDArray[np.float64]) -> float | None:
    better = ratings[:, None] > ratings
    if not better.any():
        return None
    return float((0.5 + 0.5 * np.sign(scores[:, None] - scores))[better].mean())


if __name__ == "__main__":
    main()
