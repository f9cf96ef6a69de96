"""Ctrl-C: the first one stops the work in order, a second one ends the process at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from select import select
from time import monotonic, sleep
from types import FrameType
from typing import Any, NoReturn

from bilinear.errors import BilinearError

EXIT_CODE = 130
_SAME = 0.2  # seconds in which several signals are one key press: a terminal and a wrapper may both send it
_AGAIN = b"\0"  # no signal has this number


class Interrupts:
    """Whether Ctrl-C came, whatever became of the exception that Python makes of it."""

    def __init__(self) -> None:
        self.came = self._ended = False
        self._own = 0
        self._pipe = -1

    def caused(self, error: BaseException) -> bool:
        """Whether an error is Ctrl-C: as such, as Typer's exit, or as what became of it on its way."""
        if isinstance(error, KeyboardInterrupt):
            return True
        if isinstance(error, SystemExit):
            return error.code == EXIT_CODE
        if not self.came:
            return False
        if not isinstance(error, (BilinearError, OSError)):
            return True
        cause: BaseException | None = error  # which may be about something else
        while cause is not None and not isinstance(cause, KeyboardInterrupt):
            cause = cause.__cause__ or cause.__context__
        return cause is not None

    def end(self, line: str) -> NoReturn:
        """Ends the process with a last line, without waiting for threads."""
        self._ended = True
        sys.stderr.write(line)
        if not self.came:  # raised by a program that has this one inside
            sys.exit(EXIT_CODE)
        sys.stderr.flush()
        with suppress(OSError, ValueError):
            sys.stdout.flush()
        os._exit(EXIT_CODE)

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        self.came = True
        if not self._ended:
            raise KeyboardInterrupt

    def on_unraisable(self, unraisable: Any) -> None:
        """Ctrl-C inside a destructor or a callback of C, where Python prints an exception and forgets it."""
        if self._pipe >= 0 and issubclass(unraisable.exc_type, KeyboardInterrupt):
            os.write(self._pipe, _AGAIN)
        else:
            sys.__unraisablehook__(unraisable)

    def watch(self, reader: int) -> None:
        """Reads what Python's C handler of signals writes, which waits neither for the interpreter nor for C.

        At the first Ctrl-C it ends database queries, at the second one the process.
        """
        first: float | None = None
        while True:
            waiting = first is not None and not self.came
            if not select([reader], [], [], 0.1 if waiting else None)[0]:
                _end_queries()
                continue
            number = os.read(reader, 1)
            if not number:
                os.close(reader)
                return
            if number == _AGAIN:
                sleep(0.02)  # out of the destructor
                self._own += 1
                main = threading.main_thread().ident
                assert main is not None
                signal.pthread_kill(main, signal.SIGINT)  # which also wakes it up
            elif number[0] != signal.SIGINT:
                continue
            elif self._own:
                self._own -= 1
            elif first is None:
                first = monotonic()
                _end_queries()
            elif monotonic() - first > _SAME:
                os.write(2, b"bilinear: ended at once\n")
                os._exit(EXIT_CODE)

    def install(self) -> Any:
        """Handles Ctrl-C from here on; returns what puts things back as they were."""
        hook, reader, before = sys.unraisablehook, -1, -1
        sys.unraisablehook = self.on_unraisable
        signal.signal(signal.SIGINT, self.on_signal)
        if os.name == "posix":  # elsewhere a wake-up descriptor has to be a socket
            reader, self._pipe = os.pipe()
            os.set_blocking(self._pipe, False)
            before = signal.set_wakeup_fd(self._pipe, warn_on_full_buffer=False)
            threading.Thread(target=self.watch, args=(reader,), daemon=True).start()

        def uninstall() -> None:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            sys.unraisablehook = hook
            if self._pipe >= 0:
                signal.set_wakeup_fd(before)
                os.close(self._pipe)

        return uninstall


@contextmanager
def interruptible() -> Iterator[Interrupts]:
    """Handles Ctrl-C in the block; a second one also beyond it, while the process is ending.

    Leaves things alone where the caller has arranged them otherwise: another handler, signals that are
    ignored (as by nohup), another thread than the main one.
    """
    interrupts = Interrupts()
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield interrupts
        return
    uninstall = interrupts.install()
    try:
        yield interrupts
    finally:
        if not interrupts.came:
            uninstall()


def _end_queries() -> None:
    if database := sys.modules.get("bilinear.data.reading.database"):
        database.end_queries()
