"""Does it generalise? Ratings shuffled as a control, errors over the penalty, factors that matter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from bilinear.data.interactions import Interactions
from bilinear.errors import ParameterValueError
from bilinear.estimators.base import RatingModel
from bilinear.lab.certificate import certificate
from bilinear.lab.curvature import principal_axes
from bilinear.lab.descend import descend
from bilinear.lab.problem import Problem, Vector
from bilinear.model.link import Identity, Link
from bilinear.model.parameters import Parameters
from bilinear.model.scoring import score_rows
from bilinear.objective.objective import Objective

_USED = 1e-4  # of the deviation of the targets: what a factor must add to the scores to count in a rank


@dataclass(frozen=True)
class Permuted:
    """The same training on ratings that were shuffled among the rated pairs: all there is to learn is noise.

    RMSE in rating units; the mean's is that of predicting the mean training rating.
    """

    train_rmse: float
    test_rmse: float | None
    permuted_train_rmse: float
    permuted_test_rmse: float | None
    mean_train_rmse: float
    mean_test_rmse: float | None

    @property
    def memorised(self) -> float:
        """How much of the mean's squared error on the training ratings goes away when they are noise."""
        return 1 - (self.permuted_train_rmse / self.mean_train_rmse) ** 2

    @property
    def learned(self) -> float | None:
        """How much of the mean's squared error on held-out ratings goes away; None without any."""
        if self.test_rmse is None or self.mean_test_rmse is None:
            return None
        return 1 - (self.test_rmse / self.mean_test_rmse) ** 2

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"memorised": self.memorised, "learned": self.learned}


@dataclass(frozen=True)
class CurvePoint:
    """One penalty: errors, and how near to the global optimum of the training objective."""

    l2: float
    n_factors: int
    loss: float
    relative_gap: float
    ratio: float
    rank: int
    train_rmse: float
    test_rmse: float
    later_rmse: float | None


@dataclass(frozen=True)
class Curve:
    """Errors over the L2 of factors, from large to small."""

    points: tuple[CurvePoint, ...]

    @property
    def best(self) -> CurvePoint:
        """The smallest held-out error."""
        return min(self.points, key=lambda point: point.test_rmse)

    @property
    def certified_worse(self) -> tuple[CurvePoint, ...]:
        """Certified global optima of their training objective that predict worse than the best point."""
        best = self.best
        return tuple(
            point
            for point in self.points
            if point.relative_gap <= 1e-3 and point.test_rmse > 1.005 * best.test_rmse
        )

    def to_dict(self) -> dict[str, Any]:
        return {"points": [asdict(point) for point in self.points], "best": asdict(self.best)}

    def __str__(self) -> str:
        lines = ["      l2  factors  rank  train RMSE  test RMSE  |G|/l2  relative gap"]
        lines += [
            f"{point.l2:8.4g} {point.n_factors:8d} {point.rank:5d} {point.train_rmse:11.4f} "
            f"{point.test_rmse:10.4f} {point.ratio:7.3f} {point.relative_gap:13.2g}"
            f"{' <- best' if point == self.best else ''}"
            for point in self.points
        ]
        return "\n".join(lines)


def effective_rank(parameters: Parameters) -> float:
    """exp(entropy of the singular values' shares): how many factors the model really uses.

    Source: Roy & Vetterli, EUSIPCO 2007. Cost: O((n_users + n_items) * n_factors^2).
    """
    sizes = singular_values(parameters)
    if not sizes.sum() > 0:
        return 0.0
    shares = sizes / sizes.sum()
    shares = shares[shares > 0]
    return float(np.exp(-(shares @ np.log(shares))))


def singular_values(parameters: Parameters) -> Vector:
    """Those of user_factors @ item_factors.T, descending, without forming it."""
    u, v = (np.asarray(side, np.float64) for side in (parameters.user_factors, parameters.item_factors))
    return principal_axes(u, v)[2]


