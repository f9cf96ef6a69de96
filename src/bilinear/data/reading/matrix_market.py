"""MatrixMarket files (.mtx): a head, a line of sizes, then `row column value` with rows from 1."""

from __future__ import annotations

from pathlib import Path

from bilinear.data.reading.layout import Layout
from bilinear.data.reading.tables import TextTable
from bilinear.errors import FileFormatError

MARK = "%%MatrixMarket"


def matrix_market_table(path: Path, folder: Path, label: str) -> TextTable:
    """Users by items as rows of user, item and, unless it is a pattern, rating; numbers as in the file.

    The copy that is read has a blank line for each line of the head, so that lines keep their numbers.

    Raises:
        FileFormatError: not a general coordinate matrix of real numbers, or entries are missing or
            outside its size.
    Cost:
        0.7 s a million entries, and disk space for the copy.
    """
    copy = folder / "matrix"
    size: list[int] | None = None
    sample: list[list[str]] = []
    n_lines = n_rows = 0
    with path.open(encoding="utf-8") as stream, copy.open("w", encoding="utf-8", newline="\n") as out:
        field = _checked_head(next(stream), label)
        names = ["user", "item"] if field == "pattern" else ["user", "item", "rating"]
        out.write("\n")
        for n_lines, line in enumerate(stream, 2):
            fields = line.split()
            if not fields or fields[0].startswith("%"):
                out.write("\n")
                continue
            if size is None:
                size = _size(fields, f"{label} (line {n_lines})")
                out.write("\n")
                continue
            n_rows += 1
            try:
                is_inside = 1 <= int(fields[0]) <= size[0] and 1 <= int(fields[1]) <= size[1]
            except (ValueError, IndexError):
                is_inside = False
            if len(fields) != len(names) or not is_inside:
                raise FileFormatError(
                    f"{label}, row {n_rows} (line {n_lines}): {line.strip()[:60]!r} where {' '.join(names)} "
                    f"are expected, in a matrix of {size[0]:,} x {size[1]:,}; correct the line"
                )
            if n_rows <= 1000:
                sample.append(fields)
            out.write(" ".join(fields) + "\n")
    if size is None or n_rows != size[2]:
        raise FileFormatError(
            f"{label}: its head says {size[2] if size else 0:,} entries, and it has {n_rows:,}; the file is "
            "cut off, fetch or write it again"
        )
    layout = Layout(" ", None, names, len(names), sample, is_trusted=True, n_rows=n_rows)
    return TextTable(copy, label, layout, n_lines)


def _checked_head(head: str, label: str) -> str:
    """The kind of values: real, integer or pattern."""
    words = head.lower().split()
    if (
        len(words) == 5
        and words[1:3] == ["matrix", "coordinate"]
        and words[3] in ("real", "integer", "pattern", "double")
        and words[4] == "general"
    ):
        return words[3]
    raise FileFormatError(
        f"{label}: its head is {head.strip()[:80]!r}; a table of users and items is '{MARK} matrix "
        "coordinate real general' (or integer, pattern). Load another kind with scipy.io.mmread and give it "
        "to Interactions.from_matrix"
    )


def _size(fields: list[str], where: str) -> list[int]:
    if len(fields) == 3 and all(field.isdigit() for field in fields):
        return [int(field) for field in fields]
    raise FileFormatError(
        f"{where}: {' '.join(fields)[:60]!r} where the numbers of rows, columns and entries are expected"
    )
