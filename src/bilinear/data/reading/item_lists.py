"""Files that list a user with its items per line: `user item item item ...`, as in Gowalla's train.txt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bilinear.data.reading.duckdb_reader import Encoded
from bilinear.data.reading.id_columns import IdColumn
from bilinear.data.reading.tables import Batch, Refuse, raise_error
from bilinear.errors import EmptyDataError, FileFormatError

_ITEMS_AT_ONCE = 200_000
_SORTED = 0.9  # of the neighbours in lines ascend, or descend: the order of ids says nothing of the user


@dataclass(frozen=True)
class ListTable:
    """One user a line, then its items; a user without any is a user all the same."""

    path: Path
    label: str
    separator: str
    is_guess: bool = False
    """It looked so by its first lines: then whatever is not a whole number speaks against it."""
    names: None = None
    n_columns: int = 2
    is_text: bool = True

    def batches(self, columns: Sequence[int], refuse: Refuse = raise_error) -> Iterator[Batch]:
        """The pairs in order, the lines of their users with them."""
        first = 1
        with self.path.open(encoding="utf-8") as stream:
            for number, line in enumerate(stream, 1):
                fields = self._fields(line, number)
                if len(fields) < 2:
                    continue
                pairs = [fields[:1] * (len(fields) - 1), fields[1:]]
                yield Batch(
                    self.label,
                    [pairs[at] for at in columns],
                    range(first, first + len(pairs[0])),
                    [number] * len(pairs[0]),
                )
                first += len(pairs[0])

    def read(self) -> Encoded:
        """All pairs, each counted once, in the order of the file.

        Their times are the places in the lines, from 0 on, unless the lines are sorted by id. Ids are
        integers only if every one is the plain spelling of an integer ("7", not "007").

        Cost:
            about 0.8 s a million items; 8 bytes a pair and a dictionary entry an id.

        Raises:
            FileFormatError: a line with an empty field.
            EmptyDataError: no user has an item.
        """
        users, items = IdColumn("user", is_text=True), IdColumn("item", is_text=True)
        counts: list[int] = []
        waiting: list[list[str]] = []
        n_waiting = 0
        with self.path.open(encoding="utf-8") as stream:
            for number, line in enumerate(stream, 1):
                fields = self._fields(line, number)
                if not fields:
                    continue
                counts.append(len(fields) - 1)
                waiting.append(fields)
                n_waiting += len(fields)
                if n_waiting >= _ITEMS_AT_ONCE:
                    self._add(waiting, users, items)
                    waiting, n_waiting = [], 0
        self._add(waiting, users, items)
        if not any(counts):
            raise EmptyDataError(f"{self.label}: no user has an item")
        user_vocabulary, user_rows = users.finish()
        item_vocabulary, item_rows = items.finish()
        once = np.ones(len(item_rows), np.float32)
        lengths = np.array(counts)
        places = np.arange(len(item_rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        times = None if _are_sorted(item_rows, places) else places.astype(np.float64)
        return Encoded(
            [np.repeat(user_rows, lengths), item_rows, once, times], user_vocabulary, item_vocabulary
        )

    def _fields(self, line: str, number: int) -> list[str]:
        fields = self._cut(line, number)
        if self.is_guess and fields and not "".join(fields).isdigit():
            raise FileFormatError(
                f"{self.label}, line {number}: {line.strip()[:60]!r} where a user with its items is "
                "expected, whole numbers as in the first lines; correct the line, or say what the file is "
                "with layout='lists' or 'rows' (--layout)"
            )
        return fields

    def _cut(self, line: str, number: int) -> list[str]:
        if self.separator != ",":
            return line.split()
        fields = [field.strip() for field in line.split(",")]
        while fields and not fields[-1]:  # a separator after the last item
            fields.pop()
        if "" in fields:
            raise FileFormatError(f"{self.label}, line {number}: an empty field; write user,item,item,...")
        return fields

    def _add(self, lines: list[list[str]], users: IdColumn, items: IdColumn) -> None:
        def where(row: int) -> str:
            return f"{self.label}, the {row + 1}th of some {len(lines):,} lines"

        users.add([fields[0] for fields in lines], where)
        items.add(list(chain.from_iterable(fields[1:] for fields in lines)), where)


def _are_sorted(items: NDArray[np.int32], places: NDArray[np.int64]) -> bool:
    """Whether nearly all lines ascend, or descend, by id: rows are in the order of the ids."""
    steps = np.diff(items)[places[1:] > 0]
    return len(steps) == 0 or max((steps > 0).mean(), (steps < 0).mean()) >= _SORTED
