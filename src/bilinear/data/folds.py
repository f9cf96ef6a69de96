"""Folds of a table: every rating is held out once."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bilinear.arguments import is_whole
from bilinear.data.interactions import Interactions
from bilinear.data.splits import Split
from bilinear.errors import DataError, ParameterValueError


@dataclass(frozen=True)
class KFold:
    """Parts of a table, of equal size and drawn at random, each of which is the test part once.

    Of scikit-learn's searches it is the argument `cv`; `splits` gives the folds of a table, and
    `cross_validate` measures models on them.

    Args:
        n_splits: How many parts, two or more.
        rng: Seed; the same seed and size give the same parts.

    Raises:
        ParameterValueError: `n_splits` is not such a number.

    Examples:
        >>> from bilinear import KFold, synthetic_ratings
        >>> ratings = synthetic_ratings(50, 30, 600, rng=0)
        >>> [split.test.n_ratings for split in KFold(4, rng=0).splits(ratings)]
        [150, 150, 150, 150]
        >>> train, test = next(KFold(4, rng=0).split(ratings))
        >>> len(train), len(test)
        (450, 150)
    """

    n_splits: int = 5
    rng: int = 0

    def __post_init__(self) -> None:
        if not (is_whole(self.n_splits) and self.n_splits >= 2):
            raise ParameterValueError(f"n_splits={self.n_splits!r}; a whole number, two or more")

    def split(
        self, X: Sized, y: Any = None, groups: Any = None
    ) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        """Positions of the rows to train on and of those to test on, fold by fold, both ascending."""
        n_rows = X.shape[0] if hasattr(X, "shape") and not isinstance(X, Interactions) else len(X)
        if n_rows < self.n_splits:
            raise DataError(f"{n_rows} rows are too few for {self.n_splits} folds; take fewer")
        order = np.random.default_rng(self.rng).permutation(n_rows)
        for part in np.array_split(order, self.n_splits):
            held_out = np.zeros(n_rows, bool)
            held_out[part] = True
            yield np.flatnonzero(~held_out), np.flatnonzero(held_out)

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """How many folds there are."""
        return self.n_splits

    def splits(self, interactions: Interactions) -> Iterator[Split]:
        """The folds as `Split` objects, which share the vocabularies of the table."""
        for number, (train, test) in enumerate(self.split(interactions), start=1):
            how = f"fold {number} of {self.n_splits}, seed {self.rng}"
            yield Split(interactions.take(train), interactions.take(test), how)
