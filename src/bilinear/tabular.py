"""Results as tables: rows, columns, data frames, and HTML for notebooks, all from columns by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, make_dataclass
from functools import cached_property, lru_cache
from html import escape
from math import isfinite
from operator import index
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bilinear.optional_packages import extra

_SHOWN = 20  # rows of a table in HTML, before the rest is counted
_WIDTH = 120  # pixels of the picture of an interval


class Shown:
    """Results that a notebook shows as they print: `str()` as HTML."""

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"


class Columns:
    """Results with named columns of one length: data frames of any library, and an HTML table.

    A subclass defines `to_columns`; columns called low and high, after a value, are drawn as intervals.
    """

    def to_columns(self) -> Mapping[str, Any]:
        """Columns by name: arrays or lists of one length."""
        raise NotImplementedError

    def to_dicts(self) -> list[dict[str, Any]]:
        """One dictionary a row, with plain Python values."""
        names, lists = list(self.plain_columns), self.plain_columns.values()
        return [dict(zip(names, row, strict=True)) for row in zip(*lists, strict=True)]

    def to_pandas(self) -> Any:
        """A pandas data frame.

        Raises:
            MissingDependencyError: pandas is not installed.
        """
        with extra("pandas"):
            import pandas
        return pandas.DataFrame(self._plain())

    def to_polars(self) -> Any:
        """A polars data frame.

        Raises:
            MissingDependencyError: polars is not installed.
        """
        with extra("polars"):
            import polars
        return polars.DataFrame(self._plain())

    def to_arrow(self) -> Any:
        """An Arrow table.

        Raises:
            MissingDependencyError: pyarrow is not installed.
        """
        with extra("arrow"):
            import pyarrow
        return pyarrow.table(self._plain())

    def __arrow_c_stream__(self, requested_schema: object = None) -> Any:
        """Arrow's own way into data frames: `polars.DataFrame(result)`, `pyarrow.table(result)`."""
        return self.to_arrow().__arrow_c_stream__(requested_schema)

    def _plain(self) -> dict[str, Any]:
        """Columns that every library takes: arrays of numbers, lists of all else."""
        return {
            name: values.tolist() if isinstance(values, np.ndarray) and values.dtype == object else values
            for name, values in self.to_columns().items()
        }

    @cached_property
    def plain_columns(self) -> dict[str, list[Any]]:
        """Columns as lists of plain Python values."""
        return {
            name: values.tolist() if isinstance(values, np.ndarray) else list(values)
            for name, values in self.to_columns().items()
        }

    def _caption(self) -> str:
        """A line above the HTML table."""
        return ""

    def _repr_html_(self) -> str:
        columns, n_rows = self._head(_SHOWN)
        return html_table(columns, n_rows, self._caption())

    def _head(self, n: int) -> tuple[Mapping[str, Any], int]:
        """The columns of the first rows, and how many rows there are."""
        columns = self.to_columns()
        n_rows = len(next(iter(columns.values()), ()))
        return {name: values[:n] for name, values in columns.items()}, n_rows


class Row:
    """One row of a table: its cells by the names of the columns."""

    def __reduce__(self) -> Any:  # the class is made as it is needed, so pickle cannot find it by its name
        names = tuple(column.name for column in fields(self))  # type: ignore[arg-type]
        return _row, (type(self).__mro__[1], names, tuple(getattr(self, name) for name in names))


class Tabular(Columns):
    """`Columns` that is also a sequence of rows: `len`, iteration, `rows[0]`, `rows[2:5]`, `rows["name"]`.

    A row is a dataclass, so that `pandas.DataFrame(result)` keeps all columns.

    Examples:
        >>> from bilinear.tabular import Tabular
        >>> class Prices(Tabular):
        ...     def to_columns(self):
        ...         return {"item": ["tea", "jam"], "price": [2.5, 4.0]}
        >>> prices = Prices()
        >>> prices[1], len(prices)
        (Row(item='jam', price=4.0), 2)
        >>> prices["price"]
        array([2.5, 4. ])
        >>> prices.to_dicts()[0]
        {'item': 'tea', 'price': 2.5}
        >>> list(prices.to_pandas().columns)
        ['item', 'price']
    """

    row_base: ClassVar[Any] = Row

    def __len__(self) -> int:
        return len(next(iter(self.plain_columns.values()), ()))

    def __iter__(self) -> Iterator[Any]:
        row = row_type(self.row_base, tuple(self.plain_columns))
        return (row(*values) for values in zip(*self.plain_columns.values(), strict=True))

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, str):
            return self._column(at)
        if isinstance(at, slice):
            return [self[row] for row in range(*at.indices(len(self)))]
        lists, place = self.plain_columns, index(at)
        if not -len(self) <= place < len(self):
            raise IndexError(f"row {place} of {len(self)}")
        return row_type(self.row_base, tuple(lists))(*(values[place] for values in lists.values()))

    def _column(self, name: str) -> NDArray[Any]:
        columns = self.to_columns()
        if name not in columns:
            raise KeyError(f"no column {name!r}; there are {', '.join(columns)}")
        values = columns[name]
        if isinstance(values, np.ndarray):
            return values
        plain = np.asarray(values)
        return plain if plain.dtype.kind in "biuf" else np.array(values, object)


