"""Why an item is recommended to somebody: the score taken apart."""

from __future__ import annotations

import numpy as np

import bilinear.serving.messages as m
from bilinear.serving.answers.serving_model import ServingModel, UserState


def explained(engine: ServingModel, person: UserState, user: str | None, item: str, n: int) -> m.Explained:
    """The score of an item for a person, in its `n` largest parts, the rest of them, and what is left."""
    row = engine.item_row(item)
    scores = engine.score(person, np.array([row]))
    mean, bias, own = 0.0, 0.0, 0.0
    if engine.retrieval is not None:
        assert person.weights is not None
        mean, bias = engine.retrieval.parameters.global_mean, float(engine.item_bias(row) or 0.0)
        own = person.weights.offset - mean
    items, values = person.rated[:0], person.ratings[:0]
    added = np.empty(0)
    if person.basis != "non-personal":
        items, values = engine.usable(person.rated, person.ratings)
        added, bias = engine.model.contributions(items, values, row)
    elif engine.retrieval is None:
        mean = float(scores[0])  # the list for all is not personal, and that is all there is
    order = np.argsort(-np.abs(added), kind="stable")
    largest = [
        m.Contribution(
            engine.item_id(int(items[at])),
            engine.title(int(items[at])),
            float(values[at]),
            float(added[at]),
        )
        for at in order[:n].tolist()
    ]
    return m.Explained(
        user,
        engine.item_id(row),
        engine.title(row),
        engine.version,
        person.basis,
        float(scores[0]),
        engine.predictions(scores)[0],
        mean,
        bias,
        own,
        largest,
        float(added[order[n:]].sum()),
        float(scores[0] - mean - bias - added.sum()),
    )


def user_bias(engine: ServingModel, person: UserState) -> float | None:
    """What the score of every item has of the person; None where the model has no such part."""
    if engine.retrieval is None or person.weights is None:
        return None
    return person.weights.offset - engine.retrieval.parameters.global_mean
