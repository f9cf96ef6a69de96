"""Rows of text and JSON files in plain Python: slow, exact, and able to name the row of any trouble.

This is the reference of what a file means. `engine` reads the same rows faster, and hands over
to this module whenever something in a file is not plainly right.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Protocol

from bilinear.data.values import Values
from bilinear.errors import FileFormatError

BATCH = 20_000


@dataclass(frozen=True)
class Batch:
    """Some rows, by column."""

    label: str
    columns: Sequence[Values]
    first_row: int
    """The number of the first one, from 1 in the whole source."""
    lines: Sequence[int] | None = None
    """Where each row ends in its text file."""

    def __len__(self) -> int:
        return len(self.columns[0])

    def where(self, row: int) -> str:
        """The place of this batch's row, counted from 0, for messages."""
        number = self.first_row + row
        at_line = self.lines is not None and self.lines[row] != number
        return f"{self.label}, row {number}" + (
            f" (line {self.lines[row]})" if at_line and self.lines is not None else ""
        )


class Table(Protocol):
    """Rows with named or numbered columns, ready to be read as often as needed."""

    @property
    def label(self) -> str:
        """What it is called in messages."""

    @property
    def is_text(self) -> bool:
        """Values are words of a text file: what an id or a number is shows only in their spelling."""

    @property
    def names(self) -> list[str] | None:
        """Column names; None without a header."""

    @property
    def n_columns(self) -> int:
        """How many columns there are."""

    def batches(self, columns: Sequence[int]) -> Iterator[Batch]:
        """The rows in order, with the columns at these positions."""


@dataclass(frozen=True)
class Layout:
    """How a text file is to be cut: found by `sniff.layout`, never by chance again."""

    delimiter: str
    quoted: bool
    names: list[str] | None
    n_columns: int
    sample: list[list[str]]
    """The first data rows."""


@dataclass(frozen=True)
class TextTable:
    path: Path
    label: str
    layout: Layout
    is_text: bool = True

    @property
    def names(self) -> list[str] | None:
        return self.layout.names

    @property
    def n_columns(self) -> int:
        return self.layout.n_columns

    def batches(self, columns: Sequence[int]) -> Iterator[Batch]:
        with self.path.open(encoding="utf-8", newline="") as stream:
            rows = self._rows(stream)
            yield from _batches(self.label, rows, columns)

    def _rows(self, stream: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
        layout = self.layout
        rows = records(stream, layout.delimiter, layout.quoted)
        line, n_read = 1, 0
        try:
            for line, fields in rows:
                if layout.names is not None and n_read == 0:
                    n_read = 1
                    continue
                if len(fields) == layout.n_columns + 1 and not fields[-1]:
                    fields.pop()  # a separator after the last field
                if len(fields) != layout.n_columns:
                    raise FileFormatError(self._ragged(line, n_read, fields))
                n_read += 1
                yield line, fields
        except csv.Error as error:
            row = n_read + (layout.names is None)
            what = str(error)
            if "unexpected end" in what or "field limit" in what:
                what = "a quote is opened and never closed"
            elif "expected after" in what:
                what = 'text after a closing quote; a quote inside quotes is written twice ("")'
            raise FileFormatError(
                f"{self.label}, row {row} (line {line + 1} or below): {what}; correct the row"
            ) from None

    def _ragged(self, line: int, n_read: int, fields: list[str]) -> str:
        row = n_read + (self.layout.names is None)
        expected = "the header" if self.layout.names is not None else "the first row"
        shown = self.layout.delimiter.join(fields)
        return (
            f"{self.label}, row {row} (line {line}): {len(fields)} fields where {expected} has "
            f"{self.layout.n_columns} ({shown[:60]!r}); correct the row, or write fields that contain "
            f"{self.layout.delimiter!r} in quotes"
        )


@dataclass(frozen=True)
class JsonTable:
    path: Path
    label: str
    names: list[str]
    sample: list[dict[str, Any]]
    is_text: bool = False

    @classmethod
    def of(cls, path: Path, label: str) -> JsonTable:
        """Columns are the keys of the first thousand objects, in order of appearance."""
        with path.open(encoding="utf-8", newline="\n") as stream:
            sample = [row for _, row in islice(_objects(stream, label), 1000)]
        return cls(path, label, list(dict.fromkeys(key for row in sample for key in row)), sample)

    @property
    def n_columns(self) -> int:
        return len(self.names)

    def batches(self, columns: Sequence[int]) -> Iterator[Batch]:
        keys = [self.names[at] for at in columns]
        with self.path.open(encoding="utf-8", newline="\n") as stream:
            rows = ((line, list(map(row.get, keys))) for line, row in _objects(stream, self.label))
            yield from _batches(self.label, rows, range(len(keys)))


def _batches(label: str, rows: Iterator[tuple[int, list[Any]]], columns: Sequence[int]) -> Iterator[Batch]:
    """Rows to columns, without keeping the rows: a hundred thousand lists would busy the collector."""
    first = 1
    while True:
        lines: list[int] = []
        picked: list[list[Any]] = [[] for _ in columns]
        outlets = [(column.append, at) for column, at in zip(picked, columns, strict=True)]
        for line, fields in islice(rows, BATCH):
            lines.append(line)
            for put, at in outlets:
                put(fields[at])
        if not lines:
            return
        yield Batch(label, picked, first, lines)
        first += len(lines)


def records(
    stream: Iterable[str], delimiter: str, quoted: bool, strict: bool = True
) -> Iterator[tuple[int, list[str]]]:
    """(last line, fields) of every row that is not blank."""
    if len(delimiter) > 1:
        for line, text in enumerate(stream, 1):
            if text.strip():
                yield line, text.rstrip("\r\n").split(delimiter)
        return
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    reader = csv.reader(stream, delimiter=delimiter, quoting=quoting, strict=strict)
    for fields in reader:
        if fields and (len(fields) > 1 or fields[0].strip()):
            yield reader.line_num, fields


def _objects(stream: Iterable[str], label: str) -> Iterator[tuple[int, dict[str, Any]]]:
    row = 0
    for line, text in enumerate(stream, 1):
        if not text.strip():
            continue
        row += 1
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise FileFormatError(
                f"{label}, row {row} (line {line}): no valid JSON ({error}); correct the line, or cut the "
                "file there"
            ) from None
        if not isinstance(found, dict):
            raise FileFormatError(
                f"{label}, row {row} (line {line}): {text.strip()[:60]!r} is no JSON object; each line is "
                'one, such as {"user": 1, "item": 2, "rating": 4.5}'
            )
        yield line, found
