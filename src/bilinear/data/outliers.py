"""Ratings far from all others, and columns that look like counts: found, described, and bounded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from warnings import warn

import numpy as np
from numpy.typing import NDArray

from bilinear.data.interactions import Interactions

_TRIMMED = 0.005  # of the ratings at either end may be outliers, at least one
_REACH = 5.0  # times the range of the others, beyond either end of it
_SKEW = 20.0  # upper range over the median, from which a column looks like counts or amounts
_SAMPLE = 1_000_000  # ratings that the quantiles are taken from
_SHOWN = 3
_LARGEST = float(np.finfo(np.float32).max)


class OutlierWarning(UserWarning):
    """Some ratings are far from all others, and training bounds their pull. The message names them."""


@dataclass(frozen=True)
class Fence:
    """Range of the ratings of a table, and the bounds beyond which a rating is an outlier.

    Attributes:
        low, high: training takes ratings beyond them as these: five times the usual range away.
        usual: (lowest, highest) of the ratings without 0.5 % at either end, at least one each.
        n_outside: ratings beyond `low` or `high`.
    """

    low: float
    high: float
    usual: tuple[float, float]
    n_outside: int

    @classmethod
    def of(cls, ratings: NDArray[np.float32]) -> Fence:
        """Of finite ratings. Without a bound where all but the trimmed ones are equal: there the rare ones
        are the data.

        Cost:
            O(n_ratings), memory that of a million ratings.
        """
        sample = ratings[:: max(1, len(ratings) // _SAMPLE)]
        cut = min(max(1, int(_TRIMMED * len(sample))), (len(sample) - 1) // 2)
        ends = np.partition(sample, [cut, len(sample) - 1 - cut])[[cut, len(sample) - 1 - cut]]
        first, last = (float(end) for end in ends)
        reach = _REACH * (last - first)
        if reach == 0:
            return cls(-np.inf, np.inf, (first, last), 0)
        low, high = max(first - reach, -_LARGEST), min(last + reach, _LARGEST)
        n_outside = int(np.count_nonzero(ratings < low)) + int(np.count_nonzero(ratings > high))
        return cls(low, high, (first, last), n_outside)

    def bounded(self, interactions: Interactions) -> Interactions:
        """The table with its outliers taken as the nearest bound; the same table if it has none."""
        if not self.n_outside:
            return interactions
        ratings = interactions.ratings
        kept = interactions.storage.empty(len(ratings), ratings.dtype)
        np.clip(ratings, np.float32(self.low), np.float32(self.high), out=kept)
        return replace(interactions, ratings=kept)

    def describe(self, interactions: Interactions) -> str:
        """The outliers with their users and items, and what to do; empty without outliers."""
        if not self.n_outside:
            return ""
        ratings = interactions.ratings
        outside = np.flatnonzero((ratings < self.low) | (ratings > self.high))
        farthest = outside[np.argsort(-np.abs(ratings[outside].astype(np.float64)), kind="stable")][:_SHOWN]
        shown = ", ".join(
            f"{ratings[row]:g} (user {interactions.user_vocabulary[interactions.users[row]]!r}, item "
            f"{interactions.item_vocabulary[interactions.items[row]]!r})"
            for row in farthest
        )
        one = self.n_outside == 1
        return (
            f"{interactions.source}: {self.n_outside:,} of {interactions.n_ratings:,} ratings "
            f"{'lies' if one else 'lie'} far from the others, which are in "
            f"[{self.usual[0]:g}, {self.usual[1]:g}]: {shown}{', ...' if self.n_outside > _SHOWN else ''}. "
            f"Training takes what lies beyond [{self.low:g}, {self.high:g}] as its nearer end. If "
            f"{'it is a mistake' if one else 'they are mistakes'}, correct or drop the "
            f"{'row' if one else 'rows'}; if right, rating_range=(low, high) "
            f"(--set 'rating_range=(LOW, HIGH)') makes {'it' if one else 'them'} count in full"
        )


NO_FENCE = Fence(-np.inf, np.inf, (-np.inf, np.inf), 0)
"""Bounds nothing."""


def warn_of_outliers(fence: Fence, interactions: Interactions) -> None:
    """Warns with `OutlierWarning` where the fence bounds any rating."""
    if fence.n_outside:
        text = fence.describe(interactions)
        if look_like_counts(interactions.ratings):
            text += f". {COUNTS_ADVICE}"
        warn(text, OutlierWarning, stacklevel=4)


def look_like_counts(ratings: NDArray[np.float32]) -> bool:
    """Whether a column has the long upper tail of plays, hours or amounts.

    That is: none below zero, and the 99.5 % quantile above twenty times the median.
    """
    if not len(ratings) or ratings.min() < 0:
        return False
    sample = ratings[:: max(1, len(ratings) // _SAMPLE)]
    median, high = np.quantile(sample.astype(np.float64), [0.5, 1 - _TRIMMED])
    return bool(high > _SKEW * median > 0)


def cause_of_divergence(interactions: Interactions) -> str:
    """A likely cause in the ratings of a table on which training diverged, or other causes to check."""
    found = Fence.of(interactions.ratings).describe(interactions)
    if look_like_counts(interactions.ratings):
        found += (". " if found else "") + COUNTS_ADVICE
    return found


COUNTS_ADVICE = (
    "The ratings have the long tail of plays, hours or amounts, of which squared errors see little but the "
    "largest; if they count something, read them with count= (--count NAME) and rank instead"
)
