"""Tables of items and of users: which column holds the ids, which the titles and genres."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bilinear.data.items import Items
from bilinear.data.reading.columns import (
    ITEMS,
    USERS,
    Column,
    Role,
    find_columns,
    id_columns,
    plain,
    recognised,
)
from bilinear.data.reading.id_columns import IdColumn
from bilinear.data.reading.sources import Given, Source, open_table
from bilinear.data.reading.sql import open_query
from bilinear.data.reading.tables import Table
from bilinear.data.refinement import ruled
from bilinear.data.side_table import Users
from bilinear.data.vocabulary import Vocabulary
from bilinear.errors import EmptyDataError, IdValueError

_FLAGS_OF: dict[Role, str] = {
    "item": "--items-id",
    "title": "--items-title",
    "user": "--users-id",
}  # of `bilinear train`
_GENRES = {"genre", "genres", "category", "categories", "tags", "listedin"}
# MovieLens 100K writes its genres as 19 columns of 0 and 1 behind five others.
_FLAGS = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama"),
    *(
        "Fantasy",
        "Film-Noir",
        "Horror",
        "Musical",
        "Mystery",
        "Romance",
        "Sci-Fi",
        "Thriller",
        "War",
        "Western",
    ),
)


def read_items(
    source: Source,
    *,
    connection: Any = None,
    item: Column = None,
    title: Column | Literal[False] = None,
    match: Vocabulary | None = None,
    encoding: str | None = None,
    quote: str = "auto",
) -> Items:
    """Reads titles, genres and whatever else is known of the items; files and frames as `read_ratings`.

    Without a header, the first column is the item and the second the title.

    Args:
        source: A path or a frame, as of `read_ratings`; with `connection`, a query.
        connection: Of a database, as of `read_sql`.
        item, title: A column's name, or its position counted from 1.
        match: Ids of rated items, as `interactions.item_vocabulary`. Of several columns that may hold ids
            (called as items, "id", or with "id", "code", "isbn" and such at the end) the one with the most
            of these is taken, and where none is called so, one that has at least half of them; ids are
            made alike by its rules.
        encoding: Of a text file; None takes UTF-8 if the file is valid UTF-8, else Latin-1 (as
            MovieLens' u.item is).
        quote: As of `read_ratings`.

    Raises:
        IdValueError: An id is missing, or in two rows.
        DataError: Another of its kinds, naming file, row and the way out.

    Cost:
        Some seconds a million items; all columns stay in memory.

    Examples:
        >>> from pathlib import Path
        >>> from bilinear import read_items
        >>> _ = Path("movies.csv").write_text("id,title,genres\\n7,Alien,Horror|SciFi\\n8,Heat,Crime\\n")
        >>> films = read_items("movies.csv")
        >>> films.title(7), films.genres(7)
        ('Alien', ('Horror', 'SciFi'))
        >>> films.row(8)
        {'id': '8', 'title': 'Heat', 'genres': 'Crime'}
    """
    given: Given = {"item": item, "title": title}
    read = _read(source, connection, ITEMS, given, match, encoding, quote)
    columns, names = read.columns, list(read.columns)
    title_name = names[read.at["title"]] if "title" in read.at else None
    flags = list(columns.values())[5:]
    if read.headless and len(names) == 24 and all(set(flag) <= {"0", "1"} for flag in flags):
        columns, title_name = _named_flags(columns), "title"
    genre = next((name for name in columns if plain(name) in _GENRES), None)
    genre = genre or next((name for name in columns if name != title_name and _is_piped(columns[name])), None)
    if read.headless and genre is not None and genre != "genres" and "genres" not in columns:
        columns = {"genres" if name == genre else name: values for name, values in columns.items()}
        genre = "genres"
    return Items(
        read.vocabulary, columns, title_name, genre,
        source=read.label, remark=read.remark, id_column=list(columns)[read.at["item"]],
    )  # fmt: skip


def read_users(
    source: Source,
    *,
    connection: Any = None,
    user: Column = None,
    match: Vocabulary | None = None,
    encoding: str | None = None,
    quote: str = "auto",
) -> Users:
    """Reads what is known of the users: age, occupation, country, ...; files and frames as `read_ratings`.

    Without a header, the first column is the user. Files of users of MovieLens have no header; their columns
    are named age, gender, occupation and zip code.

    Args:
        source: A path or a frame, as of `read_ratings`; with `connection`, a query.
        connection: Of a database, as of `read_sql`.
        user: A column's name, or its position counted from 1.
        match: Ids of users with ratings, as `interactions.user_vocabulary`: see `read_items`.
        encoding, quote: As of `read_items`.

    Raises:
        IdValueError: An id is missing, or in two rows.
        DataError: Another of its kinds, naming file, row and the way out.

    Cost:
        Some seconds a million users; all columns stay in memory.

    Examples:
        >>> from pathlib import Path
        >>> from bilinear import read_users
        >>> _ = Path("users.csv").write_text("user,age,country\\nann,31,NL\\nbob,54,IN\\n")
        >>> people = read_users("users.csv")
        >>> people.row("bob")
        {'user': 'bob', 'age': '54', 'country': 'IN'}
    """
    read = _read(source, connection, USERS, {"user": user}, match, encoding, quote)
    columns = _named_people(read.columns) if read.headless else read.columns
    return Users(
        read.vocabulary, columns,
        source=read.label, remark=read.remark, id_column=list(columns)[read.at["user"]],
    )  # fmt: skip


class _Read(NamedTuple):
    """A table of one side: its ids in order, and all of its columns in theirs."""

    vocabulary: Vocabulary
    columns: Mapping[str, Sequence[Any]]
    at: Mapping[Role, int]
    label: str
    remark: str
    headless: bool


def _read(
    source: Source,
    connection: Any,
    roles: tuple[Role, ...],
    given: Given,
    match: Vocabulary | None,
    encoding: str | None,
    quote: str,
) -> _Read:
    side: Literal["user", "item"] = "item" if roles == ITEMS else "user"
    opened: Any = (
        open_table(source, roles, given, encoding, quote=quote)
        if connection is None
        else open_query(source, connection)
    )
    with opened as found:
        table: Table = found[0] if connection is None else found
        remark = ""
        if given[side] is None and table.names is not None:
            # the rows of a query can be read once, so its ids are known by name alone
            column, remark = _id_column(table, side, match if connection is None else None)
            given = {**given, side: column}
        optional: list[Role] = ["title"] if side == "item" else []
        at = find_columns(table.names, table.n_columns, roles, given, table.label, optional, _FLAGS_OF)
        named: dict[int, str] = {position: role for role, position in at.items()}
        names = table.names or [named.get(n, f"column {n + 1}") for n in range(table.n_columns)]
        ids = IdColumn(side, table.is_text)
        values: list[list[Any]] = [[] for _ in names]
        for batch in table.batches(range(len(names))):
            ids.add(batch.columns[at[side]], batch.where)
            for place, part in zip(values, batch.columns, strict=True):
                place.extend(
                    part.tolist() if isinstance(part, np.ndarray) and part.dtype.kind != "M" else part
                )
    vocabulary, rows = ids.finish()
    if not len(rows):
        raise EmptyDataError(f"{table.label}: no rows")
    if match is not None and match.rules:
        rowed = [rows]
        vocabulary = ruled(rowed, 0, side, vocabulary, match.rules, table.is_text, table.label)
        rows = rowed[0]
    order = _order(vocabulary, rows, side, table.label)
    columns = {name: [column[n] for n in order] for name, column in zip(names, values, strict=True)}
    return _Read(vocabulary, columns, at, table.label, remark, table.names is None)


def _id_column(table: Table, side: Literal["user", "item"], match: Vocabulary | None) -> tuple[Column, str]:
    """The column of ids, by position from 1, and how it was chosen; None where its name alone tells it."""
    assert table.names is not None
    named = recognised(table.names, [side])
    possible = id_columns(table.names, side)
    if match is None or not len(match):
        return (None if named or not possible else possible[0] + 1), ""
    found = _matches(table, range(table.n_columns), match)
    searched = possible
    if not any(found[at] for at in possible):
        searched = [at for at in found if found[at] >= len(match) / 2]
    if not searched:
        return (possible[0] + 1 if possible and not named else None), ""
    best = max(searched, key=lambda at: (found[at], -searched.index(at)))
    if possible == [best]:
        return best + 1, ""
    others = ", ".join(f"{table.names[at]!r} {found[at]:,}" for at in possible if at != best)
    return best + 1, (
        f"{table.label}: the column of {side} ids is {table.names[best]!r}, which has {found[best]:,} of "
        f"{len(match):,} {'rated items' if side == 'item' else 'users with ratings'}"
        + (f" ({others})" if others else "")
        + f"; --{side}s-id NAME chooses another"
    )


def _matches(table: Table, columns: Sequence[int], match: Vocabulary) -> dict[int, int]:
    """How many ids of `match` each column has."""
    seen = {at: np.zeros(len(match), bool) for at in columns}
    for batch in table.batches(columns):
        for at, values in zip(columns, batch.columns, strict=True):
            rows = match.encode(values if isinstance(values, np.ndarray) else list(values))
            seen[at][rows[rows >= 0]] = True
    return {at: int(hits.sum()) for at, hits in seen.items()}


def _order(vocabulary: Vocabulary, rows: NDArray[np.int32], side: str, label: str) -> list[int]:
    """The source row of every id."""
    order = np.argsort(rows, kind="stable")
    repeats = np.flatnonzero(np.diff(rows[order]) == 0)
    if len(repeats):
        first, second = int(order[repeats[0]]) + 1, int(order[repeats[0] + 1]) + 1
        raise IdValueError(
            f"{label}, rows {first} and {second}: {side} {vocabulary[int(rows[first - 1])]!r} is there twice "
            f"({len(repeats):,} such rows in all); keep one row {'an item' if side == 'item' else 'a user'}"
        )
    positions: list[int] = order.tolist()
    return positions


def _named_flags(columns: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """MovieLens 100K's u.item with names, and its 19 flags as one column of genres."""
    parts = list(columns.values())
    named: dict[str, Sequence[str]] = dict(
        zip(("item", "title", "released", "video released", "url"), parts[:5], strict=True)
    )
    flags = zip(*parts[5:], strict=True)
    named["genres"] = [
        "|".join(name for name, flag in zip(_FLAGS, row, strict=True) if flag == "1") for row in flags
    ]
    return named


def _named_people(columns: Mapping[str, Sequence[Any]]) -> Mapping[str, Sequence[Any]]:
    """The columns of MovieLens' u.user and users.dat with their names; others as they are."""
    parts = list(columns.values())
    at = [n for n, values in enumerate(parts) if set(values) == {"M", "F"}]
    if len(parts) != 5 or at not in ([1], [2]):
        return columns
    names = ("gender", "age", "occupation") if at == [1] else ("age", "gender", "occupation")
    return dict(zip(("user", *names, "zip code"), parts, strict=True))


def _is_piped(values: Sequence[Any]) -> bool:
    """Whether a column seems to list genres: short words with `|` between them in many rows."""
    texts = [value for value in values[:1000] if isinstance(value, str) and value]
    return len(texts) > 0 and sum("|" in text for text in texts) >= len(texts) / 4
