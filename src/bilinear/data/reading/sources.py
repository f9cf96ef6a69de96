"""Opening of any source as a `Table`: rows with columns, not yet read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bilinear.data.reading import dialect
from bilinear.data.reading.columns import (
    INTERACTIONS,
    ITEM_LIST,
    ITEMS,
    RATINGS,
    USERS,
    Column,
    Role,
    is_position,
    plain,
    recognised,
)
from bilinear.data.reading.database import ParquetTable, connected
from bilinear.data.reading.files import PlainFile, opened
from bilinear.data.reading.frames import frame_table
from bilinear.data.reading.item_lists import ListTable
from bilinear.data.reading.layout import Layout, check_quote
from bilinear.data.reading.matrix_market import MARK as MATRIX_MARKET
from bilinear.data.reading.matrix_market import matrix_market_table
from bilinear.data.reading.netflix import is_netflix, netflix_table
from bilinear.data.reading.tables import JsonTable, Table, TextTable
from bilinear.data.reading.wide_tables import WideTable
from bilinear.errors import DataError, ParameterValueError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

Source = Any
"""The path of a file, or a frame of pandas, polars, pyarrow or any library that narwhals knows."""

Given = Mapping[Role, Column | Literal[False]]


@contextmanager
def open_table(
    source: Source,
    roles: Sequence[Role],
    given: Given,
    encoding: str | None,
    memory_limit: str | None = None,
    n_threads: int | None = None,
    layout: str = "rows",
    quote: str = "auto",
) -> Iterator[tuple[Table, Connection | None]]:
    """The table, and for a file the engine that can read it fast.

    Args:
        layout: "lists" for a text file with a user and its items per line, "auto" to look for that; "wide"
            for one column per item.
        quote: the character around fields of a text file, "none", or "auto" to decide on the whole file.
    Raises:
        ParameterValueError: neither path nor frame, or an argument that is not for it.
        DataError: the file is not there, damaged, or not laid out as a table.
    """
    if not isinstance(source, (str, Path)):
        for name, value, default in (
            ("memory_limit", memory_limit, (None,)),
            ("n_threads", n_threads, (None,)),
            ("encoding", encoding, (None, "utf-8")),
            ("quote", quote, ("auto",)),
            ("layout", layout, ("rows", "auto", "wide")),
        ):
            if value not in default:
                raise ParameterValueError(f"{name}={value!r} is for files; a frame is in memory already")
        frame = frame_table(source)
        yield WideTable.of(frame, given) if layout == "wide" else frame, None
        return
    if isinstance(source, str) and re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", source):
        raise DataError(
            f"{source}: this is an address, not a file; fetch it first (a database: bilinear.read_sql)"
        )
    check_quote(quote)
    with (
        opened(source, encoding) as file,
        connected(file.folder, memory_limit, n_threads) as connection,
    ):
        separator = _list_separator(file, layout)
        file = file.joined(0) if separator is not None else _joined(file, roles, given, quote)
        if separator is not None:
            yield ListTable(file.path, file.label, separator, layout == "auto"), None
        elif layout == "wide":
            yield WideTable.of(_table(file, connection, RATINGS, given, quote), given), None
        else:
            yield _table(file, connection, roles, given, quote), connection


def _joined(file: PlainFile, roles: Sequence[Role], given: Given, quote: str) -> PlainFile:
    """Several files of text as one; Parquet files, which the engine reads together, as they are."""
    if not file.rest or file.kind == "parquet":
        return file
    if file.kind == "json":
        return file.joined(0)
    if _first_lines(file).startswith(MATRIX_MARKET):
        raise DataError(f"{file.label}: MatrixMarket files are matrices of their own; read them one by one")
    layout = _layout(file, roles, given, quote)
    return file.joined(layout.skip + layout.has_header)


def _list_separator(file: PlainFile, layout: str) -> str | None:
    if layout == "lists":
        if file.kind != "text":
            raise ParameterValueError(f"{file.label}: layout='lists' is for text files, this is {file.kind}")
        return dialect.forced_separator(file.path, file.label)
    return dialect.list_separator(file.path) if layout == "auto" and file.kind == "text" else None


def _table(file: PlainFile, connection: Connection, roles: Sequence[Role], given: Given, quote: str) -> Table:
    if file.kind == "parquet":
        return ParquetTable.of(file.paths, file.label, connection)
    if file.kind == "json":
        return JsonTable.of(file.path, file.label, file.n_lines)
    head = _first_lines(file)
    if head.startswith(MATRIX_MARKET):
        return matrix_market_table(file.path, file.folder, file.label)
    if is_netflix(head):
        return netflix_table(file.path, file.folder, file.label)
    return TextTable(file.path, file.label, _layout(file, roles, given, quote), file.n_lines)


def _first_lines(file: PlainFile) -> str:
    with file.path.open(encoding="utf-8") as stream:
        return stream.readline(1000) + stream.readline(1000)


def _layout(file: PlainFile, roles: Sequence[Role], given: Given, quote: str) -> Layout:
    if quote == "auto" and not file.has_quotes:
        quote = "none"
    is_header = partial(_is_header, roles=roles, given=given)
    return dialect.layout(file.path, file.label, file.suffix, _n_needed(roles), is_header, quote)


def _n_needed(roles: Sequence[Role]) -> int:
    return {INTERACTIONS: 2, ITEM_LIST: 1}.get(tuple(roles)) or max(2, len(roles))


_TELLING: dict[tuple[Role, ...], tuple[Role, ...]] = {
    INTERACTIONS: ("user", "item"),
    ITEMS: ("item", "title"),
    USERS: ("user",),
}


def _is_header(rows: Sequence[Sequence[str]], roles: Sequence[Role], given: Given) -> bool:
    """Whether a file's first row names its columns.

    Ratings are numbers, so a first row without any number is a header there; ids may be any
    text, so elsewhere names that are known or given make a header, and of interactions and items a word
    above a column of numbers.
    """
    first = rows[0]
    flat = {plain(field) for field in first}
    names = [name for name in given.values() if isinstance(name, str) and name and not is_position(name)]
    if any(plain(name) in flat for name in names):
        return True
    if tuple(roles) in (INTERACTIONS, ITEMS, USERS):
        if "id" in flat or any(recognised(first, [role]) for role in _TELLING[tuple(roles)]):
            return True
        below = [row for row in rows[1:] if len(row) == len(first)]
        return bool(below) and any(
            not dialect.is_number(word)
            and not dialect.is_missing(word)
            and all(dialect.is_number(row[at]) for row in below)
            for at, word in enumerate(first)
        )
    if tuple(roles) != RATINGS:
        return any(recognised(first, [role]) for role in given)
    if recognised(first, roles):
        return True
    column = given.get("rating")
    if (
        column
        and is_position(column)
        and 0 < int(column) <= len(first)
        and dialect.is_missing(first[int(column) - 1])
    ):
        return False
    return not any(dialect.is_number(field) for field in first)
