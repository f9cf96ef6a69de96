"""Whether intervals hold what they promise, in groups of pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bilinear.tabular import Tabular


@dataclass(frozen=True)
class Coverage(Tabular):
    """Shares of held-out ratings within their intervals.

    Attributes:
        level: the share that was promised.
        shares: by group; groups without a rating are left out.
        counts: ratings of each group.
        width: mean width of all intervals, in rating units.
        n_without: ratings that have no interval, and are in no group.
    """

    level: float
    shares: Mapping[str, float]
    counts: Mapping[str, int]
    width: float
    n_without: int = 0

    @classmethod
    def of(
        cls,
        level: float,
        low: NDArray[Any],
        high: NDArray[Any],
        ratings: NDArray[Any],
        groups: Mapping[str, NDArray[np.bool_]],
        n_without: int = 0,
    ) -> Coverage:
        """From ends of intervals and ratings, (n,) each, and masks of the groups."""
        within = (low <= ratings) & (ratings <= high)
        used = {name: mask for name, mask in groups.items() if mask.any()}
        return cls(
            level,
            {name: float(within[mask].mean()) for name, mask in used.items()},
            {name: int(mask.sum()) for name, mask in used.items()},
            float(np.mean(high - low)) if len(low) else 0.0,
            n_without,
        )

    def to_columns(self) -> dict[str, Any]:
        """group, share and count."""
        return {
            "group": list(self.shares),
            "share": list(self.shares.values()),
            "count": [self.counts[name] for name in self.shares],
        }

    def to_dict(self) -> dict[str, Any]:
        """Numbers by name, as JSON values."""
        return asdict(self)

    def __str__(self) -> str:
        groups = ", ".join(
            f"{name} {share:.1%} ({self.counts[name]:,})" for name, share in self.shares.items()
        )
        without = (
            f"; {self.n_without:,} ratings of users or items without training ratings have no interval"
            if self.n_without
            else ""
        )
        return f"{self.level:.0%} intervals hold, of mean width {self.width:.2f}: {groups}{without}"
