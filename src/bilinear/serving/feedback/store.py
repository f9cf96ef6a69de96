"""Interface of feedback stores, and the stores that are known by the scheme of their addresses.

A pair of user and item has at most one row. A later time wins, whichever is written first; of equal times
the write that came last. A deletion is a row without rating, so that a late retry of an older rating
cannot bring it back, and so that it also covers a training rating. A write is on disk when `write`
returns; until then nothing of it is there.

A write whose time is the server's own is never earlier than what it replaces: a clock that was set back,
or a client whose clock is ahead, does not lose it.

Properties of items and users are kept by the same rules: of a side and an id there is at most one row, and a
deletion is a row without content.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from math import inf, nextafter
from typing import ClassVar, Literal, NamedTuple, Protocol, TypeVar

from bilinear.errors import ParameterValueError
from bilinear.registry import Registry

BATCH = 500
SCHEMA_VERSION = 1
_WORDS = re.compile(r"\s*[a-z_]+\s*=")
COLUMNS = ("user_id", "item_id", "rating", "time")

Side = Literal["item", "user"]


class Feedback(NamedTuple):
    """Feedback of one user on one item: `rating` None is a deletion; `time` in seconds since 1970."""

    user: str
    item: str
    rating: float | None
    time: float


class Stamped(Feedback):
    """Feedback without a time: the store sets the server's, later than that of the row it replaces."""

    __slots__ = ()


class Properties(NamedTuple):
    """Title and features of one item or user as JSON; `content` None is a deletion."""

    side: Side
    id: str
    content: str | None
    time: float


class StampedProperties(Properties):
    """Properties without a time, see `Stamped`."""

    __slots__ = ()


class Mark(NamedTuple):
    """Changes with every write of properties: their number, deletions as well, and the sum of their times."""

    n_rows: int
    sum_of_times: float


Row = TypeVar("Row", Feedback, Properties)
_STAMPED = (Stamped, StampedProperties)


class Counts(NamedTuple):
    """Pairs with a rating, users with a rating, and deletions that are kept.

    The sums change where a rating does, so that new feedback is noticed by them.
    """

    ratings: int
    users: int
    deletions: int
    sum_of_times: float = 0.0
    sum_of_ratings: float = 0.0


class FeedbackStore(Protocol):
    """Interface of feedback stores; `register_store` registers a class under its schemes.

    Every method may be called by any thread.

    Raises:
        StoreUnavailable: the store cannot answer now. It recovers by itself: call again.
    """

    schemes: ClassVar[tuple[str, ...]]
    """What its addresses begin with, before "://"."""

    address_form: ClassVar[str]
    """How an address is written, for help and messages: "sqlite:///FILE"."""

    address: str
    """Its own address as it is shown: without password."""

    is_local: bool
    """Whether a read takes microseconds, with no other machine in between."""

    @classmethod
    def open(cls, url: str, *, create: bool) -> FeedbackStore:
        """The store of an address, see `open_store`."""
        ...

    def of_user(self, user: str, most: int | None = None) -> list[tuple[str, float | None, float]]:
        """(item, rating, time) of a user, deletions as well, by item; the first `most` of them."""
        ...

    def get(self, user: str, item: str) -> Feedback | None:
        """The stored row of one pair, also a deletion."""
        ...

    def write(self, rows: Sequence[Feedback]) -> list[float | None]:
        """Stores all rows or none, synced to disk; the times under which they are there now.

        None is a row that lost against a later one. Of one pair in several rows the latest counts.
        """
        ...

    def everything(self) -> Iterator[list[Feedback]]:
        """All rows in batches, by user and item, as they were at one moment."""
        ...

    def counts(self) -> Counts: ...

    def write_properties(self, rows: Sequence[Properties]) -> list[float | None]:
        """As `write`, of properties."""
        ...

    def properties(self) -> Iterator[list[Properties]]:
        """All properties in batches, deletions as well, by side and id, as they were at one moment."""
        ...

    def properties_mark(self) -> Mark:
        """Whether properties were written since, by this server or another."""
        ...

    def close(self) -> None: ...


