"""Ratings sorted into those a model was trained on and those it was not, by the pairs it stores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bilinear.data.interactions import Interactions
from bilinear.errors import DataError, ParameterValueError
from bilinear.estimators.recommender import Recommender

_ENOUGH = 0.5  # of the ratings or of the training ratings, whichever are fewer, must be known pairs


@dataclass(frozen=True, eq=False)
class MatchedRatings:
    """A table of ratings in the rows of a model.

    Attributes:
        train: The ratings to measure training on.
        held_out: The others, where all training ratings are among those given; else None.
        n_missing: Training ratings that were not given.
        n_extra: Ratings in `train` that were not trained on.
        n_changed: Pairs of `train` that had another rating in training.
    """

    train: Interactions
    held_out: Interactions | None
    n_missing: int
    n_extra: int
    n_changed: int

    @property
    def exact(self) -> bool:
        """Whether `train` is what the model was trained on."""
        return not (self.n_missing or self.n_extra or self.n_changed)


def match_ratings(model: Recommender, table: Interactions) -> MatchedRatings:
    """Sorts ratings into those that a model was trained on and those that it was not.

    Cost:
        O(n_ratings log n_ratings).

    Args:
        model: The fitted model.
        table: Ratings with ids of their own.

    Returns:
        The ratings in the rows of the model.

    Raises:
        ParameterValueError: no ratings, or some are of users or items that are not in the model.
        DataError: Fewer than half of the pairs are among the model's training pairs.
    """
    if not table.n_ratings:
        raise ParameterValueError(
            f"{table.source}: expected the ratings that the model was trained on, got no ratings"
        )
    if model.predicts_ratings and not table.has_ratings:
        raise ParameterValueError(
            f"{table.source}: expected a column of ratings, got interactions without one; give the ratings "
            f"that the {type(model).__name__} was trained on"
        )
    seen = model.seen_
    users, items = table.aligned_to(model.user_vocabulary_, model.item_vocabulary_)
    known = (users >= 0) & (items >= 0)
    places = seen.places(users, items)
    both = places >= 0
    n_both, n_trained = int(both.sum()), len(seen.indices)
    if n_both < n_trained and not known.all():
        row = int(np.argmin(known))
        raise ParameterValueError(
            f"{table.source}: {int((~known).sum()):,} ratings are of users or items that the model does not "
            f"know, such as user {table.user_vocabulary[table.users[row]]!r} and item "
            f"{table.item_vocabulary[table.items[row]]!r}; give the ratings it was trained on"
        )
    if n_both < _ENOUGH * min(n_trained, table.n_ratings):
        raise DataError(
            f"{table.source}: of its {table.n_ratings:,} ratings only {n_both:,} are of pairs that the model "
            f"was trained on ({n_trained:,}, from {model.source_}); give the ratings it was trained on"
        )
    kept = both if n_both == n_trained else known
    changed = table.ratings[both] != seen.ratings[places[both]]
    rest = np.flatnonzero(~kept)
    return MatchedRatings(
        _in_rows(model, table, users, items, np.flatnonzero(kept)),
        table.take(rest) if len(rest) else None,
        n_trained - n_both,
        int((kept & ~both).sum()),
        int(changed.sum()),
    )


def _in_rows(
    model: Recommender,
    table: Interactions,
    users: NDArray[np.int32],
    items: NDArray[np.int32],
    rows: NDArray[np.int64],
) -> Interactions:
    return Interactions.from_rows(
        users[rows],
        items[rows],
        table.ratings[rows],
        None if table.times is None else table.times[rows],
        model.user_vocabulary_,
        model.item_vocabulary_,
        source=table.source,
    )
