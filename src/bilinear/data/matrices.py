"""Matrices of users by items, sparse or dense, as the columns of a table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bilinear.data.missing_values import check_markers
from bilinear.data.vocabulary import Vocabulary
from bilinear.errors import IdValueError, ParameterValueError, RatingValueError

Missing = float | Iterable[float] | Literal["ask"]


class Entries(NamedTuple):
    """The cells of a matrix that are ratings: rows of the vocabularies, and the value of each."""

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    values: NDArray[np.float64]
    user_vocabulary: Vocabulary
    item_vocabulary: Vocabulary


def entries_of(
    matrix: Any,
    users: Iterable[Any] | None,
    items: Iterable[Any] | None,
    missing: Missing,
    has_ratings: bool,
    source: str,
) -> Entries:
    """See `Interactions.from_matrix`."""
    rows, columns, values, shape = _entries(matrix, source)
    user_vocabulary, user_rows = _ids(users, shape[0], "user")
    item_vocabulary, item_rows = _ids(items, shape[1], "item")
    _check_orientation(shape, len(user_rows), len(item_rows))
    kept = _kept(values, rows, columns, missing, source)
    rows, columns, values = rows[kept], columns[kept], values[kept]
    with np.errstate(over="ignore"):
        singles = values.astype(np.float32)
    if missing == "ask" and has_ratings:
        check_markers(singles, source, keep="missing=nan")
    wrong = np.flatnonzero(~np.isfinite(singles) | ((values <= 0) & (not has_ratings)))
    if len(wrong):
        at = int(wrong[0])
        what = "a finite number" if has_ratings else "a count above zero"
        raise RatingValueError(
            f"{source}, row {rows[at]}, column {columns[at]} (from 0): {values[at]} is not {what}; correct "
            f"it, or leave all such cells out with missing={values[at]}"
        )
    return Entries(user_rows[rows], item_rows[columns], values, user_vocabulary, item_vocabulary)


def _entries(
    matrix: Any, source: str
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], tuple[int, int]]:
    """Row, column and value of each entry that is stored, repeated ones included."""
    if callable(getattr(matrix, "tocoo", None)):
        if matrix.ndim != 2:
            raise ParameterValueError(f"{source}: {matrix.ndim} dimensions; a matrix has 2, users by items")
        entries = matrix.tocoo()
        rows, columns, values = entries.row, entries.col, entries.data
    else:
        entries = cells = np.ma.asarray(matrix)
        if cells.ndim != 2 or cells.dtype.kind not in "iufb":
            raise ParameterValueError(
                f"{source}: a {type(matrix).__name__} with {cells.ndim} dimensions of {cells.dtype}; give a "
                "SciPy sparse matrix or a NumPy array of numbers, users by items"
            )
        rows, columns = np.nonzero(~np.ma.getmaskarray(cells))
        values = cells.data[rows, columns]
    if values.dtype.kind not in "iufb":
        raise ParameterValueError(f"{source}: entries of {values.dtype}; give numbers")
    shape = int(entries.shape[0]), int(entries.shape[1])
    return rows.astype(np.int64), columns.astype(np.int64), values.astype(np.float64), shape


def _ids(ids: Iterable[Any] | None, n_ids: int, what: str) -> tuple[Vocabulary, NDArray[np.int32]]:
    """The vocabulary, and its row of each id in the order given; without ids 0, 1, 2, ..."""
    if ids is None:
        return Vocabulary.from_sorted(np.arange(n_ids)), np.arange(n_ids, dtype=np.int32)
    vocabulary, rows = Vocabulary.factorize(ids, what)
    if len(vocabulary) < len(rows):
        repeated = int(np.flatnonzero(np.bincount(rows) > 1)[0])
        raise IdValueError(f"{what} {vocabulary[repeated]!r} is there twice; give each its own id")
    return vocabulary, rows


def _check_orientation(shape: tuple[int, int], n_users: int, n_items: int) -> None:
    if (n_users, n_items) == shape:
        return
    turn = ": give matrix.T" if shape[0] != shape[1] and _fits(shape[::-1], shape, n_users, n_items) else ""
    raise ParameterValueError(
        f"the matrix has {shape[0]:,} rows and {shape[1]:,} columns, for {n_users:,} users and {n_items:,} "
        f"items; rows are users and columns are items{turn}"
    )


def _fits(turned: tuple[int, int], shape: tuple[int, int], n_users: int, n_items: int) -> bool:
    """Whether the ids that were given are as many as the turned matrix needs."""
    users_fit = n_users in (turned[0], shape[0])
    return users_fit and n_items in (turned[1], shape[1])


def _kept(
    values: NDArray[np.float64],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    missing: Missing,
    source: str,
) -> NDArray[np.bool_]:
    """Which entries are ratings."""
    if not isinstance(missing, str):
        marks = np.atleast_1d(np.asarray(missing, np.float64))
        kept: NDArray[np.bool_] = ~np.isnan(values) & ~np.isin(values, marks)
        return kept
    if missing != "ask":
        raise ParameterValueError(f"missing={missing!r}; give a number such as 0 or nan")
    zeros = np.flatnonzero(values == 0)
    if len(zeros):
        at = int(zeros[0])
        raise RatingValueError(
            f"{source}: {len(zeros):,} entries are 0, the first in row {rows[at]}, column {columns[at]} "
            "(from 0); missing=0 leaves them out, missing=nan takes them for ratings"
        )
    return ~np.isnan(values)
