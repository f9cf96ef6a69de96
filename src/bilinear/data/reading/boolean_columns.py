"""Columns of true and false: the meaning of their words, and their cells as 1 and 0."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from bilinear.data.missing_values import is_absent
from bilinear.data.reading.tables import Batch
from bilinear.errors import RatingValueError

WORDS = {
    **dict.fromkeys(("true", "t", "yes", "y", "like", "liked", "up", "positive", "pos"), 1.0),
    **dict.fromkeys(("false", "f", "no", "n", "dislike", "disliked", "down", "negative", "neg"), 0.0),
}


def flag(value: Any) -> float | None:
    """1 for true and words like it, 0 for false, None for anything else."""
    if isinstance(value, (bool, np.bool_)):
        return float(value)
    return WORDS.get(value.strip().casefold()) if isinstance(value, str) else None


def are_flags(values: Iterable[Any]) -> bool:
    """Whether all values that are there say true or false, and some are there."""
    present = [value for value in values if not is_blank(value)]
    return bool(present) and all(flag(value) is not None for value in present)


def is_blank(value: Any) -> bool:
    """Whether a cell is empty, also as empty text."""
    return is_absent(value) or (isinstance(value, str) and not value.strip())


def flag_numbers(batch: Batch, at: int, name: str) -> Sequence[Any]:
    """The column at a position as 1 and 0, None where the cell is empty.

    Raises:
        RatingValueError: a cell that is there says neither true nor false, with its row.
    """
    found: list[Any] = []
    for row, value in enumerate(batch.columns[at]):
        number = flag(value)
        if number is None and not is_blank(value):
            raise RatingValueError(
                f"{batch.where(row)}: {name} {str(value)[:60]!r} says neither true nor false, as the first "
                "rows do; correct it or drop the row"
            )
        found.append(number)
    return found
