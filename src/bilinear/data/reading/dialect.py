"""Detection of separator, quotes and header of a text file from its first rows.

What is found here is a first guess: quotes are decided on the whole file (`layout.settled`), and every row
that does not fit the rest is named by the reader.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

from bilinear.data.reading.dates import parse
from bilinear.data.reading.layout import Layout, check_quote, records
from bilinear.errors import EmptyDataError, FileFormatError

_SAMPLE = 1 << 18
_ROWS = 1000
_LINES = 100  # at least, where lines are long
_IN_LISTS = (" ", "\t", ",")
_DELIMITERS = ("::", "\t", ";", ",", "|", " ")
_USUAL = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".dat": "::", ".item": "|", ".inter": "\t"}
_MISSING = {"", "na", "n/a", "nan", "null", "none", "-", "?"}
_EXCEL = re.compile(r"\"?sep=(.)\"?\r?\n", re.IGNORECASE)

IsHeader = Callable[[Sequence[Sequence[str]]], bool]
"""Whether the first of some rows names the columns."""


def layout(
    path: Path, label: str, suffix: str, n_needed: int, is_header: IsHeader, quote: str = "auto"
) -> Layout:
    """The layout under which the first rows agree, with at least `n_needed` columns if any does.

    Excel's first line `sep=;` is obeyed.

    Args:
        quote: the character around fields, "none", or "auto".
    Raises:
        FileFormatError: only one column is seen, or each line lists one user's items.
        EmptyDataError: there is a header and nothing below.
        ParameterValueError: `quote` is none of these.
    """
    mark = check_quote(quote)
    text, is_whole = _head(path)
    said = _EXCEL.match(text)
    text = text[said.end() :] if said else text
    if not text.strip():
        raise EmptyDataError(f"{label}: the file holds nothing but blanks")
    usual = said[1] if said else _USUAL.get(suffix)
    order = sorted(_DELIMITERS, key=lambda delimiter: delimiter != usual)  # stable: the usual one first
    marks = '"' if quote == "auto" else mark
    order = [said[1]] if said else order
    cuts = {delimiter: _rows(text, is_whole, delimiter, marks) for delimiter in order}
    lists = None if said else _item_lists(cuts)
    if lists is not None:
        _, least, most = lists
        raise FileFormatError(
            f"{label}: this lists one user with its items per line, no ratings (lines of {least} to {most} "
            "numbers): read it with bilinear.read_interactions, for ranking models (bilinear train does so "
            "by itself); a model of ratings needs rows of user, item and rating"
        )
    delimiter = said[1] if said else _best(cuts, n_needed, usual) or ("," if n_needed == 1 else None)
    if delimiter is None:
        first = text.lstrip().split("\n", 1)[0]
        raise FileFormatError(
            f"{label}: only one column is seen in {first[:60]!r}; fields are separated by comma, tab, "
            "semicolon, '::', '|' or one blank, the same in every row"
        )
    rows = cuts[delimiter]
    header = rows[0] if rows and is_header(rows) else None
    data = rows[1:] if header else rows
    if not data and is_whole:
        raise EmptyDataError(f"{label}: a header ({delimiter.join(rows[0])[:60]!r}) and no rows below it")
    return Layout(
        delimiter,
        marks if len(delimiter) == 1 else None,
        header,
        len(rows[0]),
        data,
        has_header=header is not None,
        skip=int(said is not None),
        is_trusted=quote != "auto",
    )


def list_separator(path: Path) -> str | None:
    """The separator of a file whose lines are a user and its items; None for other files."""
    text, is_whole = _head(path)
    lists = _item_lists({separator: _rows(text, is_whole, separator, '"') for separator in _IN_LISTS})
    return None if lists is None else lists[0]


def forced_separator(path: Path, label: str) -> str:
    """The separator of a file that is declared to list items per line, from its first lines.

    Raises:
        FileFormatError: nothing does.
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
    return parse(text) is not None


def is_missing(text: str) -> bool:
    """Whether a field marks a missing value."""
    return text.strip().casefold() in _MISSING


def _head(path: Path) -> tuple[str, bool]:
    """The first lines, each of them whole, and whether they are the whole file."""
    with path.open(encoding="utf-8", newline="") as stream:
        text = stream.read(_SAMPLE) + stream.readline()
        for _ in range(_LINES - text.count("\n")):
            if len(text) > 8 * _SAMPLE and text.count("\n") > 2:
                break
            text += stream.readline()
        return text, not stream.read(1)


def _rows(text: str, is_whole: bool, delimiter: str, quote: str | None) -> list[list[str]]:
    """The sample cut at `delimiter`."""
    mark = quote if len(delimiter) == 1 else None
    found = records(io.StringIO(text, newline=""), delimiter, mark)
    rows = [record.fields for record in islice(found, _ROWS)]
    if not is_whole and 2 < len(rows) < _ROWS:
        rows.pop()  # its closing quote may lie beyond the sample
    return rows


def _best(cuts: dict[str, list[list[str]]], n_needed: int, usual: str | None) -> str | None:
    def agreement(delimiter: str) -> float:
        rows = cuts[delimiter]
        if not rows or len(rows[0]) < 2:
            return 0.0
        n_fields = len(rows[0])
        return sum(len(row) == n_fields for row in rows) / len(rows)

    shares = {delimiter: agreement(delimiter) for delimiter in cuts}
    if shares[" "] < 1.0 or any(not field for row in cuts[" "] for field in row):
        shares[" "] = 0.0  # blanks separate fields only where nothing speaks against it
    for enough in (n_needed, 2):
        agreed = [d for d in cuts if shares[d] >= 0.9 and len(cuts[d][0]) >= enough]
        if agreed[:1] == [","] and ";" in agreed and len(cuts[";"][0]) > len(cuts[","][0]):
            return ";"  # the commas are within fields: decimal commas, most likely
        if agreed:
            return agreed[0]
    # No agreement: take the likeliest, so that the reader can name the first row that breaks it.
    likely = max(shares, key=lambda delimiter: (shares[delimiter], delimiter == usual))
    return likely if shares[likely] > 0 else None


def _item_lists(cuts: dict[str, list[list[str]]]) -> tuple[str, int, int] | None:
    """Item lists such as Gowalla's train.txt: `user item item item ...`, lines of many lengths.

    Returns:
        the separator, and the fields of the shortest and the longest line; None for other files.
    """
    for separator in _IN_LISTS:
        rows = [[field for field in row if field] for row in cuts[separator]]
        lengths = {len(row) for row in rows}
        longest = max(lengths, default=0)
        if len(lengths) < 2 or (len(lengths) < 3 and longest < 6) or longest < 4:
            continue
        if all(field.isascii() and field.isdigit() for row in rows for field in row):
            return separator, min(lengths), longest
    return None
