"""Tables from a database, over DB-API: in batches, so that memory holds codes and not rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

from bilinear.data.interactions import Duplicates, Interactions, check_duplicates
from bilinear.data.missing_values import Missing
from bilinear.data.reading.bad_rows import BadRows
from bilinear.data.reading.batch_encoding import collect
from bilinear.data.reading.columns import Column, Role
from bilinear.data.reading.database import stoppable
from bilinear.data.reading.outcomes import Meaning, choose, finished
from bilinear.data.reading.sources import Given
from bilinear.data.reading.tables import BATCH, Batch, Refuse, raise_error
from bilinear.data.vocabulary import IdRule
from bilinear.errors import BilinearError, DataError, ParameterValueError
from bilinear.optional_packages import extra

_LABEL = "SQL query"


def read_sql(
    query: str,
    connection: Any,
    *,
    user: Column = None,
    item: Column = None,
    rating: Column = None,
    time: Column | Literal[False] = None,
    duplicates: Duplicates = "last",
    missing: Missing = None,
    ids: str | Iterable[IdRule] | None = None,
) -> Interactions:
    """Reads ratings from the rows of a query; otherwise as `read_ratings`.

    Args:
        query: one statement that returns rows, such as `SELECT user_id, item_id, rating FROM r`.
            Name the columns there, or by `user`, `item`, `rating` and `time`.
        connection: an open DB-API connection (sqlite3, psycopg, ...), left open and uncommitted;
            or "sqlite:///file.db" (an absolute path has four slashes) or
            "postgresql://user@host/database", opened read-only and closed again.
        duplicates: "last" is by time; without times, by row: the query should have ORDER BY then.
        missing, ids: see `read_ratings`.

    Raises:
        MissingDependencyError: PostgreSQL needs the psycopg package.
        DataError: the database or the query failed, or a value cannot be used, with its row.
        ParameterValueError: an argument that cannot be used.

    Cost:
        about three seconds a million rows; memory for 20 bytes a row and one entry an id.

    Examples:
        >>> import sqlite3
        >>> from bilinear import read_sql
        >>> connection = sqlite3.connect(":memory:")
        >>> _ = connection.execute("CREATE TABLE reviews (user_id, item_id, stars)")
        >>> _ = connection.execute("INSERT INTO reviews VALUES (1, 7, 5), (2, 7, 3)")
        >>> read_sql("SELECT * FROM reviews", connection, rating="stars").ratings
        array([5., 3.], dtype=float32)
        >>> connection.close()
    """
    given: dict[Role, Column | Literal[False]] = {"user": user, "item": item, "rating": rating, "time": time}
    meaning = Meaning.of(missing, ids)
    return query_table(query, connection, given, duplicates, True, meaning)


def query_table(
    query: str,
    connection: Any,
    given: Given,
    duplicates: Duplicates | None,
    has_ratings: bool | None,
    meaning: Meaning,
    time_format: str | None = None,
    bad: BadRows | None = None,
) -> Interactions:
    """The rows of a query as a table with ratings, without, or (None) with them if there is such a column."""
    if duplicates is not None and has_ratings is not None:
        check_duplicates(duplicates, has_ratings)
    with open_query(query, connection) as table:
        chosen = choose(table, given, has_ratings, events=meaning.events)
        check_duplicates(duplicates or "last", chosen.has_ratings)
        encoded = collect(table, chosen, time_format, bad)
    return finished(encoded, table, chosen, duplicates, meaning, 0 if bad is None else bad.n_rows)


@contextmanager
def open_query(query: str, connection: Any) -> Iterator[CursorTable]:
    """The rows of a query, while its connection is open; they can be read once.

    Raises:
        ParameterValueError: An argument that cannot be used.
        MissingDependencyError: PostgreSQL needs the psycopg package.
        DataError: The database or the query failed.
    """
    if not isinstance(query, str):
        raise ParameterValueError(f"query is a {type(query).__name__}; give SQL as text")
    try:
        with _connected(connection) as database, closing(_cursor(database)) as cursor:
            cursor.execute(query)
            yield _rows_of(cursor)
    except BilinearError:
        raise
    except Exception as error:
        # DB-API gives every driver its own error classes, with one common name.
        if not any(kind.__name__ == "Error" for kind in type(error).__mro__):
            raise
        raise DataError(f"{_LABEL}: the database refused: {str(error).strip()}") from error


@dataclass(frozen=True)
class CursorTable:
    """The rows of an executed query; they can be read once."""

    cursor: Any = field(repr=False)
    names: list[str]
    first: list[tuple[Any, ...]]
    label: str = _LABEL
    is_text: bool = False

    @property
    def n_columns(self) -> int:
        return len(self.names)

    def batches(self, columns: Sequence[int], refuse: Refuse = raise_error) -> Iterator[Batch]:
        rows, n_read = self.first, 0
        while rows:
            yield Batch(
                _LABEL,
                [[row[at] for row in rows] for at in columns],
                range(n_read + 1, n_read + 1 + len(rows)),
            )
            n_read += len(rows)
            rows = self.cursor.fetchmany(BATCH)


def _rows_of(cursor: Any) -> CursorTable:
    # A server-side cursor knows its columns from the first fetch on.
    rows = cursor.fetchmany(BATCH) if cursor.description is not None or _is_named(cursor) else []
    if cursor.description is None:
        raise DataError(f"{_LABEL}: the statement returned no rows; give a SELECT")
    return CursorTable(cursor, [str(column[0]) for column in cursor.description], rows)


def _is_named(cursor: Any) -> bool:
    return getattr(cursor, "name", None) is not None


def _cursor(connection: Any) -> Any:
    """A cursor with plain tuples; for psycopg one that leaves the rows on the server."""
    if not callable(getattr(connection, "cursor", None)):
        raise ParameterValueError(
            f"connection is a {type(connection).__name__}; give an open DB-API connection, 'sqlite:///FILE' "
            "or 'postgresql://...' (SQLAlchemy: engine.raw_connection())"
        )
    if type(connection).__module__.split(".")[0] == "psycopg":
        from psycopg.rows import tuple_row

        return connection.cursor("bilinear", row_factory=tuple_row, withhold=connection.autocommit)
    cursor = connection.cursor()
    if isinstance(cursor, sqlite3.Cursor):
        cursor.row_factory = None
    return cursor


@contextmanager
def _connected(connection: Any) -> Iterator[Any]:
    """The caller's connection as it is, or one of our own by its address."""
    if not isinstance(connection, str):
        yield connection
        return
    scheme, _, rest = connection.partition("://")
    if scheme == "sqlite" and rest.startswith("/"):
        path = Path(unquote(rest[1:]))
        if not path.is_file():  # SQLite would make an empty database
            raise DataError(f"{path}: no such database file (an absolute path needs sqlite:////)")
        file = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        with closing(file), stoppable(file):
            yield file
    elif scheme in ("postgresql", "postgres"):
        with extra("postgres"):
            import psycopg
        with closing(psycopg.connect(connection)) as database:
            database.read_only = True
            yield database
    else:
        raise ParameterValueError(
            f"connection={_without_password(connection)!r}; give 'sqlite:///FILE', 'postgresql://...' or an "
            "open DB-API connection"
        )


def _without_password(address: str) -> str:
    before, at, after = address.rpartition("@")
    return f"{before.split('://')[0]}://...@{after}" if at else address
