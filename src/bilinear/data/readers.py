"""The way in: files and data frames to `Interactions`, and pairs to predict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from bilinear.data import engine
from bilinear.data.collect import collect
from bilinear.data.columns import ITEM_RATINGS, PAIRS, RATINGS, Column, Role, find_columns
from bilinear.data.database import ParquetTable
from bilinear.data.ids import IdColumn
from bilinear.data.interactions import Duplicates, Interactions
from bilinear.data.sources import Source, open_table
from bilinear.data.sql import read_sql as read_sql
from bilinear.data.values import ratings
from bilinear.data.vocabulary import Id
from bilinear.errors import DataError, EmptyDataError, ParameterValueError


@dataclass(frozen=True, eq=False)
class Pairs:
    """(user, item) rows to predict, all of them, in the order of their source.

    Attributes:
        users, items: (n_pairs,) int64, or objects of type str; from text files always str,
            exactly as written.
        source: where they were read from, for messages.
    """

    users: NDArray[Any]
    items: NDArray[Any]
    source: str = "pairs"

    def __len__(self) -> int:
        return len(self.users)


def read_ratings(
    source: Source,
    *,
    user: Column = None,
    item: Column = None,
    rating: Column = None,
    time: Column | Literal[False] = None,
    duplicates: Duplicates = "last",
    memory_limit: str | None = None,
    encoding: str = "utf-8",
    threads: int | None = None,
) -> Interactions:
    """Reads who rated what from a file or a data frame.

    Files are CSV, TSV, `::`-separated .dat, MovieLens u.data, `;`- or `|`-separated text, JSON
    lines and Parquet, each also as .gz or .zst; what a file is shows in its content. Columns are
    found by their usual names, or without a header by their order: user, item, rating and,
    if there is one, time. Ids come back exactly as they were written: a column of a text file is
    of integers only if every value is the plain spelling of one ("7", not "007").

    Args:
        source: a path (str or Path), or a frame of pandas, polars, pyarrow or another library that
            narwhals supports, eager or lazy.
        user, item, rating, time: a column's name, or its position counted from 1 (2 or "2").
            `time=False` (or "") reads without times even where there is a time column.
        duplicates: which rating stays when a user rated an item more than once: "last" by time,
            then by row; "mean"; or "error".
        memory_limit: for files, how much memory the reading engine may take before it spills to
            the temporary directory, such as "2GB"; None leaves it at 80 % of the machine. The
            table itself comes on top: 20 bytes a rating, and 100 for a moment while it is sorted.
        encoding: of a text file; "latin-1" is the usual other one.
        threads: for files, how many cores read; None takes all.

    Returns:
        Interactions. Times are float64 seconds since 1970 UTC where the source has dates or ISO
        8601 text (without a zone: UTC). Numbers of 1e11 and more are taken as milli-, of 1e14 as
        micro-, of 1e17 as nanoseconds, by the largest of the column; smaller ones stay as they are.

    Raises:
        DataError: one of its kinds, naming file, row and the way out. Nothing is half read.
        ParameterValueError: an argument that cannot be used, or is not for this source.

    Cost: O(n_ratings); 20 million rows of CSV take about eleven seconds on two cores. A file in
    which something is not plainly right is read again row by row, in three seconds a million.
    """
    if duplicates not in get_args(Duplicates):
        raise ParameterValueError(f"duplicates={duplicates!r}; choose 'error', 'last' or 'mean'")
    given: dict[Role, Column | Literal[False]] = {"user": user, "item": item, "rating": rating, "time": time}
    with open_table(source, RATINGS, given, encoding, memory_limit, threads) as (table, connection):
        columns = find_columns(table.names, table.n_columns, RATINGS, given, table.label, "time")
        if isinstance(table, ParquetTable):
            table.check_types(columns)
        encoded = None if connection is None else engine.read(connection, table, columns)
        if encoded is None:
            batches = table.batches(list(columns.values()))
            return collect(batches, list(columns), table.label, table.is_text, duplicates)
    # The engine is closed now: its memory is free for sorting.
    return Interactions.from_rows(*encoded, duplicates=duplicates, source=table.label)


def read_pairs(source: Source, *, user: Column = None, item: Column = None, encoding: str = "utf-8") -> Pairs:
    """Reads the (user, item) rows of a file or frame, repeats included; other columns are left alone.

    Columns are found as by `read_ratings`; without a header, user comes first and item second.

    Raises:
        DataError: one of its kinds, naming file, row and the way out.
        ParameterValueError: an argument that cannot be used.

    Cost: about a second a million rows; memory for two Python objects a row of text.
    """
    given: dict[Role, Column | Literal[False]] = {"user": user, "item": item}
    with open_table(source, PAIRS, given, encoding) as (table, _):
        columns = find_columns(table.names, table.n_columns, PAIRS, given, table.label)
        # In a text file "7" and "007" are what the rows say: the vocabulary of a model decides.
        if isinstance(table, ParquetTable):
            table.check_types(columns)
        sides = IdColumn("user", table.is_text), IdColumn("item", table.is_text)
        found: tuple[list[Id], list[Id]] = [], []
        for batch in table.batches([columns["user"], columns["item"]]):
            for side, ids, values in zip(sides, found, batch.columns, strict=True):
                ids += side.clean(values, batch.where)
        if not found[0]:
            raise EmptyDataError(f"{table.label}: no rows")
        return Pairs(_array(found[0]), _array(found[1]), table.label)


def read_item_ratings(
    source: Source, *, item: Column = None, rating: Column = None, encoding: str = "utf-8"
) -> list[tuple[Id, float]]:
    """Reads one person's (item, rating) rows, in their order; a user column must name one user.

    Ids of text files are text, exactly as written. Without a header, the item comes first.

    Raises:
        DataError: one of its kinds, naming file, row and the way out.
        ParameterValueError: an argument that cannot be used.
    """
    given: dict[Role, Column | Literal[False]] = {"item": item, "rating": rating}
    with open_table(source, ITEM_RATINGS, given, encoding) as (table, _):
        columns = find_columns(table.names, table.n_columns, ITEM_RATINGS, given, table.label, "user")
        if isinstance(table, ParquetTable):
            table.check_types(columns)
        side, owner = IdColumn("item", table.is_text), IdColumn("user", table.is_text)
        owners: set[Id] = set()
        found: list[tuple[Id, float]] = []
        for batch in table.batches(list(columns.values())):
            cells = dict(zip(columns, batch.columns, strict=True))
            scores = ratings(cells["rating"], batch.where).tolist()
            found += zip(side.clean(cells["item"], batch.where), scores, strict=True)
            owners |= set(owner.clean(cells["user"], batch.where)) if "user" in cells else set()
    if not found:
        raise EmptyDataError(f"{table.label}: no rows")
    if len(owners) > 1:
        raise DataError(f"{table.label}: ratings of {len(owners):,} users; keep the rows of one")
    return found


def _array(ids: list[Id]) -> NDArray[Any]:
    return np.array(ids, object if isinstance(ids[0], str) else np.int64)
