"""Pauses of a thread that works in Python beside the event loop, so that requests go on."""

from __future__ import annotations

from time import perf_counter, sleep

_WORK = 0.0005
_REST = 0.001


class Pauses:
    """Called often, it sleeps for a millisecond after each half: others have Python's lock meanwhile.

    Without it every wait of the event loop ends with a wait for the lock, as long as
    `sys.getswitchinterval()`, and the throughput falls to a fraction.
    """

    def __init__(self, work: float = _WORK, rest: float = _REST) -> None:
        self._work, self._rest, self._began = work, rest, perf_counter()

    def __call__(self) -> None:
        if perf_counter() - self._began >= self._work:
            sleep(self._rest)
            self._began = perf_counter()


def no_pause() -> None:
    """For work that nothing else waits for."""
