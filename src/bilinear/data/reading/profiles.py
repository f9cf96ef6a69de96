"""Profiles of columns by their first rows: numbers, true and false, dates, text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from bilinear.data.reading import duckdb_reader
from bilinear.data.reading.boolean_columns import are_flags, is_blank
from bilinear.data.reading.database import ParquetTable, is_moment, sql_name
from bilinear.data.reading.frames import FrameTable
from bilinear.data.reading.tables import JsonTable, Table, TextTable

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

_ROWS = 1000


@dataclass(frozen=True)
class Profile:
    """A column by the values of its first rows, without those that are missing."""

    name: str
    at: int
    values: tuple[Any, ...]

    @property
    def is_flags(self) -> bool:
        return are_flags(self.values)

    @property
    def numbers(self) -> list[float] | None:
        """The different numbers in ascending order; None where a value is not one."""
        try:
            found = {float(value) for value in self.values if not isinstance(value, (bool, bytes))}
        except (TypeError, ValueError, OverflowError):
            return None
        return sorted(found) if self.values and len(found) else None

    @property
    def is_yes_no(self) -> bool:
        numbers = self.numbers
        return self.is_flags or (numbers is not None and (set(numbers) <= {0, 1} or set(numbers) <= {-1, 1}))

    @property
    def is_constant(self) -> bool:
        return len({str(value) for value in self.values}) == 1

    @property
    def kind(self) -> str:
        if not self.values:
            return "empty"
        numbers = self.numbers
        if self.is_constant and (self.is_flags or numbers):
            return f"always {str(self.values[0]).strip()}"
        if self.is_flags:
            return "true or false"
        if numbers:
            low, high = f"{numbers[0]:g}", f"{numbers[-1]:g}"
            return f"{low} and {high}" if len(numbers) == 2 else f"numbers {low} to {high}"
        if any(isinstance(value, (list, tuple, dict)) for value in self.values):
            return "nested"
        return "dates" if all(map(_is_date, self.values)) else "text"


def seen_whole(profile: Profile, table: Table, connection: Connection | None) -> Profile:
    """A column whose first rows are all alike, by all of its rows where they can be seen at once."""
    if not (profile.is_constant and profile.is_yes_no):
        return profile
    values: Iterable[Any] | None = None
    if connection is not None:
        values = duckdb_reader.distinct(connection, table, profile.at, 3)
    elif isinstance(table, FrameTable):
        values = {value for batch in table.batches([profile.at]) for value in batch.columns[0]}
    return profile if values is None else Profile(profile.name, profile.at, _present(values))


def profiles(table: Table, columns: Sequence[int]) -> list[Profile]:
    names = table.names or [f"column {at + 1}" for at in range(table.n_columns)]
    samples = _samples(table, columns)
    return [Profile(names[at], at, _present(values)) for at, values in zip(columns, samples, strict=True)]


def _present(values: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(value for value in values if not is_blank(value))


def _samples(table: Table, columns: Sequence[int]) -> list[list[Any]]:
    """Values of the first rows, a list a column."""
    if not columns:
        return []
    if isinstance(table, TextTable):
        rows = [row for row in table.layout.sample if len(row) >= table.n_columns]
        return [[row[at] for row in rows] for at in columns]
    if isinstance(table, JsonTable):
        return [[row.get(table.names[at]) for row in table.sample] for at in columns]
    if isinstance(table, ParquetTable):
        picked = ", ".join(
            f"CAST({sql_name(table.names[at])} AS VARCHAR)"
            if is_moment(table.types[at])
            else sql_name(table.names[at])
            for at in columns
        )
        found = table.connection.execute(f"SELECT {picked} FROM {table.source} LIMIT {_ROWS}").fetchall()
        return [[row[at] for row in found] for at in range(len(columns))]
    if isinstance(table, FrameTable):
        return table.head(columns, _ROWS)
    first = getattr(table, "first", [])[:_ROWS]  # the rows of a query that came first
    return [[row[at] for row in first] for at in columns]


def _is_date(value: Any) -> bool:
    if isinstance(value, date):
        return True
    try:
        datetime.fromisoformat(str(value).strip())
    except ValueError:
        return False
    return True
