"""Learning of the feedback that came since a model was made, without training it again."""

from __future__ import annotations

from collections.abc import Sequence
from time import time

import numpy as np
from numpy.typing import NDArray

from bilinear.data.interactions import Interactions
from bilinear.data.vocabulary import Id, IdRule, Vocabulary, by_rules, canonical_integer
from bilinear.estimators.recommender import Recommender
from bilinear.serving.feedback.store import FeedbackStore


def learn_feedback(model: Recommender, store: FeedbackStore) -> str | None:
    """Updates a model to what feedback says of its pairs; says what it learned, or None: it was nothing.

    As in a training with feedback, what a pair's feedback says takes the place of what the model was trained
    on, also of counts, and a deletion takes the pair out. Only pairs of which the model holds something else
    are learned, so that feedback is learned once however often this is called. Where the model's ids are
    whole numbers, others wait for a training. `report_["updated"]` has the time.

    Raises:
        ParameterValueError, RatingValueError: see `Recommender.update`.
    """
    users, items = model.user_vocabulary_, model.item_vocabulary_
    rows = sorted((row for batch in store.everything() for row in batch), key=lambda row: row.time)
    said, waiting = {}, 0
    for row in rows:
        user, item = _canonical(users, row.user), _canonical(items, row.item)
        if user is None or item is None:
            waiting += 1
        else:
            said[user, item] = row.rating
    pairs = list(said)
    wanted = np.array(list(said.values()), np.float32)  # NaN: a deletion
    places = model.seen_.places(
        users.encode([user for user, _ in pairs]), items.encode([item for _, item in pairs])
    )
    held = places >= 0
    found = np.full(len(pairs), np.nan, np.float32)
    found[held] = model.seen_.ratings[places[held]]
    differs = (found != wanted) & ~(np.isnan(found) & np.isnan(wanted))
    if not differs.any():
        return None
    forgotten = [pairs[at] for at in np.flatnonzero(differs & held).tolist()]
    learned = np.flatnonzero(differs & ~np.isnan(wanted)).tolist()
    further = table_of(
        [pairs[at][0] for at in learned],
        [pairs[at][1] for at in learned],
        wanted[learned].astype(np.float64),
        None,
        has_ratings=model.has_ratings_,
        weighted=model.weighted_,
        ids=users.rules,
        source=f"feedback {store.address}",
    )
    model.update(further, forget=([user for user, _ in forgotten], [item for _, item in forgotten]))
    model.report_ = model.report_ | {"updated": {"at": time()}}
    return (
        f"pairs learned: {len(learned)}, taken out: {int(differs.sum()) - len(learned)}"
        + f"; {waiting} with an id that is not a whole number wait for a training" * bool(waiting)
    )


def updated_at(model: Recommender) -> float | None:
    """When a model last learned feedback after its training, in seconds since 1970, or None."""
    try:
        return float(model.report_["updated"]["at"])
    except (KeyError, TypeError, ValueError):
        return None


def table_of(
    users: Sequence[Id],
    items: Sequence[Id],
    values: NDArray[np.float64],
    times: NDArray[np.float64] | None,
    *,
    has_ratings: bool,
    weighted: bool,
    ids: Sequence[IdRule],
    source: str,
) -> Interactions:
    """A table of ratings, counts or weights, whichever a model was trained on."""
    return Interactions.from_columns(
        users,
        items,
        values if has_ratings else None,
        times,
        counts=None if has_ratings or weighted else values,
        weights=values if weighted else None,
        missing="none",  # which ratings there are was decided when the table was read
        ids=ids,
        source=source,
    )


def _canonical(vocabulary: Vocabulary, id_: str) -> Id | None:
    """An id as those of the model are; None where it cannot be one of them."""
    found = by_rules(id_, vocabulary.rules)
    return (found or None) if vocabulary.kind == "text" else canonical_integer(found)
