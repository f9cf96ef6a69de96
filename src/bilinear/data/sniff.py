"""How a text file is cut into fields: separator, quotes and header, from its first rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path

from bilinear.data.tables import Layout, records
from bilinear.errors import EmptyDataError, FileFormatError

_SAMPLE = 1 << 18
_ROWS = 1000
_IN_LISTS = (" ", "\t", ",")
_DELIMITERS = ("::", "\t", ";", ",", "|", " ")
_USUAL = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".dat": "::", ".item": "|"}
_MISSING = {"", "na", "n/a", "nan", "null", "none", "-", "?"}

IsHeader = Callable[[Sequence[Sequence[str]]], bool]
"""Whether the first of some rows names the columns."""


def layout(path: Path, label: str, suffix: str, n_needed: int, is_header: IsHeader) -> Layout:
    """The layout under which the first rows agree, with at least `n_needed` columns if any does.

    Raises:
        FileFormatError: only one column is seen, or each line lists one user's items.
        EmptyDataError: there is a header and nothing below.
    """
    text, is_whole = _head(path)
    if not text.strip():
        raise EmptyDataError(f"{label}: the file holds nothing but blanks")
    usual = _USUAL.get(suffix)
    order = sorted(_DELIMITERS, key=lambda delimiter: delimiter != usual)  # stable: the usual one first
    cuts = {delimiter: _rows(text, is_whole, delimiter) for delimiter in order}
    lists = _item_lists(cuts)
    if lists is not None:
        _, least, most = lists
        raise FileFormatError(
            f"{label}: this lists one user with its items per line, no ratings (lines of {least} to {most} "
            "numbers): read it with bilinear.read_interactions, for ranking models (bilinear train does so "
            "by itself); a model of ratings needs rows of user, item and rating"
        )
    delimiter = _best(cuts, n_needed, usual) or ("," if n_needed == 1 else None)
    if delimiter is None:
        first = text.lstrip().split("\n", 1)[0]
        raise FileFormatError(
            f"{label}: only one column is seen in {first[:60]!r}; fields are separated by comma, tab, "
            "semicolon, '::', '|' or one blank, the same in every row"
        )
    quoted, rows = cuts[delimiter]
    header = rows[0] if is_header(rows) else None
    data = rows[1:] if header else rows
    if not data and is_whole:
        raise EmptyDataError(f"{label}: a header ({delimiter.join(rows[0])[:60]!r}) and no rows below it")
    return Layout(delimiter, quoted, header, len(rows[0]), data)


def list_separator(path: Path) -> str | None:
    """What separates the fields where each line is a user and its items; None for other files."""
    text, is_whole = _head(path)
    lists = _item_lists({separator: _rows(text, is_whole, separator) for separator in _IN_LISTS})
    return None if lists is None else lists[0]


def forced_separator(path: Path, label: str) -> str:
    """What separates the fields of a file that is said to list items per line, by its first lines.

    Raises: FileFormatError: nothing does.
    """
    text, _ = _head(path)
    counts = {separator: text.count(separator) for separator in _IN_LISTS}
    best = max(counts, key=lambda separator: counts[separator])
    if not counts[best]:
        raise FileFormatError(
            f"{label}: no line has a user and an item with a blank, tab or comma between them"
        )
    return best


def is_number(text: str) -> bool:
    """Whether a field can be a value: a number, perhaps with a decimal comma."""
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return True


def is_moment(text: str) -> bool:
    """Whether a field looks like a time: a date, or seconds (or less) since 1970 from 1973 on."""
    try:
        return float(text) >= 1e8
    except ValueError:
        pass
    try:
        datetime.fromisoformat(text.strip())
    except ValueError:
        return False
    return True


def is_missing(text: str) -> bool:
    """Whether a field says that there is no value."""
    return text.strip().casefold() in _MISSING


def _head(path: Path) -> tuple[str, bool]:
    """The first rows, and whether they are the whole file; a cut row is left out."""
    with path.open(encoding="utf-8", newline="") as stream:
        text = stream.read(_SAMPLE)
        is_whole = not stream.read(1)
    if not is_whole:
        end = max(text.rfind("\n"), text.rfind("\r"))
        text = text[: end + 1] if end >= 0 else text
    return text, is_whole


def _rows(text: str, is_whole: bool, delimiter: str) -> tuple[bool, list[list[str]]]:
    """The sample cut at `delimiter`, with quotes where they make sense."""
    for quoted, strict in ((True, True), (False, True)) if delimiter in "\t| " else ((True, False),):
        try:
            rows = [
                f for _, f in islice(records(io.StringIO(text, newline=""), delimiter, quoted, strict), _ROWS)
            ]
        except csv.Error:
            continue
        break
    else:
        return False, []
    if not is_whole and 1 < len(rows) < _ROWS:
        rows.pop()  # its closing quote may lie beyond the sample
    return quoted and len(delimiter) == 1, rows


def _best(cuts: dict[str, tuple[bool, list[list[str]]]], n_needed: int, usual: str | None) -> str | None:
    def agreement(delimiter: str) -> float:
        _, rows = cuts[delimiter]
        if not rows or len(rows[0]) < 2:
            return 0.0
        n_fields = len(rows[0])
        return sum(len(row) == n_fields for row in rows) / len(rows)

    shares = {delimiter: agreement(delimiter) for delimiter in cuts}
    if shares[" "] < 1.0 or any(not field for row in cuts[" "][1] for field in row):
        shares[" "] = 0.0  # blanks separate fields only where nothing speaks against it
    for enough in (n_needed, 2):
        agreed = [d for d in cuts if shares[d] >= 0.9 and len(cuts[d][1][0]) >= enough]
        if agreed:
            return agreed[0]
    # No agreement: take the likeliest, so that the reader can name the first row that breaks it.
    likely = max(shares, key=lambda delimiter: (shares[delimiter], delimiter == usual))
    return likely if shares[likely] > 0 else None


def _item_lists(cuts: dict[str, tuple[bool, list[list[str]]]]) -> tuple[str, int, int] | None:
    """Gowalla's train.txt and its kin: `user item item item ...`, lines of many lengths.

    Returns: the separator, and the fields of the shortest and the longest line; None for other files.
    """
    for separator in _IN_LISTS:
        rows = [[field for field in row if field] for row in cuts[separator][1]]
        lengths = {len(row) for row in rows}
        longest = max(lengths, default=0)
        if len(lengths) < 2 or (len(lengths) < 3 and longest < 6) or longest < 4:
            continue
        if all(field.isascii() and field.isdigit() for row in rows for field in row):
            return separator, min(lengths), longest
    return None
