"""Many ratings in one body: JSON lines or CSV, every line checked before any is stored."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from typing import TypeVar

import msgspec

from bilinear.serving.feedback.properties import read_content
from bilinear.serving.feedback.store import Feedback, Properties
from bilinear.serving.messages import FeedbackLine, PropertiesLine
from bilinear.serving.problems import Refused

_COLUMNS = ("user", "item", "rating", "time")
_FORMULA = re.compile("'*[=+\\-@\\t\\r\\n\uff1d\uff0b\uff0d\uff20]")
_line_decoder = msgspec.json.Decoder(FeedbackLine)
_properties_decoder = msgspec.json.Decoder(PropertiesLine)
_encoder = msgspec.json.Encoder()
Line = TypeVar("Line")


def read_lines(body: bytes, kind: str) -> Iterator[tuple[int, FeedbackLine]]:
    """(number of the line, what it says). Raises Refused: a line that does not fit, with its number."""
    text = _text(body)
    yield from _from_csv(text) if kind == "text/csv" else _from_json(text, _line_decoder)


def read_properties(body: bytes) -> Iterator[tuple[int, PropertiesLine]]:
    """As `read_lines`, of properties as JSON lines."""
    yield from _from_json(_text(body), _properties_decoder)


def _text(body: bytes) -> str:
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Refused(f"the body is not UTF-8 (byte {error.start})", code="bad_body") from None


def _from_json(text: str, decoder: msgspec.json.Decoder[Line]) -> Iterator[tuple[int, Line]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            yield number, decoder.decode(line)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise _wrong(number, str(error)) from None


def _from_csv(text: str) -> Iterator[tuple[int, FeedbackLine]]:
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        names = next(rows, [])
        if len(set(names)) != len(names) or not set(_COLUMNS[:3]) <= set(names) <= set(_COLUMNS):
            raise _wrong(1, "the header names user, item, rating and, if any, time")
        for cells in rows:
            if not cells:
                continue
            if len(cells) != len(names):
                raise _wrong(rows.line_num, f"{len(cells)} cells under {len(names)} names")
            line: dict[str, str | None] = dict(zip(names, cells, strict=True))
            for name in ("user", "item"):
                cell = line[name]
                if cell is not None and cell.startswith("'") and _FORMULA.match(cell):
                    line[name] = cell[1:]
            for name in ("rating", "time"):
                if line.get(name) == "":
                    line[name] = None
            try:
                yield rows.line_num, msgspec.convert(line, FeedbackLine, strict=False)
            except msgspec.ValidationError as error:
                raise _wrong(rows.line_num, str(error)) from None
    except csv.Error as error:
        raise _wrong(rows.line_num, str(error)) from None


def written_lines(rows: list[Feedback], kind: str) -> bytes:
    """Rows as an import reads them.

    In CSV an id that a spreadsheet would take for a formula, by its first sign (= + - @ tab, line break),
    gets an apostrophe in front, which an import takes away again.
    """
    if kind == "csv":
        out = io.StringIO(newline="")
        # Quoted throughout: a lone carriage return in an id would else end the line.
        csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC).writerows(
            (_as_text(row.user), _as_text(row.item), row.rating, row.time) for row in rows
        )
        return out.getvalue().encode()
    return _encoder.encode_lines([FeedbackLine(*row) for row in rows])


def written_properties(rows: list[Properties]) -> bytes:
    """Rows as an import reads them."""
    lines = []
    for row in rows:
        found = None if row.content is None else read_content(row.content)
        title, features = (None, None) if found is None else (found.title, found.features)
        lines.append(PropertiesLine(row.side, row.id, title, features, row.time))
    return _encoder.encode_lines(lines)


def _as_text(cell: str) -> str:
    return f"'{cell}" if _FORMULA.match(cell) else cell


CSV_HEADER = ",".join(_COLUMNS).encode() + b"\n"


def _wrong(number: int, why: str) -> Refused:
    return Refused(f"line {number}: {why}; nothing was stored", code="bad_line")
