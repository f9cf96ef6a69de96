"""The command line: `bilinear COMMAND`. Parses, calls the library, renders."""

from __future__ import annotations

import os
import sys

from bilinear.cli.output import tell
from bilinear.errors import BilinearError, UnknownIdError


def main() -> None:
    """Runs the command line. Exit codes: 0 done, 1 the answer is no, 2 the input is wrong."""
    from bilinear.cli.app import app

    try:
        app()
    except UnknownIdError as error:
        tell(f"bilinear: {error}")
        sys.exit(1)
    except BilinearError as error:
        tell(f"bilinear: {error}")
        sys.exit(2)
    except KeyboardInterrupt:
        tell("bilinear: stopped; nothing was written")
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        where = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else error
        tell(f"bilinear: {where}")
        sys.exit(2)
