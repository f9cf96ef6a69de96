"""Baselines for ratings: the mean, and the biases of users and items."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np

from bilinear.arguments import draw_seed, is_real
from bilinear.data.interactions import Interactions, InteractionsLike
from bilinear.data.items import Items
from bilinear.data.outliers import warn_of_outliers
from bilinear.data.side_table import Users
from bilinear.data.splits import split_validation
from bilinear.errors import ParameterValueError
from bilinear.estimators.capabilities import HowTrained
from bilinear.estimators.conformal import Conformal
from bilinear.estimators.rating_model import RatingModel, check_table, resolve_link
from bilinear.estimators.with_features import WithFeatures
from bilinear.memory import require
from bilinear.model.link import Identity, Link
from bilinear.model.parameters import Parameters
from bilinear.objective.losses import SquaredError
from bilinear.objective.penalties import L2, RowWeights
from bilinear.registry import register
from bilinear.training.bias_solver import solve_biases
from bilinear.training.history import CLOSED_FORM
from bilinear.training.progress import Progress
from bilinear.training.rating_units import Units
from bilinear.training.search import choose_bias_penalty, searched_part

_BYTES, _BYTES_SEARCHED = (15, 40), (31, 100)  # of a rating and a row, that BiasModel takes; measured
_BYTES_IN_FILES = 12  # of a rating of a packed table, that are not memory


@register
@dataclass(repr=False, eq=False)
class GlobalMean(RatingModel):
    """Predicts the mean training rating for every pair: the error of knowing nothing.

    Args:
        rating_range: (low, high) the predictions are cut to; None takes the data's.

    Examples:
        >>> from bilinear import GlobalMean, Interactions
        >>> ratings = Interactions.from_columns(["ann", "ann", "bob"], ["Alien", "Heat", "Heat"], [5, 3, 4])
        >>> GlobalMean().fit(ratings).predict(["bob", "ann"], ["Alien", "Heat"]).values
        array([4., 4.], dtype=float32)
    """

    _updates = "exact"

    rating_range: tuple[float, float] | None = None

    def fit(self, interactions: InteractionsLike) -> Self:
        """Cost: O(n_ratings)."""
        check_table(interactions)
        needed = self.bytes_to_fit(interactions.n_ratings, *interactions.shape)
        require(needed, f"GlobalMean of {interactions.n_ratings:,} ratings")
        link = resolve_link(Identity(), self.rating_range, interactions)
        mean = float(interactions.ratings.mean(dtype=np.float64))
        self.link_, self.loss_, self.penalty_ = link, SquaredError(), L2()
        self.search_, self.seed_ = None, None
        self._learn(interactions, Parameters.zeros(interactions.shape, 0, mean), CLOSED_FORM)
        return self

    def bytes_to_fit(self, n_ratings: int, n_users: int, n_items: int) -> int:
        return 2 * n_ratings + 16 * (n_users + n_items)

    @property
    def how_trained(self) -> HowTrained:
        return "counts"

    def retrain(self, interactions: InteractionsLike, *, progress: Progress | None = None) -> Self:
        """The mean of another table; the same as `fit`."""
        return self.fit(interactions)


@register
@dataclass(repr=False, eq=False)
class BiasModel(WithFeatures, RatingModel):
    """global_mean + user bias + item bias: how generous the user is, how liked the item.

    Convex and solved exactly (one linear system), so there is nothing to tune but the penalty.

    Args:
        l2_biases: penalty, see `L2`; "auto" takes the best of eleven on an inner validation part.
        l2_exponent: how the penalty grows with a row's number of ratings, see `L2`.
        validation_fraction: share of the ratings in the inner validation part.
        rating_range: (low, high) the predictions are cut to; None takes the data's.
        rng: seed of the inner split; None draws one, kept in `seed_`.
        item_features, user_features: see `WithFeatures`.
    Cost:
        O(n_ratings) times some hundred.

    Examples:
        >>> from bilinear import BiasModel, Interactions
        >>> users, items = "ann ann bob bob cat".split(), "Alien Heat Alien Heat Heat".split()
        >>> ratings = Interactions.from_columns(users, items, [5, 4, 4, 3, 2])
        >>> model = BiasModel(l2_biases=0.1).fit(ratings)
        >>> model.predict(["cat"], ["Alien"]).values.round(1)
        array([3.1], dtype=float32)
        >>> model.parameters_.item_biases.round(1)
        array([ 0.5, -0.5], dtype=float32)
    """

    _updates = "exact"

    l2_biases: float | Literal["auto"] = "auto"
    l2_exponent: RowWeights = 0.5
    validation_fraction: float = 0.1
    rating_range: tuple[float, float] | None = None
    rng: int | None = None

    def fit(
        self, interactions: InteractionsLike, *, items: Items | None = None, users: Users | None = None
    ) -> Self:
        """Solves for the biases of all `interactions`; returns self.

        Args:
            items, users: Tables with the columns of `item_features` and `user_features`.
        """
        check_table(interactions)
        features = self._prepared_features(interactions, items, users)
        in_files = interactions.storage.in_files
        needed = self.bytes_to_fit(interactions.n_ratings, *interactions.shape, in_files=in_files)
        require(needed, f"BiasModel of {interactions.n_ratings:,} ratings")
        units, link = self._in_units(interactions)
        inner, seed, table = units.table(interactions), draw_seed(self.rng), None
        conformal = None
        penalty = L2(0.0, 0.0 if self.l2_biases == "auto" else self.l2_biases, self.l2_exponent)
        if self.l2_biases == "auto":
            check_fraction(self.validation_fraction)
            split = split_validation(inner, self.validation_fraction, np.random.default_rng([seed, 0]))
            part = searched_part(split, seed)
            table = choose_bias_penalty(part.train, part.test, units.link(link), self.l2_exponent)
            penalty = replace(penalty, biases=table.l2_biases)
            measured = Conformal.of(solve_biases(split.train, penalty), units.link(link), split)
            conformal = None if measured is None else measured.scaled(units.scale)
            table = units.search_table(table, link, SquaredError())
        parameters = units.parameters(solve_biases(inner, penalty), link)
        self.link_, self.loss_, self.penalty_ = link, SquaredError(), penalty
        self.search_, self.seed_ = table, seed
        self._learn(interactions, parameters, CLOSED_FORM, conformal=conformal)
        self._learn_features(features, items)
        warn_of_outliers(units.fence, interactions)
        return self

    def retrain(self, interactions: InteractionsLike, *, progress: Progress | None = None) -> Self:
        """Solves for the biases of another table with the penalty that `fit` took."""
        check_table(interactions)
        features = self._prepared_features(interactions, None, None)
        units, self.link_ = self._in_units(interactions)
        parameters = solve_biases(units.table(interactions), self.penalty_)
        kept = self._kept_conformal(interactions.user_vocabulary)
        self._learn(interactions, units.parameters(parameters, self.link_), CLOSED_FORM, conformal=kept)
        self._learn_features(features)
        warn_of_outliers(units.fence, interactions)
        return self

    def bytes_to_fit(self, n_ratings: int, n_users: int, n_items: int, *, in_files: bool = False) -> int:
        a_rating, a_row = _BYTES_SEARCHED if self.l2_biases == "auto" else _BYTES
        a_rating -= _BYTES_IN_FILES if in_files else 0
        return a_rating * n_ratings + a_row * (n_users + n_items)

    def _in_units(self, interactions: Interactions) -> tuple[Units, Link]:
        """What it is solved in, see `Units`, and the link into the rating range."""
        units = Units.of(interactions, self.rating_range)
        return units, resolve_link(Identity(), self.rating_range, units.fence.bounded(interactions))


def check_fraction(share: float) -> None:
    """Raises ParameterValueError unless a validation share is in (0, 1)."""
    if not (is_real(share) and 0 < share < 1):
        raise ParameterValueError(f"validation_fraction={share!r}; it lies between 0 and 1")
