"""The command line: `bilinear COMMAND`. Parses, calls the library, renders."""

from __future__ import annotations

import io
import os
import sys

from bilinear.errors import BilinearError, UnknownIdError

_CTRL_C = 130
_USAGE = 2
_STOPPED = "stopped before it was done; no file was left half written"


def main() -> None:
    """Runs the command line. Exit codes: 0 done, 1 the answer is no, 2 the input is wrong, 130 Ctrl-C."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a title that this terminal has no letters for
    try:
        from bilinear.cli.app import app  # takes a moment, in which Ctrl-C may come as well

        app()
    except UnknownIdError as error:
        _end(error, 1)
    except BilinearError as error:
        _end(error, 2)
    except KeyboardInterrupt:
        _end(_STOPPED, _CTRL_C)
    except SystemExit as stop:
        if stop.code == _CTRL_C:  # Typer makes this of Ctrl-C, and says nothing
            _end(_STOPPED, _CTRL_C)
        if stop.code == _USAGE and _may_have_dashed_id(sys.argv[1:]):
            from bilinear.cli.output import DASHED

            sys.stderr.write(f"{DASHED}\n")
        raise
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        _end(f"{error.filename}: {error.strerror}" if error.filename and error.strerror else error, 2)


def _may_have_dashed_id(words: list[str]) -> bool:
    """Whether a word of a command that takes an id was perhaps an id and read as an option."""
    return words[:1] == ["similar"] and "--" not in words and any(word.startswith("-") for word in words)


def _end(message: object, code: int) -> None:
    sys.stderr.write(f"bilinear: {message}\n")
    sys.exit(code)
