"""The command line: `bilinear COMMAND`. Parses, calls the library, renders."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from bilinear.cli.interrupts import Interrupts

_USAGE = 2
_STOPPED = "stopped before it was done; no file was left half written"


def main() -> None:
    """Runs the command line. Exit codes: 0 done, 1 the answer is no, 2 the input is wrong, 130 Ctrl-C.

    A second Ctrl-C ends the process at once.
    """
    try:  # imports take a moment, in which Ctrl-C may come as well
        from bilinear.cli.interrupts import interruptible

        with interruptible() as interrupts:
            try:
                _run()
            except BaseException as error:
                _report(error, interrupts)
    except KeyboardInterrupt:
        _end(_STOPPED, 130)


def _run() -> None:
    import io

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a title that this terminal has no letters for
    from bilinear.cli.app import app
    from bilinear.memory import limit_process

    try:
        app()
    finally:
        limit_process(None)  # --memory-limit is of one command


def _report(error: BaseException, interrupts: Interrupts) -> NoReturn:
    """Ends the process as the error says; an error of the program itself is left to Python."""
    from bilinear.errors import BilinearError, UnknownIdError

    if interrupts.caused(error):
        interrupts.end(f"bilinear: {_STOPPED}\n")
    if isinstance(error, SystemExit) and error.code == _USAGE and _may_have_dashed_id(sys.argv[1:]):
        from bilinear.cli.output import DASHED

        sys.stderr.write(f"{DASHED}\n")
    if isinstance(error, BrokenPipeError):  # the reader of our output went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    if isinstance(error, BilinearError):
        _end(error, 1 if isinstance(error, UnknownIdError) else 2)
    if isinstance(error, OSError):
        _end(f"{error.filename}: {error.strerror}" if error.filename and error.strerror else error, 2)
    raise error


def _may_have_dashed_id(words: list[str]) -> bool:
    """Whether a word of a command that takes an id was perhaps an id and read as an option."""
    return words[:1] == ["similar"] and "--" not in words and any(word.startswith("-") for word in words)


def _end(message: object, code: int) -> NoReturn:
    sys.stderr.write(f"bilinear: {message}\n")
    sys.exit(code)
