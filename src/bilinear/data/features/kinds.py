"""Kinds of features: how a column of a table becomes columns of a sparse block."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from bilinear.arguments import is_whole
from bilinear.data.features.cells import categories, is_empty, moment, number, separator_of, tokens, vector
from bilinear.errors import FeatureColumnError, ParameterValueError
from bilinear.registry import register

MOST_COLUMNS = 20_000
"""Columns of a block; more are refused."""
_FEW = 20  # distinct values that are never too many
_CLIP = 3.0  # standard deviations beyond which a number counts the same
_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July", "August", "September", "October"),
    *("November", "December"),
)


class Learned(NamedTuple):
    """State that a kind learned from a table, to encode other tables in the same way."""

    names: tuple[str, ...]
    """Of the columns of the block."""
    numbers: Mapping[str, NDArray[np.float64]]
    """Means, scales, borders, weights."""


Row = tuple[Sequence[int], Sequence[float] | NDArray[np.float64]]
"""Columns and values of one row of a block."""
_NO_ROW: Row = ((), ())


@dataclass(frozen=True)
class Feature:
    """A column of a table as features; the kinds derive from it.

    Args:
        column: Name of the column.
    """

    column: str

    noun: ClassVar[str] = "feature"

    def __post_init__(self) -> None:
        if not (isinstance(self.column, str) and self.column):
            raise ParameterValueError(f"column={self.column!r}; the name of a column of the table")

    def resolved(self, values: Sequence[Any]) -> Self:
        """With what is "auto" decided by the values."""
        return self

    def learn(self, values: Sequence[Any], label: str) -> Learned:
        """The columns that the values of a table have, and what scales them.

        Raises:
            FeatureColumnError: Nothing can be learned from this column, with the way out.
        """
        raise NotImplementedError

    def encoder(self, learned: Learned) -> Callable[[Any, list[Any]], Row]:
        """A function from a value to its row; it appends to the list what it did not know."""
        raise NotImplementedError


@register
@dataclass(frozen=True)
class Categories(Feature):
    """Text, flags or codes as one column a category: one-hot, or several ones where a cell lists several.

    Args:
        column: Name of the column.
        separator: The text between the categories of a cell; None takes a cell whole; "auto" looks for one
            of `|`, `;` and `,`. Lists are taken apart whatever it is.
        min_count: Categories in fewer rows than this are left out.

    Examples:
        >>> from bilinear import Categories
        >>> Categories("genres", separator="|")
        Categories(column='genres', separator='|', min_count=1)
    """

    separator: str | None = "auto"
    min_count: int = 1

    noun = "categories"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.separator is None or (isinstance(self.separator, str) and self.separator)):
            raise ParameterValueError(f"separator={self.separator!r}; a text, None, or 'auto'")
        _check_count("min_count", self.min_count)

    def resolved(self, values: Sequence[Any]) -> Self:
        return replace(self, separator=separator_of(values)) if self.separator == "auto" else self

    def learn(self, values: Sequence[Any], label: str) -> Learned:
        where = f"{label}: column {self.column!r}"
        counts: Counter[str] = Counter()
        filled = 0
        for value in values:
            parts = categories(value, self.separator)
            counts.update(parts)
            filled += bool(parts)
        kept = {name: n for name, n in counts.items() if n >= self.min_count}
        if not kept:
            raise FeatureColumnError(f"{where} has no value in {self.min_count} rows or more; leave it out")
        if len(kept) == 1 and filled == len(values) == max(kept.values()):
            raise FeatureColumnError(
                f"{where} is the same in every row ({next(iter(kept))!r}), so it tells nothing apart; leave "
                "it out"
            )
        if len(kept) > MOST_COLUMNS:
            raise FeatureColumnError(
                f"{where} has {len(kept):,} categories, more than {MOST_COLUMNS:,}; keep those in several "
                f"rows, such as Categories({self.column!r}, min_count=5), or leave it out"
            )
        if len(kept) > max(_FEW, sum(kept.values()) / 2):
            raise FeatureColumnError(
                f"{where} is nearly unique ({len(kept):,} different values in {filled:,} rows): that is an "
                f"id or free text. Take its words with Words({self.column!r}), the values that come back "
                f"with Categories({self.column!r}, min_count=2), or leave it out"
            )
        return Learned(tuple(sorted(kept)), {})

    def encoder(self, learned: Learned) -> Callable[[Any, list[Any]], Row]:
        place = {name: at for at, name in enumerate(learned.names)}

        def row(value: Any, ignored: list[Any]) -> Row:
            named = categories(value, self.separator)
            known = [place[name] for name in named if name in place]
            ignored += [name for name in named if name not in place]
            return (known, [len(known) ** -0.5] * len(known)) if known else _NO_ROW

        return row


@register
@dataclass(frozen=True)
class Number(Feature):
    """A number as its standardised value, one column for each bin of equal counts, and "missing".

    What is not a number is missing.

    Args:
        column: Name of the column.
        bins: How many bins; 0 for the value alone.

    Examples:
        >>> from bilinear import Number
        >>> Number("year", bins=5)
        Number(column='year', bins=5)
    """

    bins: int = 10

    noun = "number"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (is_whole(self.bins) and 0 <= self.bins <= 1000):
            raise ParameterValueError(f"bins={self.bins!r}; a whole number, 0 to 1000")

    def learn(self, values: Sequence[Any], label: str) -> Learned:
        found = [number(value) for value in values]
        return self._of(np.array([x for x in found if x is not None]), None in found, label)

    def _of(self, known: NDArray[np.float64], some_missing: bool, label: str) -> Learned:
        where = f"{label}: column {self.column!r}"
        if not len(known):
            raise FeatureColumnError(
                f"{where} has no number; leave it out, or take Categories({self.column!r})"
            )
        if known.min() == known.max() and not some_missing:
            raise FeatureColumnError(
                f"{where} is {known[0]:g} in every row, so it tells nothing apart; leave it out"
            )
        mean, scale = float(known.mean()), float(known.std()) or 1.0
        distinct = np.unique(known)
        borders = np.empty(0)
        if self.bins > 1:
            shares = np.arange(1, self.bins) / self.bins
            borders = (
                distinct[:-1]
                if len(distinct) <= self.bins
                else np.unique(np.quantile(known, shares, method="inverted_cdf"))
            )
            borders = borders[borders < distinct[-1]]
        names = ["value", *(_bins(borders, distinct) if self.bins else ())]
        return Learned(
            (*names, *(("missing",) if some_missing else ())),
            {"mean": np.array([mean]), "scale": np.array([scale]), "borders": borders.astype(np.float64)},
        )

    def encoder(self, learned: Learned) -> Callable[[Any, list[Any]], Row]:
        place = self._placed(learned)

        def row(value: Any, ignored: list[Any]) -> Row:
            found = number(value)
            if found is None and not is_empty(value):
                ignored.append(value)
            return place(found)

        return row

    def _placed(self, learned: Learned) -> Callable[[float | None], Row]:
        """A function from a number, or None, to its row."""
        (mean,), (scale,), borders = (learned.numbers[name] for name in ("mean", "scale", "borders"))
        missing = len(learned.names) - 1 if "missing" in learned.names else None

        def row(found: float | None) -> Row:
            if found is None:
                return _NO_ROW if missing is None else ((missing,), (1.0,))
            value = min(max((found - mean) / scale, -_CLIP), _CLIP)
            if not self.bins:
                return (0,), (value,)
            length = (1.0 + value * value) ** 0.5
            return (0, 1 + int(np.searchsorted(borders, found))), (value / length, 1.0 / length)

        return row


@register
@dataclass(frozen=True)
class Words(Feature):
    """The words of a text, weighted by how rare they are (inverse document frequency). Never inferred.

    Args:
        column: Name of the column.
        min_count: Words in fewer rows than this are left out.

    Examples:
        >>> from bilinear import Words
        >>> Words("title")
        Words(column='title', min_count=3)
    """

    min_count: int = 3

    noun = "words"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_count("min_count", self.min_count)

    def learn(self, values: Sequence[Any], label: str) -> Learned:
        counts = Counter(word for value in values for word in tokens(value))
        kept = sorted(word for word, n in counts.items() if n >= self.min_count)
        where = f"{label}: column {self.column!r}"
        if not kept:
            raise FeatureColumnError(
                f"{where} has no word in {self.min_count} rows or more; lower min_count, or leave it out"
            )
        if len(kept) > MOST_COLUMNS:
            raise FeatureColumnError(
                f"{where} has {len(kept):,} words, more than {MOST_COLUMNS:,}; keep fewer with "
                f"Words({self.column!r}, min_count={2 * self.min_count})"
            )
        rarity = [np.log((1 + len(values)) / (1 + counts[word])) + 1 for word in kept]
        return Learned(tuple(kept), {"idf": np.array(rarity)})

    def encoder(self, learned: Learned) -> Callable[[Any, list[Any]], Row]:
        place = {name: at for at, name in enumerate(learned.names)}
        idf = learned.numbers["idf"]

        def row(value: Any, ignored: list[Any]) -> Row:
            known = [place[word] for word in tokens(value) if word in place]
            return (known, _unit(idf[known])) if known else _NO_ROW

        return row


@register
@dataclass(frozen=True)
class Vector(Feature):
    """A list of numbers a row, such as an embedding, standardised by entry. Never inferred.

    Args:
        column: Name of the column; its cells are lists, arrays, or texts such as "[0.1, 2]" or "0.1 2".

    Examples:
        >>> from bilinear import Vector
        >>> Vector("embedding")
        Vector(column='embedding')
    """

    noun = "vector"

    def learn(self, values: Sequence[Any], label: str) -> Learned:
        where = f"{label}: column {self.column!r}"
        found = [vector(value) for value in values]
        known = [row for row in found if row is not None]
        lengths = {len(row) for row in known}
        if len(lengths) != 1:
            raise FeatureColumnError(
                f"{where}: expected lists of numbers, all of one length, got "
                + (f"lengths {', '.join(map(str, sorted(lengths)[:5]))}" if lengths else "none")
                + "; correct it, or leave it out"
            )
        matrix = np.stack(known)
        if matrix.shape[1] > MOST_COLUMNS:
            raise FeatureColumnError(
                f"{where} has {matrix.shape[1]:,} numbers a row, more than {MOST_COLUMNS:,}"
            )
        scale = matrix.std(axis=0)
        if not scale.any():
            raise FeatureColumnError(f"{where} is the same in every row; leave it out")
        names = tuple(f"[{at}]" for at in range(matrix.shape[1]))
        return Learned(names, {"mean": matrix.mean(axis=0), "scale": np.where(scale > 0, scale, 1.0)})

    def encoder(self, learned: Learned) -> Callable[[Any, list[Any]], Row]:
        mean, scale = learned.numbers["mean"], learned.numbers["scale"]
        everything = range(len(mean))

        def row(value: Any, ignored: list[Any]) -> Row:
            found = vector(value)
            if found is None or len(found) != len(mean):
                if not is_empty(value):
                    ignored.append(value)
                return _NO_ROW
            return everything, _unit((found - mean) / scale)

        return row


@register
@dataclass(frozen=True)
class Dates(Feature):
    """A date: its year as `Number`, its month as `Categories`.

    Args:
        column: Name of the column; its cells are dates, or texts of one of the usual forms.
        bins: Of the year.

    Examples:
        >>> from bilinear import Dates
        >>> Dates("released")
        Dates(column='released', bins=10)
    """

    bins: int = 10

    noun = "dates"

    def learn(self, values: Sequence[Any], label: str) -> Learned:
        found = [moment(value) for value in values]
        # where some date has no month of that number, all have the day first
        day_first = float(any(at is not None and at.month_first != at.month_first for at in found))
        parts = [_year_and_month(at, bool(day_first)) for at in found]
        years = np.array([part[0] for part in parts if part is not None], np.float64)
        if not len(years):
            raise FeatureColumnError(f"{label}: column {self.column!r} has no date; leave it out")
        learned = Number(self.column, self.bins)._of(years, None in parts or len(set(years)) == 1, label)
        names = (*(name if name == "missing" else f"year {name}" for name in learned.names), *_MONTHS)
        return Learned(names, {**learned.numbers, "day_first": np.array([day_first])})

    def encoder(self, learned: Learned) -> Callable[[Any, list[Any]], Row]:
        first_month = len(learned.names) - 12
        years = Learned(learned.names[:first_month], learned.numbers)
        place = Number(self.column, self.bins)._placed(years)
        day_first = bool(learned.numbers["day_first"][0])

        def row(value: Any, ignored: list[Any]) -> Row:
            found = _year_and_month(moment(value), day_first)
            if found is None:
                if not is_empty(value):
                    ignored.append(value)
                return place(None)
            columns, values = place(found[0])
            return (*columns, first_month + found[1] - 1), _unit(np.array([*values, 1.0]))

        return row


def feature_named(kind: str) -> type[Feature]:
    """The kind of a name such as "number", as in `year:number`.

    Raises:
        ParameterValueError: no such kind.
    """
    kinds: dict[str, type[Feature]] = {
        one.__name__.lower(): one for one in (Categories, Number, Words, Vector, Dates)
    }
    if kind.lower() not in kinds:
        raise ParameterValueError(f"{kind!r} is not a kind of feature; choose {', '.join(kinds)}")
    return kinds[kind.lower()]


def _check_count(name: str, value: object) -> None:
    if not (is_whole(value) and value >= 1):
        raise ParameterValueError(f"{name}={value!r}; a whole number of rows, one or more")


def _bins(borders: NDArray[np.float64], distinct: NDArray[np.float64]) -> list[str]:
    if not len(borders):
        return ["any"]
    if len(borders) == len(distinct) - 1:
        return [f"{value:g}" for value in distinct]
    inner = [f"over {low:g} to {high:g}" for low, high in pairwise(borders)]
    return [f"up to {borders[0]:g}", *inner, f"over {borders[-1]:g}"]


def _unit(values: NDArray[np.float64]) -> NDArray[np.float64]:
    length = float(np.sqrt(values @ values))
    return values / length if length > 0 else values


def _year_and_month(at: Any, day_first: bool) -> tuple[int, int] | None:
    """Of a moment in the order of its column; in the other order where that is not a date."""
    if at is None:
        return None
    seconds = at.day_first if day_first else at.month_first
    if seconds != seconds:
        seconds = at.month_first if day_first else at.day_first
    if seconds != seconds:
        return None
    try:
        found = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    except OverflowError:
        return None
    return found.year, found.month
