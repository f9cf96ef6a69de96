"""Layout of text files: rows, fields, and whether quotation marks quote.

`dialect` looks at the first rows; `settled` decides about quotes on every line of the file, so that a pair
of marks far apart never makes one field of all the rows between them.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from bilinear.errors import ParameterValueError

AS_CHARACTER = "quote='none' (--quote none; for an items file --items-quote none)"
AS_QUOTE = "quote='\"' (--quote '\"')"
_MOSTLY = 10  # well-formed quoted rows a broken one, from which the quotes are meant as such


@dataclass(frozen=True)
class Layout:
    """Layout of a text file as `dialect.layout` found it."""

    delimiter: str
    quote: str | None
    """The character around fields, or None where there is none."""
    names: list[str] | None
    n_columns: int
    sample: list[list[str]]
    """The first data rows."""
    has_header: bool = False
    skip: int = 0
    """Lines before the header or the first row."""
    is_trusted: bool = False
    """Quotes are as the caller says, or found to be right in the whole file."""
    n_rows: int | None = None
    """Data rows, once `settled` has counted them."""


class Record(NamedTuple):
    """A row of text that is not blank."""

    line: int
    """Where it ends, from 1."""
    fields: list[str]
    lines: Sequence[str]
    """As they stand in the file."""
    problem: str | None = None
    """Why quotes cannot be read; the record is then its first line, cut without quotes."""


RowCheck = Callable[[Sequence[str], Sequence[str]], str | None]
"""Of the lines and the fields of a record."""


def check_quote(quote: object) -> str | None:
    """The mark that `quote` names; None for "auto" and "none".

    Raises:
        ParameterValueError: neither these nor a single character.
    """
    if quote in ("auto", "none"):
        return None
    if not isinstance(quote, str) or len(quote) != 1 or quote in "\r\n\0 " or quote.isalnum():
        raise ParameterValueError(
            f"quote={quote!r}; give 'auto', 'none' or the one character around fields, such as '\"' (--quote)"
        )
    return quote


def records(
    stream: Iterable[str], delimiter: str, quote: str | None, row_check: RowCheck | None = None
) -> Iterator[Record]:
    """Every row that is not blank. A broken quote breaks its own line only: the next one is read anew.

    Args:
        row_check: says of lines within quotes what speaks against them as one row.
    """
    lines = iter(stream)
    waiting: list[str] = []  # read already for a record that came to nothing; the next one is the last
    number = 0
    while True:
        line = waiting.pop() if waiting else next(lines, None)
        if line is None:
            return
        number += 1
        fields = line.rstrip("\r\n").split(delimiter)
        if len(fields) == 1 and not fields[0].strip():
            continue
        if quote is None or quote not in line:
            yield Record(number, fields, (line,))
            continue
        taken, problem, raw = [line], None, fields
        try:
            fields = next(
                csv.reader(
                    _recorded(taken, waiting, lines), delimiter=delimiter, quotechar=quote, strict=True
                )
            )
        except csv.Error as error:
            problem = _reason(str(error))
        if problem is None and row_check is not None and len(taken) > 1:
            problem = row_check(taken, fields)
        if problem is not None:
            fields = raw
            waiting.extend(reversed(taken[1:]))
            del taken[1:]
        number += len(taken) - 1
        yield Record(number, fields, taken, problem)


def _recorded(taken: list[str], waiting: list[str], lines: Iterator[str]) -> Iterator[str]:
    yield taken[0]
    while (line := waiting.pop() if waiting else next(lines, None)) is not None:
        taken.append(line)
        yield line


def _reason(error: str) -> str:
    if "unexpected end" in error or "field limit" in error:
        return "a quote is opened and never closed"
    if "expected after" in error:
        return 'text after a closing quote; a quote inside quotes is written twice ("")'
    return error


def text_lines(path: Path, skip: int) -> Iterator[str]:
    """The lines of a plain file with their ends, without the first `skip`."""
    with path.open(encoding="utf-8", newline="") as stream:
        for _ in range(skip):
            next(stream, None)
        yield from stream


def n_filled_lines(path: Path, delimiter: str) -> int:
    """The number of lines that are not blank. Cost: 0.1 s a million."""
    return sum(1 for line in text_lines(path, 0) if line.strip() or delimiter in line)


def rows_of(stream: Iterable[str], layout: Layout) -> Iterator[Record]:
    """Every row of a layout that is not blank; a quote that swallows other rows is a problem of its line."""
    row_check = None if layout.is_trusted else partial(_misfit, layout)
    return records(stream, layout.delimiter, layout.quote, row_check)


def _misfit(layout: Layout, lines: Sequence[str], fields: Sequence[str]) -> str | None:
    """Why lines within quotes cannot be meant as one row, or None."""
    n_alike = sum(_is_row(line, layout) for line in lines)
    if (n_alike >= 2 and 2 * n_alike >= len(lines)) or not _has(fields, layout.n_columns):
        return (
            f"a quote is opened here and closed {len(lines) - 1} lines below, which makes one row of "
            f"{len(fields)} fields of lines that seem to be rows by themselves; if these line breaks "
            f"belong to the field, say {AS_QUOTE}"
        )
    return None


def _is_row(line: str, layout: Layout) -> bool:
    """Whether a line is a row by itself: as many fields, and numbers where the first rows have some."""
    numeric = _numeric_columns(layout)
    quoted = next(iter(records([line], layout.delimiter, layout.quote)), None)
    for fields in (line.rstrip("\r\n").split(layout.delimiter), quoted.fields if quoted else []):
        if len(fields) == layout.n_columns and all(_is_number(fields[at]) for at in numeric):
            return True
    return False


def _numeric_columns(layout: Layout) -> list[int]:
    rows = [row for row in layout.sample[:100] if len(row) == layout.n_columns]
    return [
        at
        for at in range(layout.n_columns)
        if rows and sum(_is_number(row[at]) for row in rows) >= 0.9 * len(rows)
    ]


def _is_number(text: str) -> bool:
    try:
        float(text.strip().strip('"').replace(",", ".") or "0")
    except ValueError:
        return False
    return True


def settled(path: Path, layout: Layout) -> Layout:
    """The layout with its quotes decided on every line, and its rows counted.

    Quotes are quotes where every row can be read so. Else they are characters, unless the fields are
    separated by commas, or some fields need their quotes, or nearly all rows are fine with them: then the
    quotes are meant as such, and reading names the row that is broken.

    Cost:
        0.1 s a million lines, and two microseconds a line with a quote.
    """
    if layout.n_rows is not None:
        return layout
    n_rows = n_lines = n_proper = n_broken = 0
    needed = False
    for record in rows_of(text_lines(path, layout.skip), layout):
        n_rows += 1
        if len(record.lines) == 1 and (layout.quote is None or layout.quote not in record.lines[0]):
            n_lines += 1
            continue
        raw = [line.rstrip("\r\n").split(layout.delimiter) for line in record.lines]
        raw = [fields for fields in raw if len(fields) > 1 or fields[0].strip()]
        n_lines += len(raw)
        if record.problem is not None or not _has(record.fields, layout.n_columns):
            n_broken += 1
        elif record.fields != raw[0]:
            n_proper += 1
            quote = str(layout.quote)
            needed = (
                needed
                or len(record.lines) > 1
                or any(
                    layout.delimiter in field or (quote in field and quote * 2 in record.lines[0])
                    for field in record.fields
                )
            )
    is_raw = (
        not layout.is_trusted
        and n_broken > 0
        and layout.delimiter != ","
        and not needed
        and n_proper < _MOSTLY * n_broken
    )
    if is_raw:
        n_rows = n_lines
    return replace(
        layout,
        quote=None if is_raw else layout.quote,
        is_trusted=layout.is_trusted or is_raw or not n_broken,
        n_rows=n_rows - layout.has_header,
    )


def _has(fields: Sequence[str], n_columns: int) -> bool:
    return len(fields) == n_columns or (len(fields) == n_columns + 1 and not fields[-1])
