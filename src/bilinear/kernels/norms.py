"""Lengths of factor tables."""

import numpy as np

from bilinear.kernels.cache import njit


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz", "arcp"})
def sum_of_squares(rows):  # type: ignore[no-untyped-def]
    """The sum of all squared entries of (n, width) rows, row by row in float64."""
    total = 0.0
    for n in range(rows.shape[0]):
        square = rows.dtype.type(0)
        for f in range(rows.shape[1]):
            square += rows[n, f] * rows[n, f]
        total += np.float64(square)
    return total
