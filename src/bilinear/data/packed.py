"""Packed tables: a folder with the columns of a table as it is in memory, which are mapped, not read."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bilinear.data.description import ReadingNotes
from bilinear.data.interactions import Interactions
from bilinear.data.storage import Storage, mapped
from bilinear.data.vocabulary import Vocabulary
from bilinear.errors import FileFormatError
from bilinear.files import atomic_write, new_folder

MANIFEST = "packed.json"
FORMAT, VERSION = "bilinear packed table", 1
COLUMNS = ("users", "items", "ratings", "times")
_DTYPES = {"users": "<i4", "items": "<i4", "ratings": "<f4", "times": "<f8"}
_DTYPES |= {f"{side}_{name}": dtype for side in ("user", "item") for name, dtype in (
    ("integers", "<i8"), ("blob", "|u1"), ("offsets", "<i8"))}  # fmt: skip
_FACTS = ("duplicates", "has_ratings", "weighted", "n_rows_read", "n_rows_skipped")
_PIECE = 1 << 22  # bytes hashed at once


def is_packed(path: Any) -> bool:
    """Whether a path is a folder with a packed table, of whatever version."""
    return isinstance(path, (str, Path)) and os.path.isfile(Path(path) / MANIFEST)  # noqa: PTH113  # any text


class PackedWriter:
    """Appends tables with one vocabulary, in the order of their users, to the files of a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.n_ratings = self.n_rows_read = 0
        self._digests: dict[str, Any] = {}
        self._sizes: dict[str, int] = {}

    def append(self, table: Interactions) -> None:
        """The rows of a table, all of whose users come after those of the tables before."""
        self.n_ratings += table.n_ratings
        self.n_rows_read += table.n_rows_read
        for name in COLUMNS:
            column = getattr(table, name)
            if column is not None:
                self._write(name, column)

    def finish(self, table: Interactions) -> None:
        """Writes what all rows have in common, as `table` has it, but for counts of rows."""
        for side, vocabulary in (("user", table.user_vocabulary), ("item", table.item_vocabulary)):
            for name, array in vocabulary.tensors().items():
                self._write(f"{side}_{name}", array)
        facts = {name: getattr(table, name) for name in _FACTS} | {"n_rows_read": self.n_rows_read}
        document = {"format": FORMAT, "format_version": VERSION, "n_ratings": self.n_ratings, **facts}
        document |= {"rules": [table.user_vocabulary.rules, table.item_vocabulary.rules]}
        document |= {"notes": asdict(table.notes)}
        document |= {
            "files": {
                f"{name}.bin": {"bytes": self._sizes[name], "sha256": self._digests[name].hexdigest()}
                for name in self._sizes
            }
        }
        with atomic_write(self.folder / MANIFEST) as file:
            file.write(json.dumps(document, indent=1).encode())

    def _write(self, name: str, array: NDArray[Any]) -> None:
        digest = self._digests.setdefault(name, hashlib.sha256())
        content = np.ascontiguousarray(array, _DTYPES[name]).view(np.uint8).data
        with (self.folder / f"{name}.bin").open("ab") as file:
            for begin in range(0, len(content), _PIECE):
                piece = content[begin : begin + _PIECE]
                digest.update(piece)
                file.write(piece)
        self._sizes[name] = self._sizes.get(name, 0) + len(content)


@contextmanager
def packing(out: str | Path) -> Iterator[PackedWriter]:
    """A writer whose folder takes the name `out` when the block ends without an error.

    Until then it is a hidden folder beside it, which a killed process leaves and the next one to write
    `out` removes.

    Raises:
        ParameterValueError: the name is taken, or another process is writing it.
        OSError: the disk is full, there is no such folder, ...
    """
    with new_folder(Path(out), "packing") as work:
        yield PackedWriter(work)


