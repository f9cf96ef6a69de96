"""All items as points of a plane, for a picture of tastes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bilinear.eigen import symmetric_eigen
from bilinear.inspection.items import first_genre
from bilinear.inspection.spectrum import balancing_metric
from bilinear.serving.answers.serving_model import ServingModel
from bilinear.serving.messages import ItemMap
from bilinear.serving.problems import Conflict

_DIGITS = 4


def item_map(serving_model: ServingModel) -> ItemMap:
    """The rated items along the two directions in which users' tastes divide them most.

    As `bilinear.item_map`, for every model with factors, and with rarely rated items as well. Those that were
    put to the server, and have no ratings, come last.
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
    middle = places.mean(axis=0)
    places -= middle
    shares, directions = symmetric_eigen(places.T @ places)
    axes = directions[:, ::-1][:, :2]
    coordinates = places @ axes
    furthest = np.abs(coordinates).argmax(axis=0)
    signs = np.where(coordinates[furthest, np.arange(2)] < 0, -1.0, 1.0)
    new = serving_model.additions  # they lie where their rows do, and turn nothing
    fresh = (new.factors.astype(np.float64) @ metric - middle) @ axes if len(new) else np.zeros((0, 2))
    coordinates = np.vstack([coordinates, fresh]) * signs
    total = float(shares.sum()) or 1.0
    biases = np.append(serving_model.retrieval.parameters.item_biases[rows], new.biases if len(new) else [])
    rows = np.append(rows, np.arange(len(new)) + serving_model.n_items)
    names, category = _first_categories(serving_model, rows)
    return ItemMap(
        serving_model.version,
        [round(float(share) / total, _DIGITS) for share in shares[::-1][:2]],
        names,
        [serving_model.item_id(row) for row in rows.tolist()],
        [serving_model.title(row) for row in rows.tolist()],
        np.round(coordinates[:, 0].astype(np.float64), _DIGITS).tolist(),
        np.round(coordinates[:, 1].astype(np.float64), _DIGITS).tolist(),
        category,
        np.round(biases.astype(np.float64), _DIGITS).tolist(),
        [serving_model.n_ratings(row) for row in rows.tolist()],
        len(new),
    )


def _first_categories(serving_model: ServingModel, rows: NDArray[np.int64]) -> tuple[list[str], list[int]]:
    """Names, most frequent first, and the number of each item's first one."""
    if "genres" not in serving_model.model.item_texts_:
        return [], [-1] * len(rows)
    firsts = [first_genre("|".join(serving_model.categories(row))) for row in rows.tolist()]
    counts: dict[str, int] = {}
    for name in firsts:
        if name:
            counts[name] = counts.get(name, 0) + 1
    names = sorted(counts, key=lambda name: (-counts[name], name))
    number = {name: at for at, name in enumerate(names)}
    return names, [number.get(name, -1) for name in firsts]
