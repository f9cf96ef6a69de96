"""Where feedback is kept: one interface, SQLite or PostgreSQL behind it.

A pair of user and item has at most one row. A later time wins, whoever writes first; of equal times
the write that came last. A deletion is a row without rating, so that a late retry of an older rating
cannot bring it back, and so that it also covers a training rating. A write is on disk when `write`
returns; until then nothing of it is there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from bilinear.errors import ParameterValueError

BATCH = 5000


class Feedback(NamedTuple):
    """What one user said of one item: `rating` None is a deletion; `time` in seconds since 1970."""

    user: str
    item: str
    rating: float | None
    time: float


class Counts(NamedTuple):
    """Pairs with a rating, users who have one, and deletions that are kept."""

    ratings: int
    users: int
    deletions: int


class FeedbackStore(Protocol):
    """Every method may be called by any thread.

    Raises: StoreUnavailable: the store cannot answer now. It recovers by itself: call again.
    """

    address: str
    """For people: without password."""

    is_local: bool
    """Whether a read takes microseconds, with no other machine in between."""

    def of_user(self, user: str) -> list[tuple[str, float | None, float]]:
        """(item, rating, time) of a user, deletions as well, by item."""
        ...

    def get(self, user: str, item: str) -> Feedback | None:
        """What is stored of one pair, a deletion as well."""
        ...

    def write(self, rows: Sequence[Feedback]) -> list[bool]:
        """Stores all rows or none, synced to disk; which of them are there now.

        False is a row that lost against a later one. Of one pair in several rows the latest counts.
        """
        ...

    def everything(self) -> Iterator[list[Feedback]]:
        """All rows in batches, by user and item, as they were at one moment."""
        ...

    def counts(self) -> Counts: ...

    def close(self) -> None: ...


def open_store(url: str, *, create: bool = True) -> FeedbackStore:
    """A store by its address; what is missing is made.

    Args:
        url: "sqlite:///file.db" (an absolute path has four slashes) or "postgresql://user@host/database".
        create: False refuses a file that is not there: who only reads has mistyped its name.
    Raises:
        ParameterValueError: the address is of another kind.
        MissingDependencyError: PostgreSQL needs the psycopg package.
        StoreUnavailable: it cannot be opened now.
    """
    scheme, separator, rest = url.partition("://")
    if separator and scheme == "sqlite" and rest.startswith("/") and len(rest) > 1:
        from bilinear.serving.sqlite_store import SQLiteStore

        return SQLiteStore.at(rest[1:], create=create)
    if separator and scheme in ("postgresql", "postgres"):
        from bilinear.serving.postgres_store import PostgresStore

        return PostgresStore(url)
    shown = f"{scheme}://..." if separator else url
    raise ParameterValueError(f"--store {shown}: sqlite:///FILE or postgresql://USER@HOST/DATABASE")


def last_of_each_pair(rows: Sequence[Feedback]) -> list[int]:
    """Positions of the rows that count when a request names a pair more than once, in their order."""
    last: dict[tuple[str, str], int] = {}
    for at, row in enumerate(rows):
        before = last.get((row.user, row.item))
        if before is None or row.time >= rows[before].time:
            last[row.user, row.item] = at
    return sorted(last.values())
