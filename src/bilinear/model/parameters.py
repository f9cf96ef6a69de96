"""The weights of the dot-product model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Parameters:
    """score(u, i) = global_mean + user_biases[u] + item_biases[i] + <user_factors[u], item_factors[i]>.

    Attributes:
        global_mean: the score every pair starts from (before the link).
        user_biases, item_biases: of shape (n_users,) and (n_items,).
        user_factors, item_factors: of shape (n_users, n_factors) and (n_items, n_factors).

    All arrays have one floating type. A row without training ratings is all zeros, so that
    its score is the best answer left: the other side's bias, or the global mean.
    """

    global_mean: float
    user_biases: Array
    item_biases: Array
    user_factors: Array
    item_factors: Array

    @classmethod
    def zeros(
        cls,
        shape: tuple[int, int],
        n_factors: int = 0,
        global_mean: float = 0.0,
        dtype: type[np.floating[Any]] = np.float32,
    ) -> Parameters:
        """All biases and factors zero; `shape` is (n_users, n_items)."""
        n_users, n_items = shape
        return cls(
            global_mean,
            np.zeros(n_users, dtype),
            np.zeros(n_items, dtype),
            np.zeros((n_users, n_factors), dtype),
            np.zeros((n_items, n_factors), dtype),
        )

    @property
    def n_users(self) -> int:
        return len(self.user_biases)

    @property
    def n_items(self) -> int:
        return len(self.item_biases)

    @property
    def n_factors(self) -> int:
        return int(self.user_factors.shape[1])

    def copy(self) -> Parameters:
        """A deep copy, writable."""
        return Parameters(self.global_mean, **{name: array.copy() for name, array in self.arrays().items()})

    def astype(self, dtype: type[np.floating[Any]]) -> Parameters:
        """A copy in another floating type."""
        arrays = {name: array.astype(dtype) for name, array in self.arrays().items()}
        return Parameters(self.global_mean, **arrays)

    def arrays(self) -> dict[str, Array]:
        """The four arrays by name."""
        return {
            "user_biases": self.user_biases,
            "item_biases": self.item_biases,
            "user_factors": self.user_factors,
            "item_factors": self.item_factors,
        }

    def __repr__(self) -> str:
        return (
            f"Parameters({self.n_users:,} users, {self.n_items:,} items, {self.n_factors} factors, "
            f"{self.user_factors.dtype})"
        )
