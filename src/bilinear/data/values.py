"""Ratings and times: what is one, and what is not and in which row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bilinear.errors import RatingValueError

Where = Callable[[int], str]
"""The place of a batch's row, such as `"ratings.csv, row 3 (line 4)"`."""

Values = Sequence[Any] | NDArray[Any]
"""A column of one batch."""

FLOAT32_MAX = float(np.finfo(np.float32).max)


def ratings(values: Values, where: Where, what: str = "rating") -> NDArray[np.float32]:
    """Finite float32 ratings, or other numbers that errors call `what`.

    Raises:
        RatingValueError: with the row, and what stands there.
    """
    if isinstance(values, np.ndarray) and values.dtype.kind in "iuf":
        numbers = values.astype(np.float64)
    else:
        found = _plain_numbers(list(values))
        if found is None:
            found = np.array([_rating(value, row, where, what) for row, value in enumerate(values)])
        numbers = found
    with np.errstate(invalid="ignore"):
        fits = np.abs(numbers) <= FLOAT32_MAX
    if not fits.all():
        row = int(np.flatnonzero(~fits)[0])
        if is_absent(values[row]):
            _rating(None, row, where, what)
        raise RatingValueError(
            f"{where(row)}: {what} {values[row]} is not a finite number; correct it or drop the row"
        )
    return numbers.astype(np.float32)


def counts(values: Values, where: Where) -> NDArray[np.float32]:
    """Finite float32 counts above zero; errors as of `ratings`."""
    found = ratings(values, where, "count")
    wrong = np.flatnonzero(~(found > 0))
    if len(wrong):
        raise RatingValueError(
            f"{where(int(wrong[0]))}: count {values[wrong[0]]} is not above zero; drop the row, or let every "
            "row count once with count=False (--count '')"
        )
    return found


class TimeColumn:
    """Times as they come: numbers, or dates and ISO 8601 text, which become seconds since 1970 UTC."""

    def __init__(self) -> None:
        self._chunks: list[NDArray[np.float64]] = []
        self._dates: bool | None = None

    def add(self, values: Values, where: Where) -> None:
        """One more batch.

        Raises:
            RatingValueError: a time is missing, unreadable, or of another kind than those before.
        """
        if isinstance(values, np.ndarray) and values.dtype.kind == "M":
            missing = np.flatnonzero(np.isnat(values))
            if len(missing):
                _time(None, int(missing[0]), where)
            parsed = values.astype("datetime64[us]").astype(np.int64) / 1e6
            self._check(True, 0, where)
        elif isinstance(values, np.ndarray) and values.dtype.kind in "iuf":
            parsed = values.astype(np.float64)
            bad = np.flatnonzero(~np.isfinite(parsed))
            if len(bad):
                _time(float(parsed[bad[0]]), int(bad[0]), where)
            self._check(False, 0, where)
        elif (numbers := _plain_numbers(values)) is not None:
            parsed = numbers
            self._check(False, 0, where)
        else:
            pairs = [_time(value, row, where) for row, value in enumerate(values)]
            for row, (_, is_date) in enumerate(pairs):
                self._check(is_date, row, where)
            parsed = np.array([seconds for seconds, _ in pairs], np.float64)
        self._chunks.append(parsed)

    def _check(self, dates: bool, row: int, where: Where) -> None:
        if self._dates is None:
            self._dates = dates
        elif dates is not self._dates:
            kinds = ("a number", "a date")
            raise RatingValueError(
                f"{where(row)}: the time is {kinds[dates]}, the rows before have {kinds[not dates]}; "
                f"write all alike, or {LEAVE_OUT}"
            )

    def finish(self) -> NDArray[np.float64]:
        """(n_rows,) seconds."""
        times = np.concatenate(self._chunks) if self._chunks else np.empty(0)
        return times if self._dates else in_seconds(times)


LEAVE_OUT = "read without times: time=False (--time '')"


def in_seconds(times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Clock numbers as seconds, by the size of the largest: seconds since 1970 stay below 1e11
    until the year 5138, milliseconds below 1e14, microseconds below 1e17; above are nanoseconds.
    Anything else that is smaller (years, 20200131, counters) stays as it is: only order matters.
    """
    largest = float(np.abs(times).max(initial=0.0))
    for limit, unit in ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3)):
        if largest >= limit:
            return times / unit
    return times


def is_absent(value: Any) -> bool:
    """None, NaN, and the missing values of data frames."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, (float, np.floating, Decimal)) and value != value


def _plain_numbers(values: Values) -> NDArray[np.float64] | None:
    """All of them as numbers if that is plain and they are finite, at the speed of `map`."""
    if {bool, np.bool_, bytes, np.datetime64} & set(map(type, values)):
        return None
    try:
        numbers = np.array(list(map(float, values)), np.float64)
    except (TypeError, ValueError, OverflowError):
        return None
    return numbers if np.isfinite(numbers).all() else None


def _rating(value: Any, row: int, where: Where, what: str) -> float:
    if is_absent(value) or (isinstance(value, str) and not value.strip()):
        raise RatingValueError(f"{where(row)}: the {what} is missing; fill it in or drop the row")
    if not isinstance(value, (bool, np.bool_, bytes, np.datetime64)):
        try:
            return float(value)
        except OverflowError:
            return float("inf")
        except (TypeError, ValueError):
            pass
    hint = "correct it or drop the row"
    if isinstance(value, str) and value.count(",") == 1 and "." not in value:
        hint = "write decimals with a point, as in 3.5"
    raise RatingValueError(f"{where(row)}: {what} {str(value)[:60]!r} is not a number; {hint}")


def _time(value: Any, row: int, where: Where) -> tuple[float, bool]:
    """Seconds or another clock number, and whether it was a date."""
    if is_absent(value) or (isinstance(value, str) and not value.strip()):
        raise RatingValueError(f"{where(row)}: the time is missing; fill it in, or {LEAVE_OUT}")
    try:
        if isinstance(value, date):
            return _seconds(value), True
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = None
    if number is None and isinstance(value, str):
        try:
            return _seconds(datetime.fromisoformat(value.strip())), True
        except (ValueError, OverflowError):
            pass
    if number is None or not np.isfinite(number) or isinstance(value, (bool, bytes)):
        raise RatingValueError(
            f"{where(row)}: time {str(value)[:60]!r} is neither a number nor a date such as "
            f"2024-01-31 or 2024-01-31T12:30:00Z; correct it, or {LEAVE_OUT}"
        )
    return number, False


def _seconds(moment: date) -> float:
    """Since 1970 UTC; a moment without a time zone is UTC."""
    if not isinstance(moment, datetime):
        moment = datetime.combine(moment, time())
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.timestamp()
