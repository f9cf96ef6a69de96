"""Output of commands: results on standard output, everything else on standard error."""

from __future__ import annotations

import csv
import io
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bilinear.errors import ParameterValueError
from bilinear.files import atomic_write

Columns = Mapping[str, Sequence[Any]]

DASHED = "An id that begins with - goes behind -- and all options: bilinear similar MODEL -n 5 -- -ID"

_WRITERS = (".csv", ".tsv", ".parquet", ".jsonl", ".ndjson", ".json")


def print_text(text: str = "") -> None:
    """A line of the result."""
    sys.stdout.write(text + "\n")


def print_note(text: str) -> None:
    """A line about the work, for the person watching."""
    sys.stderr.write(text + "\n")


def print_json(value: Any) -> None:
    """The result as one JSON document; numbers that are not finite become null."""
    whole = (sys.stdout.encoding or "").lower().startswith("utf")
    print_text(json.dumps(_finite(value), ensure_ascii=not whole, indent=2))


def print_result(found: Any, as_json: bool) -> None:
    """A result that has both a text and a document."""
    if as_json:
        print_json(found.to_dict())
    else:
        print_text(str(found))


def print_table(columns: Columns, *, right: Sequence[str] = ()) -> None:
    """A plain table with aligned columns; names in `right` are set to the right."""
    cells = {name: [_shown(value) for value in values] for name, values in columns.items()}
    widths = {name: max(map(len, [name, *values])) for name, values in cells.items()}
    names = list(cells)

    def line(values: Sequence[str]) -> str:
        parts = [
            value.rjust(widths[name]) if name in right else value.ljust(widths[name])
            for name, value in zip(names, values, strict=True)
        ]
        return "  ".join(parts).rstrip()

    print_text(line(names))
    for row in zip(*cells.values(), strict=True):
        print_text(line(row))


def check_table_path(path: Path) -> None:
    """Refuses a file name that `write_table` cannot write, before work is done for it."""
    if path.suffix.lower() not in _WRITERS:
        raise ParameterValueError(
            f"{path}: cannot tell the format from the name; end it in {', '.join(_WRITERS)}"
        )
    if path.is_dir() or not path.resolve().parent.is_dir():
        raise ParameterValueError(
            f"{path} is a folder" if path.is_dir() else f"{path}: no folder {path.resolve().parent}"
        )


def write_table(path: Path, columns: Columns) -> None:
    """Writes columns of equal length as CSV, TSV, Parquet, JSON or JSON lines, by the suffix.

    The file is written whole or not at all.
    """
    check_table_path(path)
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        _write_parquet(path, columns)
        return
    with atomic_write(path) as file:
        text = io.TextIOWrapper(file, "utf-8", newline="")
        if suffix in (".csv", ".tsv"):
            writer = csv.writer(text, delimiter="," if suffix == ".csv" else "\t", lineterminator="\n")
            writer.writerow(columns)
            writer.writerows(zip(*columns.values(), strict=True))
        else:
            rows = (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
            if suffix == ".json":
                json.dump([_finite(row) for row in rows], text, ensure_ascii=False)
            else:
                text.writelines(json.dumps(_finite(row), ensure_ascii=False) + "\n" for row in rows)
        text.detach()  # which flushes; the file below is closed by atomic_write


def _write_parquet(path: Path, columns: Columns) -> None:
    import duckdb

    from bilinear.data.reading.database import default_limit, disk_errors, stoppable

    with (
        duckdb.connect(config=default_limit()) as connection,
        stoppable(connection),
        atomic_write(path) as file,
        disk_errors(path),
    ):
        connection.register("result", {name: _typed(values) for name, values in columns.items()})
        connection.execute(
            "COPY (SELECT * FROM result) TO ? (FORMAT parquet, COMPRESSION zstd, USE_TMP_FILE false)",
            [file.name],
        )


def _typed(values: Sequence[Any]) -> np.ndarray[Any, Any]:
    if len(values) and isinstance(values[0], str):
        return np.array(values, object)
    return np.asarray(values)


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    return "" if value is None else str(value)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(part) for part in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
