"""Readers of files, data frames and queries: `Interactions`, and pairs to predict."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from bilinear.data.description import ReadingNotes
from bilinear.data.interactions import Duplicates, Interactions, check_duplicates
from bilinear.data.missing_values import Missing
from bilinear.data.packed import is_packed, open_packed
from bilinear.data.reading import duckdb_reader
from bilinear.data.reading.bad_rows import leaving_out
from bilinear.data.reading.batch_encoding import collect
from bilinear.data.reading.columns import (
    INTERACTIONS,
    ITEM_LIST,
    ITEM_RATINGS,
    PAIRS,
    RATINGS,
    Column,
    Role,
    find_columns,
    is_off,
)
from bilinear.data.reading.database import ParquetTable
from bilinear.data.reading.id_columns import IdColumn
from bilinear.data.reading.item_lists import ListTable
from bilinear.data.reading.layout import check_quote
from bilinear.data.reading.outcomes import Chosen, Meaning, choose, finished, marks_of
from bilinear.data.reading.sources import Given, Source, open_table
from bilinear.data.reading.sql import query_table
from bilinear.data.reading.sql import read_sql as read_sql
from bilinear.data.reading.tables import Table, TextTable
from bilinear.data.reading.values import NumberColumn, check_time_format
from bilinear.data.vocabulary import Id, IdRule
from bilinear.errors import (
    DataError,
    EmptyDataError,
    FileFormatError,
    MissingColumnError,
    ParameterValueError,
)
from bilinear.tabular import Tabular

Layout = Literal["auto", "rows", "lists", "wide"]
"""Rows of a table, a user with its items per line, or one column per item; "auto" looks for the first two."""


@dataclass(frozen=True, eq=False)
class Pairs(Tabular):
    """(user, item) rows to predict, all of them, in the order of their source.

    Attributes:
        users, items: (n_pairs,) int64, or objects of type str; from text files always str,
            exactly as written.
        source: where they were read from, for messages.

    Examples:
        >>> from pathlib import Path
        >>> from bilinear import read_pairs
        >>> _ = Path("pairs.csv").write_text("user,item\\nann,Heat\\nbob,Alien\\n")
        >>> pairs = read_pairs("pairs.csv")
        >>> len(pairs.users), pairs.items[0]
        (2, 'Heat')
    """

    users: NDArray[Any]
    items: NDArray[Any]
    source: str = "pairs"

    def __len__(self) -> int:
        return len(self.users)

    def to_columns(self) -> dict[str, Any]:
        """user and item."""
        return {"user": self.users, "item": self.items}


def read_ratings(
    source: Source,
    *,
    user: Column = None,
    item: Column = None,
    rating: Column = None,
    time: Column | Literal[False] = None,
    layout: Literal["rows", "wide"] = "rows",
    duplicates: Duplicates = "last",
    missing: Missing = None,
    ids: str | Iterable[IdRule] | None = None,
    memory_limit: str | None = None,
    encoding: str = "utf-8",
    quote: str = "auto",
    time_format: str | None = None,
    skip_bad_rows: str | Path | None = None,
    n_threads: int | None = None,
) -> Interactions:
    """Reads ratings from a file or a data frame.

    Files are CSV, TSV, `::`-separated .dat, MovieLens u.data, `;`- or `|`-separated text, JSON
    lines, Parquet, MatrixMarket and the Netflix Prize's, each also as .gz, .zst, .bz2, .xz, or alone in a
    .zip; what a file is shows in its content. Ratings may have decimal commas. Columns are
    found by their usual names, or without a header by their order: user, item, rating and,
    if there is one, time. Ids come back exactly as they were written: a column of a text file is
    of integers only if every value is the plain spelling of one ("7", not "007").

    Args:
        source: a path (str or Path), or a frame of pandas, polars, pyarrow or another library that
            narwhals supports, eager or lazy.
        user, item, rating, time: a column's name, or its position counted from 1 (2 or "2").
            `time=False` (or "") reads without times even where there is a time column.
        layout: "wide" for one column per item, whose names are the items' ids.
        duplicates: which rating stays when a user rated an item more than once: "last" by time,
            then by row; "mean"; or "error".
        missing: ratings that mark the absence of one, such as 99 or [-1, 0]: their rows are left out and
            counted. None looks: values that are frequent and apart from the scale of the others, as 99
            beside 1 to 5, raise; "none" takes every value for a rating.
        ids: "strip" for ids without blanks around them, "nfc" for one Unicode form of accented letters,
            or both ("strip,nfc"): ids that are equal then are one, and a model looks ids up in the same way.
        memory_limit: for files, how much memory the reading engine may take before it spills to
            the temporary directory, such as "2GB"; None takes half of what is free. The
            table itself comes on top: 20 bytes a rating, and 100 for a moment while it is sorted.
        encoding: of a text file; "latin-1" is the usual other one.
        quote: the character around fields of a text file, "none" where a quotation mark is just a
            character, or "auto": decided on the whole file. Between commas it is always a quote.
        time_format: how times are written, as `datetime.strptime` takes it, such as "%d/%m/%Y %H:%M".
            None reads numbers, ISO 8601 and the usual other dates, and refuses a column in which nothing
            tells the day from the month.
        skip_bad_rows: a CSV file for rows that cannot be read, each with its number and the reason; they
            are then left out and counted in `n_rows_skipped`. None: the first one is an error.
        n_threads: for files, how many cores read; None takes all.

    Returns:
        Interactions. Times are float64 seconds since 1970 UTC where the source has dates or ISO
        8601 text (without a zone: UTC). Numbers of 1e11 and more are taken as milli-, of 1e14 as
        micro-, of 1e17 as nanoseconds, by the largest of the column; smaller ones stay as they are.

    Raises:
        DataError: one of its kinds, naming file, row and the way out. Nothing is half read.
        ParameterValueError: an argument that cannot be used, or is not for this source.

    Cost:
        O(n_ratings); 20 million rows of CSV take about eleven seconds on two cores. A file in which
        something is not plainly right is read again row by row, in three seconds a million.

    Examples:
        >>> from pathlib import Path
        >>> from bilinear import read_ratings
        >>> _ = Path("ratings.csv").write_text("user,item,rating,year\\nann,7,5,2024\\nbob,8,3.5,2025\\n")
        >>> read_ratings("ratings.csv")
        Interactions(2 ratings, 3.5 to 5; 2 users x 2 items, 50.000% filled; no times; ratings.csv)
        >>> _ = Path("reviews.csv").write_text("who;what;stars\\nann;7;4,5\\nbob;8;99\\n")
        >>> read_ratings("reviews.csv", user="who", item="what", rating="stars", missing=99).ratings
        array([4.5], dtype=float32)
        >>> _ = Path("wrong.csv").write_text("user,item,rating\\nann,7,5\\nbob,8,five\\n")
        >>> read_ratings("wrong.csv")
        Traceback (most recent call last):
            ...
        bilinear.errors.RatingValueError: wrong.csv, row 2 (line 3): rating 'five' is not a ...
    """
    check_duplicates(duplicates, True)
    if layout not in ("rows", "wide"):
        raise ParameterValueError(f"layout={layout!r}; choose 'rows' or 'wide' for ratings")
    given: Given = {"user": user, "item": item, "rating": rating, "time": time}
    spelling, meaning = _Spelling(quote, time_format, skip_bad_rows), Meaning.of(missing, ids)
    return _read(
        source, given, True, duplicates, layout, memory_limit, encoding, n_threads, spelling, meaning
    )


def read_interactions(
    source: Source,
    *,
    user: Column = None,
    item: Column = None,
    time: Column | Literal[False] = None,
    count: Column | Literal[False] = None,
    event: Column = None,
    events: Mapping[Any, float] | None = None,
    weight: Column = None,
    connection: Any = None,
    layout: Layout = "auto",
    duplicates: Duplicates = "sum",
    ids: str | Iterable[IdRule] | None = None,
    memory_limit: str | None = None,
    encoding: str = "utf-8",
    quote: str = "auto",
    time_format: str | None = None,
    skip_bad_rows: str | Path | None = None,
    n_threads: int | None = None,
) -> Interactions:
    """Reads interactions without ratings (clicks, plays, purchases) from a file or a data frame.

    The same files and frames as `read_ratings`; a rating column is left alone. Without a header, a file
    has two columns, user and item, and perhaps a third of times that look like such. A file may also
    list a user with its items per line (`user item item item ...`, as the public Gowalla split does); a
    user without items is then known all the same, and the place in the line is the time, unless nearly all
    lines are sorted by id.

    Args:
        source: a path or a frame; with `connection` a query.
        user, item, time, count: a column's name, or its position counted from 1. `count` says how often a
            row is to count, a number above zero; without such a column each row counts once.
            `count=False` (or "") and `time=False` leave theirs out.
        event, events: a column that says what happened, and what each of its values weighs:
            {"view": 1, "cart": 3, "buy": 10, "remove": -5}. 0 leaves the rows of a value out, "*" is all
            other values; one without a weight is an error. The weights of a pair are added up, and `weighted`
            is true. A pair of zero or below is a dislike: never recommended to that user, and no interaction
            to learn from.
        weight: in place of both, a column of such weights.
        connection: of a database, see `read_sql`; `source` is a query that returns rows.
        layout: "rows", "lists" (a user with its items per line), "wide" (one column per item), or "auto":
            lists are recognised where lines of whole numbers have different lengths.
        duplicates: what a repeated pair becomes, which is nothing unusual here: "sum" adds up its counts,
            "last" and "mean" are of counts, "error" refuses. `n_duplicates` says how many were merged.
        memory_limit, encoding, quote, time_format, skip_bad_rows, n_threads: see `read_ratings`.

    Returns:
        Interactions with `has_ratings` false; their `ratings` are the counts.

    Raises:
        DataError: one of its kinds, naming file, row and the way out. Nothing is half read.
        ParameterValueError: an argument that cannot be used, or is not for this source.

    Cost:
        as `read_ratings`; lists 0.8 s a million items.

    Examples:
        >>> from pathlib import Path
        >>> from bilinear import read_interactions
        >>> _ = Path("plays.csv").write_text("user,item,plays\\nann,7,3\\nann,7,2\\nbob,8,1\\n")
        >>> plays = read_interactions("plays.csv")
        >>> plays.ratings, plays.has_ratings, plays.n_duplicates
        (array([5., 1.], dtype=float32), False, 1)
        >>> read_interactions("plays.csv", count=False).ratings
        array([2., 1.], dtype=float32)
        >>> _ = Path("shop.csv").write_text(
        ...     "user,item,event\\nann,7,view\\nann,7,buy\\nbob,7,remove\\nbob,8,view\\nbob,9,scroll\\n"
        ... )
        >>> weights = {"view": 1, "buy": 10, "remove": -5, "scroll": 0}
        >>> read_interactions("shop.csv", event="event", events=weights).to_columns()["weight"]
        array([11., -5.,  1.], dtype=float32)
    """
    check_duplicates(duplicates, False)
    meaning = Meaning.of(None, ids, events)
    given: Given = {
        "user": user,
        "item": item,
        "count": count,
        "time": time,
        "event": event,
        "weight": weight,
    }
    spelling = _Spelling(quote, time_format, skip_bad_rows)
    if connection is not None:
        _only_files(layout, memory_limit, encoding, n_threads, quote)
        return _queried(source, connection, given, duplicates, False, spelling, meaning)
    return _read(
        source, given, False, duplicates, layout, memory_limit, encoding, n_threads, spelling, meaning
    )


Stream = Callable[[duckdb_reader.Loaded, Table, Chosen, Meaning], Interactions]
"""Takes rows from the engine instead of `finished`, for tables larger than memory."""


def read_any(
    source: Source,
    *,
    has_ratings: bool | None = None,
    user: Column = None,
    item: Column = None,
    rating: Column = None,
    time: Column | Literal[False] = None,
    count: Column | Literal[False] = None,
    event: Column = None,
    events: Mapping[Any, float] | None = None,
    weight: Column = None,
    connection: Any = None,
    layout: Layout = "auto",
    duplicates: Duplicates | None = None,
    missing: Missing = None,
    ids: str | Iterable[IdRule] | None = None,
    memory_limit: str | None = None,
    encoding: str = "utf-8",
    quote: str = "auto",
    time_format: str | None = None,
    skip_bad_rows: str | Path | None = None,
    stream: Stream | None = None,
) -> Interactions:
    """`read_ratings` where the source has a rating column, else `read_interactions`.

    Args:
        has_ratings: to say which; None looks.
        duplicates: None is "last" of ratings, "sum" of others.
        stream: what takes rows that the engine can read, and returns the table.

    Raises:
        DataError: as these two.
        ParameterValueError: as these two, and where a column is given that is not for what was found.
    """
    given: Given = {"user": user, "item": item, "rating": rating, "count": count, "time": time}
    given = {**given, "event": event, "weight": weight}
    if has_ratings is None and (rating is not None or count):
        has_ratings = rating is not None
    spelling, meaning = _Spelling(quote, time_format, skip_bad_rows), Meaning.of(missing, ids, events)
    if connection is not None:
        _only_files(layout, memory_limit, encoding, None, quote)
        return _queried(source, connection, given, duplicates, has_ratings, spelling, meaning)
    return _read(
        source,
        given,
        has_ratings,
        duplicates,
        layout,
        memory_limit,
        encoding,
        None,
        spelling,
        meaning,
        stream,
    )


class TableSizes(NamedTuple):
    """What a table is sized by; users and items of a file are estimates."""

    n_rows: int
    n_users: int
    n_items: int
    has_times: bool
    has_ratings: bool


def table_sizes(
    source: Source,
    *,
    has_ratings: bool | None = None,
    user: Column = None,
    item: Column = None,
    rating: Column = None,
    time: Column | Literal[False] = None,
    count: Column | Literal[False] = None,
    encoding: str = "utf-8",
    quote: str = "auto",
) -> TableSizes:
    """The sizes of a file of rows, without reading it into memory.

    Raises:
        DataError, ParameterValueError: as `read_any`.
        FileFormatError: rows cannot be counted without reading them one by one.

    Cost:
        parsing the file once.
    """
    given: Given = {"user": user, "item": item, "rating": rating, "count": count, "time": time}
    if is_packed(source):
        usual = _Spelling(quote, None, None), Meaning.of(None, None)
        packed = _packed(source, given, has_ratings, None, "auto", encoding, *usual)
        return TableSizes(packed.n_ratings, *packed.shape, packed.times is not None, packed.has_ratings)
    roles = RATINGS if has_ratings else INTERACTIONS
    found = None
    with open_table(source, roles, given, encoding, layout="auto", quote=quote) as (table, connection):
        if connection is not None:
            chosen = choose(table, given, has_ratings, connection)
            found = duckdb_reader.count_ids(connection, table, chosen.columns)
        if found is None:
            raise FileFormatError(
                f"{table.label}: its rows can only be counted by reading it (bilinear data describe); "
                "write it as Parquet, or as a plain CSV file"
            )
        return TableSizes(*found, "time" in chosen.columns, chosen.has_ratings)


def read_frame(source: Source) -> Interactions:
    """Reads a data frame as ratings, where it has a rating column, else as interactions without.

    Columns and errors are those of `read_ratings` and `read_interactions`.

    Examples:
        >>> import pandas
        >>> from bilinear.data.reading.readers import read_frame
        >>> read_frame(pandas.DataFrame({"user": ["ann", "bob"], "item": [1, 2]})).has_ratings
        False
    """
    given: Given = {"user": None, "item": None, "rating": None, "time": None}
    spelling, meaning = _Spelling("auto", None, None), Meaning.of(None, None)
    return _read(source, given, None, None, "rows", None, "utf-8", None, spelling, meaning)


@dataclass(frozen=True)
class _Spelling:
    """How fields are written, and what becomes of rows that cannot be read."""

    quote: str
    time_format: str | None
    skip_bad_rows: str | Path | None

    def __post_init__(self) -> None:
        check_quote(self.quote)
        check_time_format(self.time_format)


def _queried(
    query: Any,
    connection: Any,
    given: Given,
    duplicates: Duplicates | None,
    has_ratings: bool | None,
    spelling: _Spelling,
    meaning: Meaning,
) -> Interactions:
    with leaving_out(spelling.skip_bad_rows, None) as bad:
        return query_table(
            query, connection, given, duplicates, has_ratings, meaning, spelling.time_format, bad
        )


def _read(
    source: Source,
    given: Given,
    has_ratings: bool | None,
    duplicates: Duplicates | None,
    layout: Layout,
    memory_limit: str | None,
    encoding: str,
    n_threads: int | None,
    spelling: _Spelling,
    meaning: Meaning,
    stream: Stream | None = None,
) -> Interactions:
    if layout not in get_args(Layout):
        raise ParameterValueError(f"layout={layout!r}; choose 'auto', 'rows', 'lists' or 'wide'")
    if is_packed(source):
        return _packed(source, given, has_ratings, duplicates, layout, encoding, spelling, meaning)
    roles = RATINGS if has_ratings else INTERACTIONS
    opening = open_table(source, roles, given, encoding, memory_limit, n_threads, layout, spelling.quote)
    with leaving_out(spelling.skip_bad_rows, source) as bad:
        with opening as (table, connection):
            if isinstance(table, ListTable):
                _no_columns(given, table.label)
                found = table.read()
                if is_off(given.get("time")) or found.columns[3] is None:
                    found.columns[3] = None
                    chosen = Chosen({}, False, False, False, "", ReadingNotes())
                else:
                    chosen = Chosen(
                        {}, False, False, False, "", ReadingNotes(remarks=(_PLACES,), places=True)
                    )
            else:
                chosen = choose(table, given, has_ratings, connection, meaning.events)
                check_duplicates(duplicates or "last", chosen.has_ratings)
                time_format = spelling.time_format
                marks = () if stream is None else marks_of(chosen, meaning, table.label) or ()
                loaded, table = _loaded(table, connection, chosen, time_format, marks, stream is not None)
                if stream is not None and loaded is not None:
                    return stream(loaded, table, chosen, meaning)
                found = loaded.encoded() if loaded is not None else collect(table, chosen, time_format, bad)
        # The engine is closed now: its memory is free for sorting.
        return finished(found, table, chosen, duplicates, meaning, 0 if bad is None else bad.n_rows)


def _packed(
    folder: str | Path,
    given: Given,
    has_ratings: bool | None,
    duplicates: Duplicates | None,
    layout: Layout,
    encoding: str,
    spelling: _Spelling,
    meaning: Meaning,
) -> Interactions:
    """A packed table, of which all that could be said in reading it has been said in packing it."""
    table = open_packed(folder)
    usual = {"layout": layout in ("auto", "rows"), "encoding": encoding == "utf-8"}
    usual |= {"duplicates": duplicates in (None, "last" if has_ratings else "sum", table.duplicates)}
    usual |= {role: column is None for role, column in given.items()}
    usual |= {"quote, time_format, skip_bad_rows": spelling == _Spelling("auto", None, None)}
    usual |= {"missing, ids": meaning == Meaning.of(None, None)}
    for name, is_usual in usual.items():
        if not is_usual:
            raise ParameterValueError(f"{folder}: {name} cannot be said of a packed table; say it to `pack`")
    if has_ratings is not None and has_ratings != table.has_ratings:
        raise MissingColumnError(
            f"{folder}: was packed with{'' if table.has_ratings else 'out'} ratings; pack it again "
            f"{'without, or threshold them in the model' if table.has_ratings else 'with rating= (--rating)'}"
        )
    return table


def _loaded(
    table: Table,
    connection: Any,
    chosen: Chosen,
    time_format: str | None,
    marks: tuple[float, ...] = (),
    by_parts: bool = False,
) -> tuple[duckdb_reader.Loaded | None, Table]:
    """The rows in the engine, or None where it cannot read them; and the table, with decided quotes."""
    if isinstance(table, ParquetTable):
        table.check_types(chosen.columns)
    if connection is None or (time_format is not None and "time" in chosen.columns):
        return None, table
    loaded = duckdb_reader.load(connection, table, chosen.columns, marks, chosen.events, by_parts=by_parts)
    if loaded is None and isinstance(table, TextTable) and table.layout.n_rows is None:
        table = table.settled()
        loaded = duckdb_reader.load(
            connection, table, chosen.columns, marks, chosen.events, by_parts=by_parts
        )
    return loaded, table


_PLACES = (
    "the place in a line stands for the time of an interaction (time=False, --time '': it means nothing)"
)


def _no_columns(given: Given, label: str) -> None:
    for role, column in given.items():
        if column:
            raise ParameterValueError(
                f"{label}: each line lists a user and its items, so it has no {role} column to name; "
                "layout='rows' (--layout rows) reads it as a table"
            )


def _only_files(
    layout: str, memory_limit: str | None, encoding: str, n_threads: int | None, quote: str
) -> None:
    for name, value, default in (
        ("quote", quote, "auto"),
        ("layout", layout, "auto"),
        ("memory_limit", memory_limit, None),
        ("encoding", encoding, "utf-8"),
        ("n_threads", n_threads, None),
    ):
        if value != default:
            raise ParameterValueError(f"{name}={value!r} is for files, not for a database")


def read_pairs(
    source: Source,
    *,
    user: Column = None,
    item: Column = None,
    encoding: str = "utf-8",
    quote: str = "auto",
) -> Pairs:
    """Reads the (user, item) rows of a file or frame, repeats included; other columns are left alone.

    Columns are found as by `read_ratings`; without a header, user comes first and item second.

    Raises:
        DataError: one of its kinds, naming file, row and the way out.
        ParameterValueError: an argument that cannot be used.

    Cost:
        about a second a million rows; memory for two Python objects a row of text.

    Examples:
        >>> from pathlib import Path
        >>> from bilinear import BiasModel, read_pairs, read_ratings
        >>> _ = Path("ratings.csv").write_text("user,item,rating\\nann,Alien,5\\nann,Heat,3\\nbob,Alien,4\\n")
        >>> _ = Path("pairs.csv").write_text("user,item\\nbob,Heat\\n")
        >>> pairs = read_pairs("pairs.csv")
        >>> model = BiasModel(l2_biases=0.1).fit(read_ratings("ratings.csv"))
        >>> model.predict(pairs.users, pairs.items).values.round(1)
        array([3.], dtype=float32)
    """
    given: dict[Role, Column | Literal[False]] = {"user": user, "item": item}
    with open_table(source, PAIRS, given, encoding, quote=quote) as (table, _):
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
    source: Source,
    *,
    item: Column = None,
    rating: Column = None,
    encoding: str = "utf-8",
    quote: str = "auto",
) -> list[tuple[Id, float]]:
    """Reads one person's (item, rating) rows, in their order; a user column must name one user.

    Ids of text files are text, exactly as written. Without a header, the item comes first.

    Raises:
        DataError: one of its kinds, naming file, row and the way out.
        ParameterValueError: an argument that cannot be used.

    Examples:
        >>> from pathlib import Path
        >>> from bilinear import read_item_ratings
        >>> _ = Path("mine.csv").write_text("item,rating\\nAlien,5\\nHeat,2.5\\n")
        >>> read_item_ratings("mine.csv")
        [('Alien', 5.0), ('Heat', 2.5)]
    """
    items, found = _one_users(source, ITEM_RATINGS, {"item": item, "rating": rating}, encoding, quote)
    return list(zip(items, found, strict=True))


def read_item_list(
    source: Source, *, item: Column = None, encoding: str = "utf-8", quote: str = "auto"
) -> list[Id]:
    """Reads one person's items, in their order; ratings are left alone. Otherwise as `read_item_ratings`."""
    return _one_users(source, ITEM_LIST, {"item": item}, encoding, quote)[0]


