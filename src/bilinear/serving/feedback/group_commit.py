"""One thread writes to the store: what arrives while it syncs shares the next sync."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from bilinear.serving.feedback.store import Feedback, FeedbackStore, Properties
from bilinear.serving.problems import StoreUnavailable

_TOGETHER = 1000
_WAITING = 10_000

Rows = Sequence[Feedback] | Sequence[Properties]
Job = tuple[Rows, "Future[list[float | None]]"]


class Writer:
    """Writes in the order of arrival; the future of a write ends when it is on disk, or failed.

    Small writes that wait together go into one transaction: one sync for all. Each is still there
    whole or not at all, and none is acknowledged before the sync. Properties have a transaction of their own.
    """

    def __init__(self, store: FeedbackStore) -> None:
        self._store = store
        self._jobs: queue.Queue[Job | None] = queue.Queue(_WAITING)
        self.n_rows = self.n_syncs = 0
        self._thread = threading.Thread(target=self._run, name="bilinear-writer", daemon=True)
        self._thread.start()

    def write(self, rows: Rows) -> Future[list[float | None]]:
        """Raises StoreUnavailable: too many writes wait already."""
        future: Future[list[float | None]] = Future()
        try:
            self._jobs.put_nowait((rows, future))
        except queue.Full:
            raise StoreUnavailable(
                "too many writes wait for the disk; nothing was stored, try again"
            ) from None
        return future

    def close(self) -> None:
        """Ends when all that waits is written."""
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        ending = False
        while not ending:
            jobs: list[Job] = []
            n_rows = 0
            job = self._jobs.get()
            while job is not None:
                if job[1].set_running_or_notify_cancel():
                    jobs.append(job)
                    n_rows += len(job[0])
                if n_rows >= _TOGETHER or self._jobs.empty():
                    break
                job = self._jobs.get()
            ending = job is None
            for of_properties, write in ((False, self._store.write), (True, self._store.write_properties)):
                some = [job for job in jobs if _is_of_properties(job) == of_properties]
                if some:
                    self._write(some, write)

    def _write(self, jobs: list[Job], write: Callable[[list[Any]], list[float | None]]) -> None:
        rows = [row for some, _ in jobs for row in some]
        try:
            stored = write(rows)
        except BaseException as error:
            for _, future in jobs:
                future.set_exception(error)
            return
        self.n_rows, self.n_syncs = self.n_rows + len(rows), self.n_syncs + 1
        at = 0
        for some, future in jobs:
            future.set_result(stored[at : at + len(some)])
            at += len(some)


def _is_of_properties(job: Job) -> bool:
    rows, _ = job
    return bool(rows) and isinstance(rows[0], Properties)