def rmse(parameters: Parameters, link: Link, table: Interactions) -> float:
    """Root mean squared error of the predictions for a table with the same rows; float64."""
    scores = score_rows(parameters.astype(np.float64), table.users, table.items)
    return float(np.sqrt(np.mean((link.prediction(scores) - table.ratings) ** 2)))


def permuted_control(
    model: RatingModel, train: Interactions, test: Interactions | None = None, *, seed: int = 0
) -> Permuted:
    """Trains a copy of the model on shuffled ratings with the settings it found; the model stays as it is.

    Args: train: in the rows of the model's vocabularies; test: any, unknown ids count as unknown.
    Cost: one training run.
    """
    ratings = np.random.default_rng(seed).permutation(train.ratings)
    shuffled = replace(train, ratings=ratings)
    other = copy(model).retrain(shuffled)
    if other.history_.ended == "interrupted" and model.history_.ended != "interrupted":
        raise KeyboardInterrupt  # which left the copy as it was: it says nothing of shuffled ratings
    mean = float(train.ratings.mean(dtype=np.float64))
    mean_train, mean_test = (
        None if table is None else float(np.sqrt(np.mean((table.ratings.astype(np.float64) - mean) ** 2)))
        for table in (train, test)
    )
    assert mean_train is not None
    return Permuted(
        rmse(model.parameters_, model.link_, train),
        None if test is None else model.evaluate(test).rmse.value,
        rmse(other.parameters_, other.link_, shuffled),
        None if test is None else other.evaluate(test).rmse.value,
        mean_train,
        mean_test,
    )


def l2_curve(
    objective: Objective,
    test: Interactions,
    l2s: Sequence[float],
    n_factors: int,
    *,
    later: Interactions | None = None,
    tolerance: float = 1e-5,
    max_products: int = 2000,
    has_biases: bool = True,
    seed: int = 0,
) -> Curve:
    """Trains to the end at each L2 of factors, from large to small, each from the one before.

    The global mean is the score of the mean rating. Held-out errors and the certificate of each
    point show where the best model is not the best optimum.

    Args:
        test, later: held-out ratings in the rows of the objective's table; later in time, say.
    Cost: a descent for each L2.
    """
    if not l2s:
        raise ParameterValueError("no l2 to try; give some, such as (10, 3, 1, 0.3)")
    table, link = objective.interactions, objective.link
    mean = link.score(float(table.ratings.mean(dtype=np.float64)))
    deviation = float(table.ratings.std(dtype=np.float64)) if isinstance(link, Identity) else 1.0
    rng = np.random.default_rng(seed)
    at: Vector | None = None
    points = []
    for l2 in sorted(l2s, reverse=True):
        penalty = replace(objective.penalty, factors=float(l2))
        problem = Problem.of(replace(objective, penalty=penalty), mean, has_biases=has_biases)
        if at is None:
            at = problem.zeros(n_factors)
        # A little noise: columns that a larger L2 has shrunk to zero would stay there.
        start = at + 1e-3 * rng.standard_normal(len(at))
        at = descend(problem, start, tolerance=tolerance, max_products=max_products).at
        found, parameters = certificate(problem, at), problem.unpack(at)
        added = singular_values(parameters) / np.sqrt(table.n_users * table.n_items)  # RMS over all pairs
        points.append(
            CurvePoint(
                float(l2),
                n_factors,
                found.loss,
                found.relative_gap,
                found.ratio,
                int((added > _USED * deviation).sum()),
                rmse(parameters, link, table),
                rmse(parameters, link, test),
                None if later is None else rmse(parameters, link, later),
            )
        )
    return Curve(tuple(points))


def factor_curve(
    fit: Callable[[int], tuple[Parameters, Link]],
    train: Interactions,
    test: Interactions,
    sizes: Sequence[int],
) -> tuple[tuple[int, float, float, float], ...]:
    """(n_factors, train RMSE, test RMSE, effective rank) of what `fit` returns for each size.

    Cost: one call of `fit` for each size.
    """
    rows = []
    for size in sizes:
        parameters, link = fit(size)
        rows.append(
            (size, rmse(parameters, link, train), rmse(parameters, link, test), effective_rank(parameters))
        )
    return tuple(rows)
