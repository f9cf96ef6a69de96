"""Files through DuckDB: 20 million rows in seconds, under a memory limit, spilling to disk.

Text is cut by the layout that `dialect` found; DuckDB guesses nothing. A column is loaded as what
its first rows are; whatever does not fit becomes null, and any null sends the file to the slow
reading of `tables` and `batch_encoding`, which decides what it means or names the row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bilinear.data.interactions import bytes_of_columns, bytes_to_sort
from bilinear.data.reading import values
from bilinear.data.reading.boolean_columns import WORDS, are_flags
from bilinear.data.reading.columns import Role
from bilinear.data.reading.database import (
    DECIMALS,
    INTEGERS,
    ParquetTable,
    is_moment,
    lower_limit,
    sql_name,
    sql_path,
    sql_text,
)
from bilinear.data.reading.events import EventWeights
from bilinear.data.reading.id_columns import has_many_lines
from bilinear.data.reading.tables import JsonTable, Table, TextTable
from bilinear.data.vocabulary import Vocabulary, canonical_integer
from bilinear.errors import EmptyDataError
from bilinear.memory import require

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

_FETCH = 1_000_000
_KEPT, _KEPT_A_ROW = 128 * 10**6, 8
"""Bytes of the loaded rows that stay in memory while they are encoded, at most; the others are on disk."""
_ISO = r"\d{4}-[01]\d-[0-3]\d([ T]([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?Z?)?"


class Encoded(NamedTuple):
    """Encoded columns, the first argument of `Interactions.from_encoded`."""

    columns: list[Any]
    """Users, items, ratings and times or None, in the order of the source; emptied by who takes them."""
    user_vocabulary: Vocabulary
    item_vocabulary: Vocabulary


@dataclass(frozen=True)
class Loaded:
    """Rows in the engine, which spills to disk what does not fit, and their vocabularies.

    Attributes:
        n_left_out: rows that were left out as marks of a missing rating.
        clock_unit: numbers of a time a second, or None without times.
    """

    connection: Connection
    n_rows: int
    n_left_out: int
    user_vocabulary: Vocabulary
    item_vocabulary: Vocabulary
    clock_unit: float | None

    def parts(self) -> Iterator[list[Any]]:
        """Users, items, ratings and times or None of the rows in the order of the source, part by part."""
        clock = "" if self.clock_unit is None else ", r.time_"
        # each part joins all ids anew
        fetch = max(_FETCH, 4 * len(self.user_vocabulary), 4 * len(self.item_vocabulary))
        for start in range(0, self.n_rows + self.n_left_out, fetch):
            part = self.connection.execute(
                f"SELECT r.rowid AS row_, u.code AS user_, i.code AS item_, r.rating_{clock} FROM ratings r "
                "JOIN user_ids u ON r.user_ = u.id JOIN item_ids i ON r.item_ = i.id "
                f"WHERE r.rowid >= {start} AND r.rowid < {start + fetch}"
            ).fetchnumpy()
            order = np.argsort(part["row_"])  # a join keeps no order
            times = None if self.clock_unit is None else part["time_"][order]
            if times is not None and self.clock_unit != 1:
                times = times / self.clock_unit
            yield [part["user_"][order], part["item_"][order], part["rating_"][order], times]

    def encoded(self) -> Encoded:
        """All of them in memory."""
        n = self.n_rows
        found: list[Any] = [np.empty(n, np.int32), np.empty(n, np.int32), np.empty(n, np.float32)]
        found.append(None if self.clock_unit is None else np.empty(n))
        at = 0
        for part in self.parts():
            for column, added in zip(found, part, strict=True):
                if column is not None:
                    column[at : at + len(part[0])] = added
            at += len(part[0])
        return Encoded(found, self.user_vocabulary, self.item_vocabulary)

    def user_counts(self) -> NDArray[np.int64]:
        """(n_users,) rows of each."""
        found = self.connection.execute("SELECT count(*) AS n FROM ratings GROUP BY user_ ORDER BY user_")
        counts: NDArray[np.int64] = found.fetchnumpy()["n"]
        return counts


def load(
    connection: Connection,
    table: Table,
    columns: Mapping[Role, int],
    marks: Sequence[float] = (),
    events: EventWeights | None = None,
    *,
    by_parts: bool = False,
) -> Loaded | None:
    """The rows as `collect` would read them, or None if any needs the slow reading.

    A table without ratings has its counts in their place, or ones.

    Args:
        marks: ratings whose rows are left out.
        events: what the values of the event column weigh.
        by_parts: they are not to be in memory all at once.
    Cost:
        O(n_ratings); about 0.2 s a million rows of text on two cores.
    """
    expected = _expected_rows(table)
    if expected is not None and not by_parts:
        require(
            bytes_to_read(expected, "time" in columns), f"reading some {expected:,} rows of {table.label}"
        )
    if not _load(connection, table, columns, events):
        return None
    n_left_out = 0
    if marks:
        named = ", ".join(f"CAST({float(value)!r} AS FLOAT)" for value in marks)
        deleted = connection.execute(f"DELETE FROM ratings WHERE rating_ IN ({named})").fetchall()
        n_left_out = deleted[0][0]
    user_vocabulary = _vocabulary(connection, "user", table.is_text)
    item_vocabulary = _vocabulary(connection, "item", table.is_text)
    if user_vocabulary is None or item_vocabulary is None:
        return None
    n_rows = connection.execute("SELECT count(*) FROM ratings").fetchall()[0][0]
    lower_limit(connection, max(_KEPT, _KEPT_A_ROW * n_rows))
    unit = None
    if "time" in columns:
        unit = 1.0
        if not _is_date(table, columns["time"]):
            largest = connection.execute("SELECT max(abs(time_)) FROM ratings").fetchall()[0][0]
            unit = values.unit_of(largest or 0.0)
    return Loaded(connection, n_rows, n_left_out, user_vocabulary, item_vocabulary, unit)


def bytes_to_read(n_rows: int, with_times: bool) -> int:
    """Peak memory of reading so many rows into a table, the table included; ids come on top."""
    loaded = min(28 * n_rows, max(_KEPT, _KEPT_A_ROW * n_rows)) + 28 * min(n_rows, _FETCH)
    return bytes_of_columns(n_rows, with_times) + max(loaded, bytes_to_sort(n_rows, with_times, owned=True))


def _expected_rows(table: Table) -> int | None:
    """About how many rows there are, where that is cheap to say."""
    if isinstance(table, ParquetTable):
        found = table.connection.execute(f"SELECT count(*) FROM {table.source}").fetchall()
        return int(found[0][0])
    return table.n_lines if isinstance(table, (JsonTable, TextTable)) else None


def count_ids(
    connection: Connection, table: Table, columns: Mapping[Role, int]
) -> tuple[int, int, int] | None:
    """Rows, and about how many users and items, in one pass that keeps nothing; None if it cannot be read.

    Cost:
        that of parsing; users and items are estimates (HyperLogLog), some per cent off.
    """
    import duckdb

    refs = [_column(table, columns[role])[0] for role in ("user", "item")]
    counts = ", ".join(f"approx_count_distinct({ref})" for ref in refs)
    try:
        found = connection.execute(f"SELECT count(*), {counts} FROM {_source(table, columns)}").fetchall()[0]
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error:
        return None
    n_rows, n_users, n_items = map(int, found)
    return n_rows, max(1, min(n_users, n_rows)), max(1, min(n_items, n_rows))


def distinct(connection: Connection, table: Table, at: int, n: int) -> list[Any] | None:
    """Up to `n` different values of a column of the whole table, JSON as text; None if it cannot be read."""
    import duckdb

    ref = _column(table, at)[0]
    try:
        rows = connection.execute(
            f"SELECT DISTINCT {ref} FROM {_source(table, {'rating': at})} LIMIT {int(n)}"
        ).fetchall()
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error:
        return None
    return [row[0] for row in rows]


def _load(
    connection: Connection, table: Table, columns: Mapping[Role, int], events: EventWeights | None
) -> bool:
    """Fills the table `ratings`; false if a cell does not fit what its column seems to be."""
    import duckdb

    as_text: set[Role] = set()
    while True:
        cells = {role: _cell(table, role, at, role in as_text, events) for role, at in columns.items()}
        if any(cell is None for cell in cells.values()):
            return False
        inner = ", ".join(f"{cell} AS {role}_" for role, cell in cells.items())
        signed = next((role for role in ("rating", "event", "weight") if role in columns), None)
        if signed is not None:
            value = f"CASE WHEN abs({signed}_) <= {values.FLOAT32_MAX!r} THEN CAST({signed}_ AS FLOAT) END"
        elif "count" in columns:
            value = (
                f"CASE WHEN count_ > 0 AND count_ <= {values.FLOAT32_MAX!r} THEN CAST(count_ AS FLOAT) END"
            )
        else:
            value = "CAST(1 AS FLOAT)"
        clock = ", CASE WHEN isfinite(time_) THEN time_ END AS time_" if "time" in columns else ""
        try:
            connection.execute(
                "CREATE OR REPLACE TEMP TABLE ratings AS SELECT user_, item_, "
                f"{value} AS rating_{clock} FROM (SELECT {inner} FROM {_source(table, columns)})"
            )
            counts = ", ".join(
                f"count({role if role in ('user', 'item', 'time') else 'rating'}_)" for role in columns
            )
            total, *filled = connection.execute(f"SELECT count(*), {counts} FROM ratings").fetchall()[0]
        except duckdb.OutOfMemoryException:
            raise
        except duckdb.Error:
            return False
        if not total:
            raise EmptyDataError(f"{table.label}: no rows")
        if isinstance(table, (JsonTable, TextTable)) and not table.has_rows(total):
            return False
        short = {role for role, n in zip(columns, filled, strict=True) if n < total}
        if not short:
            return True
        # The first rows looked like integers and a later one is not: then the column is text.
        if not table.is_text or not short <= {"user", "item"} - as_text:
            return False
        as_text |= short


def _vocabulary(connection: Connection, role: str, is_text: bool) -> Vocabulary | None:
    """The ids, or None where text holds ids that the slow reading takes for integers or refuses."""
    # Text is ordered by its bytes, which in UTF-8 is the order of code points.
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {role}_ids AS "
        "SELECT id, CAST(row_number() OVER (ORDER BY id) - 1 AS INTEGER) AS code "
        f"FROM (SELECT DISTINCT {role}_ AS id FROM ratings)"
    )
    ids = connection.execute(f"SELECT id FROM {role}_ids ORDER BY code").fetchnumpy()["id"]
    if ids.dtype == object and (
        (is_text and all(canonical_integer(id_) is not None for id_ in ids)) or any(map(has_many_lines, ids))
    ):
        return None
    return Vocabulary.from_sorted(ids)


def _source(table: Table, columns: Mapping[Role, int]) -> str:
    if isinstance(table, ParquetTable):
        return table.source
    assert isinstance(table, (JsonTable, TextTable))
    path = sql_path(table.path)
    if isinstance(table, JsonTable):
        keys = ", ".join(f"{sql_text(table.names[at])}: 'JSON'" for at in columns.values())
        return f"read_json({path}, format='newline_delimited', columns={{{keys}}}, compression='none')"
    layout = table.layout
    quote = sql_text(layout.quote or "")
    names = ", ".join(f"'c{at}': 'VARCHAR'" for at in range(layout.n_columns))
    return (
        f"read_csv({path}, auto_detect=false, header={layout.has_header}, skip={layout.skip}, "
        f"delim={sql_text(layout.delimiter)}, quote={quote}, escape={quote}, columns={{{names}}}, "
        "compression='none', strict_mode=true, null_padding=false, hive_partitioning=false)"
    )


def _cell(table: Table, role: Role, at: int, as_text: bool, events: EventWeights | None) -> str | None:
    """SQL for one cell: null where it is missing or does not fit; None if the column never does."""
    if role == "time":
        return _time_cell(table, at)
    ref, kind = _column(table, at)
    if role == "event":
        assert events is not None
        return events.sql(f"({ref} ->> '$')" if kind == "JSON" else f"CAST({ref} AS VARCHAR)")
    if role in ("rating", "count", "weight"):
        word = f"({ref} ->> '$')"
        if kind == "BOOLEAN":
            return f"CAST({ref} AS DOUBLE)"
        if kind in ("TEXT", "VARCHAR", "JSON") and are_flags(_sample(table, at)):
            return _flag(word if kind == "JSON" else ref)
        if kind in ("TEXT", "VARCHAR"):
            return _number_with_comma(ref) if _has_decimal_commas(table, at) else _number(ref)
        if kind == "JSON":
            return f"CASE WHEN json_type({ref}) <> 'BOOLEAN' THEN {_number(word)} END"
        return f"TRY_CAST({ref} AS DOUBLE)" if kind in INTEGERS or kind.startswith(DECIMALS) else None
    if kind in ("TEXT", "JSON"):
        integers = not as_text and all(_is_integer(value, table.is_text) for value in _sample(table, at))
        if kind == "TEXT":
            number = f"TRY_CAST({ref} AS BIGINT)"
            return f"CASE WHEN CAST({number} AS VARCHAR) = {ref} THEN {number} END" if integers else ref
        if integers:
            return f"CASE WHEN json_type({ref}) IN ('BIGINT', 'UBIGINT') THEN TRY_CAST({ref} AS BIGINT) END"
        return f"CASE WHEN json_type({ref}) = 'VARCHAR' THEN nullif({ref} ->> '$', '') END"
    if kind in INTEGERS:
        return f"TRY_CAST({ref} AS BIGINT)"
    if kind in ("FLOAT", "DOUBLE"):
        return f"CASE WHEN {ref} = trunc({ref}) AND abs({ref}) <= {2**53} THEN TRY_CAST({ref} AS BIGINT) END"
    is_words = kind in ("VARCHAR", "UUID") or kind.startswith("ENUM")
    return f"nullif(CAST({ref} AS VARCHAR), '')" if is_words else None


def _time_cell(table: Table, at: int) -> str | None:
    ref, kind = _column(table, at)
    if kind in INTEGERS or kind.startswith(DECIMALS):
        return f"TRY_CAST({ref} AS DOUBLE)"
    if is_moment(kind):
        zoned = kind.startswith("TIMESTAMPTZ") or kind.endswith("TIME ZONE")
        return f"epoch(CAST({ref} AS {'TIMESTAMPTZ' if zoned else 'TIMESTAMP'}))"
    if kind not in ("TEXT", "JSON", "VARCHAR"):
        return None
    word = f"({ref} ->> '$')" if kind == "JSON" else ref
    if not _is_date(table, at):
        return (
            _number(word)
            if kind != "JSON"
            else f"CASE WHEN json_type({ref}) <> 'BOOLEAN' THEN {_number(word)} END"
        )
    # Only the plainest form of ISO 8601: zones and short forms are left to the slow reading.
    return (
        f"CASE WHEN regexp_full_match({word}, {sql_text(_ISO)}) THEN epoch(TRY_CAST({word} AS TIMESTAMP)) END"
    )


def _is_date(table: Table, at: int) -> bool:
    """Whether times are dates rather than numbers, by the first row."""
    if is_moment(_column(table, at)[1]):
        return True
    first = next(iter(_sample(table, at)), None)
    if not isinstance(first, str):
        return False
    try:
        float(first)
    except ValueError:
        return True
    return False


def _column(table: Table, at: int) -> tuple[str, str]:
    """How SQL names the column, and its type: TEXT is a word of a text file."""
    if isinstance(table, TextTable):
        return f"c{at}", "TEXT"
    assert table.names is not None
    return sql_name(table.names[at]), table.types[at] if isinstance(table, ParquetTable) else "JSON"


def _sample(table: Table, at: int) -> Sequence[Any]:
    if isinstance(table, TextTable):
        return [row[at] for row in table.layout.sample if len(row) > at]
    if isinstance(table, JsonTable):
        return [row.get(table.names[at]) for row in table.sample]
    assert isinstance(table, ParquetTable)
    rows = table.connection.execute(f"SELECT {sql_name(table.names[at])} FROM {table.source} LIMIT 1")
    return [row[0] for row in rows.fetchall()]


def _is_integer(value: Any, is_text: bool) -> bool:
    return canonical_integer(value) is not None if is_text and value else type(value) is int


def _has_decimal_commas(table: Table, at: int) -> bool:
    """Whether the first rows have decimal commas beyond doubt, and no decimal points."""
    words = [word for word in _sample(table, at) if isinstance(word, str)]
    commas = [word for word in words if values.is_decimal_comma(word)]
    return any(len(word.strip().rpartition(",")[2]) != 3 for word in commas) and not any(
        "." in word for word in words
    )


def _number_with_comma(ref: str) -> str:
    whole_or_comma = f"({values.DECIMAL_COMMA})|([+-]?[0-9]+)"
    return (
        f"CASE WHEN regexp_full_match({ref}, {sql_text(whole_or_comma)}) "
        f"THEN TRY_CAST(replace({ref}, ',', '.') AS DOUBLE) END"
    )


def _number(ref: str) -> str:
    # DuckDB would read "+-4" as -4.
    return f"CASE WHEN {ref} NOT LIKE '%+-%' THEN TRY_CAST({ref} AS DOUBLE) END"


def _flag(ref: str) -> str:
    cases = " ".join(f"WHEN {sql_text(word)} THEN {value}" for word, value in WORDS.items())
    return f"CASE lower(trim({ref})) {cases} END"
