"""Some ratings of a table without a copy of them."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bilinear.data.interactions import Interactions

_COLUMNS = ("users", "items", "ratings", "times")


class Part(Interactions):
    """The ratings of a table where `kept` is true, gathered whenever a column is asked for.

    For who reads each column once and keeps none, such as the grid of `SGD`: a table and a part of it then
    take 13 bytes a rating together instead of 24. Code that reads columns again and again, as the other
    solvers do, takes `gathered()`.
    """

    table: Interactions
    kept: NDArray[np.bool_]
    _size: int

    def __init__(self, table: Interactions, kept: NDArray[np.bool_]) -> None:
        own: dict[str, Any] = {"table": table, "kept": kept, "_size": int(np.count_nonzero(kept))}
        own |= {f.name: getattr(table, f.name) for f in fields(Interactions) if f.name not in _COLUMNS}
        of_part = {
            "n_rows_read": own["_size"],
            "n_rows_skipped": 0,
            "notes": replace(table.notes, n_left_out=0),
        }
        for name, value in (own | of_part).items():
            object.__setattr__(self, name, value)

    @property
    def users(self) -> NDArray[np.int32]:
        return self.storage.take(self.table.users, self.kept)

    @property
    def items(self) -> NDArray[np.int32]:
        return self.storage.take(self.table.items, self.kept)

    @property
    def ratings(self) -> NDArray[np.float32]:
        return self.storage.take(self.table.ratings, self.kept)

    @property
    def times(self) -> NDArray[np.float64] | None:
        times = self.table.times
        return None if times is None else self.storage.take(times, self.kept)

    @property
    def stored(self) -> tuple[Interactions, NDArray[np.bool_]]:
        return self.table, self.kept

    @property
    def n_ratings(self) -> int:
        return self._size

    def gathered(self) -> Interactions:
        """The same as a table with columns of its own."""
        return self.table.take(self.kept)

    def take(self, rows: NDArray[Any]) -> Interactions:
        return self.gathered().take(rows)
