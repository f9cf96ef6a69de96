"""Items that are liked more, or less, than their raters' other ratings suggest."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bilinear.data.vocabulary import Id
from bilinear.estimators.rating_model import RatingModel
from bilinear.inspection.items import (
    at_least,
    check_model,
    enough_ratings,
    rating_counts,
    shown,
    whole_number,
)
from bilinear.tabular import Tabular, columns_of


@dataclass(frozen=True)
class BiasedItem:
    """An item and its bias, in the units of the score."""

    id: Id
    title: str
    bias: float
    n_ratings: int


@dataclass(frozen=True)
class ItemsByBias(Tabular):
    """The two ends of the item biases.

    Attributes:
        top: largest biases, largest first.
        bottom: smallest, smallest first. No item is in both.
        min_ratings: items with fewer training ratings were left out.
        n_items: items that had enough.
    """

    top: tuple[BiasedItem, ...]
    bottom: tuple[BiasedItem, ...]
    min_ratings: int
    n_items: int

    def to_columns(self) -> dict[str, Any]:
        """liked ("best" or "least"), id, title, bias and n_ratings."""
        ends = ["best"] * len(self.top) + ["least"] * len(self.bottom)
        return {"liked": ends, **columns_of((*self.top, *self.bottom), BiasedItem)}

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        if not self.n_items:
            return f"no item has {self.min_ratings:,} ratings; lower min_ratings"
        if not self.top:
            return "all item biases are equal"
        lines = [f"items by bias, of {self.n_items:,} with {at_least(self.min_ratings)}"]
        for head, items in (("best liked", self.top), ("least liked", self.bottom)):
            lines.append(f"  {head}")
            lines += [
                f"    {item.bias:+7.3f}  {shown(item.title, 60):<60} {item.n_ratings:8,} ratings"
                for item in items
            ]
        return "\n".join(lines)


def items_by_bias(model: RatingModel, n: int = 10, *, min_ratings: int | None = None) -> ItemsByBias:
    """The `n` items with the largest and with the smallest bias.

    Args:
        min_ratings: leave out items with fewer training ratings; None is ten, or the median of the
            rated items where that is more (fewer where a small table would leave less than 2 n).
    Returns:
        `ItemsByBias`; a bias is what the item adds to the score of any user. Ties go by row.
    Cost:
        O(n_ratings + n_items log n_items).
    """
    check_model(model)
    n = whole_number("n", n)
    counts, biases = rating_counts(model), model.parameters_.item_biases
    least = enough_ratings(counts, min_ratings, 2 * n)
    rows = np.flatnonzero(counts >= least)
    rows = rows[np.argsort(-biases[rows], kind="stable")]
    if len(rows) < 2 or biases[rows[0]] == biases[rows[-1]]:
        return ItemsByBias((), (), least, len(rows))
    n_top = min(n, (len(rows) + 1) // 2)
    n_bottom = min(n, len(rows) - n_top)

    def item(row: int) -> BiasedItem:
        id_ = model.item_vocabulary_[row]
        return BiasedItem(id_, model.title(id_), float(biases[row]), int(counts[row]))

    top = tuple(item(int(row)) for row in rows[:n_top])
    bottom = tuple(item(int(row)) for row in rows[: -n_bottom - 1 : -1])
    return ItemsByBias(top, bottom, least, len(rows))
