"""The Netflix Prize's files: a line `1:` names a film, the lines below are its `user,rating,date`."""

from __future__ import annotations

import re
from pathlib import Path

from bilinear.data.reading.layout import Layout
from bilinear.data.reading.tables import TextTable
from bilinear.errors import EmptyDataError, FileFormatError

_FILM = re.compile(r"\d+:\s*")
_NAMES = {1: ["user"], 2: ["user", "date"], 3: ["user", "rating", "date"]}
"""By the fields below a film: probe.txt, qualifying.txt, and combined_data_N.txt with mv_*.txt."""


def is_netflix(head: str) -> bool:
    """Whether the first line of a file names a film, and the second does not."""
    lines = head.splitlines()[:2]
    return len(lines) == 2 and bool(_FILM.fullmatch(lines[0])) and not _FILM.fullmatch(lines[1])


def netflix_table(path: Path, folder: Path, label: str) -> TextTable:
    """The file as rows of film, user, rating and date, in a copy that has a blank line for each film.

    Raises:
        FileFormatError: a row has another number of fields than the first one.
    Cost:
        0.5 s a million rows, and disk space for the copy.
    """
    copy = folder / "netflix"
    film, n_fields, n_lines, n_rows = "", 0, 0, 0
    sample: list[list[str]] = []
    with path.open(encoding="utf-8") as stream, copy.open("w", encoding="utf-8", newline="\n") as out:
        for n_lines, line in enumerate(stream, 1):
            if _FILM.fullmatch(line):
                film = line.strip()[:-1]
                out.write("\n")
                continue
            text = line.strip()
            if not text:
                out.write("\n")
                continue
            n_rows += 1
            n_found = text.count(",") + 1
            n_fields = n_fields or n_found
            if n_found != n_fields or n_fields not in _NAMES:
                raise FileFormatError(
                    f"{label}, row {n_rows} (line {n_lines}): {n_found} fields ({text[:60]!r}) below film "
                    f"{film}, where user,rating,date are expected, the same in every row; correct the row"
                )
            if n_rows <= 1000:
                sample.append([film, *text.split(",")])
            out.write(f"{film},{text}\n")
    if not n_rows:
        raise EmptyDataError(f"{label}: films and no rows below them")
    names = ["item", *_NAMES[n_fields]]
    layout = Layout(",", None, names, len(names), sample, is_trusted=True, n_rows=n_rows)
    return TextTable(copy, label, layout, n_lines)
