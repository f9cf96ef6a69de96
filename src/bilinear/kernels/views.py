"""Arrays as kernels take them, so that one kernel is compiled for tables in memory and on disk."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """A view that cannot be written to: its type is that of a mapped file."""
    view = np.asarray(array).view()
    view.setflags(write=False)
    return view
