"""Tables from data frames, from matrices of users by items, and from pairs with ratings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from bilinear.data.foreign_arrays import is_tensor, plain_column, plain_matrix
from bilinear.data.interactions import Interactions, InteractionsLike
from bilinear.data.reading.frames import frame_table
from bilinear.data.reading.readers import read_frame, read_pairs
from bilinear.errors import MissingColumnError, ParameterValueError, RatingValueError


def interactions_of(
    source: InteractionsLike, ratings: Any = None, *, counts: bool = False, what: str = "fit"
) -> Interactions:
    """The table that an argument means; the ids are the same whatever the way in.

    Args:
        source: `Interactions`; a data frame, whose columns are found as by `read_ratings`, or without a
            rating column as by `read_interactions`; a matrix of SciPy, NumPy or torch whose rows are users
            and whose columns are items, counted from 0, empty ones included; with `ratings`, pairs.
        ratings: One for each pair, as scikit-learn's y.
        counts: Whether the numbers of a matrix say how often.
        what: The method that was called, for messages.

    Raises:
        ParameterValueError: It can be read in no way, or in two.
        DataError: One of its kinds, with the row.

    Examples:
        >>> from scipy.sparse import csr_array
        >>> from bilinear.data.reading.given import interactions_of
        >>> interactions_of(csr_array([[5, 0, 3], [0, 0, 0], [0, 4, 0]])).shape
        (3, 3)
        >>> interactions_of([("ann", "Heat"), ("bob", "Alien")], [4.0, 2.5]).ratings
        array([4. , 2.5], dtype=float32)
    """
    if isinstance(source, Interactions):
        if ratings is not None:
            raise ParameterValueError(f"{what}: the table has its ratings already; leave y out")
        return source
    if ratings is not None:
        users, items = pairs_of(source)
        return Interactions.from_columns(users, items, plain_column(ratings), source="pairs")
    if _is_matrix(source):
        return _of_matrix(source, counts, what)
    if _is_frame(source):
        return read_frame(source)
    remedy = "read a file with bilinear.read_ratings(path)" if isinstance(source, (str, bytes)) else _REMEDY
    raise ParameterValueError(
        f"{what} takes Interactions, a data frame, or a matrix of users by items, not "
        f"{type(source).__name__}; {remedy}"
    )


_REMEDY = (
    "make them with bilinear.read_ratings(file or frame) or Interactions.from_columns(users, items, ratings)"
)


def pairs_of(source: Any) -> tuple[Any, Any]:
    """Users and items of a table of pairs: a data frame, an array of two columns, or a list of pairs.

    Raises:
        ParameterValueError: It is none of these.
    """
    if isinstance(source, Interactions):
        users, items = source.user_vocabulary, source.item_vocabulary
        return users.decode(source.users), items.decode(source.items)
    if _is_frame(source):
        try:
            pairs = read_pairs(source)
        except MissingColumnError:
            if frame_table(source).n_columns != 2:
                raise
            pairs = read_pairs(source, user=1, item=2)
        return pairs.users, pairs.items
    if isinstance(source, np.ndarray) or is_tensor(source):
        table = plain_matrix(source)
        if table.ndim == 2 and table.shape[1] == 2:
            return table[:, 0], table[:, 1]
    elif isinstance(source, Iterable) and not isinstance(source, (str, bytes)) and not _is_matrix(source):
        rows = [tuple(row) if isinstance(row, (tuple, list, np.ndarray)) else () for row in source]
        if all(len(row) == 2 for row in rows):
            return [row[0] for row in rows], [row[1] for row in rows]
    shape = f" of shape {tuple(source.shape)}" if hasattr(source, "shape") else ""
    raise ParameterValueError(
        f"a {type(source).__name__}{shape} is not a table of pairs; give users and items, a data frame "
        "with a column of each, or an array of two columns"
    )


def _is_matrix(source: Any) -> bool:
    return isinstance(source, np.ndarray) or is_tensor(source) or callable(getattr(source, "tocoo", None))


def _is_frame(source: Any) -> bool:
    import narwhals as nw

    return isinstance(nw.from_native(source, pass_through=True), (nw.DataFrame, nw.LazyFrame))


def _of_matrix(source: Any, counts: bool, what: str) -> Interactions:
    matrix = plain_matrix(source)
    if matrix.ndim == 2 and isinstance(matrix, np.ndarray) and matrix.shape[1] in (2, 3):
        raise ParameterValueError(
            f"{what}: an array of shape {matrix.shape} may be a matrix of users by items or rows of pairs; "
            "give pairs as (X, y), columns with Interactions.from_columns, or a matrix with "
            "Interactions.from_matrix"
        )
    sizes = " users (rows) by ".join(f"{size:,}" for size in matrix.shape[:2])
    try:
        return Interactions.from_matrix(
            matrix, has_ratings=not counts, source=f"matrix of {sizes} items (columns)"
        )
    except RatingValueError as error:
        raise RatingValueError(f"{error} (arguments of Interactions.from_matrix)") from None
