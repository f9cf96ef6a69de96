"""Capabilities: protocols by which evaluation, lab, server and command line ask what a model can do."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bilinear.data.interactions import Grouped
from bilinear.data.vocabulary import Vocabulary
from bilinear.errors import ParameterValueError
from bilinear.estimators.params_mixin import ParamsMixin
from bilinear.estimators.update import Updates
from bilinear.model.parameters import Array, Parameters

HowTrained = Literal["ratings", "all pairs", "rankings", "posterior", "closed form", "counts"]
"""What training minimises: a loss over ratings, all pairs or rankings; or nothing.

Nothing is minimised by the mean of a posterior, a linear system solved, and counts.
"""

UsesWeights = Literal["confidence", "confidence and zeros", "no"]
"""How a model uses the weights of events.

"confidence": a positive weight is how much an interaction counts, and a dislike is left out;
"confidence and zeros": a dislike counts as a zero, with its weight; "no": `fit` refuses such a table."""

_AT_ONCE = 1 << 22

Rows = NDArray[np.int32]
Values = NDArray[np.float32]


class UserWeights(NamedTuple):
    """Weights that rank items for a user: score(i) = offset + item_biases[i] + <vector, item_factors[i]>."""

    vector: Array
    offset: float


class ItemWeights(NamedTuple):
    """Weights of an item, as of a row of `dot_product()`."""

    vector: Array
    bias: float

    @classmethod
    def of(cls, parameters: Parameters, item: int | ItemWeights) -> ItemWeights:
        """Those of a row, or those given."""
        if isinstance(item, ItemWeights):
            return item
        return cls(parameters.item_factors[item], float(parameters.item_biases[item]))


class Contributions(NamedTuple):
    """A score taken apart: (n,) what each rating adds to it, and what the item has for every user."""

    ratings: NDArray[np.float64]
    item_bias: float


class Capabilities(ParamsMixin):
    """The answers of a model that only ranks; a subclass overrides what it can do better.

    Attributes:
        predicts_ratings: Whether scores become ratings: `predict`, RMSE, `rating_bounds`.
        can_checkpoint: Whether an interrupted `fit` can be resumed from a checkpoint.
        uses_weights: How it uses the weights of events, see `UsesWeights`.
        can_descend: Whether `descend` trains with other settings, for the lab's curves.
    """

    predicts_ratings: ClassVar[bool] = False
    can_checkpoint: ClassVar[bool] = False
    can_descend: ClassVar[bool] = False
    uses_weights: ClassVar[UsesWeights] = "no"
    weighted_: bool
    _updates: ClassVar[Updates] = "no"
    item_vocabulary_: Vocabulary
    has_ratings_: bool

    @property
    def is_personal(self) -> bool:
        """Whether lists depend on the user; else one list serves all."""
        return True

    @property
    def weighs_interactions(self) -> bool:
        """Whether the rating of an interaction is its weight, and therefore positive."""
        return False

    @property
    def uses_times(self) -> bool:
        """Whether lists depend on when, or in which order, a user took items up."""
        return False

    @property
    def can_compare_items(self) -> bool:
        """Whether `similar` answers: not where one list serves all."""
        return self.is_personal

    @property
    def how_trained(self) -> HowTrained:
        """The kind of objective that training minimises, see `HowTrained`."""
        return "counts" if self.dot_product() is None else "rankings"

    @property
    def updates(self) -> Updates:
        """How `update` learns further interactions: "exact", "approximate" or "no" (it refuses)."""
        return self._updates

    def needs_ratings(self) -> bool:
        """Whether `fold_in` needs a rating for each item."""
        return False

    def rating_bounds(self) -> tuple[float, float]:
        """The smallest and the largest rating of new feedback that the model can take."""
        positive = (self.weighs_interactions or not self.has_ratings_) and not self.weighted_
        return (1e-30 if positive else -np.inf), np.inf

    def usable_ratings(self, ratings: Values) -> Values:
        """(n,) ratings as fold-in can take them; NaN where it cannot."""
        positive = self.weighs_interactions and not self.weighted_
        return np.where(ratings > 0, ratings, np.float32(np.nan)) if positive else ratings

    def predictions(self, scores: Array) -> Array | None:
        """Scores in rating units; None of a model that only ranks."""
        return None

    def dot_product(self) -> Parameters | None:
        """Parameters, float32, whose scores rank as this model does; None where the model has none."""
        return None

    def item_vectors(self) -> Array | None:
        """(n_items, any) vectors whose cosine says how alike items are to `similar`, or None."""
        return None

    def score_histories(self, histories: Grouped) -> Array:
        """Scores of all items for users the model was not trained on, from what they have seen.

        Args:
            histories: one row a user; `indices` are rows of `item_vocabulary_`.
        Returns:
            as `score_block`.
        Raises:
            ParameterValueError: this kind of model cannot fold in.

        Examples:
            >>> from bilinear import EASE, Interactions
            >>> users, items = "ann ann bob bob cat".split(), "tea jam tea salt jam".split()
            >>> clicks = Interactions.from_columns(users, items)
            >>> model = EASE(l2=1.0).fit(clicks)
            >>> model.score_histories(clicks.by_user).shape
            (3, 3)
        """
        raise ParameterValueError(
            f"a {type(self).__name__} cannot fold in users that it was not trained on; "
            "choose a split that keeps every user in training"
        )

    def score_timed_histories(self, histories: Grouped, times: NDArray[np.float64]) -> Array:
        """`score_histories` with the time of each interaction, for models that use times; here without.

        Args:
            times: (n_interactions,) seconds; only differences within a row count.

        Examples:
            >>> import numpy as np
            >>> from bilinear import Interactions, RandomWalk
            >>> users, items = "ann ann bob bob cat".split(), "tea jam tea salt jam".split()
            >>> clicks = Interactions.from_columns(users, items, times=86400 * np.arange(5.0))
            >>> model = RandomWalk(half_life=1.0).fit(clicks)
            >>> model.score_timed_histories(clicks.by_user, clicks.times).shape
            (3, 3)
        """
        return self.score_histories(histories)

    def fading(self, times: NDArray[np.float64]) -> NDArray[Any]:
        """(n,) what the interactions of one history at these times are multiplied by: here ones."""
        return np.ones(len(times))

    def fold_in_weights(
        self, items: Rows, ratings: Values, centre: NDArray[np.float64] | None = None
    ) -> UserWeights | None:
        """A new user's weights over the items of `dot_product()`; of no items, those of an unknown user.

        Args:
            items: Rows of items, ascending.
            ratings: One an item, see `usable_ratings`.
            centre: The row, its bias in front, that the user is pulled to instead of to the mean: what
                features say. Only of models with features.

        Returns:
            The weights; None where the model scores histories without any (`score_histories`).

        Examples:
            >>> import numpy as np
            >>> from bilinear import ImplicitALS, synthetic_catalogue
            >>> clicks = synthetic_catalogue(1000, 40, 60, rng=0).interactions
            >>> model = ImplicitALS(n_factors=8, rng=0).fit(clicks)
            >>> model.fold_in_weights(np.array([0, 3], np.int32), np.array([1.0, 1.0])).vector.shape
            (8,)
        """
        return None

    def contributions(self, items: Rows, ratings: Values, item: int | ItemWeights) -> Contributions:
        """Contribution of each rating of a user to the score of the row `item`.

        Here: what a user with this one rating would get. It adds up to the score where the model is linear
        in histories. Models with features take the weights of an item that has no row as well.
        """
        assert not isinstance(item, ItemWeights), "a model without features has weights for its rows only"
        added = np.zeros(len(items))
        step = max(1, _AT_ONCE // max(1, len(self.item_vocabulary_)))
        for start in range(0, len(items) if self.is_personal else 0, step):
            part = slice(start, start + step)
            ones = Grouped(np.arange(len(items[part]) + 1), items[part], ratings[part])
            added[part] = self.score_histories(ones)[:, item]
        return Contributions(added, 0.0)
