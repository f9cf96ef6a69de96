"""Errors over the penalty and over the number of factors, each model trained until it converges."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from bilinear.data.interactions import Interactions
from bilinear.errors import ParameterValueError
from bilinear.lab.numerics.problem import Problem, Vector
from bilinear.lab.numerics.summaries import effective_rank, rmse, singular_values
from bilinear.lab.numerics.trust_region import trust_region_newton
from bilinear.lab.proofs.certificate import certificate_at
from bilinear.model.link import Identity, Link
from bilinear.model.parameters import Parameters
from bilinear.objective.objective import Objective
from bilinear.tabular import Shown

_USED = 1e-4  # of the deviation of the targets: what a factor must add to the scores to count in a rank


@dataclass(frozen=True)
class PenaltyPoint:
    """Errors at one penalty, and the distance from the global optimum of its training objective.

    Attributes:
        l2: Of the factors.
        n_factors: Of the model.
        loss: The training objective reached.
        relative_gap: Its largest possible distance above the global optimum, as a share of it.
        ratio: Spectral norm of the loss gradient over the L2; 1 at the optimum.
        rank: Factors whose product is more than rounding.
        train_rmse: In rating units.
        test_rmse: On held-out ratings.
        later_rmse: On later ratings; None without any.

    Examples:
        >>> from bilinear import Identity, SquaredError, lab, split_random, synthetic_ratings
        >>> from bilinear.objective.objective import Objective
        >>> parts = split_random(synthetic_ratings(20, 15, 150, rng=0), 0.2, 0)
        >>> objective = Objective(SquaredError(), Identity(0.5, 5), lab.L2(1.0, 1.0), parts.train)
        >>> curve = lab.l2_curve(objective, parts.test, (3.0, 1.0), n_factors=2)
        >>> curve.points[0].l2, curve.points[0].n_factors
        (3.0, 2)
    """

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
class PenaltyCurve(Shown):
    """Errors over the L2 of factors, from large to small.

    Attributes:
        points: One for each L2.

    Examples:
        >>> from bilinear import Identity, SquaredError, lab, split_random, synthetic_ratings
        >>> from bilinear.objective.objective import Objective
        >>> parts = split_random(synthetic_ratings(20, 15, 150, rng=0), 0.2, 0)
        >>> objective = Objective(SquaredError(), Identity(0.5, 5), lab.L2(1.0, 1.0), parts.train)
        >>> curve = lab.l2_curve(objective, parts.test, (3.0, 1.0), n_factors=2)
        >>> curve.best in curve.points
        True
    """

    points: tuple[PenaltyPoint, ...]

    @property
    def best(self) -> PenaltyPoint:
        """The point with the smallest held-out error."""
        return min(self.points, key=lambda point: point.test_rmse)

    @property
    def certified_worse(self) -> tuple[PenaltyPoint, ...]:
        """Certified global optima of their training objective that predict worse than the best point."""
        best = self.best
        return tuple(
            point
            for point in self.points
            if point.relative_gap <= 1e-3 and point.test_rmse > 1.005 * best.test_rmse
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
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
    rng: int = 0,
) -> PenaltyCurve:
    """Trains until convergence at each L2 of factors, from large to small, each from the one before.

    The global mean is the score of the mean rating. Held-out errors and the certificate of each
    point show where the best model is not the best optimum. Cost: a descent for each L2.

    Args:
        objective: Loss, link and training ratings; its penalty's L2 of factors is replaced.
        test: Held-out ratings in the rows of the objective's table.
        l2s: The values to try.
        n_factors: Of every model.
        later: More held-out ratings, such as later ones.
        tolerance: Relative gradient at which a descent ends.
        max_products: Hessian products of one descent, at most.
        has_biases: Whether the models have biases.
        rng: Seed of the noise that each descent starts with.

    Returns:
        One point for each L2, from large to small.

    Raises:
        ParameterValueError: `l2s` is empty.

    Examples:
        >>> from bilinear import Identity, SquaredError, lab, split_random, synthetic_ratings
        >>> from bilinear.objective.objective import Objective
        >>> parts = split_random(synthetic_ratings(20, 15, 150, rng=0), 0.2, 0)
        >>> objective = Objective(SquaredError(), Identity(0.5, 5), lab.L2(1.0, 1.0), parts.train)
        >>> curve = lab.l2_curve(objective, parts.test, (3.0, 1.0), n_factors=2)
        >>> [point.l2 for point in curve.points]
        [3.0, 1.0]
        >>> curve.points[1].train_rmse < curve.points[0].train_rmse
        True
    """
    if not l2s:
        raise ParameterValueError("l2s: expected at least one L2 to try, such as (10, 3, 1, 0.3), got none")
    table, link = objective.interactions, objective.link
    mean = link.score(float(table.ratings.mean(dtype=np.float64)))
    deviation = float(table.ratings.std(dtype=np.float64)) if isinstance(link, Identity) else 1.0
    generator = np.random.default_rng(rng)
    at: Vector | None = None
    points = []
    for l2 in sorted(l2s, reverse=True):
        penalty = replace(objective.penalty, factors=float(l2))
        problem = Problem.of(replace(objective, penalty=penalty), mean, has_biases=has_biases)
        if at is None:
            at = problem.zeros(n_factors)
        # Noise: columns that a larger L2 has shrunk to zero would otherwise stay zero.
        start = at + 1e-3 * generator.standard_normal(len(at))
        at = trust_region_newton(problem, start, tolerance=tolerance, max_products=max_products).at
        found, parameters = certificate_at(problem, at), problem.unpack(at)
        added = singular_values(parameters) / np.sqrt(table.n_users * table.n_items)  # RMS over all pairs
        points.append(
            PenaltyPoint(
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
    return PenaltyCurve(tuple(points))


def factor_curve(
    fit: Callable[[int], tuple[Parameters, Link]],
    train: Interactions,
    test: Interactions,
    sizes: Sequence[int],
) -> tuple[tuple[int, float, float, float], ...]:
    """Errors and effective rank over the number of factors.

    Cost:
        one call of `fit` for each size.

    Args:
        fit: Trains a model with a given number of factors.
        train: Ratings for the training error, in the rows of the parameters.
        test: Held-out ratings in the same rows.
        sizes: Numbers of factors.

    Returns:
        (n_factors, train RMSE, test RMSE, effective rank) for each size.

    Examples:
        >>> from bilinear import MatrixFactorization, lab, synthetic_ratings
        >>> ratings = synthetic_ratings(20, 15, 150, rng=0)
        >>> def fit(size):
        ...     model = MatrixFactorization(n_factors=size, l2=1.0, l2_biases=1.0, rng=0).fit(ratings)
        ...     return model.parameters_, model.link_
        >>> rows = lab.factor_curve(fit, ratings, ratings, (0, 2))
        >>> [(size, round(rank, 1)) for size, _, _, rank in rows][0]
        (0, 0.0)
    """
    rows = []
    for size in sizes:
        parameters, link = fit(size)
        rows.append(
            (size, rmse(parameters, link, train), rmse(parameters, link, test), effective_rank(parameters))
        )
    return tuple(rows)
