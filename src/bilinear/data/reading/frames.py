"""Data frames of any library that narwhals supports, as a `Table`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from bilinear.data.reading.tables import Batch, Refuse, raise_error
from bilinear.data.reading.values import Values
from bilinear.errors import AmbiguousColumnError, DataError, ParameterValueError

_ROWS = 1_000_000


@dataclass(frozen=True)
class FrameTable:
    """A narwhals frame; a lazy one is collected when read, its needed columns only."""

    frame: Any = field(repr=False)
    label: str
    columns: list[Any]
    is_text: bool = False

    @property
    def names(self) -> list[str] | None:
        """None where the labels are plain numbers, as pandas gives them to unnamed columns."""
        if all(isinstance(name, int) for name in self.columns):
            return None
        return [str(name) for name in self.columns]

    @property
    def n_columns(self) -> int:
        return len(self.columns)

    def head(self, columns: Sequence[int], n: int) -> list[list[Any]]:
        """The first `n` values of columns, a list each."""
        import narwhals as nw

        part = self.frame.select([nw.col(self.columns[at]) for at in columns]).head(n)
        if isinstance(part, nw.LazyFrame):
            part = part.collect()
        return [column.to_list() for column in part.iter_columns()]

    def batches(self, columns: Sequence[int], refuse: Refuse = raise_error) -> Iterator[Batch]:
        import narwhals as nw

        frame = self.frame.select([nw.col(self.columns[at]) for at in columns])
        if isinstance(frame, nw.LazyFrame):
            frame = frame.collect()
        for start in range(0, len(frame), _ROWS):
            part = frame[start : start + _ROWS]
            columns_of = [_values(column) for column in part.iter_columns()]
            yield Batch(self.label, columns_of, range(start + 1, start + 1 + len(part)))


def frame_table(source: Any) -> FrameTable:
    """A frame as a table.

    Raises:
        ParameterValueError: `source` is not a frame.
        AmbiguousColumnError: two columns share a name.
    """
    import narwhals as nw
    from narwhals.exceptions import DuplicateError

    try:
        frame = nw.from_native(source)
        columns = frame.collect_schema().names()
    except TypeError:
        raise ParameterValueError(
            f"a {type(source).__name__} cannot be read as a table; give the path of a file, or a frame of "
            "pandas, polars or pyarrow. For arrays and lists there is "
            "Interactions.from_columns(users, items, ratings)"
        ) from None
    except DuplicateError as error:
        raise AmbiguousColumnError(f"frame: {error}; rename one") from None
    if not columns:
        raise DataError("frame: it has no columns")
    return FrameTable(frame, f"{frame.implementation} frame", columns)


def _values(column: Any) -> Values:
    """Numbers and moments as an array; all else as Python values, a missing one as None or NaN."""
    kind = column.dtype
    if kind.is_float() or kind.is_temporal() or (kind.is_integer() and not column.is_null().any()):
        array: NDArray[Any] = column.to_numpy()
        if array.dtype.kind in "iufM":
            return array
    values: list[Any] = column.to_list()
    return values
