"""Packing of tables that need not fit into memory: from files, through the engine, to a packed folder."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from inspect import signature
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bilinear.data.interactions import Duplicates, Interactions, bytes_of_columns
from bilinear.data.missing_values import check_markers
from bilinear.data.packed import COLUMNS, PackedWriter, open_packed, packing
from bilinear.data.reading.duckdb_reader import Loaded
from bilinear.data.reading.outcomes import Chosen, Meaning, check_signs, marks_of
from bilinear.data.reading.readers import read_any
from bilinear.data.reading.sources import Source
from bilinear.data.reading.tables import Table
from bilinear.data.refinement import told_left_out, with_rules
from bilinear.data.storage import Storage
from bilinear.errors import DuplicatePairError, EmptyDataError
from bilinear.files import require_room
from bilinear.memory import available
from bilinear.registry import check_names

_MOST, _FEWEST = 1 << 22, 1 << 20  # rows sorted at once
_BYTES = 80  # of memory that a row takes while it is sorted


def pack(source: Source, out: str | Path, **reading: Any) -> Interactions:
    """Writes a table as a packed folder, which opens at once and may be larger than memory.

    `bilinear.read_ratings(out)`, `read_interactions` and all commands take the folder like a file: its
    columns are mapped from the disk, in the order and with the values that reading the source would give.

    Files are read by an engine that spills to the temporary directory (TMPDIR), encoded part by part, sorted
    block of users by block of users, and published whole. What the engine cannot read, such as a frame or
    a file with rows of odd spelling, is read into memory first.

    Args:
        source: a table; or what `read_ratings` takes, also a pattern such as `"ratings/*.parquet"` or a
            folder of Parquet files.
        out: the folder to make; its name must be free.
        reading: arguments of `read_ratings`, or of `read_interactions` for a table without a rating column;
            `has_ratings` says which it is.
    Returns:
        the table of the folder.
    Raises:
        DataError: one of its kinds, as in reading.
        ParameterValueError: the name is taken, or an argument that cannot be used.
        OSError: the disk has no room.
    Cost:
        some 40 bytes a rating of disk while it works, 12 in the end (20 with times); memory as `memory_limit`
        allows the engine, the ids, and at most 0.4 GB.

    Examples:
        >>> from pathlib import Path
        >>> import bilinear
        >>> _ = Path("ratings.csv").write_text("user,item,rating\\nann,Heat,5\\nbob,Alien,4\\nann,Alien,3\\n")
        >>> bilinear.pack("ratings.csv", "ratings.packed")
        Interactions(3 ratings, 3 to 5; 2 users x 2 items, 75.000% filled; no times; ratings.packed)
        >>> bilinear.read_ratings("ratings.packed").ratings
        array([3., 5., 4.], dtype=float32)
    """
    check_names("pack", reading, [name for name in signature(read_any).parameters if name != "stream"])
    with packing(out) as writer:
        if isinstance(source, Interactions):
            check_names("pack of a table", reading, [])
            _append_all(writer, source)
        else:
            stream = partial(_sorted, writer, reading.get("duplicates"))
            table = read_any(source, **reading, stream=stream)
            if not writer.n_rows_read:
                _append_all(writer, table)
            else:
                writer.finish(table)
    return open_packed(out)


def _append_all(writer: PackedWriter, table: Interactions) -> None:
    require_room(writer.folder, bytes_of_columns(table.n_ratings, table.times is not None), "packing")
    writer.append(table)
    writer.finish(table)


def _sorted(
    writer: PackedWriter,
    duplicates: Duplicates | None,
    loaded: Loaded,
    table: Table,
    chosen: Chosen,
    meaning: Meaning,
) -> Interactions:
    """Writes the rows in the engine, sorted and merged; returns a part that has what all have in common."""
    if not loaded.n_rows:
        raise EmptyDataError(f"{table.label}: every row is one of those left out as missing")
    noun, label = "rating" if chosen.has_ratings else "value", table.label
    policy: Duplicates = duplicates or ("last" if chosen.has_ratings else "sum")
    codes: list[Any] = [
        np.arange(len(side), dtype=np.int32) for side in (loaded.user_vocabulary, loaded.item_vocabulary)
    ]
    sides = loaded.user_vocabulary, loaded.item_vocabulary
    sides, alike = with_rules(codes, sides, meaning.rules, table.is_text, label, are_rows=False)
    counts = np.bincount(codes[0], loaded.user_counts(), len(sides[0])).astype(np.int64)
    cuts = _cuts(counts)
    starts = np.append(0, np.cumsum(counts))[cuts]
    rows = _by_block(writer.folder, loaded, codes, cuts, starts, chosen)
    told = told_left_out(loaded.n_left_out, marks_of(chosen, meaning) or (), noun)
    if chosen.has_ratings and meaning.missing is None:
        told = check_markers(rows["ratings"], label)
    loaded.connection.execute("DROP TABLE ratings")  # its memory is for sorting
    for begin, end in pairwise(starts.tolist()):
        block = rows[begin:end]
        names = block.dtype.names or ()
        part = Interactions.from_encoded(
            [np.ascontiguousarray(block[name]) if name in names else None for name in COLUMNS],
            *sides,
            duplicates="last" if policy == "error" else policy,
            source=label,
            has_ratings=chosen.has_ratings,
            weighted=chosen.weighted,
        )
        if policy == "error" and part.n_duplicates:
            raise DuplicatePairError(
                f"{label}: {part.n_duplicates:,} rows of the users {sides[0][int(part.users[0])]!r} to "
                f"{sides[0][int(part.users[-1])]!r} repeat a user and an item; keep one of each, or choose "
                f"duplicates='last' or '{'mean' if chosen.has_ratings else 'sum'}'"
            )
        writer.append(part)
    notes = replace(
        chosen.notes, n_left_out=loaded.n_left_out, remarks=(*chosen.notes.remarks, *told, *alike)
    )
    return replace(part, notes=notes, duplicates=policy)


def _cuts(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Borders of blocks of users whose rows can be sorted at once, if need be of one user."""
    free = available()
    at_once = _MOST if free is None else min(_MOST, max(_FEWEST, free // 2 // _BYTES))
    ends = np.cumsum(counts)
    cuts, done = [0], 0
    while cuts[-1] < len(counts):
        end = max(int(np.searchsorted(ends, done + at_once, side="right")), cuts[-1] + 1)
        cuts.append(end)
        done = int(ends[end - 1])
    return np.array(cuts, np.int64)


def _by_block(
    folder: Path,
    loaded: Loaded,
    codes: list[NDArray[np.int32]],
    cuts: NDArray[np.int64],
    starts: NDArray[np.int64],
    chosen: Chosen,
) -> NDArray[Any]:
    """All rows, block by block of users, in a block in the order of the source; in a nameless file."""
    kinds = [("users", "<i4"), ("items", "<i4"), ("ratings", "<f4")]
    kinds += [] if loaded.clock_unit is None else [("times", "<f8")]
    width = np.dtype(kinds).itemsize
    require_room(folder, 2 * width * loaded.n_rows, "packing")  # these rows, and the columns made of them
    rows, free = Storage(folder).empty(loaded.n_rows, np.dtype(kinds)), starts[:-1].copy()
    for part in loaded.parts():
        check_signs(chosen, part[2])
        for at, code in enumerate(codes):
            part[at] = code[part[at]]
        blocks = np.searchsorted(cuts, part[0], side="right") - 1
        order = np.argsort(blocks, kind="stable")
        sizes = np.bincount(blocks, minlength=len(free))
        ends = np.cumsum(sizes)
        for block in np.flatnonzero(sizes):
            mine = order[ends[block] - sizes[block] : ends[block]]
            place = slice(free[block], free[block] + len(mine))
            for name, column in zip(rows.dtype.names or (), part, strict=False):
                rows[name][place] = column[mine]
        free += sizes
    return rows
