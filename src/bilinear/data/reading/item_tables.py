"""Tables of items: which column holds the ids, which the titles and genres."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bilinear.data.items import Items
from bilinear.data.reading.columns import ITEMS, Column, Role, find_columns, id_columns, plain, recognised
from bilinear.data.reading.ids import IdColumn
from bilinear.data.reading.sources import Source, open_table
from bilinear.data.reading.tables import Table
from bilinear.data.refine import ruled
from bilinear.data.vocabulary import Vocabulary
from bilinear.errors import EmptyDataError, IdValueError

_FLAGS_OF: dict[Role, str] = {"item": "--items-id", "title": "--items-title"}  # of `bilinear train`
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
    item: Column = None,
    title: Column | Literal[False] = None,
    match: Vocabulary | None = None,
    encoding: str | None = None,
    quote: str = "auto",
) -> Items:
    """Reads titles, genres and whatever else is known of the items; files and frames as `read_ratings`.

    Without a header, the first column is the item and the second the title.

    Args:
        item, title: a column's name, or its position counted from 1.
        match: ids of rated items, as `interactions.item_vocabulary`. Of several columns that may hold ids
            (called as items, "id", or with "id", "code", "isbn" and such at the end) the one with the most
            of these is taken, and where none is called so, one that has at least half of them; ids are
            made alike by its rules.
        encoding: of a text file; None takes UTF-8 if the file is valid UTF-8, else Latin-1 (as
            MovieLens' u.item is).
        quote: as of `read_ratings`.

    Raises:
        IdValueError: an id is missing, or in two rows.
        DataError: another of its kinds, naming file, row and the way out.

    Cost:
        some seconds a million items; all columns stay in memory.
    """
    given: dict[Role, Column | Literal[False]] = {"item": item, "title": title}
    with open_table(source, ITEMS, given, encoding, quote=quote) as (table, _):
        remark = ""
        if item is None and table.names is not None:
            given["item"], remark = _id_column(table, match)
        at = find_columns(table.names, table.n_columns, ITEMS, given, table.label, ["title"], _FLAGS_OF)
        roles = {position: role for role, position in at.items()}
        names = table.names or [str(roles.get(n, f"column {n + 1}")) for n in range(table.n_columns)]
        ids = IdColumn("item", table.is_text)
        values: list[list[Any]] = [[] for _ in names]
        for batch in table.batches(range(len(names))):
            ids.add(batch.columns[at["item"]], batch.where)
            for column, part in zip(values, batch.columns, strict=True):
                column += part.tolist() if isinstance(part, np.ndarray) else part
        label = table.label
    vocabulary, rows = ids.finish()
    if not len(rows):
        raise EmptyDataError(f"{label}: no rows")
    if match is not None and match.rules:
        rowed = [rows]
        vocabulary = ruled(rowed, 0, "item", vocabulary, match.rules, table.is_text, label)
        rows = rowed[0]
    order = _order(vocabulary, rows, label)
    columns: Mapping[str, Sequence[Any]] = {
        name: [column[n] for n in order] for name, column in zip(names, values, strict=True)
    }
    title_name = names[at["title"]] if "title" in at else None
    if table.names is None and len(names) == 24 and all(set(flags) <= {"0", "1"} for flags in values[5:]):
        columns, title_name = _named_flags(columns), "title"
    genre = next((name for name in columns if plain(name) in _GENRES), None)
    genre = genre or next((name for name in columns if name != title_name and _is_piped(columns[name])), None)
    return Items(vocabulary, columns, title_name, genre, label, remark)


def _id_column(table: Table, match: Vocabulary | None) -> tuple[Column, str]:
    """The column of ids, by position from 1, and how it was chosen; None where its name alone tells it."""
    assert table.names is not None
    named = recognised(table.names, ["item"])
    possible = id_columns(table.names)
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
        f"{table.label}: the column of item ids is {table.names[best]!r}, which has {found[best]:,} of "
        f"{len(match):,} rated items"
        + (f" ({others})" if others else "")
        + "; --items-id NAME chooses another"
    )


def _matches(table: Table, columns: Sequence[int], match: Vocabulary) -> dict[int, int]:
    """How many ids of `match` each column has."""
    seen = {at: np.zeros(len(match), bool) for at in columns}
    for batch in table.batches(columns):
        for at, values in zip(columns, batch.columns, strict=True):
            rows = match.encode(values if isinstance(values, np.ndarray) else list(values))
            seen[at][rows[rows >= 0]] = True
    return {at: int(hits.sum()) for at, hits in seen.items()}


def _order(vocabulary: Vocabulary, rows: NDArray[np.int32], label: str) -> list[int]:
    """The source row of every item."""
    order = np.argsort(rows, kind="stable")
    repeats = np.flatnonzero(np.diff(rows[order]) == 0)
    if len(repeats):
        first, second = int(order[repeats[0]]) + 1, int(order[repeats[0] + 1]) + 1
        raise IdValueError(
            f"{label}, rows {first} and {second}: item {vocabulary[int(rows[first - 1])]!r} is there twice "
            f"({len(repeats):,} such rows in all); keep one row an item"
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


def _is_piped(values: Sequence[Any]) -> bool:
    """Whether a column seems to list genres: short words with `|` between them in many rows."""
    texts = [value for value in values[:1000] if isinstance(value, str) and value]
    return len(texts) > 0 and sum("|" in text for text in texts) >= len(texts) / 4
