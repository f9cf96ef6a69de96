"""Base of models that keep sparse weights from item to item."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bilinear.arguments import is_real, is_whole
from bilinear.data.interactions import Grouped
from bilinear.errors import ParameterValueError
from bilinear.estimators.recent_history import RecentHistoryModel
from bilinear.estimators.recommender import TensorReader
from bilinear.kernels.neighbours import add_neighbours
from bilinear.model.parameters import Array

_BYTES_A_WEIGHT = 30  # while the weights are grouped by the other item


class NeighbourModel(RecentHistoryModel):
    """score(user, j) = sum over the user's items i of confidence(i) * weight(i, j).

    It has the learned attributes of `RecentHistoryModel` and these.

    Learned attributes:
        weights_: what item i says about others, grouped by i; `indices` are the items j it speaks
            about and `ratings` the weights.
    """

    weights_: Grouped
    n_neighbours: int

    bytes_a_pair: ClassVar[int] = 36

    def bytes_to_fit(self, n_pairs: int, n_users: int, n_items: int) -> int:
        room = n_items * min(self.n_neighbours, n_items)
        found = min(room, n_pairs * n_pairs // max(n_users, 1))  # pairs of items that share a user, about
        comparing = super().bytes_to_fit(n_pairs, n_users, n_items) + 8 * room
        return max(comparing, 14 * n_pairs + _BYTES_A_WEIGHT * found)

    def _scores_of(self, weighted: Grouped) -> Array:
        scores = np.zeros((len(weighted.counts), len(self.item_vocabulary_)), np.float32)
        add_neighbours(*weighted, *self.weights_, scores)
        return scores

    def _state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        tensors = {f"weights.{name}": array for name, array in self.weights_._asdict().items()}
        return super()._state()[0] | {"n_weights": len(self.weights_.indices)}, tensors

    def _restore(self, manifest: Mapping[str, Any], tensor: TensorReader) -> None:
        super()._restore(manifest, tensor)
        self.weights_ = restored_grouped("weights", manifest["n_weights"], len(self.item_vocabulary_), tensor)


def restored_grouped(name: str, n_values: Any, n_items: int, tensor: TensorReader) -> Grouped:
    """Item-to-item weights as they were stored, or ValueError where a later look-up would go astray."""
    if not is_whole(n_values) or n_values < 0:
        raise ValueError(f"n_{name} is {n_values!r}")
    indptr = tensor(f"{name}.indptr", np.int64, n_items + 1)
    indices = tensor(f"{name}.indices", np.int32, n_values)
    values = tensor(f"{name}.ratings", np.float32, n_values)
    if indptr[0] != 0 or indptr[-1] != n_values or (np.diff(indptr) < 0).any():
        raise ValueError(f"{name}.indptr does not divide the weights")
    if n_values and not (indices.min() >= 0 and indices.max() < n_items):
        raise ValueError(f"{name}.indices names items that are not there")
    if not np.isfinite(values).all():
        raise ValueError(f"{name} has values that are not finite")
    return Grouped(indptr, indices, values)


def checked_neighbours(n: Any) -> int:
    """A number of neighbours, or ParameterValueError."""
    if not (is_whole(n) and n >= 1):
        raise ParameterValueError(f"n_neighbours={n!r}; a whole number, one or more")
    return int(n)


def checked_exponent(name: str, value: Any) -> float:
    """An exponent, or ParameterValueError."""
    if not (is_real(value) and -4 <= value <= 4):
        raise ParameterValueError(f"{name}={value!r}; a number in [-4, 4]")
    return float(value)
