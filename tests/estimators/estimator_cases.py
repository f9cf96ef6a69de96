"""The estimators that must all keep the same promises, and the tables they are fitted on."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from problems import planted_table, with_strangers

from bilinear.data.splits import split_random
from bilinear.estimators.baselines import BiasModel, GlobalMean
from bilinear.estimators.matrix_factorization import MatrixFactorization
from bilinear.model.link import Sigmoid
from bilinear.objective.losses import CrossEntropy
from bilinear.training.sgd import SGD

QUICK = SGD(n_epochs=60, learning_rate=0.05)
FIXED: dict[str, Any] = {"n_factors": 4, "l2": 0.1, "l2_biases": 0.1, "solver": QUICK, "rng": 0}

MAKE: dict[str, Callable[[], Any]] = {
    "mean": GlobalMean,
    "biases": lambda: BiasModel(rng=0),
    "biases, fixed": lambda: BiasModel(l2_biases=0.4, rating_range=(-9, 15)),
    "factors": lambda: MatrixFactorization(solver=QUICK, rng=0),
    "factors, fixed": lambda: MatrixFactorization(**FIXED),
    "no factors": lambda: MatrixFactorization(**FIXED | {"n_factors": 0}),
    "sigmoid": lambda: MatrixFactorization(**FIXED, link=Sigmoid()),
    "cross-entropy": lambda: MatrixFactorization(
        **FIXED | {"l2": 0.02, "l2_biases": 0.02}, link=Sigmoid(), loss=CrossEntropy()
    ),
}
WITH_FACTORS = ["factors", "factors, fixed", "sigmoid", "cross-entropy"]

SPLIT = split_random(planted_table(), 0.2)
TRAIN = with_strangers(SPLIT.train)
"""Users -1 and 1000000 and items "a" and "z" are in its vocabularies and have no ratings."""
NO_SUCH_USER, NO_SUCH_ITEM = 7, "no such item"

every_model = pytest.mark.parametrize("name", MAKE)
every_model_with_factors = pytest.mark.parametrize("name", WITH_FACTORS)


@cache
def fitted(name: str) -> Any:
    """A model of this kind fitted on TRAIN; shared, so look and do not touch."""
    return MAKE[name]().fit(TRAIN)
