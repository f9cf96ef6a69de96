"""All items as points of a plane, for a picture of tastes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bilinear.inspection.items import enough_ratings, first_genre, genre_names, unit_of
from bilinear.inspection.maps import MAP_SIZE
from bilinear.inspection.spectrum import balancing_metric, principal_axes
from bilinear.serving.answers.serving_model import ServingModel
from bilinear.serving.messages import ItemMap
from bilinear.serving.problems import Conflict

_DIGITS = 4


def item_map(serving_model: ServingModel) -> ItemMap:
    """The rated items along the two directions in which users' tastes divide them most.

    As `bilinear.item_map`, along its directions, for every model with factors, and with rarely rated items as
    well. Those that were put to the server, and have no ratings, come last.
    Raises Conflict: the model has no two directions.

    Cost:
        O((n_users + n_items) * n_factors^2), once a model.
    """
    model = serving_model.model
    rows = np.flatnonzero(serving_model.item_counts)
    if serving_model.retrieval is None or serving_model.retrieval.parameters.n_factors < 2 or len(rows) < 3:
        raise Conflict("a map needs a model with two factors or more and three rated items", code="no_map")
    metric = balancing_metric(model)  # type: ignore[arg-type]
    places = serving_model.retrieval.parameters.item_factors[rows].astype(np.float64) @ metric
    counts = serving_model.item_counts[rows]
    axes = principal_axes(places[counts >= enough_ratings(counts, None, MAP_SIZE)], 2)
    new = serving_model.additions  # they lie where their rows do, and turn nothing
    fresh = new.factors.astype(np.float64) @ metric if len(new) else np.zeros((0, places.shape[1]))
    coordinates = axes.coordinates(np.vstack([places, fresh]))
    biases = np.append(serving_model.retrieval.parameters.item_biases[rows], new.biases if len(new) else [])
    rows = np.append(rows, np.arange(len(new)) + serving_model.n_items)
    names, category = _first_categories(serving_model, rows)
    return ItemMap(
        serving_model.version,
        np.round(axes.shares, _DIGITS).tolist(),
        names,
        [serving_model.item_id(row) for row in rows.tolist()],
        [serving_model.title(row) for row in rows.tolist()],
        np.round(coordinates[:, 0], _DIGITS).tolist(),
        np.round(coordinates[:, 1], _DIGITS).tolist(),
        category,
        np.round(biases.astype(np.float64), _DIGITS).tolist(),
        [serving_model.n_ratings(row) for row in rows.tolist()],
        len(new),
        unit_of(model) if model.predicts_ratings else "score units",  # type: ignore[arg-type]
    )


def _first_categories(serving_model: ServingModel, rows: NDArray[np.int64]) -> tuple[list[str], list[int]]:
    """Names in the order of their colours, those of new items last; the number of each item's first one."""
    if "genres" not in serving_model.model.item_texts_:
        return [], [-1] * len(rows)
    firsts = [first_genre("|".join(serving_model.categories(row))) for row in rows.tolist()]
    names = list(dict.fromkeys([*genre_names(serving_model.model), *filter(None, firsts)]))
    number = {name: at for at, name in enumerate(names)}
    return names, [number.get(name, -1) for name in firsts]
