"""How a text file is cut into fields: separator, quotes and header, from its first rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

from bilinear.data.tables import Layout, records
from bilinear.errors import EmptyDataError, FileFormatError

_SAMPLE = 1 << 18
_ROWS = 1000
_DELIMITERS = ("::", "\t", ";", ",", "|", " ")
_USUAL = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".dat": "::", ".item": "|"}
_MISSING = {"", "na", "n/a", "nan", "null", "none", "-", "?"}

IsHeader = Callable[[Sequence[str]], bool]


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
    _refuse_item_lists(cuts, label)
    delimiter = _best(cuts, n_needed, usual)
    if delimiter is None:
        first = text.lstrip().split("\n", 1)[0]
        raise FileFormatError(
            f"{label}: only one column is seen in {first[:60]!r}; fields are separated by comma, tab, "
            "semicolon, '::', '|' or one blank, the same in every row"
        )
    quoted, rows = cuts[delimiter]
    header = rows[0] if is_header(rows[0]) else None
    data = rows[1:] if header else rows
    if not data and is_whole:
        raise EmptyDataError(f"{label}: a header ({delimiter.join(rows[0])[:60]!r}) and no rows below it")
    return Layout(delimiter, quoted, header, len(rows[0]), data)


def is_number(text: str) -> bool:
    """Whether a field can be a value: a number, perhaps with a decimal comma."""
    try:
        float(text.replace(",", "."))
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


def _refuse_item_lists(cuts: dict[str, tuple[bool, list[list[str]]]], label: str) -> None:
    """Gowalla's train.txt and its kin: `user item item item ...`, lines of many lengths."""
    for delimiter in (" ", "\t", ","):
        _, rows = cuts[delimiter]
        lengths = {len(row) for row in rows}
        longest = max(lengths, default=0)
        if len(lengths) < 2 or (len(lengths) < 3 and longest < 6) or longest < 4:
            continue
        if all(field.isascii() and field.isdigit() for row in rows for field in row if field):
            raise FileFormatError(
                f"{label}: this lists one user with its items per line, no ratings (lines of {min(lengths)} "
                f"to {longest} numbers); reshape it into rows of user, item and a rating. Ranking models for "
                "interactions without ratings are not in this version"
            )
