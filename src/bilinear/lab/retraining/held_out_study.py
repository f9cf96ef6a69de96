"""Held-out error over epochs, over the penalty and over the number of factors."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bilinear.data.interactions import Interactions
from bilinear.data.splits import split_temporal, split_validation
from bilinear.estimators.rating_model import RatingModel
from bilinear.lab.numerics.summaries import effective_rank, rmse
from bilinear.lab.retraining.penalty_curve import PenaltyCurve, l2_curve
from bilinear.objective.objective import Objective
from bilinear.training.initialization import Scale

_SHARE = 0.1  # of the ratings, for each part that is held out
_PENALTIES = (8.0, 4.0, 2.0, 1.0, 0.5, 0.25)  # times the model's own
_MOST_FACTORS = 64  # of the curve over penalties, whose points are trained to the end


@dataclass(frozen=True)
class ErrorPoint:
    """RMSE in rating units at one point of a curve.

    Attributes:
        at: The epoch, or the number of factors.
        train: On the ratings that were trained on.
        held_out: On ratings that were held out at random.
        later: On the latest ratings; None without times.
        effective_rank: Of the factors; None for epochs.

    Examples:
        >>> from bilinear import MatrixFactorization, lab, synthetic_ratings
        >>> ratings = synthetic_ratings(20, 15, 150, rng=0)
        >>> model = MatrixFactorization(n_factors=2, l2=1.0, l2_biases=1.0, rng=0).fit(ratings)
        >>> found = lab.held_out_study(model, ratings)
        >>> [point.at for point in found.sizes if point.train > 0]
        [0, 1, 2, 4]
    """

    at: float
    train: float
    held_out: float
    later: float | None
    effective_rank: float | None = None


@dataclass(frozen=True)
class HeldOutStudy:
    """Error on held-out ratings as a function of epochs, number of factors and penalty.

    Attributes:
        how: Description of the held-out ratings.
        epochs: Errors over the epochs of the model's own training; empty for models without epochs.
        sizes: Errors over the number of factors, each model trained as this one was.
        penalties: Errors over the L2 of factors, each trained until convergence with at most 64
            factors; None without factors.
        l2: The penalty of the model itself.

    Examples:
        >>> from bilinear import MatrixFactorization, lab, synthetic_ratings
        >>> ratings = synthetic_ratings(20, 15, 150, rng=0)
        >>> model = MatrixFactorization(n_factors=2, l2=1.0, l2_biases=1.0, rng=0).fit(ratings)
        >>> found = lab.held_out_study(model, ratings)
        >>> len(found.epochs) > 0, found.sizes[0].at
        (True, 0)
    """

    how: str
    epochs: tuple[ErrorPoint, ...]
    sizes: tuple[ErrorPoint, ...]
    penalties: PenaltyCurve | None
    l2: float

    @property
    def best_epoch(self) -> int | None:
        """The epoch with the smallest held-out error."""
        return int(min(self.epochs, key=lambda point: point.held_out).at) if self.epochs else None

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "how": self.how,
            "epochs": [asdict(point) for point in self.epochs],
            "sizes": [asdict(point) for point in self.sizes],
            "penalties": None if self.penalties is None else self.penalties.to_dict(),
            "l2": self.l2,
            "best_epoch": self.best_epoch,
        }


def held_out_study(model: RatingModel, table: Interactions, *, rng: int = 0) -> HeldOutStudy:
    """Trains again on a part of the ratings, with the model's settings and with others around them.

    A tenth of the ratings is held out at random; where there are times, the latest tenth before
    that. The model is not changed. Cost: some nine training runs, and six descents of at most 150
    Hessian products.

    Args:
        model: The fitted model.
        table: The ratings it was trained on, in the rows of its vocabularies.
        rng: Seed of the split and of the descents.

    Returns:
        Errors over epochs, number of factors and penalty.

    Examples:
        >>> from bilinear import MatrixFactorization, lab, synthetic_ratings
        >>> ratings = synthetic_ratings(20, 15, 150, rng=0)
        >>> model = MatrixFactorization(n_factors=2, l2=1.0, l2_biases=1.0, rng=0).fit(ratings)
        >>> found = lab.held_out_study(model, ratings)
        >>> [point.at for point in found.sizes], len(found.penalties.points)
        ([0, 1, 2, 4], 6)
    """
    later = None
    rest = table
    if table.times is not None and len(np.unique(table.times)) > 1:
        parts = split_temporal(table, _SHARE)
        rest, later = parts.train, parts.test
    inner = split_validation(rest, _SHARE, np.random.default_rng([rng, 1]))
    train, test = inner.train, inner.test
    how = f"{test.n_ratings:,} ratings drawn at random"
    if later is not None:
        how += f", and {later.n_ratings:,} that were given later than all others"
    epochs: tuple[ErrorPoint, ...] = ()
    sizes: tuple[ErrorPoint, ...] = ()
    if model.can_descend:
        epochs = _over_epochs(model, train, test, later)
        sizes = _over_sizes(model, train, test, later)
    penalty, k = model.penalty_, model.parameters_.n_factors
    penalties = None
    if k:
        scale = penalty.factors or Scale.of(train, model.link_, model.loss_).l2_factors
        penalties = l2_curve(
            Objective(model.loss_, model.link_, penalty, train),
            test,
            [share * scale for share in _PENALTIES],
            min(k, _MOST_FACTORS),
            later=later,
            tolerance=1e-4,
            max_products=150,
            rng=rng,
        )
    return HeldOutStudy(how, epochs, sizes, penalties, penalty.factors)


def _over_epochs(
    model: RatingModel, train: Interactions, test: Interactions, later: Interactions | None
) -> tuple[ErrorPoint, ...]:
    """The same training once for each part: a training run measures one table after every epoch."""
    measured = []
    for part in (train, test, *([] if later is None else [later])):
        _, history = model.descend(train, model.parameters_.n_factors, part)
        measured.append([epoch.validation or float("nan") for epoch in history.epochs])
    last = measured[2] if later is not None else [None] * len(measured[0])
    n = min(map(len, measured))  # a schedule that follows the error may stop at another epoch
    return tuple(
        ErrorPoint(at + 1, *numbers)
        for at, numbers in enumerate(zip(measured[0][:n], measured[1][:n], last[:n], strict=True))
    )


def _over_sizes(
    model: RatingModel, train: Interactions, test: Interactions, later: Interactions | None
) -> tuple[ErrorPoint, ...]:
    k = model.parameters_.n_factors
    found = []
    for size in sorted({0, 1, max(k // 8, 2), max(k // 2, 4), k, 2 * k}):
        parameters, _ = model.descend(train, size)
        link = model.link_
        found.append(
            ErrorPoint(
                size,
                rmse(parameters, link, train),
                rmse(parameters, link, test),
                None if later is None else rmse(parameters, link, later),
                effective_rank(parameters),
            )
        )
    return tuple(found)
