"""All feedback as one answer: made in threads, a few at once, ended when it is not read."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Generator
from time import monotonic
from typing import Any, Protocol

from bilinear.serving.feedback.imports import CSV_HEADER, written_lines, written_properties
from bilinear.serving.feedback.store import FeedbackStore
from bilinear.serving.problems import Refused

MOST = 8
LONGEST = 1800.0
_STALLED = 2.0
_PATIENCE = 30.0
_LOOK = 0.25

InThread = Callable[..., Awaitable[Any]]


class Lines(Protocol):
    """What an export writes: a head, and the text of each batch."""

    head: bytes

    def batches(self) -> Generator[bytes]:
        """Texts of whole lines; a batch may be empty."""
        ...


class FeedbackLines:
    """All ratings as JSON lines, or as CSV."""

    def __init__(self, store: FeedbackStore, kind: str, deleted: bool) -> None:
        self._store, self._kind, self._deleted = store, kind, deleted
        self.head = CSV_HEADER if kind == "csv" else b""

    def batches(self) -> Generator[bytes]:
        for rows in self._store.everything():
            yield written_lines([row for row in rows if self._deleted or row.rating is not None], self._kind)


class PropertiesLines:
    """All properties as JSON lines."""

    head = b""

    def __init__(self, store: FeedbackStore, deleted: bool) -> None:
        self._store, self._deleted = store, deleted

    def batches(self) -> Generator[bytes]:
        for rows in self._store.properties():
            yield written_properties([row for row in rows if self._deleted or row.content is not None])


class Exports:
    """At most so many exports at once: each holds the store at one moment.

    While others wait for a place, an export whose client has taken nothing for two seconds is ended.
    """

    def __init__(self, in_thread: InThread, most: int = MOST) -> None:
        self._in_thread, self._most = in_thread, most
        self._running: set[Export] = set()

    async def start(self, lines: Lines) -> Export:
        """An export with its first batch read.

        Raises:
            Refused: 503, no place became free in time.
            StoreUnavailable: the store is away; known before the answer begins.
        """
        until = monotonic() + _PATIENCE
        while len(self._running) >= self._most:
            self._cut_one()
            if monotonic() > until:
                raise Refused(f"{self._most} exports are under way; try again later", code="busy", status=503)
            await asyncio.sleep(_LOOK)
        export = Export(self, lines)
        self._running.add(export)
        try:
            await export.begin()
        except BaseException:
            await export.aclose()
            raise
        return export

    def _cut_one(self) -> None:
        """Ends what has waited longest for its client, if that is long; and what takes for ever."""
        now = monotonic()
        stalled = [
            export
            for export in self._running
            if export.waits_since is not None and now - export.waits_since > _STALLED
        ]
        if stalled and not any(export.cut.is_set() for export in stalled):
            min(stalled, key=lambda export: export.waits_since or now).cut.set()

    def left(self, export: Export) -> None:
        self._running.discard(export)

    async def in_thread(self, call: Callable[..., Any], *arguments: Any) -> Any:
        return await self._in_thread(call, *arguments)


class Export:
    """The pieces of one export (see `http.Pieces`)."""

    def __init__(self, exports: Exports, lines: Lines) -> None:
        self._exports, self._head = exports, lines.head
        self._batches = lines.batches()
        self._reading = threading.Lock()
        self._first: bytes | None = None
        self._ends = monotonic() + LONGEST
        self.waits_since: float | None = None
        self.cut = asyncio.Event()

    async def begin(self) -> None:
        self._first = self._head + (await self._next() or b"")

    async def piece(self) -> bytes | None:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        if monotonic() > self._ends:
            self.cut.set()
            return None
        return await self._next()

    async def aclose(self) -> None:
        try:
            await self._exports.in_thread(self._close)
        finally:
            self._exports.left(self)

    async def _next(self) -> bytes | None:
        lines: bytes | None = await self._exports.in_thread(self._lines)
        return lines

    def _lines(self) -> bytes | None:
        with self._reading:
            return next(self._batches, None)

    def _close(self) -> None:
        with self._reading:
            self._batches.close()
