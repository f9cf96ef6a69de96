"""All feedback as one answer: made in threads, a few at once, ended when it is not read."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Generator
from time import monotonic
from typing import Any

from bilinear.serving.feedback.imports import CSV_HEADER, written_lines
from bilinear.serving.feedback.store import Feedback, FeedbackStore
from bilinear.serving.problems import Refused

MOST = 8
LONGEST = 1800.0
_STALLED = 2.0
_PATIENCE = 30.0
_LOOK = 0.25

InThread = Callable[..., Awaitable[Any]]


class Exports:
    """At most so many exports at once: each holds the store at one moment.

    While others wait for a place, an export whose client has taken nothing for two seconds is ended.
    """

    def __init__(self, in_thread: InThread, most: int = MOST) -> None:
        self._in_thread, self._most = in_thread, most
        self._running: set[Export] = set()

    async def start(self, store: FeedbackStore, kind: str, deleted: bool) -> Export:
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
        export = Export(self, store, kind, deleted)
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

    def __init__(self, exports: Exports, store: FeedbackStore, kind: str, deleted: bool) -> None:
        self._exports, self._kind, self._deleted = exports, kind, deleted
        self._batches: Generator[list[Feedback]] = store.everything()  # type: ignore[assignment]
        self._reading = threading.Lock()
        self._first: bytes | None = None
        self._ends = monotonic() + LONGEST
        self.waits_since: float | None = None
        self.cut = asyncio.Event()

    async def begin(self) -> None:
        self._first = (CSV_HEADER if self._kind == "csv" else b"") + (await self._next() or b"")

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
            rows = next(self._batches, None)
        if rows is None:
            return None
        kept = rows if self._deleted else [row for row in rows if row.rating is not None]
        return written_lines(kept, self._kind)

    def _close(self) -> None:
        with self._reading:
            self._batches.close()
