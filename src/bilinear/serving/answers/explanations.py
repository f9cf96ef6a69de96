"""Explanations: the score of an item for a user as a sum of contributions."""

from __future__ import annotations

import numpy as np

import bilinear.serving.messages as m
from bilinear.serving.answers.serving_model import ServingModel, UserState


def explained(
    serving_model: ServingModel, user_state: UserState, user: str | None, item: str, n: int
) -> m.Explained:
    """The score of an item for a user: its `n` largest parts, the sum of the others, and what is left."""
    row = serving_model.item_row(item)
    scores = serving_model.score(user_state, np.array([row]))
    mean, bias, own = 0.0, 0.0, 0.0
    if serving_model.retrieval is not None:
        assert user_state.weights is not None
        mean, bias = (
            serving_model.retrieval.parameters.global_mean,
            float(serving_model.item_bias(row) or 0.0),
        )
        own = user_state.weights.offset - mean
    items, values = user_state.rated[:0], user_state.ratings[:0]
    added = np.empty(0)
    if user_state.basis not in ("non-personal", "features"):
        items, values = serving_model.usable(user_state.rated, user_state.ratings)
        added, bias = serving_model.model.contributions(items, values, serving_model.item_weights(row))
        added = added * serving_model.fading(user_state)
    elif serving_model.retrieval is None:
        mean = float(scores[0])  # the list for all is not personal, and that is all there is
    order = np.argsort(-np.abs(added), kind="stable")
    largest = [
        m.Contribution(
            serving_model.item_id(int(items[at])),
            serving_model.title(int(items[at])),
            float(values[at]),
            float(added[at]),
        )
        for at in order[:n].tolist()
    ]
    return m.Explained(
        user,
        serving_model.item_id(row),
        serving_model.title(row),
        serving_model.version,
        user_state.basis,
        float(scores[0]),
        serving_model.predictions(scores)[0],
        mean,
        bias,
        own,
        largest,
        float(added[order[n:]].sum()),
        float(scores[0] - mean - bias - added.sum()),
    )


def user_bias(serving_model: ServingModel, user_state: UserState) -> float | None:
    """The part of every score that is the user's own; None where the model has no such part."""
    if serving_model.retrieval is None or user_state.weights is None:
        return None
    return user_state.weights.offset - serving_model.retrieval.parameters.global_mean
