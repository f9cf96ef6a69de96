"""A store of a class of one's own, in one file: it forgets when the process ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

from bilinear.serving.feedback.store import Counts, Feedback, Mark, Properties, Row, register_store, settled
from bilinear.serving.problems import StoreUnavailable

_ROWS: dict[str, tuple[dict[tuple[str, str], Feedback], dict[tuple[str, str], Properties]]] = {}
_LOCK = threading.Lock()


@register_store
class MemoryStore:
    """Rows by pair, one table for each name."""

    schemes, address_form = ("memory",), "memory://NAME"
    is_local = True

    def __init__(self, url: str) -> None:
        self.address = url
        self._rows, self._properties = _ROWS.setdefault(url, ({}, {}))

    @classmethod
    def open(cls, url: str, *, create: bool) -> MemoryStore:
        return cls(url)

    def of_user(self, user: str, most: int | None = None) -> list[tuple[str, float | None, float]]:
        return [row[1:] for row in self._sorted() if row.user == user][:most]

    def get(self, user: str, item: str) -> Feedback | None:
        return self._rows.get((user, item))

    def write(self, rows: Sequence[Feedback]) -> list[float | None]:
        return self._write(rows, self._rows)

    def write_properties(self, rows: Sequence[Properties]) -> list[float | None]:
        return self._write(rows, self._properties)

    def _write(self, rows: Sequence[Row], there: dict[tuple[str, str], Row]) -> list[float | None]:
        if any(row.time is None for row in rows):
            raise StoreUnavailable("a row without a time")
        stored: list[float | None] = [None] * len(rows)
        with _LOCK:
            for at, row in settled(rows, {pair: row.time for pair, row in there.items()}).items():
                known = there.get(row[:2])
                if known is None or row.time >= known.time:
                    there[row[:2]] = row
                    stored[at] = row.time
        return stored

    def everything(self) -> Iterator[list[Feedback]]:
        yield self._sorted()

    def properties(self) -> Iterator[list[Properties]]:
        with _LOCK:
            yield [self._properties[key] for key in sorted(self._properties)]

    def properties_mark(self) -> Mark:
        times = [row.time for row in self._properties.values()]
        return Mark(len(times), sum(times))

    def counts(self) -> Counts:
        rated = [row.user for row in self._sorted() if row.rating is not None]
        values = [row.rating for row in self._sorted() if row.rating is not None]
        times = [row.time for row in self._sorted()]
        return Counts(len(rated), len(set(rated)), len(self._rows) - len(rated), sum(times), sum(values))

    def close(self) -> None:
        pass

    def _sorted(self) -> list[Feedback]:
        with _LOCK:
            return [self._rows[pair] for pair in sorted(self._rows)]
