"""Ratings and times in text: parsed, or refused with the row."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bilinear.data.missing_values import is_absent
from bilinear.data.reading.dates import Moment, parse, since_1970
from bilinear.errors import ParameterValueError, RatingValueError

Where = Callable[[int], str]
"""The place of a batch's row, such as `"ratings.csv, row 3 (line 4)"`."""

Values = Sequence[Any] | NDArray[Any]
"""A column of one batch."""

FLOAT32_MAX = float(np.finfo(np.float32).max)

DECIMAL_COMMA = "[+-]?[0-9]+,[0-9]+"
_COMMA = re.compile(rf"\s*{DECIMAL_COMMA}\s*")


def ratings(values: Values, where: Where, what: str = "rating") -> NDArray[np.float32]:
    """Finite float32 ratings of a whole column, or other numbers that errors call `what`.

    Raises:
        RatingValueError: with the row, and what stands there.
    """
    column = NumberColumn(what)
    column.add(values, where)
    return column.finish()


class NumberColumn:
    """Finite float32 numbers as they come, batch by batch: ratings, or counts above zero.

    Text with a decimal comma ("3,5") is understood where all of the column is written so. What `check`
    has seen counts as evidence for the rows after it.
    """

    def __init__(self, what: str = "rating") -> None:
        self._what = what
        self._chunks: list[NDArray[np.float32]] = [np.empty(0, np.float32)]
        self._point: str | None = None  # the first place with a decimal point
        self._comma: str | None = None
        self._thousands = True  # every comma so far has three digits behind it

    def add(self, values: Values, where: Where) -> None:
        """One more batch. Raises RatingValueError as `check` does."""
        self._chunks.append(self.check(values, where))

    def check(self, values: Values, where: Where) -> NDArray[np.float32]:
        """The batch as numbers.

        Raises:
            RatingValueError: a value is missing, not a finite number, a count not above zero, or written
                with a decimal comma where others have a point.
        """
        if isinstance(values, np.ndarray) and values.dtype.kind in "iuf":
            numbers = values.astype(np.float64)
        else:
            plain = _plain_numbers(values)
            if plain is not None:
                self._look_for_points(values, where)
            numbers = (
                np.array([self._number(value, row, where) for row, value in enumerate(values)], np.float64)
                if plain is None
                else plain
            )
        with np.errstate(invalid="ignore"):
            fits = np.abs(numbers) <= FLOAT32_MAX
        if not fits.all():
            row = int(np.flatnonzero(~fits)[0])
            if is_absent(values[row]):
                _rating(None, row, where, self._what)
            raise RatingValueError(
                f"{where(row)}: {self._what} {values[row]} is not a finite number; correct it or drop the row"
            )
        found = numbers.astype(np.float32)
        if self._what == "count" and len(wrong := np.flatnonzero(~(found > 0))):
            raise RatingValueError(
                f"{where(int(wrong[0]))}: count {values[wrong[0]]} is not above zero; drop the row, or let "
                "every row count once with count=False (--count '')"
            )
        return found

    def finish(self) -> NDArray[np.float32]:
        """(n_rows,) numbers. Raises RatingValueError: every comma may as well stand between thousands."""
        if self._comma is not None and self._thousands:
            raise RatingValueError(
                f"{self._comma} has three digits behind its comma, as all others with one have: a decimal "
                "comma, or thousands? Write 1,000 as 1000 or as 1.000"
            )
        return np.concatenate(self._chunks)

    def _number(self, value: Any, row: int, where: Where) -> float:
        if isinstance(value, str):
            if is_decimal_comma(value):
                return self._with_comma(value, row, where)
            if "." in value:
                self._with_point(value, row, where)
        return _rating(value, row, where, self._what)

    def _with_comma(self, value: str, row: int, where: Where) -> float:
        shown = f"{where(row)}: {self._what} {value[:60]!r}"
        if self._point is not None:
            raise RatingValueError(
                f"{shown} has a decimal comma, and {self._point} a point; write all decimals with a point"
            )
        self._comma = self._comma or shown
        self._thousands = self._thousands and len(value.strip().rpartition(",")[2]) == 3
        return float(value.replace(",", "."))

    def _with_point(self, value: str, row: int, where: Where) -> None:
        shown = f"{where(row)}: {self._what} {value[:60]!r}"
        if self._comma is not None:
            raise RatingValueError(
                f"{shown} has a decimal point, and {self._comma} a comma; write all decimals with a point"
            )
        self._point = self._point or shown

    def _look_for_points(self, values: Values, where: Where) -> None:
        if self._point is None:
            for row, value in enumerate(values):
                if isinstance(value, str) and "." in value:
                    self._with_point(value, row, where)
                    return


def is_decimal_comma(text: str) -> bool:
    """Whether a number is written as "3,5"."""
    return _COMMA.fullmatch(text) is not None


