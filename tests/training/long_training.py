"""A training that a test kills and starts again: python long_training.py FOLDER CASE.

Prints a digest of everything that must not depend on how often it was killed.
"""

from __future__ import annotations

import hashlib
import sys
from typing import Any

from bilinear.data.synthetic.catalogue import synthetic_ratings
from bilinear.estimators.implicit_als import ImplicitALS
from bilinear.estimators.matrix_factorization import MatrixFactorization
from bilinear.estimators.ranking_factorization import RankingFactorization
from bilinear.training import rating_grid, sgd
from bilinear.training.checkpoint import Checkpoint
from bilinear.training.minibatch import MiniBatch
from bilinear.training.optimizers import Adam, ExponentialMovingAverage, Lookahead
from bilinear.training.progress import NullProgress
from bilinear.training.sgd import SGD

TABLE = synthetic_ratings(200, 80, 3000, 3, noise=0.3, rng=1)
NUMBERS = {"n_factors": 8, "l2": 0.2, "l2_biases": 0.2}


def model(case: str) -> MatrixFactorization | RankingFactorization | ImplicitALS:
    if case == "ials":
        return ImplicitALS(16, n_epochs=200, rng=0, n_threads=2)
    if case == "ranking":
        solver = MiniBatch(Adam(), batch_size=512, n_epochs=60)
        return RankingFactorization(8, solver=solver, n_negatives=20, rng=0, n_threads=2)
    if case == "grid":
        sgd._SHARED, rating_grid._CACHE = 0, 1000
    solvers: dict[str, Any] = {
        "search": SGD(n_epochs=20, n_threads=1),
        "grid": SGD(n_epochs=12, n_threads=2),
        "minibatch": MiniBatch(Lookahead(Adam()), n_epochs=30, average=ExponentialMovingAverage(0.99)),
    }
    return MatrixFactorization(**({} if case == "search" else NUMBERS), solver=solvers[case], rng=0)


def digest(fitted: MatrixFactorization | RankingFactorization | ImplicitALS) -> str:
    """Of weights, choices, and of the history but for its seconds."""
    text = hashlib.sha256()
    for array in fitted.parameters_.arrays().values():
        text.update(array.tobytes())
    kept = [
        (e.number, e.loss, e.validation, e.learning_rate, e.user_norm, e.item_norm, e.update_norm)
        for e in fitted.history_.epochs
    ]
    search, penalty = getattr(fitted, "search_", None), getattr(fitted, "penalty_", None)
    tried = search and [(t.stage, t.l2, t.l2_biases, t.validation_rmse) for t in search.trials]
    text.update(repr((kept, fitted.history_.summary(), tried, penalty)).encode())
    return text.hexdigest()


class Lines(NullProgress):
    """A line for every look at the clock, so that whoever reads them knows how far it is."""

    def advance(self, n_ratings: int, loss: float) -> None:
        print("on", flush=True)


if __name__ == "__main__":
    folder, case = sys.argv[1:]
    print(digest(model(case).fit(TABLE, checkpoint=Checkpoint(folder, minutes=1e-5), progress=Lines())))
