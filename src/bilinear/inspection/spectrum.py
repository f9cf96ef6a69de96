"""Spectrum of a fitted model: the number of directions of taste that it uses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bilinear.eigen import symmetric_eigen
from bilinear.estimators.rating_model import RatingModel
from bilinear.inspection.items import check_model, no_factors
from bilinear.tabular import Tabular

_BLOCK = 1 << 14


@dataclass(frozen=True, eq=False)
class Spectrum(Tabular):
    """The singular values of the users x items matrix of <user factors, item factors>.

    They do not depend on the basis that training happened to end in, which the columns of the
    factors do.

    Attributes:
        singular_values: (n_factors,) float64, descending, in score units times sqrt(n_users n_items).
        shares: (n_factors,) of the sum of squares; they add up to one.
        taste: root mean square of the matrix over users and items with ratings, in score units:
            by how much taste moves a typical score.
    """

    singular_values: NDArray[np.float64]
    shares: NDArray[np.float64]
    taste: float

    @property
    def effective_rank(self) -> float:
        """exp(entropy of the singular values): n for n equal ones, near 1 for one that rules.

        Source:
            Roy & Vetterli, The effective rank, EUSIPCO 2007.
        """
        share = self.singular_values / self.singular_values.sum()
        share = share[share > 0]
        return float(np.exp(-(share * np.log(share)).sum()))

    def directions_for(self, share: float) -> int:
        """Number of directions that hold `share` of the sum of squares."""
        return int(np.searchsorted(np.cumsum(self.shares), share - 1e-12) + 1)

    def to_columns(self) -> dict[str, Any]:
        """direction, singular_value and share."""
        return {
            "direction": np.arange(1, len(self.shares) + 1),
            "singular_value": self.singular_values,
            "share": self.shares,
        }

    def to_dict(self) -> dict[str, Any]:
        return {
            "singular_values": self.singular_values.tolist(),
            "shares": self.shares.tolist(),
            "taste": self.taste,
            "effective_rank": self.effective_rank,
        }

    def __str__(self) -> str:
        first = ", ".join(f"{share:.1%}" for share in self.shares[:6])
        more = ", ..." if len(self.shares) > 6 else ""
        return (
            f"{len(self.shares)} factors, effective rank {self.effective_rank:.1f}; "
            f"{self.directions_for(0.9)} directions hold 90 % of the taste part\n"
            f"  share of each: {first}{more}"
        )


def spectrum(model: RatingModel) -> Spectrum | None:
    """The spectrum of the taste part, or None where there is none.

    Cost:
        O((n_users + n_items) * n_factors^2) time, no n_users x n_items array.
    """
    check_model(model)
    if no_factors(model):
        return None
    items = balanced_item_factors(model)
    n_users = int((model.seen_.counts > 0).sum())
    n_items = int(np.unique(model.seen_.indices).size)
    values = np.sqrt(symmetric_eigen(items.T @ items).values[::-1].clip(0))
    squares = values**2
    if not squares.any():  # users and items use different factors: every product is zero
        return None
    taste = float(np.sqrt(squares.sum() / n_items))
    return Spectrum(values * np.sqrt(n_users), squares / squares.sum(), taste)


def balanced_item_factors(model: RatingModel) -> NDArray[np.float64]:
    """Item factors in the metric of the users: V (U^T U / n_users)^(1/2), up to a rotation.

    U V^T is all that training sees, so U and V are only defined up to U A, V A^-T with any
    invertible A: lengths and angles among rows of V say as much about A as about the items.
    Here the inner product of two rows is the mean over the users of the product of their
    scores for the two items, which no A can change. A row's length is then how strongly the
    item divides the users, and the distance of two rows is the root mean square of how
    differently a user likes them, in score units.

    Users without training ratings have no tastes and do not count.

    Returns:
        (n_items, n_factors) float64.
    Cost:
        O((n_users + n_items) * n_factors^2).
    """
    items = model.parameters_.item_factors.astype(np.float64)
    balanced: NDArray[np.float64] = items @ balancing_metric(model)
    return balanced


def balancing_metric(model: RatingModel) -> NDArray[np.float64]:
    """(U^T U / n_users)^(1/2), up to a rotation: what `balanced_item_factors` multiplies the factors by.

    Returns:
        (n_factors, n_factors).
    """
    users = model.parameters_.user_factors
    gram = np.zeros((users.shape[1], users.shape[1]))
    for start in range(0, len(users), _BLOCK):
        block = users[start : start + _BLOCK].astype(np.float64)
        gram += block.T @ block
    gram /= max(1, int((model.seen_.counts > 0).sum()))
    values, directions = symmetric_eigen(gram)
    metric: NDArray[np.float64] = directions * np.sqrt(values.clip(0))
    return metric


@dataclass(frozen=True, eq=False)
class Axes:
    """Principal directions of places: what a map is drawn along.

    Attributes:
        middle: (n_factors,) the mean place.
        directions: (n_factors, n_components); each points to the side of the place that is furthest out.
        shares: (n_components,) of the variance.
    """

    middle: NDArray[np.float64]
    directions: NDArray[np.float64]
    shares: NDArray[np.float64]

    def coordinates(self, places: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, n_components) coordinates of (n, n_factors) places, those the axes were made of or others."""
        found: NDArray[np.float64] = (places - self.middle) @ self.directions
        return found


def principal_axes(places: NDArray[np.float64], n_components: int) -> Axes:
    """The directions along which (n, n_factors) places differ most."""
    middle = places.mean(axis=0)
    _, values, right = np.linalg.svd(places - middle, full_matrices=False)
    directions = right[:n_components].T
    coordinates = (places - middle) @ directions
    furthest = np.abs(coordinates).argmax(axis=0)
    signs = np.where(coordinates[furthest, np.arange(n_components)] < 0, -1.0, 1.0)
    total = float((values**2).sum()) or 1.0
    return Axes(middle, directions * signs, values[:n_components] ** 2 / total)
