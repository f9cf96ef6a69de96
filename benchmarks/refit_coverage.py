"""How often 95 % intervals hold the difference between two recipes over new samples of users, simulated.

Tables of one population are drawn: items are the same, users are new, and each user's noise has a size of
its own. The truth is the mean difference over all tables. Needs nothing but bilinear.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np

from bilinear.data.interactions import Interactions
from bilinear.data.splits import split_random
from bilinear.estimators.baselines import BiasModel, GlobalMean
from bilinear.estimators.matrix_factorization import MatrixFactorization
from bilinear.estimators.rating_model import RatingModel
from bilinear.evaluation.ratings import rmse_difference
from bilinear.evaluation.refits import SplitDifference, interval_over_refits
from bilinear.training.sgd import SGD

N_ITEMS, N_EACH, RANK = 60, 12, 3
POPULATION = np.random.default_rng(99)
ITEM_FACTORS = POPULATION.normal(size=(N_ITEMS, RANK))
ITEM_BIASES = 0.5 * POPULATION.normal(size=N_ITEMS)
PAIRS: dict[str, Callable[[], tuple[RatingModel, RatingModel]]] = {
    "BiasModel less GlobalMean": lambda: (BiasModel(l2_biases=1.0), GlobalMean()),
    "factors less BiasModel": lambda: (
        MatrixFactorization(
            n_factors=4, l2=0.8, l2_biases=0.5, validation_fraction=0, solver=SGD(n_epochs=25), rng=0
        ),
        BiasModel(l2_biases=1.0),
    ),
}


def sample(seed: int, n_users: int) -> Interactions:
    """A table of new users."""
    rng = np.random.default_rng([7, seed])
    factors, biases = rng.normal(size=(n_users, RANK)), 0.5 * rng.normal(size=n_users)
    sizes = 0.7 * rng.lognormal(0, 0.6, n_users)
    users = np.repeat(np.arange(n_users), N_EACH)
    items = np.concatenate([rng.permutation(N_ITEMS)[:N_EACH] for _ in range(n_users)])
    products = 0.4 * (factors[users] * ITEM_FACTORS[items]).sum(1)
    ratings = 3 + biases[users] + ITEM_BIASES[items] + products + sizes[users] * rng.normal(size=len(users))
    return Interactions.from_columns(users, items, ratings)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=int, default=200)
    parser.add_argument("--users", type=int, default=150)
    parser.add_argument("--splits", type=int, default=10)
    options = parser.parse_args()
    for name, make in PAIRS.items():
        fixed, refitted, values = [], [], []
        for seed in range(options.tables):
            table, splits = sample(seed, options.users), []
            for n in range(options.splits):
                split = split_random(table, 0.2, n)
                test = split.test
                first, second = (
                    model.fit(split.train).predict_rows(test.users, test.items)  # type: ignore[attr-defined]
                    for model in make()
                )
                splits.append(SplitDifference.of_rmse(first, second, test.ratings, test.users))
                if n == 0:
                    fixed.append(rmse_difference(first, second, test.ratings, test.users))
            refitted.append(interval_over_refits(splits, 0.25))
            values.append([split.value for split in splits])
        truth = float(np.mean(values))
        print(f"{name}: {truth:+.4f}, {options.tables} tables of {options.users} users")
        for kind, found in (("one split, models fixed", fixed), (f"{options.splits} splits", refitted)):
            held = np.mean([by.low <= truth <= by.high for by in found])
            width = np.mean([by.high - by.low for by in found]) / 2
            print(f"  {kind:<24} holds the truth in {held:.1%}, half width {width:.4f}")


if __name__ == "__main__":
    main()