class TimeColumn:
    """Times as they come: numbers, or dates in text, which become seconds since 1970 UTC.

    The order of day and month is decided on the whole column. What `check` has seen counts as evidence
    for the rows after it.

    Args:
        time_format: how all of them are written, as `datetime.strptime` takes it; None looks.
    """

    def __init__(self, time_format: str | None = None) -> None:
        self._format = time_format
        self._chunks: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
        self._dates: bool | None = None
        self._day_first: bool | None = None
        self._open: str | None = None  # the first place where both orders give a date
        self._proof = ""

    def add(self, values: Values, where: Where) -> None:
        """One more batch. Raises RatingValueError as `check` does."""
        self._chunks.append(self.check(values, where))

    def check(self, values: Values, where: Where) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The batch as numbers, with the day first and with the month first.

        Raises:
            RatingValueError: a time is missing, unreadable, or of another kind than those before.
        """
        if isinstance(values, np.ndarray) and values.dtype.kind == "M":
            missing = np.flatnonzero(np.isnat(values))
            if len(missing):
                self._moment(None, int(missing[0]), where)
            parsed = values.astype("datetime64[us]").astype(np.int64) / 1e6
            self._check_kind(True, 0, where)
            return parsed, parsed
        if self._format is None:
            numbers = None
            if isinstance(values, np.ndarray) and values.dtype.kind in "iuf":
                numbers = values.astype(np.float64)
                bad = np.flatnonzero(~np.isfinite(numbers))
                if len(bad):
                    self._moment(float(numbers[bad[0]]), int(bad[0]), where)
            else:
                numbers = _plain_numbers(values)
            if numbers is not None:
                self._check_kind(False, 0, where)
                return numbers, numbers
        pairs = [self._moment(value, row, where) for row, value in enumerate(values)]
        both = np.array(pairs, np.float64).reshape(-1, 2)
        return both[:, 0], both[:, 1]

    def _moment(self, value: Any, row: int, where: Where) -> tuple[float, float]:
        """Seconds or another clock number, with the day first and with the month first."""
        if is_absent(value) or (isinstance(value, str) and not value.strip()):
            raise RatingValueError(f"{where(row)}: the time is missing; fill it in, or {LEAVE_OUT}")
        shown = f"{where(row)}: time {str(value)[:60]!r}"
        if isinstance(value, date):
            self._check_kind(True, row, where)
            at = since_1970(value if isinstance(value, datetime) else datetime.combine(value, time()))
            return at, at
        if self._format is not None:
            try:
                at = _formatted(str(value).strip(), self._format)
            except (ValueError, OverflowError):
                raise RatingValueError(
                    f"{shown} is not written as time_format={self._format!r} (--time-format) says; correct "
                    f"it, or {LEAVE_OUT}"
                ) from None
            self._check_kind(True, row, where)
            return at, at
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            number = None
        found = parse(value) if number is None and isinstance(value, str) else None
        if found is not None:
            self._check_kind(True, row, where)
            self._check_order(found, row, where, shown)
            return found
        if number is None or not np.isfinite(number) or isinstance(value, (bool, bytes)):
            raise RatingValueError(
                f"{shown} is neither a number nor a date such as 2024-01-31 or 2024-01-31T12:30:00Z; correct "
                f"it, say how it is written with time_format='%d.%m.%y' (--time-format), or {LEAVE_OUT}"
            )
        self._check_kind(False, row, where)
        return number, number

    def _check_kind(self, dates: bool, row: int, where: Where) -> None:
        if self._dates is None:
            self._dates = dates
        elif dates is not self._dates:
            kinds = ("a number", "a date")
            raise RatingValueError(
                f"{where(row)}: the time is {kinds[dates]}, the rows before have {kinds[not dates]}; "
                f"write all alike, or {LEAVE_OUT}"
            )

    def _check_order(self, found: Moment, row: int, where: Where, shown: str) -> None:
        if found.day_first == found.month_first:
            return
        if not (np.isnan(found.day_first) or np.isnan(found.month_first)):
            self._open = self._open or shown
            return
        day_first = bool(np.isnan(found.month_first))
        if self._day_first is None:
            self._day_first, self._proof = day_first, shown
        elif self._day_first is not day_first:
            orders = ("month first", "day first")
            raise RatingValueError(
                f"{shown} has the {orders[day_first]}, and {self._proof} the {orders[not day_first]}; write "
                f"all alike, or {LEAVE_OUT}"
            )

    def finish(self) -> NDArray[np.float64]:
        """(n_rows,) seconds. Raises RatingValueError: nothing tells which of two numbers is the day."""
        if self._open is not None and self._day_first is None:
            raise RatingValueError(
                f"{self._open} can be read with the day or the month first, and so can all others of its "
                "kind; say which with time_format='%d/%m/%Y' or '%m/%d/%Y' (--time-format), with what "
                f"stands between and behind them, or {LEAVE_OUT}"
            )
        at = 0 if self._day_first else 1
        times = np.concatenate([chunk[at] for chunk in self._chunks] or [np.empty(0)])
        return times if self._dates else in_seconds(times)


@lru_cache(1 << 16)
def _formatted(text: str, time_format: str) -> float:
    return since_1970(datetime.strptime(text, time_format))


def check_time_format(time_format: object) -> None:
    """Raises ParameterValueError unless it can be a format of `datetime.strptime`."""
    if time_format is None:
        return
    try:
        if isinstance(time_format, str) and "%" in time_format:
            written = datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC).strftime(time_format)
            datetime.strptime(written, time_format)
            return
    except ValueError:
        pass
    raise ParameterValueError(
        f"time_format={time_format!r}; give a format of datetime.strptime, such as '%d/%m/%Y %H:%M' "
        "(--time-format)"
    )


LEAVE_OUT = "read without times: time=False (--time '')"


def in_seconds(times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Clock numbers as seconds, by the size of the largest: seconds since 1970 stay below 1e11
    until the year 5138, milliseconds below 1e14, microseconds below 1e17; above are nanoseconds.
    Anything else that is smaller (years, 20200131, counters) stays as it is: only order matters.
    """
    unit = unit_of(max(float(times.max(initial=0.0)), -float(times.min(initial=0.0))))
    return times if unit == 1 else times / unit


def unit_of(largest: float) -> float:
    """Clock numbers a second, by the largest of a column; see `in_seconds`."""
    return next((unit for limit, unit in ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3)) if largest >= limit), 1.0)


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
    raise RatingValueError(
        f"{where(row)}: {what} {str(value)[:60]!r} is not a number; correct it or drop the row"
    )
