"""Values that mark the absence of a rating: 99 in Jester, -1 in Anime, 0 in Book-Crossing."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bilinear.errors import ParameterValueError, RatingValueError

Missing = float | str | Iterable[float | str] | None
"""Ratings that mark the absence of one; "none" for no such value, None to look for one."""

_SAMPLE = 200_000
_SHARE = 0.01  # what is rarer is an outlier, not a habit of the source
_USUAL = {-1, -9, -99, -999, -9999, 9, 77, 88, 98, 99, 255, 777, 888, 998, 999, 9999, 32767, 65535, -32768}


class Suspects(NamedTuple):
    """Ratings that seem to mark the absence of one."""

    outside: tuple[float, ...]
    """Frequent and apart from the scale of the others: certainly asked about."""
    zero: bool
    """Zero, much more frequent than its neighbour: possibly a rating, so only told."""


def checked_missing(given: Missing) -> tuple[float, ...] | None:
    """The values, none for "none", or None to look for them.

    Raises:
        ParameterValueError: not a number, a sequence of numbers, or "none".
    """
    if given is None:
        return None
    values = [given] if isinstance(given, (str, Real)) or not isinstance(given, Iterable) else list(given)
    if values == ["none"] or not values:
        return ()
    found = []
    for value in values:
        try:
            number = float(value) if not isinstance(value, (bool, np.bool_)) else np.nan
        except (TypeError, ValueError, OverflowError):
            number = np.nan
        if not np.isfinite(number):
            raise ParameterValueError(
                f"missing={given!r}; give the ratings that mark the absence of one, such as 99 or [-1, 0] "
                "(--missing 99), or 'none' where every value is a rating"
            )
        found.append(number)
    return tuple(dict.fromkeys(found))


def suspects(ratings: NDArray[np.float32]) -> Suspects:
    """The ratings that seem to be markers.

    A marker is frequent (1 % of the rows) and lies apart: at least a whole scale away from the others, or
    alone below zero, as -1 beside 1 to 10. Two values alone, as -1 and 1, are a scale.

    Cost:
        O(1) for large tables, of which a sample is seen.
    """
    sample = ratings
    if len(ratings) > _SAMPLE:
        sample = ratings[np.random.default_rng(0).integers(0, len(ratings), _SAMPLE)]
    values, counts = np.unique(sample, return_counts=True)
    least = max(3, _SHARE * len(sample))
    outside: list[float] = []
    low, high = 0, len(values)
    while high - low > 2:
        first, last = (values[low], low), (values[high - 1], high - 1)
        for value, at in (last, first):
            rest = values[low + (at == low) : high - (at != low)]
            if _is_apart(float(value), rest) or _pair_is_apart(values[low:high], at == low):
                outside.append(float(value))
                low, high = low + (at == low), high - (at != low)
                break
        else:
            break
    outside = [value for value in outside if counts[values == np.float32(value)].sum() >= least]
    kept = np.isin(values, np.array(outside, np.float32), invert=True)
    values, counts = values[kept], counts[kept]
    zero = (
        len(values) > 3
        and values[0] == 0
        and counts[0] >= max(least, 2 * counts[1] + 1)
        and counts[0] >= 0.05 * len(sample)
    )
    return Suspects(tuple(sorted(outside)), bool(zero))


def _is_apart(value: float, rest: NDArray[np.float32]) -> bool:
    """Whether a value at the end of a table lies apart from the scale of the rest."""
    low, high = float(rest[0]), float(rest[-1])
    gap, span = max(low - value, value - high), high - low
    if value in _USUAL and abs(value) >= 9 and gap >= span:
        return value != 9 or len(rest) > 2
    if len(rest) < 4:
        return False
    alone_below_zero = value < 0 <= low and (value == -1 or gap > 1.5 * float(np.diff(rest).max()))
    return alone_below_zero or gap > 2 * span


def _pair_is_apart(values: NDArray[np.float32], below: bool) -> bool:
    """Whether the last two values (98 and 99 beside 1 to 5), or the first two, are both markers."""
    if len(values) < 5:
        return False
    pair, rest = (values[:2], values[2:]) if below else (values[-2:], values[:-2])
    return {float(value) for value in pair} <= _USUAL and all(_is_apart(float(v), rest) for v in pair)


def check_markers(
    ratings: NDArray[np.float32], label: str, keep: str = "missing='none' (--missing none)"
) -> list[str]:
    """Lines about a zero that may mean "no rating".

    Args:
        keep: the argument that takes every value for a rating.
    Raises:
        RatingValueError: values that certainly look like markers, with the way to leave them out.
    """
    found = suspects(ratings)
    if found.outside:
        marks = np.array(found.outside, np.float32)
        n = int(np.isin(ratings, marks).sum())
        rest = ratings[~np.isin(ratings, marks)]
        named = " and ".join(f"{value:g}" for value in found.outside)
        options = " ".join(f"--missing {value:g}" for value in found.outside)
        given = named if len(found.outside) == 1 else f"[{', '.join(f'{v:g}' for v in found.outside)}]"
        raise RatingValueError(
            f"{label}: {n:,} of {len(ratings):,} ratings are {named}, apart from the others "
            f"({rest.min():g} to {rest.max():g}), which seems to mark a missing rating; leave them "
            f"out with missing={given} ({options}), or keep them with {keep}"
        )
    if found.zero:
        n = int((ratings == 0).sum())
        return [
            f"{n:,} of {len(ratings):,} ratings are 0 ({n / len(ratings):.0%}); where 0 means that there is "
            "no rating, leave them out with --missing 0 (missing=0)"
        ]
    return []


def left_out(columns: list[Any], values: tuple[float, ...]) -> NDArray[np.bool_] | None:
    """Mask of the rows of [users, items, ratings, times] that stay; None where all do."""
    marked = np.isin(columns[2], np.array(values, np.float32))
    return ~marked if marked.any() else None


def is_absent(value: Any) -> bool:
    """None, NaN, and the missing values of data frames."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, (float, np.floating, Decimal)) and value != value
