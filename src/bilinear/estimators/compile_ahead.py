"""Kernels compiled before they are needed, for images and installations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bilinear.compiling import count, seconds
from bilinear.data.interactions import Interactions
from bilinear.data.splits import split_random
from bilinear.estimators.auto.auto_ranker import AutoRanker
from bilinear.estimators.auto.search_space import KINDS
from bilinear.estimators.baselines import BiasModel, GlobalMean
from bilinear.estimators.blend import Blend
from bilinear.estimators.matrix_factorization import MatrixFactorization
from bilinear.estimators.measurement import measure
from bilinear.estimators.popularity import Popularity
from bilinear.estimators.recommender import Recommender
from bilinear.kernels.cache import places
from bilinear.recommend.everyone import recommend_everyone, similar_everyone
from bilinear.tabular import Shown
from bilinear.training.choice import Auto
from bilinear.training.search import FACTOR_PATH
from bilinear.training.sgd import SGD

_N_USERS, _N_ITEMS, _N_PAIRS = 200, 120, 6_000


@dataclass(frozen=True)
class CompiledKernels(Shown):
    """What `compile_kernels` did.

    `n_compiled` kernels were missing and took `seconds`; they are kept in `folder`.

    Examples:
        >>> from pathlib import Path
        >>> from bilinear.estimators.compile_ahead import CompiledKernels
        >>> print(CompiledKernels(3, 2.5, Path("/kernels")))
        3 kernels compiled in 2.5 s, kept in /kernels
    """

    n_compiled: int
    seconds: float
    folder: Path

    def __str__(self) -> str:
        if not self.n_compiled:
            return f"nothing to compile: all kernels are in {self.folder}"
        return f"{self.n_compiled} kernels compiled in {self.seconds:.1f} s, kept in {self.folder}"


def compile_kernels(report: Callable[[str], object] = lambda line: None) -> CompiledKernels:
    """Compiles ahead what models with their default arguments use, to train, measure and recommend.

    Kernels compile when they are first used, once per installation. In an image or after an
    installation this function does it at once: it trains every model on a small made-up table. What is
    compiled already is not compiled again. Other solvers and optimisers compile at their first use.

    Args:
        report: called with a line for each step.
    Returns:
        CompiledKernels: how many, how long, and where they are kept.

    Cost:
        Half a minute where nothing is compiled yet, else some seconds.

    Examples:
        >>> import bilinear
        >>> bilinear.compile_kernels().seconds >= 0
        True
    """
    n_before, before = count(), seconds()
    for name, step in {"ratings": _ratings, "clicks": _clicks}.items():
        n, spent = count(), seconds()
        step()
        report(f"{name}: {count() - n} kernels compiled in {seconds() - spent:.1f} s")
    return CompiledKernels(count() - n_before, seconds() - before, places()[0])


def _ratings() -> None:
    """The models and commands of ratings."""
    split = split_random(_table(has_ratings=True), test=0.2, rng=0)
    models: dict[str, Recommender] = {"mean": GlobalMean(), "biases": BiasModel(rng=0)}
    models["auto"] = MatrixFactorization(solver=Auto(), rng=0)
    for k in FACTOR_PATH:  # each is a kernel of its own
        solver = SGD(n_epochs=1)
        models[str(k)] = MatrixFactorization(n_factors=k, l2=0.1, l2_biases=0.1, solver=solver, rng=0)
    measure(models, split, task="ratings", baseline="biases")
    _lists(models[str(FACTOR_PATH[0])], split.train)


def _clicks() -> None:
    """The models and commands of interactions without ratings."""
    split = split_random(_table(has_ratings=False), test=0.2, rng=0)
    models: dict[str, Recommender] = {"popularity": Popularity(), "auto": AutoRanker(n_trials=1, rng=0)}
    models["blend"] = Blend(tuple(kind.model() for kind in KINDS), rng=0)
    measure(models, split, task="ranking")
    _lists(models["blend"], split.train)


def _lists(model: Recommender, table: Interactions) -> None:
    item = table.item_vocabulary[0]
    model.recommend(table.user_vocabulary[0])
    model.similar(item)
    model.fold_in([item], [4.0] if table.has_ratings else None)
    recommend_everyone(model)
    similar_everyone(model)


def _table(*, has_ratings: bool) -> Interactions:
    rng = np.random.default_rng(0)
    pairs = rng.choice(_N_USERS * _N_ITEMS, _N_PAIRS, replace=False)
    ratings = rng.integers(1, 6, _N_PAIRS).astype(np.float32) if has_ratings else None
    return Interactions.from_columns(pairs // _N_ITEMS, pairs % _N_ITEMS, ratings)
