"""Columns of items as filters: which rows have a value, or lie in a range."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from bilinear.data.features.cells import number
from bilinear.data.packed_text import PackedText
from bilinear.recommend.screening import Rows
from bilinear.serving.answers.additions import Additions
from bilinear.serving.answers.pauses import no_pause
from bilinear.serving.feedback.properties import Reader
from bilinear.serving.problems import NotFound

RANGE = ".."


class ItemColumns:
    """Text columns of one model, by value; an index of a column is made when it is first asked for.

    Args:
        texts: Column -> one text an item, several values with "|" between them.
        alike: Those of a model with equal texts, whose indices are taken over.
    Cost:
        O(n_items) for the first filter by a column.
    """

    def __init__(self, texts: Mapping[str, PackedText], alike: ItemColumns | None = None) -> None:
        self._texts = texts
        self._indices: dict[str, dict[str, Rows]] = {} if alike is None else alike._indices

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._texts)

    def values(self, name: str) -> list[str]:
        """Of a column, the most frequent first."""
        index = self.index(name)
        return sorted(index, key=lambda value: (-len(index[value]), value))

    def rows(self, name: str, values: Sequence[str], additions: Additions, reader: Reader) -> Rows:
        """Items, ascending, with any of these values in a column; those that were put by what was put.

        Args:
            values: Each a value, or a range of numbers `low..high` of which either may be left out.
        Raises:
            NotFound: No such column, or no item has a value.
        """
        if name not in self._texts:
            known = ", ".join(map(repr, self._texts)) or "none"
            raise NotFound(
                f"{name!r} is neither a parameter nor a column of items; columns: {known}",
                code="unknown_column",
            )
        index, separator = self.index(name), reader.separator(name)
        put = {row: one.categories(name, separator) for row, one in additions.puts() if name in one.features}
        named, matching = set(), set()
        for value in values:
            wanted = _range(value)
            if wanted is not None:
                named |= {other for other in index if _within(other, *wanted)}
                matching |= {row for row, own in put.items() if any(_within(one, *wanted) for one in own)}
                continue
            more = {row for row, own in put.items() if value in own}
            if value not in index and not more:
                raise NotFound(f"no item has {value!r} in column {name!r}", code="unknown_value")
            named |= {value} & index.keys()
            matching |= more
        found = {row for other in named for row in index[other].tolist()}
        found -= put.keys() | set(additions.superseded.tolist())
        return np.array(sorted(found | matching), np.int32)

    def index(self, name: str, pause: Callable[[], None] = no_pause) -> dict[str, Rows]:
        """Value -> rows of the model, ascending, by value; of a column that it does not have, none."""
        index = self._indices.get(name)
        if index is None:
            rows: dict[str, list[int]] = {}
            for row, text in enumerate(self._texts.get(name, ())):
                pause()
                for value in filter(None, text.split("|")):
                    rows.setdefault(value, []).append(row)
            index = {value: np.unique(np.array(rows[value], np.int32)) for value in sorted(rows)}
            self._indices[name] = index
        return index


def _range(value: str) -> tuple[float, float] | None:
    """The bounds of `1990..1999`, `1990..` or `..1999`; None of another text."""
    low, separator, high = value.partition(RANGE)
    if not separator or not (low or high):
        return None
    first, last = (number(part) if part else bound for part, bound in ((low, -np.inf), (high, np.inf)))
    return None if first is None or last is None else (first, last)


def _within(value: str, low: float, high: float) -> bool:
    found = number(value)
    return found is not None and low <= found <= high
