"""New items known by genres and year alone: the ridge map, content profiles, chance, shuffled features.

A tenth of the items is held out whole. Every user with a rating of them gets a list of the new items alone,
and NDCG@10 counts what the user rated. Data: ml-latest-small.

python benchmarks/cold_start.py ml-latest-small/ratings.csv ml-latest-small/movies.csv --seeds 3
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import bilinear
from bilinear.data.splits import Split
from bilinear.estimators.cold_start import hold_out_cold
from bilinear.evaluation.metrics import ndcg

FEATURES = ["genres", "year"]


def scored(scores: NDArray[Any], users: NDArray[Any], table: Any, new: NDArray[Any]) -> float:
    """Mean NDCG@10 of lists of the new items, by scores (n_users, n_new)."""
    found = []
    for row, user in enumerate(users):
        relevant = table.items[table.users == user]
        best = new[np.argsort(-scores[row], kind="stable")[:10]]
        hits = np.isin(best, relevant)[None].astype(float)
        found.append(float(ndcg(best[None], hits, np.array([len(relevant)]))[0]))
    return float(np.mean(found))


def measured(ratings: Any, films: Any, seed: int) -> dict[str, float]:
    """NDCG@10 of each method on one draw of new items."""
    whole = Split(ratings, ratings.take(np.zeros(ratings.n_ratings, bool)), "all")
    cold = hold_out_cold(whole, items=True, users=False, rng=seed)
    train, table = cold.split.train, cold.new_items
    assert table is not None
    new, users = np.unique(table.items), np.unique(table.users)
    model = bilinear.ImplicitALS(n_factors=64, rng=seed, item_features=FEATURES)
    start = time.process_time()
    model.fit(train, items=films)
    seconds = time.process_time() - start
    plain = bilinear.ImplicitALS(n_factors=64, rng=seed).fit(train)
    warm = train.item_counts > 0
    same = np.array_equal(plain.score_block(users)[:, warm], model.score_block(users)[:, warm])
    features = model.features_.items
    assert features is not None
    rows = features.matrix()
    taken = np.searchsorted(users, train.users)
    own = np.isin(train.users, users)
    profile = np.zeros((len(users), rows.shape[1]))
    np.add.at(profile, taken[own], rows[train.items[own]].toarray())
    length = np.linalg.norm(profile, axis=1, keepdims=True)
    shuffled = model.with_shuffled_features("items", seed)
    chance = np.random.default_rng(seed).random((len(users), len(new)))
    return {
        "ridge map": scored(model.score_block(users)[:, new], users, table, new),
        "content profile": scored((profile / np.maximum(length, 1e-12)) @ rows[new].T, users, table, new),
        "features shuffled": scored(shuffled.score_block(users)[:, new], users, table, new),
        "random": scored(chance, users, table, new),
        "warm scores equal": float(same),
        "CPU seconds of fit": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ratings", type=Path)
    parser.add_argument("items", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    ratings, films = bilinear.read_ratings(given.ratings), bilinear.read_items(given.items)
    found = [measured(ratings, films, seed) for seed in range(given.seeds)]
    for name in found[0]:
        values = [one[name] for one in found]
        print(f"{name:<20} {np.mean(values):.3f}  ({', '.join(f'{value:.3f}' for value in values)})")
    if given.out is not None:
        given.out.write_text(json.dumps({"seeds": found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
