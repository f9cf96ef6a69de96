"""Rows that cannot be read: left out on request, and written to a file with the reason."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bilinear.data.reading.tables import Batch
from bilinear.errors import DataError, ParameterValueError
from bilinear.files import atomic_write

NAMES = ("row", "line", "reason", "content")


class BadRows:
    """Writer of the rows that are left out: a CSV file with row, line, reason and content."""

    def __init__(self, write: Callable[[Sequence[Any]], object]) -> None:
        self._write = write
        self.n_rows = 0

    def refuse(self, row: int, line: int | None, error: DataError, text: str) -> None:
        """One more row that cannot be read."""
        self.n_rows += 1
        self._write((row, "" if line is None else line, str(error), text))

    def without(self, batch: Batch, check: Callable[[Batch], object]) -> Batch:
        """The rows of a batch that `check` accepts one by one; the others are written down."""
        good = []
        with suppress(DataError):
            check(batch)
            return batch
        for at in range(len(batch)):
            one = batch.take([at])
            try:
                check(one)
            except DataError as error:
                content = json.dumps([column[0] for column in one.columns], ensure_ascii=False, default=str)
                self.refuse(one.rows[0], one.lines[0] if one.lines else None, error, content)
            else:
                good.append(at)
        return batch.take(good)


@contextmanager
def leaving_out(path: str | Path | None, source: object) -> Iterator[BadRows | None]:
    """Rows left out within the block are in the file `path` when it ends, and nothing if it fails.

    Raises:
        ParameterValueError: `path` cannot be written, or is the source.
    """
    if path is None:
        yield None
        return
    if not isinstance(path, (str, Path)):
        raise ParameterValueError(f"skip_bad_rows={path!r}; give the name of a file for the rows left out")
    path = Path(path)
    if isinstance(source, (str, Path)) and os.path.realpath(source) == os.path.realpath(path):
        raise ParameterValueError(f"skip_bad_rows={str(path)!r} is the file that is read; name another")
    if path.is_dir() or not path.resolve().parent.is_dir():
        raise ParameterValueError(
            f"skip_bad_rows={str(path)!r} (--skip-bad-rows): "
            + ("this is a folder" if path.is_dir() else "its folder does not exist")
            + "; give the name of a file to write"
        )
    with atomic_write(path) as file:
        text = io.TextIOWrapper(file, "utf-8", errors="backslashreplace", newline="", write_through=True)
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(NAMES)
        yield BadRows(writer.writerow)
        text.detach()
