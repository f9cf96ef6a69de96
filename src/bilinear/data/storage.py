"""Storage of long columns: in memory, or in files that the system keeps in memory as far as it has room."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bilinear.files import require_room, reserve

_PART = 1 << 20  # rows at once


@dataclass(frozen=True)
class Storage:
    """Where the columns of a table and of its parts are made.

    Attributes:
        folder: None for memory. Else columns are mapped files without a name in this folder, or in the
            temporary directory where it cannot be written: they may be larger than memory, and go with the
            last reference to them, however the process ends.
    """

    folder: Path | None = None

    @property
    def in_files(self) -> bool:
        return self.folder is not None

    def empty(self, n: int, dtype: Any) -> NDArray[Any]:
        """(n,) to be filled.

        Raises:
            OSError: the disk has no room for it.
        """
        n_bytes = n * np.dtype(dtype).itemsize
        if self.folder is None or not n_bytes:
            return np.empty(n, dtype)
        folder = self.folder if os.access(self.folder, os.W_OK) else Path(tempfile.gettempdir())
        require_room(folder, n_bytes, "working on a packed table")
        with tempfile.TemporaryFile(dir=folder, prefix=".bilinear-") as file:
            reserve(
                file, n_bytes
            )  # a full disk is an error here; while a map is written it kills the process
            return mapped(file, dtype, n, "r+")

    def take(self, column: NDArray[Any], rows: NDArray[Any]) -> NDArray[Any]:
        """The entries at `rows`, positions in ascending order or a mask. Memory: that of some rows."""
        n = int(np.count_nonzero(rows)) if rows.dtype == bool else len(rows)
        taken, at = self.empty(n, column.dtype), 0
        for part in _positions(rows):
            np.take(column, part, out=taken[at : at + len(part)])
            at += len(part)
        return taken

    def lookup(self, table: NDArray[Any], rows: NDArray[Any]) -> NDArray[Any]:
        """table[rows], where the rows are as many as a table's ratings. Memory: that of some of them."""
        found = self.empty(len(rows), table.dtype)
        for part in parts(len(rows)):
            found[part] = table[rows[part]]
        return found


MEMORY = Storage()


def mapped(file: Any, dtype: Any, n: int, mode: Any = "r") -> NDArray[Any]:
    """The entries of an open file or a path, as a plain array: `np.memmap` slows every later indexing."""
    return np.memmap(file, dtype, mode, shape=(n,)).view(np.ndarray) if n else np.empty(0, dtype)


def parts(n: int) -> Iterator[slice]:
    """Places 0..n, a million at a time, for work that shall not hold temporary arrays of all."""
    for begin in range(0, n, _PART):
        yield slice(begin, min(begin + _PART, n))


def _positions(rows: NDArray[Any]) -> Iterator[NDArray[Any]]:
    for part in parts(len(rows)):
        yield part.start + np.flatnonzero(rows[part]) if rows.dtype == bool else rows[part]
