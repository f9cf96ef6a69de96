"""Rows of text and JSON files in plain Python: slow, exact, and able to name the row of any trouble.

This is the reference of what a file means. `engine` reads the same rows faster, and hands over
to this module whenever something in a file is not plainly right.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from bilinear.data.reading.layout import (
    AS_CHARACTER,
    Layout,
    n_filled_lines,
    rows_of,
    settled,
    text_lines,
)
from bilinear.data.reading.values import Values
from bilinear.errors import DataError, FileFormatError

BATCH = 20_000

Refuse = Callable[[int, int | None, DataError, str], None]
"""Called with the number of a row that cannot be read, its line, the error and the row's text."""


def raise_error(row: int, line: int | None, error: DataError, text: str) -> None:
    """Raises the error for a row that cannot be read; used unless such rows are left out."""
    raise error


def _pass_over(row: int, line: int | None, error: DataError, text: str) -> None:
    """For a look at the first rows: reading comes later, and meets the same row."""


@dataclass(frozen=True)
class Batch:
    """Some rows, by column."""

    label: str
    columns: Sequence[Values]
    rows: Sequence[int]
    """The number of each row, from 1 in the whole source."""
    lines: Sequence[int] | None = None
    """Where each row ends in its text file."""

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: Sequence[int]) -> Batch:
        """Only these rows of the batch, counted from 0."""
        columns: list[Values] = [
            column[list(rows)] if isinstance(column, np.ndarray) else [column[row] for row in rows]
            for column in self.columns
        ]
        lines = None if self.lines is None else [self.lines[row] for row in rows]
        return Batch(self.label, columns, [self.rows[row] for row in rows], lines)

    def where(self, row: int) -> str:
        """The place of this batch's row, counted from 0, for messages."""
        number = self.rows[row]
        at_line = self.lines is not None and self.lines[row] != number
        return f"{self.label}, row {number}" + (
            f" (line {self.lines[row]})" if at_line and self.lines is not None else ""
        )


class Table(Protocol):
    """Rows with named or numbered columns, ready to be read as often as needed."""

    @property
    def label(self) -> str:
        """Name of the table in messages."""

    @property
    def is_text(self) -> bool:
        """Values are words of a text file: what an id or a number is shows only in their spelling."""

    @property
    def names(self) -> list[str] | None:
        """Column names; None without a header."""

    @property
    def n_columns(self) -> int:
        """Number of columns."""

    def batches(self, columns: Sequence[int], refuse: Refuse = raise_error) -> Iterator[Batch]:
        """The rows in order, with the columns at these positions; `refuse` is called with broken rows."""


@dataclass(frozen=True)
class TextTable:
    path: Path
    label: str
    layout: Layout
    n_lines: int | None = None
    """Line ends in the file, where each is a newline."""
    is_text: bool = True

    @property
    def names(self) -> list[str] | None:
        return self.layout.names

    @property
    def n_columns(self) -> int:
        return self.layout.n_columns

    def settled(self) -> TextTable:
        """The same table with its quotes decided on the whole file; see `layout.settled`."""
        return replace(self, layout=settled(self.path, self.layout))

    def has_rows(self, n_rows: int) -> bool:
        """Whether so many rows are all of the file: one a line that is not blank, or as `settled` counted."""
        layout = self.layout
        if layout.n_rows is not None:
            return layout.is_trusted and n_rows == layout.n_rows
        n_filled = n_rows + layout.skip + layout.has_header
        return n_filled == self.n_lines or n_filled == n_filled_lines(self.path, layout.delimiter)

    def batches(self, columns: Sequence[int], refuse: Refuse = raise_error) -> Iterator[Batch]:
        yield from _batches(self.label, self.settled()._rows(refuse), columns)

    def _rows(self, refuse: Refuse) -> Iterator[tuple[int, int, list[str]]]:
        layout = self.layout
        found = rows_of(text_lines(self.path, layout.skip), layout)
        n_header = int(layout.has_header)
        for row, record in enumerate(found, 1 - n_header):
            if row == 0:
                continue
            fields, line = record.fields, record.line + layout.skip
            if len(fields) == layout.n_columns + 1 and not fields[-1]:
                fields.pop()  # a separator after the last field
            if record.problem is None and len(fields) == layout.n_columns:
                yield row, line, fields
                continue
            first = line - len(record.lines) + 1
            if record.problem is not None:
                message = (
                    f"{self.label}, row {row} (line {first} or below): {record.problem}; correct the row, or "
                    f"read quotes as characters with {AS_CHARACTER}"
                )
            else:
                message = self._ragged(row, first, fields)
            refuse(row, first, FileFormatError(message), "".join(record.lines).rstrip("\r\n"))

    def _ragged(self, row: int, line: int, fields: list[str]) -> str:
        layout = self.layout
        expected = "the header" if layout.has_header else "the first row"
        shown = layout.delimiter.join(fields)
        lists = ""
        if layout.delimiter in "\t, " and all(field.isdigit() for field in fields):
            lists = "; a user with its items per line is read with layout='lists' (--layout lists)"
        return (
            f"{self.label}, row {row} (line {line}): {len(fields)} fields where {expected} has "
            f"{layout.n_columns} ({shown[:60]!r}); correct the row, or write fields that contain "
            f"{layout.delimiter!r} in quotes{lists}"
        )