def columns_of(rows: Iterable[Any], kind: type[Any]) -> dict[str, list[Any]]:
    """Columns by the names of the fields of a dataclass, from instances of it."""
    rows = list(rows)
    return {field.name: [getattr(row, field.name) for row in rows] for field in fields(kind)}


@lru_cache(maxsize=64)
def row_type(base: Any, names: tuple[str, ...]) -> Any:
    """The dataclass of the rows of a table with these columns; equal as `base` says, else by their cells."""
    own = base.__eq__ is object.__eq__
    return make_dataclass("Row", [(name, Any) for name in names], bases=(base,), frozen=True, eq=own)


def _row(base: Any, names: tuple[str, ...], cells: tuple[Any, ...]) -> Any:
    return row_type(base, names)(*cells)


def html_table(columns: Mapping[str, Sequence[Any]], n_rows: int, caption: str = "") -> str:
    """An HTML table of the first rows, with all text escaped; intervals also as pictures.

    Args:
        columns: The rows to show, by name of the column.
        n_rows: How many there are in all.
        caption: A line above it.

    Examples:
        >>> from bilinear.tabular import html_table
        >>> "&lt;b&gt;" in html_table({"title": ["<b>"]}, 1)
        True
    """
    names, lists = list(columns), [list(values) for values in columns.values()]
    drawn = _intervals(columns)
    right = [_is_numeric(values) and not name.endswith(("user", "item")) for name, values in columns.items()]
    head = "".join(_cell("th", escape(str(name)), at) for name, at in zip(names, right, strict=True))
    body = []
    for n, row in enumerate(zip(*lists, strict=True)):
        cells = "".join(_cell("td", _text(value), at) for value, at in zip(row, right, strict=True))
        body.append(f"<tr>{cells}{f'<td>{drawn[n]}</td>' if drawn else ''}</tr>")
    n_left = n_rows - len(body)
    more = f"<p>... and {n_left:,} more rows</p>" if n_left > 0 else ""
    top = f"<p>{escape(caption)}</p>" if caption else ""
    table = f"<table><thead><tr>{head}{'<th></th>' if drawn else ''}</tr></thead>"
    return f"<div>{top}{table}<tbody>{''.join(body)}</tbody></table>{more}</div>"


def _cell(tag: str, content: str, is_number: bool) -> str:
    return f'<{tag} style="text-align:{"right" if is_number else "left"}">{content}</{tag}>'


def _is_numeric(values: Sequence[Any]) -> bool:
    return all(
        value is None or (isinstance(value, (int, float, np.number)) and not isinstance(value, bool))
        for value in values
    )


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (float, np.floating)):
        value = float(value)
        plain = 1e-3 <= abs(value) < 1e6 or value == 0
        return f"{value:.4f}" if plain else f"{value:.4g}"
    return f"<bdi>{escape(str(value))}</bdi>"


def _intervals(columns: Mapping[str, Sequence[Any]]) -> list[str]:
    """A small picture of each row's interval on one axis for all rows; none without intervals."""
    names = list(columns)
    if "low" not in names or "high" not in names or names.index("low") == 0:
        return []
    values = columns[names[names.index("low") - 1]]
    rows: list[tuple[float, ...]] = [
        tuple(np.nan if part is None else float(part) for part in row)
        for row in zip(values, columns["low"], columns["high"], strict=True)
    ]
    known = [(low, high) for _, low, high in rows if isfinite(low) and isfinite(high)]
    if not known:
        return []
    left, right = min(low for low, _ in known), max(high for _, high in known)
    scale = (_WIDTH - 8) / ((right - left) or 1.0)

    def drawn(row: tuple[float, ...]) -> str:
        if not all(map(isfinite, row)):
            return ""
        at, low, high = (4 + (part - left) * scale for part in row)
        return (
            f'<svg width="{_WIDTH}" height="14" role="img" aria-label="interval">'
            f'<line x1="{low:.1f}" x2="{high:.1f}" y1="7" y2="7" stroke="currentColor"/>'
            f'<circle cx="{at:.1f}" cy="7" r="3" fill="currentColor"/></svg>'
        )

    return [drawn(row) for row in rows]
