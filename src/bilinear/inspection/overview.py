"""Overview of a fitted model: all views in one result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bilinear.arguments import is_whole
from bilinear.errors import ParameterValueError
from bilinear.estimators.rating_model import RatingModel
from bilinear.inspection.biases import ItemsByBias, items_by_bias
from bilinear.inspection.items import check_model, rating_counts, shown, unit_of
from bilinear.inspection.maps import ItemMap, item_map
from bilinear.inspection.neighbours import Neighbourhood, neighbours
from bilinear.inspection.spectrum import Spectrum, spectrum
from bilinear.tabular import Shown

_MOST_PAIRS = 100_000


@dataclass(frozen=True, eq=False)
class ModelDescription(Shown):
    """Description of a fitted model; `str()` is for a terminal, `to_dict()` for JSON.

    Attributes:
        facts: model, source, sizes, penalties, how training ended, and `spreads`: by how much
            each part of the score varies over the training ratings (standard deviations).
        items_by_bias: best and least liked items.
        neighbours: the most rated items, each with the items most like it.
        spectrum, item_map: None where the model has no factors for them.
        notes: why something is missing.

    Examples:
        >>> from bilinear import MatrixFactorization, describe_model, synthetic_ratings
        >>> model = MatrixFactorization(n_factors=4, l2=0.1, l2_biases=1.0, rng=0)
        >>> found = describe_model(model.fit(synthetic_ratings(50, 30, 600, rng=0)), n=3, min_ratings=5)
        >>> found.facts["model"], found.notes
        ('MatrixFactorization', ())
    """

    facts: Mapping[str, Any]
    items_by_bias: ItemsByBias
    neighbours: tuple[Neighbourhood, ...]
    spectrum: Spectrum | None
    item_map: ItemMap | None
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return {
            "facts": dict(self.facts),
            "items_by_bias": self.items_by_bias.to_dict(),
            "neighbours": [each.to_dict() for each in self.neighbours],
            "spectrum": self.spectrum and self.spectrum.to_dict(),
            "item_map": self.item_map and self.item_map.to_dict(),
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        facts = self.facts
        spreads = ", ".join(f"{name} {value:.2f}" for name, value in facts["spreads"].items())
        parts = [
            f"{facts['model']} of {facts['n_users']:,} users and {facts['n_items']:,} items, trained on "
            f"{facts['n_ratings']:,} ratings ({shown(facts['source'], 60)})\n"
            f"what moves a score (standard deviations, {facts['unit']}): {spreads}"
        ]
        if self.spectrum is not None:
            parts.append(str(self.spectrum))
        parts.append(str(self.items_by_bias))
        if self.neighbours:
            near = "\n".join(f"  {each}" for each in self.neighbours)
            parts.append(f"nearest items by the cosine of the factors\n{near}")
        if self.item_map is not None:
            parts.append(str(self.item_map))
        return "\n\n".join([*parts, *self.notes])


def describe_model(
    model: RatingModel, *, n: int = 10, min_ratings: int | None = None, rng: int = 0
) -> ModelDescription:
    """Items by bias, nearest items, the spectrum of tastes, and the map of the items.

    Args:
        n: length of the lists of items by bias, and how many items are shown with their nearest.
        min_ratings: leave out items with fewer training ratings; None is ten, or the median of
            the rated items where that is more.
        rng: seed of the sample of 100,000 training ratings that `spreads` are measured on in a
            larger table.
    Raises:
        NotFittedError: the model is not fitted.
        ParameterValueError: an argument is out of range.
    Cost:
        O(n_ratings + (n_users + n_items) * n_factors^2 + n * n_items * n_factors).

    Examples:
        >>> from bilinear import MatrixFactorization, describe_model, synthetic_ratings
        >>> model = MatrixFactorization(n_factors=4, l2=0.1, l2_biases=1.0, rng=0)
        >>> found = describe_model(model.fit(synthetic_ratings(50, 30, 600, rng=0)), n=3, min_ratings=5)
        >>> sorted(found.to_dict())
        ['facts', 'item_map', 'items_by_bias', 'neighbours', 'notes', 'spectrum']
    """
    check_model(model)
    if not is_whole(rng) or rng < 0:
        raise ParameterValueError(f"rng={rng!r}; a whole number, zero or more")
    notes = []
    drawn = None
    try:
        drawn = item_map(model, min_ratings=min_ratings)
    except ParameterValueError as error:
        notes.append(f"no map: {error}")
    return ModelDescription(
        facts=_facts(model, rng),
        items_by_bias=items_by_bias(model, n, min_ratings=min_ratings),
        neighbours=neighbours(model, n, min_ratings=min_ratings),
        spectrum=spectrum(model),
        item_map=drawn,
        notes=tuple(notes),
    )


def _facts(model: RatingModel, rng: int) -> dict[str, Any]:
    parameters, history = model.parameters_, model.history_
    return {
        "model": type(model).__name__,
        "source": model.source_,
        "n_users": int((model.seen_.counts > 0).sum()),
        "n_items": int((rating_counts(model) > 0).sum()),
        "n_ratings": len(model.seen_.ratings),
        "n_factors": parameters.n_factors,
        "global_mean": float(parameters.global_mean),
        "link": type(model.link_).__name__,
        "unit": unit_of(model),
        "l2": float(model.penalty_.factors),
        "l2_biases": float(model.penalty_.biases),
        "seed": model.seed_,
        "training": history.ended,
        "best_epoch": history.best_epoch,
        "spreads": _spreads(model, rng),
    }


def _spreads(model: RatingModel, rng: int) -> dict[str, float]:
    """Standard deviations over the training ratings of the three parts of the score."""
    parameters, seen = model.parameters_, model.seen_
    pairs = np.arange(len(seen.indices))
    if len(pairs) > _MOST_PAIRS:
        pairs = np.sort(np.random.default_rng(rng).choice(len(pairs), _MOST_PAIRS, replace=False))
    users, items = np.searchsorted(seen.indptr, pairs, side="right") - 1, seen.indices[pairs]
    taste = np.einsum("nf,nf->n", parameters.user_factors[users], parameters.item_factors[items])
    return {
        "users": float(parameters.user_biases[users].std(dtype=np.float64)),
        "items": float(parameters.item_biases[items].std(dtype=np.float64)),
        "taste": float(taste.std(dtype=np.float64)),
    }
