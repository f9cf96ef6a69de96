"""Arrays of other libraries: torch tensors and Arrow columns as NumPy arrays, SciPy matrices and lists."""

from __future__ import annotations

import sys
from typing import Any


def plain_column(values: Any) -> Any:
    """A column that iterates over plain values: tensors and Arrow arrays are converted, all else is kept.

    Examples:
        >>> import pyarrow
        >>> from bilinear.data.foreign_arrays import plain_column
        >>> plain_column(pyarrow.array(["ann", "bob"]))
        ['ann', 'bob']
    """
    if is_tensor(values):
        return values.detach().cpu().numpy()
    return values.to_pylist() if callable(getattr(values, "to_pylist", None)) else values


def plain_matrix(matrix: Any) -> Any:
    """A matrix of SciPy or NumPy: tensors are converted, all else is kept."""
    if not is_tensor(matrix):
        return matrix
    if str(matrix.layout) == "torch.strided":
        return matrix.detach().cpu().numpy()
    from scipy.sparse import coo_array

    stored = matrix.detach().cpu().to_sparse_coo().coalesce()
    return coo_array((stored.values().numpy(), stored.indices().numpy()), shape=tuple(stored.shape))


def is_tensor(value: Any) -> bool:
    """Whether a value is a torch tensor; torch is not imported for it."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)
