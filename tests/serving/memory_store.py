"""A store of a class of one's own, in one file: it forgets when the process ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

from bilinear.serving.feedback.store import Counts, Feedback, register_store, settled
from bilinear.serving.problems import StoreUnavailable

_ROWS: dict[str, dict[tuple[str, str], Feedback]] = {}
_LOCK = threading.Lock()


@register_store
class MemoryStore:
    """Rows by pair, one table for each name."""

    schemes, address_form = ("memory",), "memory://NAME"
    is_local = True

    def __init__(self, url: str) -> None:
        self.address, self._rows = url, _ROWS.setdefault(url, {})

    @classmethod
    def open(cls, url: str, *, create: bool) -> MemoryStore:
        return cls(url)

    def of_user(self, user: str, most: int | None = None) -> list[tuple[str, float | None, float]]:
        return [row[1:] for row in self._sorted() if row.user == user][:most]

    def get(self, user: str, item: str) -> Feedback | None:
        return self._rows.get((user, item))

    def write(self, rows: Sequence[Feedback]) -> list[float | None]:
        if any(row.time is None for row in rows):
            raise StoreUnavailable("a row without a time")
        stored: list[float | None] = [None] * len(rows)
        with _LOCK:
            for at, row in settled(rows, {pair: row.time for pair, row in self._rows.items()}).items():
                known = self._rows.get(row[:2])
                if known is None or row.time >= known.time:
                    self._rows[row[:2]] = Feedback(*row)
                    stored[at] = row.time
        return stored

    def everything(self) -> Iterator[list[Feedback]]:
        yield self._sorted()

    def counts(self) -> Counts:
        rated = [row.user for row in self._sorted() if row.rating is not None]
        return Counts(len(rated), len(set(rated)), len(self._rows) - len(rated))

    def close(self) -> None:
        pass

    def _sorted(self) -> list[Feedback]:
        with _LOCK:
            return [self._rows[pair] for pair in sorted(self._rows)]