def open_packed(folder: str | Path, *, verify: bool = False) -> Interactions:
    """The table of a packed folder, mapped: what is asked for is read when it is asked for.

    Args:
        verify: read all files and compare their checksums; else their sizes only.
    Raises:
        FileFormatError: a file is missing, of another size or content, or of a newer version.
    """
    folder = Path(folder)
    document = _manifest(folder)
    try:
        files = {
            name.removesuffix(".bin"): (one["bytes"], one["sha256"])
            for name, one in document["files"].items()
        }
        notes = ReadingNotes(
            tuple((name, kind) for name, kind in document["notes"]["ignored"]),
            document["notes"]["n_left_out"],
            tuple(document["notes"]["remarks"]),
        )
        facts: dict[str, Any] = {name: document[name] for name in _FACTS}
        rules = document["rules"]
        n_ratings = document["n_ratings"]
        sizes = {name: n_ratings * np.dtype(_DTYPES[name]).itemsize for name in COLUMNS if name in files}
        arrays = {name: _array(folder, name, *files[name], verify) for name in files}
        sides = [
            Vocabulary.from_tensors(
                {n.removeprefix(f"{side}_"): a for n, a in arrays.items() if n.startswith(f"{side}_")},
                tuple(of),
            )
            for side, of in zip(("user", "item"), rules, strict=True)
        ]
        users, items, ratings = (arrays[name] for name in COLUMNS[:3])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, FileFormatError):
            raise
        raise _damaged(folder / MANIFEST, f"does not describe a packed table ({error!r})") from None
    for name, size in sizes.items():
        if files[name][0] != size:
            raise _damaged(
                folder / MANIFEST, f"says {n_ratings:,} rows, and {files[name][0]:,} bytes of {name}"
            )
    for side, vocabulary in zip(("user", "item"), sides, strict=True):
        offsets = vocabulary.tensors().get("offsets")
        fault = vocabulary.fault() if verify else None
        if fault or (
            offsets is not None and [*offsets[:1], *offsets[-1:]] != [0, len(arrays[f"{side}_blob"])]
        ):
            raise _damaged(folder / f"{side}_offsets.bin", fault or "its offsets do not divide its bytes")
    for name, rows, vocabulary in (("users", users, sides[0]), ("items", items, sides[1])):
        ends = rows if verify else rows[[0, -1]] if len(rows) else rows
        if len(rows) and not (ends.min() >= 0 and ends.max() < len(vocabulary)):
            raise _damaged(folder / f"{name}.bin", f"refers to {name} that are not among the ids")
    return Interactions(
        users,
        items,
        ratings,
        arrays.get("times"),
        sides[0],
        sides[1],
        folder.name,
        notes=notes,
        storage=Storage(folder),
        **facts,
    )


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read: {error.strerror}; is it a packed table?") from None
    except ValueError as error:
        raise _damaged(path, f"the JSON cannot be read ({error})") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise _damaged(path, f"is not of the format {FORMAT!r}")
    version = document.get("format_version")
    if version != VERSION:
        raise FileFormatError(
            f"{path}: of format version {version!r}, and this bilinear reads {VERSION}; update bilinear, or "
            "pack the table again"
        )
    return document


def _array(folder: Path, name: str, n_bytes: int, sha256: str, verify: bool) -> NDArray[Any]:
    path, dtype = folder / f"{name}.bin", np.dtype(_DTYPES[name])
    try:
        found = path.stat().st_size
    except OSError as error:
        raise _damaged(path, error.strerror or "cannot be read") from None
    if found != n_bytes or n_bytes % dtype.itemsize:
        raise _damaged(path, f"has {found:,} bytes where {MANIFEST} says {n_bytes:,}")
    if verify:
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                raise _damaged(path, f"its content is not that of the checksum in {MANIFEST}")
    return mapped(path, dtype, n_bytes // dtype.itemsize)


def _damaged(path: Path, what: str) -> FileFormatError:
    return FileFormatError(f"{path}: {what}; pack the table again, or restore the folder from a copy")
