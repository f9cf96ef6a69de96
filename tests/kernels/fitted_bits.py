"""Hashes of what small models learn; run as a program it prints them for the models it is given."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from typing import Any

import bilinear


def _factorization(solver: Any, **other: Any) -> Any:
    return bilinear.MatrixFactorization(
        n_factors=8, l2=0.2, l2_biases=0.2, validation_fraction=0, rng=0, solver=solver, **other
    )


MODELS: dict[str, Callable[[], Any]] = {
    "sgd": lambda: _factorization(bilinear.SGD(n_epochs=3)),
    "searched": lambda: bilinear.MatrixFactorization(solver=bilinear.SGD(n_epochs=10), rng=0),
    "cross-entropy": lambda: _factorization(
        bilinear.SGD(n_epochs=3), link=bilinear.Sigmoid(), loss=bilinear.CrossEntropy()
    ),
    "biases": lambda: bilinear.BiasModel(rng=0),
    "adam": lambda: _factorization(bilinear.MiniBatch(bilinear.Adam(), n_epochs=3)),
    "als": lambda: _factorization(bilinear.ALS(n_epochs=3)),
    "implicit": lambda: bilinear.ImplicitALS(n_factors=8, n_epochs=3, rng=0),
    "conjugate-gradients": lambda: bilinear.ImplicitALS(
        n_factors=8, n_epochs=3, rng=0, solver=bilinear.ConjugateGradient()
    ),
    "bpr": lambda: bilinear.RankingFactorization(n_factors=8, rng=0),
}


def fitted_bits(*names: str) -> dict[str, str]:
    """The hash of the learned arrays of each model, all by default."""
    table = bilinear.synthetic_ratings(120, 60, 2500, 3, noise=0.3, rng=1)
    hashes = {}
    for name in names or MODELS:
        digest = hashlib.sha256()
        for array in MODELS[name]().fit(table).dot_product().arrays().values():
            digest.update(array.tobytes())
        hashes[name] = digest.hexdigest()
    return hashes


if __name__ == "__main__":
    for shown in fitted_bits(*sys.argv[1:]).items():
        print(*shown)
