"""Directions along which the objective does not change, by theory.

With L2, (U, V) and (U A, V A) have the same value for every rotation A; without it, (U A, V A^-T)
for every invertible A. Unpenalised biases may be shifted against each other. At a stationary
point each such direction has curvature zero; small eigenvalues are informative only after these
directions are projected out. Source: docs/theory/curvature.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bilinear.eigen import symmetric_eigen
from bilinear.lab.numerics.problem import Problem, Vector

RANK_TOLERANCE = 1e-10
"""A factor counts where its part of |U|^2 + |V|^2 is at least this share of the largest."""


@dataclass(frozen=True, eq=False)
class Symmetries:
    """The flat directions at one point.

    Attributes:
        problem: The objective.
        at: A flat vector.

    Examples:
        The rotations of two factors are one direction:

        >>> import numpy as np
        >>> from bilinear import Identity, SquaredError, lab, synthetic_ratings
        >>> from bilinear.objective.objective import Objective
        >>> ratings = synthetic_ratings(10, 8, 50, rng=0)
        >>> problem = lab.Problem.of(Objective(SquaredError(), Identity(0.5, 5), lab.L2(1, 1), ratings), 3.5)
        >>> at = np.random.default_rng(0).standard_normal(problem.size(2))
        >>> lab.Symmetries(problem, at).count
        1
    """

    problem: Problem
    at: Vector

    @property
    def count(self) -> int:
        """Dimension of all flat directions."""
        return self.n_rotations + self.n_shifts

    @cached_property
    def rank(self) -> int:
        """Dimension of the factor space that U and V together span."""
        return _rank(self._square[0] + self._square[1])

    @cached_property
    def n_rotations(self) -> int:
        """Dimension of the rotations of the factors, or without L2 of all k x k maps."""
        k = self.problem.n_factors(self.at)
        if not self._free:
            return self.rank * (2 * k - self.rank - 1) // 2
        ranks = [_rank(square) for square in self._square]
        return k * k - (k - ranks[0]) * (k - ranks[1])

    @cached_property
    def n_shifts(self) -> int:
        """Dimension of the shifts of unpenalised biases, a free mean, and without L2 of constant columns."""
        return sum(block.shape[0] for block in self._shifts)

    def without(self, direction: Vector) -> Vector:
        """The part of `direction` orthogonal to every symmetry. Cost: O((n_users + n_items) k^2)."""
        out = self._without_rotations(direction)
        for block in self._shifts:
            out = out - block.T @ (block @ out)
        return out

    def _without_rotations(self, direction: Vector) -> Vector:
        k = self.problem.n_factors(self.at)
        if not k:
            return direction.copy()
        parts, change = self.problem.parts(self.at), self.problem.parts(direction)
        u, v, du, dv = parts.user_factors, parts.item_factors, change.user_factors, change.item_factors
        if self._free:
            step = _sylvester(*self._square, u.T @ du - dv.T @ v)
            moved_u, moved_v = u @ step, -v @ step.T
        else:
            # The least squares fit of (du, dv) by (U A, V A), A skew, in the axes of U^T U + V^T V.
            values, axes = self._rotation
            overlap = u.T @ du + v.T @ dv
            right = axes.T @ (overlap - overlap.T) @ axes
            sums = values[:, None] + values[None, :]
            used = sums > RANK_TOLERANCE * max(values.max(), 1e-300)
            step = axes @ np.where(used, right / np.where(used, sums, 1), 0) @ axes.T
            moved_u, moved_v = u @ step, v @ step
        out = direction.copy()
        left = self.problem.parts(out)
        left.user_factors[...] -= moved_u
        left.item_factors[...] -= moved_v
        return out

    @property
    def _free(self) -> bool:
        """Whether factors are unpenalised, so that all invertible maps are symmetries."""
        return self.problem.l2 == 0

    @cached_property
    def _square(self) -> tuple[Vector, Vector]:
        parts = self.problem.parts(self.at)
        return parts.user_factors.T @ parts.user_factors, parts.item_factors.T @ parts.item_factors

    @cached_property
    def _rotation(self) -> tuple[Vector, Vector]:
        values, axes = symmetric_eigen(self._square[0] + self._square[1])
        return np.maximum(values, 0), axes

    @cached_property
    def _shifts(self) -> list[Any]:
        """RowBlocks of orthonormal rows, each orthogonal to the rotations and to the blocks before."""
        problem = self.problem
        if not problem.has_biases or problem.l2_biases > 0:
            return []
        blocks: list[Any] = [_component_shifts(problem, len(self.at))]
        extra: list[Vector] = []
        zero = problem.parts(np.zeros(len(self.at)))
        s, t = problem.user_scales, problem.item_scales
        if problem.free_mean:
            extra.append(problem.join(1.0, -s, zero.item_biases, zero.user_factors, zero.item_factors))
        if self._free:  # a constant added to a column of U, its product subtracted from the item biases
            u, v = problem.parts(self.at)[3:]
            for f in range(u.shape[1]):
                axis = np.eye(u.shape[1])[f]
                extra.append(
                    problem.join(0.0, zero.user_biases, -v[:, f], np.outer(s, axis), zero.item_factors)
                )
                extra.append(
                    problem.join(0.0, -u[:, f], zero.item_biases, zero.user_factors, np.outer(t, axis))
                )
        if extra:
            rows = np.array([self._without_rotations(row) for row in extra])
            rows -= (rows @ blocks[0].T) @ blocks[0]
            _, sizes, basis = np.linalg.svd(rows, full_matrices=False)
            blocks.append(basis[sizes > 1e-9 * sizes.max()])
        return blocks


def _component_shifts(problem: Problem, size: int) -> Any:
    """One row for each connected part of the rating graph: its user biases up, its item biases down."""
    from scipy.sparse import block_array, csr_array
    from scipy.sparse.csgraph import connected_components

    m, n = problem.n_users, problem.n_items
    seen = problem.matrix(np.ones(problem.n_ratings), scaled=False)
    n_components, labels = connected_components(block_array([[None, seen], [seen.T, None]]), directed=False)
    values = np.concatenate([problem.user_scales, -problem.item_scales])
    values /= np.sqrt(np.bincount(labels, values**2))[labels]
    columns = np.arange(m + n) + int(problem.free_mean)
    return csr_array((values, (labels, columns)), shape=(n_components, size))


def _sylvester(left: Vector, right: Vector, target: Vector) -> NDArray[np.float64]:
    """The shortest A with left A + A right = target, for symmetric semidefinite left and right."""
    a, x = symmetric_eigen(left)
    b, y = symmetric_eigen(right)
    sums = np.maximum(a, 0)[:, None] + np.maximum(b, 0)[None, :]
    used = sums > RANK_TOLERANCE * max(sums.max(), 1e-300)
    inner = np.where(used, (x.T @ target @ y) / np.where(used, sums, 1), 0)
    solution: NDArray[np.float64] = x @ inner @ y.T
    return solution


def _rank(square: Vector) -> int:
    values = symmetric_eigen(square).values
    return int((values > RANK_TOLERANCE * max(values.max(initial=0), 1e-300)).sum())