@dataclass(frozen=True)
class JsonTable:
    path: Path
    label: str
    names: list[str]
    sample: list[dict[str, Any]]
    n_lines: int | None = None
    is_text: bool = False

    @classmethod
    def of(cls, path: Path, label: str, n_lines: int | None = None) -> JsonTable:
        """Columns are the keys of the first thousand objects, in order of appearance."""
        with path.open(encoding="utf-8", newline="\n") as stream:
            sample = [row for _, _, row in islice(_objects(stream, label, _pass_over), 1000)]
            if not sample:
                stream.seek(0)
                next(_objects(stream, label, raise_error), None)
        return cls(path, label, list(dict.fromkeys(key for row in sample for key in row)), sample, n_lines)

    @property
    def n_columns(self) -> int:
        return len(self.names)

    def has_rows(self, n_rows: int) -> bool:
        """Whether so many rows are all of the file: one a line that is not blank."""
        return n_rows == self.n_lines or n_rows == n_filled_lines(self.path, "{")

    def batches(self, columns: Sequence[int], refuse: Refuse = raise_error) -> Iterator[Batch]:
        keys = [self.names[at] for at in columns]
        with self.path.open(encoding="utf-8", newline="\n") as stream:
            rows = (
                (row, line, list(map(found.get, keys)))
                for row, line, found in _objects(stream, self.label, refuse)
            )
            yield from _batches(self.label, rows, range(len(keys)))


def _batches(
    label: str, rows: Iterator[tuple[int, int, list[Any]]], columns: Sequence[int]
) -> Iterator[Batch]:
    """Rows to columns, without keeping the rows: a hundred thousand lists would busy the collector."""
    while True:
        numbers: list[int] = []
        lines: list[int] = []
        picked: list[list[Any]] = [[] for _ in columns]
        outlets = [(column.append, at) for column, at in zip(picked, columns, strict=True)]
        for number, line, fields in islice(rows, BATCH):
            numbers.append(number)
            lines.append(line)
            for put, at in outlets:
                put(fields[at])
        if not lines:
            return
        yield Batch(label, picked, numbers, lines)


def _objects(stream: Iterable[str], label: str, refuse: Refuse) -> Iterator[tuple[int, int, dict[str, Any]]]:
    row = 0
    for line, text in enumerate(stream, 1):
        if not text.strip():
            continue
        row += 1
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            message = f"no valid JSON ({error}); correct the line, or cut the file there"
        else:
            if isinstance(found, dict):
                yield row, line, found
                continue
            message = (
                f"{text.strip()[:60]!r} is not a JSON object; each line is one, such as "
                '{"user": 1, "item": 2, "rating": 4.5}'
            )
        refuse(row, line, FileFormatError(f"{label}, row {row} (line {line}): {message}"), text.rstrip())
