"""Features of one side's rows as a sparse matrix: what a row prior takes its mean from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from bilinear.errors import ParameterValueError

if TYPE_CHECKING:
    from scipy.sparse import csr_array


class Entries(NamedTuple):
    """A sparse matrix by its rows (CSR): row r has the columns indices[indptr[r] : indptr[r + 1]]."""

    indptr: NDArray[np.int64]
    """(n_rows + 1,)"""
    indices: NDArray[np.int32]
    """(n_entries,)"""
    values: NDArray[np.float32]
    """(n_entries,)"""


@dataclass(frozen=True, eq=False)
class SparseBlock:
    """One block of features of the users, or of the items: X (n_rows, n_columns), sparse.

    A row prior with several blocks has the mean m + sum over blocks of X_g A_g, with a learned map A_g
    (n_columns, n_factors + 1) for each. Rows are in the order of the side's vocabulary and have unit norm,
    or are zero where nothing is known.

    Args:
        name: Of the block, such as "genres"; the blocks of a side have different names.
        entries: The matrix by rows.
        n_columns: Its width.

    Examples:
        >>> from scipy.sparse import csr_array
        >>> block = SparseBlock.of("genres", csr_array([[1.0, 0.0], [0.6, 0.8], [0.0, 0.0]]))
        >>> block.shape, block.n_entries
        ((3, 2), 3)
    """

    name: str
    entries: Entries
    n_columns: int

    @classmethod
    def of(cls, name: str, matrix: Any) -> Self:
        """From a SciPy sparse matrix or array, or a dense one.

        Raises:
            ParameterValueError: A value is not finite.
        """
        from scipy.sparse import csr_array

        rows = csr_array(matrix)
        rows.sum_duplicates()
        values = rows.data.astype(np.float32)
        wrong = np.flatnonzero(~np.isfinite(values))
        if len(wrong):
            row = int(np.searchsorted(rows.indptr, wrong[0], side="right"))
            raise ParameterValueError(
                f"features {name!r}, row {row}: expected finite numbers, got {values[wrong[0]]}; "
                "leave missing values out of the matrix"
            )
        entries = Entries(rows.indptr.astype(np.int64), rows.indices.astype(np.int32), values)
        return cls(name, entries, int(rows.shape[1]))

    @property
    def shape(self) -> tuple[int, int]:
        """(n_rows, n_columns)"""
        return len(self.entries.indptr) - 1, self.n_columns

    @property
    def n_entries(self) -> int:
        """Entries that are stored."""
        return len(self.entries.indices)

    def matrix(self) -> csr_array:
        """As a SciPy array, without a copy."""
        from scipy.sparse import csr_array

        return csr_array((self.entries.values, self.entries.indices, self.entries.indptr), self.shape)

    def by_column(self) -> Entries:
        """The transposed matrix by its rows."""
        columns = self.matrix().tocsc()
        return Entries(
            columns.indptr.astype(np.int64), columns.indices.astype(np.int32), columns.data.astype(np.float32)
        )
