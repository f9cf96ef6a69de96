"""Summary statistics of a table of interactions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from bilinear.data.storage import parts
from bilinear.tabular import Tabular

if TYPE_CHECKING:
    from bilinear.data.interactions import Interactions

_MAX_BARS = 12
_MAX_NAMES = 12


@dataclass(frozen=True)
class ReadingNotes:
    """Decisions made when a source was read.

    Attributes:
        ignored: (column, kind of its values) of every column without a part in the table; kinds are
            those of the first rows.
        n_left_out: rows that were left out, for a reason that is among the remarks.
        remarks: a line each.
        places: whether times are places in a user's list, and not moments.
    """

    ignored: tuple[tuple[str, str], ...] = ()
    n_left_out: int = 0
    remarks: tuple[str, ...] = ()
    places: bool = False

    def lines(self) -> list[str]:
        """All of it, a line each."""
        return [*self.remarks, *([f"columns not used: {_named(self.ignored)}"] if self.ignored else [])]


def _named(columns: Iterable[tuple[str, str]]) -> str:
    named = [f"{name!r} ({kind})" for name, kind in columns]
    more = len(named) - _MAX_NAMES
    return ", ".join(named[:_MAX_NAMES]) + (f" and {more:,} more" if more > 0 else "")


@dataclass(frozen=True)
class Description(Tabular):
    """The result of `Interactions.describe()`; `str()` draws it, `to_dict()` is for JSON.

    `histogram` holds (label, count) pairs: one a distinct rating, or ten equal intervals
    when there are more than twelve. `time_span` is UTC, ISO 8601. Cold rows are users and
    items of the vocabulary without a rating here. Where `has_ratings` is false, ratings are counts,
    or weights of events.
    `rows_in_source` is always `n_ratings + duplicates_merged + rows_skipped + rows_left_out`: rows that
    repeat a pair, that could not be read, and that were read and are not in the table, such as those with a
    marker for "no rating". `ignored_columns` are (name, kind of its values) of the columns that were not
    used, and `remarks` what else was decided in reading, a line each.
    """

    source: str
    n_ratings: int
    n_users: int
    n_items: int
    density: float
    rating_range: tuple[float, float]
    mean_rating: float
    histogram: tuple[tuple[str, int], ...]
    time_span: tuple[str, str] | None
    median_ratings_per_user: float
    median_ratings_per_item: float
    cold_users: int
    cold_items: int
    items_rated_once: int
    duplicates_merged: int
    has_ratings: bool = True
    rows_skipped: int = 0
    rows_in_source: int = 0
    rows_left_out: int = 0
    ignored_columns: tuple[tuple[str, str], ...] = ()
    remarks: tuple[str, ...] = ()

    @classmethod
    def of(cls, table: Interactions) -> Description:
        ratings = table.ratings
        per_user, per_item = table.user_counts, table.item_counts
        times = table.times
        return cls(
            source=table.source,
            n_ratings=table.n_ratings,
            n_users=table.n_users,
            n_items=table.n_items,
            density=table.density,
            rating_range=(float(ratings.min()), float(ratings.max())) if len(ratings) else (0.0, 0.0),
            mean_rating=float(ratings.mean(dtype=np.float64)) if len(ratings) else 0.0,
            histogram=_histogram(ratings),
            time_span=(
                (_iso(times.min()), _iso(times.max()))
                if times is not None and len(times) and not table.notes.places
                else None
            ),
            median_ratings_per_user=float(np.median(per_user)) if len(per_user) else 0.0,
            median_ratings_per_item=float(np.median(per_item)) if len(per_item) else 0.0,
            cold_users=int((per_user == 0).sum()),
            cold_items=int((per_item == 0).sum()),
            items_rated_once=int((per_item == 1).sum()),
            duplicates_merged=table.n_duplicates,
            has_ratings=table.has_ratings,
            rows_skipped=table.n_rows_skipped,
            rows_in_source=table.n_rows_read + table.n_rows_skipped + table.notes.n_left_out,
            rows_left_out=table.notes.n_left_out,
            ignored_columns=table.notes.ignored,
            remarks=table.notes.remarks,
        )

    def to_columns(self) -> dict[str, Any]:
        """One row: every number and text by its name, ranges as two columns."""
        found = {
            name: [value]
            for name, value in asdict(self).items()
            if isinstance(value, (str, bool, int, float))
        }
        (low, high), (first, last) = self.rating_range, self.time_span or (None, None)
        return found | {"rating_min": [low], "rating_max": [high], "first_time": [first], "last_time": [last]}

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def _rows(self) -> str:
        """What became of every row of the source."""
        line = f"{self.rows_in_source:,} rows in the source"
        if self.duplicates_merged:
            line += f"; {self.duplicates_merged:,} repeated (user, item) rows were merged"
        if self.rows_skipped:
            line += f"; {self.rows_skipped:,} could not be read and were left out"
        if self.rows_left_out:
            line += f"; {self.rows_left_out:,} hold no {'rating' if self.has_ratings else 'interaction'}"
        return line

    def __str__(self) -> str:
        low, high = self.rating_range
        noun = "rating" if self.has_ratings else "interaction"
        counted = self.has_ratings or (low, high) != (1, 1)
        what = (
            "ratings" if self.has_ratings else f"no ratings; {'weights' if low < 0 else 'counts'} of a pair"
        )
        lines = [
            f"{self.source}",
            f"  {self.n_ratings:,} {noun}s by {self.n_users:,} users of {self.n_items:,} items "
            f"({self.density:.3%} of the table)",
            f"  {what} {low:g} to {high:g}, mean {self.mean_rating:.3f}"
            if counted
            else "  no ratings; every pair counts once",
            f"  a median user has {self.median_ratings_per_user:g} {noun}s, a median item "
            f"{self.median_ratings_per_item:g}; {self.items_rated_once:,} items have only one",
        ]
        if self.time_span:
            lines.append(f"  from {self.time_span[0]} to {self.time_span[1]} UTC")
        if self.cold_users or self.cold_items:
            lines.append(
                f"  without {'a rating' if self.has_ratings else 'an interaction'} here: "
                f"{self.cold_users:,} users, {self.cold_items:,} items"
            )
        lines.append(f"  {self._rows()}")
        notes = ReadingNotes(ignored=self.ignored_columns, remarks=self.remarks)
        lines += [f"  {line}" for line in notes.lines()]
        if not counted:
            return "\n".join(lines)
        longest = max((count for _, count in self.histogram), default=1)
        width = max((len(label) for label, _ in self.histogram), default=0)
        lines += [
            f"  {label:>{width}} {'█' * max(1, round(40 * count / longest)) if count else ''} {count:,}"
            for label, count in self.histogram
        ]
        return "\n".join(lines)


def _histogram(ratings: Any) -> tuple[tuple[str, int], ...]:
    if not len(ratings):
        return ()
    found: Counter[float] = Counter()
    for part in parts(len(ratings)):
        values, counts = np.unique(ratings[part], return_counts=True)
        found.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
        if len(found) > _MAX_BARS:
            break
    else:
        return tuple((f"{value:g}", found[value]) for value in sorted(found))
    ends = float(ratings.min()), float(ratings.max())
    counts = np.zeros(10, np.int64)
    for part in parts(len(ratings)):
        added, edges = np.histogram(ratings[part].astype(np.float64), bins=10, range=ends)
        counts += added
    return tuple((f"{edges[n]:.3g}..{edges[n + 1]:.3g}", int(count)) for n, count in enumerate(counts))


def _iso(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, OSError, ValueError):  # a clock of another unit: show it as it is
        return f"{seconds:g}"