STORES: Registry[FeedbackStore] = Registry("feedback store", "bilinear.serving.feedback")
"""The classes of stores by the scheme of their addresses."""


Store = TypeVar("Store", bound="FeedbackStore")


def register_store(cls: type[Store]) -> type[Store]:
    """Makes a class of feedback stores known by its `schemes`, so that `open_store` and `--store` find it.

    A class of your own lives in a module that is imported before, as by `bilinear --plugin MODULE serve`.

    Args:
        cls: A `FeedbackStore`.

    Returns:
        `cls`.

    Raises:
        ParameterValueError: Another class has one of the schemes.

    Examples:
        >>> from bilinear.serving import open_store, register_store
        >>> @register_store
        ... class ExampleStore:
        ...     # its other methods: see FeedbackStore
        ...     schemes, address_form = ("example",), "example://NAME"
        ...     @classmethod
        ...     def open(cls, url, *, create):
        ...         return cls()
        >>> type(open_store("example://films")).__name__
        'ExampleStore'
        >>> from bilinear.serving.feedback.store import STORES
        >>> STORES.discard("example")
    """
    for scheme in cls.schemes:
        STORES.add(cls, scheme)
    return cls


def addresses() -> str:
    """Forms of the addresses of all known stores: "postgresql://... or sqlite:///FILE"."""
    return " or ".join(sorted({STORES.get(scheme).address_form for scheme in STORES}))


def open_store(url: str, *, create: bool = True) -> FeedbackStore:
    """A store by its address; what is missing is made.

    Args:
        url: "sqlite:///file.db" (an absolute path has four slashes) or "postgresql://user@host/database";
            for PostgreSQL also libpq's words, "host=... dbname=..."; or of a class of your own, see
            `register_store`.
        create: False refuses a file that is not there: who only reads has mistyped its name.
    Raises:
        ParameterValueError: the address is of another kind.
        MissingDependencyError: PostgreSQL needs the psycopg package.
        StoreUnavailable: it cannot be opened now.

    Examples:
        >>> from bilinear.serving import open_store
        >>> store = open_store("sqlite:///feedback.db")
        >>> store.close()
        >>> open_store("redis://localhost")
        Traceback (most recent call last):
            ...
        bilinear.errors.ParameterValueError: --store redis://...: give ...
    """
    scheme, separator, _ = url.partition("://")
    if _WORDS.match(url):
        scheme = "postgresql"
    elif not separator or scheme not in STORES:
        raise unreadable(url)
    return STORES.get(scheme).open(url, create=create)


def unreadable(url: str) -> ParameterValueError:
    """The error for an address that no store can read; shows no more of it than its scheme."""
    scheme, separator, _ = url.partition("://")
    shown = f"{scheme}://..." if separator and scheme.isalnum() else "(not shown: it may hold a password)"
    return ParameterValueError(f"--store {shown}: give {addresses()}")


def settled(rows: Sequence[Row], stored: Mapping[tuple[str, str], float]) -> dict[int, Row]:
    """The rows that count when a write names a pair more than once, by position and in their order.

    The pair is that of user and item, or of side and id. A `Stamped` row gets a time later than those of the
    rows before it and of `stored`, if it has not.
    """
    last: dict[tuple[str, str], tuple[int, Row]] = {}
    for at, row in enumerate(rows):
        pair = row[:2]
        before = last[pair][1].time if pair in last else None
        if isinstance(row, _STAMPED):
            known = max(before or 0.0, stored.get(pair, 0.0))
            if known >= row.time:
                row = row._replace(time=max(known + 1e-6, nextafter(known, inf)))
        if before is None or row.time >= before:
            last[pair] = at, row
    return dict(sorted(last.values()))


def pairs_of_stamped(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Pairs whose stored times `settled` asks for."""
    return sorted({row[:2] for row in rows if isinstance(row, _STAMPED)})