def _one_users(
    source: Source, roles: tuple[Role, ...], given: Given, encoding: str, quote: str
) -> tuple[list[Id], list[float]]:
    with open_table(source, roles, given, encoding, quote=quote) as (table, _):
        wanted = [role for role in roles if role != "user"]
        flags: dict[Role, str] = {"item": "--item-column"}  # as `bilinear fold-in` calls it
        columns = find_columns(table.names, table.n_columns, wanted, given, table.label, ["user"], flags)
        if isinstance(table, ParquetTable):
            table.check_types(columns)
        side, owner = IdColumn("item", table.is_text), IdColumn("user", table.is_text)
        owners: set[Id] = set()
        items: list[Id] = []
        numbers = NumberColumn()
        for batch in table.batches(list(columns.values())):
            cells = dict(zip(columns, batch.columns, strict=True))
            items += side.clean(cells["item"], batch.where)
            if "rating" in cells:
                numbers.add(cells["rating"], batch.where)
            owners |= set(owner.clean(cells["user"], batch.where)) if "user" in cells else set()
    if not items:
        raise EmptyDataError(f"{table.label}: no rows")
    if len(owners) > 1:
        raise DataError(f"{table.label}: rows of {len(owners):,} users; keep those of one")
    return items, numbers.finish().tolist()


def _array(ids: list[Id]) -> NDArray[Any]:
    return np.array(ids, object if isinstance(ids[0], str) else np.int64)
