"""Items and users that were put to the server, by their properties, beside those of one served model.

An item without training ratings gets a row from its features, behind the rows of the model; so does one that
the model has without ratings, whose own row is then not listed any more. An item with training ratings keeps
its row, and takes title and columns from its properties. Nothing here changes: each change makes a new one,
which shares with the one before what is equal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bilinear.model.parameters import Array
from bilinear.recommend.screening import Rows
from bilinear.serving.answers.title_search import TitleIndex, plain_lines
from bilinear.serving.feedback.properties import Put


@dataclass(frozen=True, eq=False)
class Additions:
    """Items and users beside one model.

    Attributes:
        first_row: The number of rows of the model; new items follow.
        fresh: Items without training ratings, in the order of their rows.
        retitled: Items with training ratings, by their rows.
        users: Users by id.
        weights: (n, n_factors + 1) float32 rows of the fresh items, the bias in front.
        superseded: Rows of the model whose items are fresh, ascending.
    """

    first_row: int
    fresh: tuple[Put, ...] = ()
    retitled: Mapping[int, Put] = field(default_factory=dict)
    users: Mapping[str, Put] = field(default_factory=dict)
    weights: Array = field(default_factory=lambda: np.zeros((0, 1), np.float32))
    superseded: Rows = field(default_factory=lambda: np.empty(0, np.int32))

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Rows of the fresh items."""
        return {put.id: row for row, put in enumerate(self.fresh, self.first_row)}

    @cached_property
    def factors(self) -> Array:
        return np.ascontiguousarray(self.weights[:, 1:])

    @cached_property
    def biases(self) -> Array:
        return np.ascontiguousarray(self.weights[:, 0])

    def __len__(self) -> int:
        return len(self.fresh)

    def of_row(self, row: int) -> Put | None:
        """What was put of the item at a row."""
        return self.fresh[row - self.first_row] if row >= self.first_row else self.retitled.get(row)

    def puts(self) -> Iterable[tuple[int, Put]]:
        """All items that were put, with their rows."""
        yield from self.retitled.items()
        yield from enumerate(self.fresh, self.first_row)

    @cached_property
    def touched(self) -> frozenset[int]:
        """Rows of the model for which title and columns are looked up here."""
        return frozenset([*self.retitled, *self.superseded.tolist()])

    @cached_property
    def titles(self) -> tuple[NDArray[np.int64], TitleIndex]:
        """The rows of the items that were put, and the index of their titles."""
        found = list(self.puts())
        lines = plain_lines(put.title or put.id for _, put in found)
        rows = np.array([row for row, _ in found], np.int64)
        return rows, TitleIndex(lines, np.zeros(len(found), np.int64))

    def with_users(self, puts: Mapping[str, Put | None]) -> Additions:
        """With these users put, or taken away."""
        users = {**self.users, **puts}
        return replace(self, users={id_: put for id_, put in users.items() if put is not None})

    def with_items(self, puts: Mapping[str, Put | None], trained: Mapping[str, int], cold: Rows) -> Additions:
        """With these items put, or taken away.

        Args:
            trained: Rows of the items among them that have training ratings.
            cold: Rows of all items of the model that are fresh afterwards, ascending.
        """
        retitled = dict(self.retitled)
        changed: dict[str, Put | None] = {}
        for id_, put in puts.items():
            if id_ not in trained:
                changed[id_] = put
            elif put is None:
                retitled.pop(trained[id_], None)
            else:
                retitled[trained[id_]] = put
        kept = {put.id: put for put in self.fresh}
        weights = dict(zip(kept, self.weights, strict=True))
        for id_, put in changed.items():
            if put is None:
                kept.pop(id_, None)
                weights.pop(id_, None)
            else:
                kept[id_], weights[id_] = put, put.row.astype(np.float32)
        stacked = np.stack(list(weights.values())) if weights else np.zeros((0, 1), np.float32)
        return Additions(self.first_row, tuple(kept.values()), retitled, self.users, stacked, cold)
