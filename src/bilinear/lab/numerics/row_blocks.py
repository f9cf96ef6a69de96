"""The preconditioner of the lab's solvers: each row's own block of the Gauss-Newton matrix, factored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bilinear.lab.numerics.hessian import Hessian
from bilinear.lab.numerics.problem import Problem, Vector
from bilinear.lab.numerics.two_threads import run_both, split_row

_MOST_NUMBERS = 2e8  # in all blocks (1.6 GB); beyond that their diagonal is used


@dataclass(frozen=True, eq=False)
class RowBlocks:
    """The rows' blocks of the Gauss-Newton matrix with the penalty, factored: a positive definite map."""

    problem: Problem
    diagonal: Vector
    sides: tuple[tuple[NDArray[Any], ...], ...] | None
    """For users and items the arguments of the kernel; None where only the diagonal is used."""

    @classmethod
    def of(cls, hessian: Hessian) -> RowBlocks:
        """The factored blocks at the point of a Hessian."""
        problem, parts = hessian.problem, hessian.problem.parts(hessian.at)
        diagonal = hessian.diagonal()
        least = 1e-10 * float(diagonal.max())
        diagonal = np.maximum(diagonal, least)
        width = problem.n_factors(hessian.at) + int(problem.has_biases)
        sides = [problem.by_user, problem.by_item]
        sizes = [np.minimum(np.diff(indptr), width) ** 2 for indptr, _, _ in sides]
        if not width or sum(float(size.sum()) for size in sizes) > _MOST_NUMBERS:
            return cls(problem, diagonal, None)
        from bilinear.kernels.second_order import factor_blocks

        loss_curvature = problem.weights * problem.loss.curvature(
            hessian.scores, problem.ratings, problem.link
        )
        ridge = np.full(width, max(problem.l2, least))
        if problem.has_biases:
            ridge[-1] = max(problem.l2_biases, least)
        found: list[tuple[NDArray[Any], ...]] = []
        scales = problem.user_scales, problem.item_scales
        for (indptr, indices, order), size, own, other, factors in zip(
            sides, sizes, scales, scales[::-1], (parts.item_factors, parts.user_factors), strict=True
        ):
            columns = [factors / other[:, None]] + ([np.ones((len(other), 1))] if problem.has_biases else [])
            table = np.ascontiguousarray(np.hstack(columns))
            weights = loss_curvature[order] / np.repeat(own, np.diff(indptr)) ** 2
            offsets = np.concatenate([[0], np.cumsum(size)]).astype(np.int64)
            blocks = np.empty(offsets[-1])
            split = split_row(offsets, int(offsets[-1]) * 10)
            shared = (indices, weights, table, ridge)
            if split:
                run_both(
                    factor_blocks,
                    (indptr[: split + 1], *shared, offsets[: split + 1], blocks),
                    (indptr[split:], *shared, offsets[split:], blocks),
                )
            else:
                factor_blocks(indptr, *shared, offsets, blocks)
            found.append((indptr, *shared, offsets, blocks))
        return cls(problem, diagonal, tuple(found))

    def solve(self, direction: Vector) -> Vector:
        """The inverse times a flat vector."""
        if self.sides is None:
            return direction / self.diagonal
        from bilinear.kernels.second_order import solve_blocks

        parts = self.problem.parts(direction)
        out = []
        for side, biases, factors in zip(self.sides, parts[1:3], parts[3:], strict=True):
            columns = [factors] + ([biases[:, None]] if self.problem.has_biases else [])
            given = np.ascontiguousarray(np.hstack(columns))
            solved = np.empty_like(given)
            indptr, *shared, offsets, blocks = side
            split = split_row(offsets, int(offsets[-1]) + 2 * indptr[-1] * given.shape[1])
            if split:
                run_both(
                    solve_blocks,
                    (indptr[: split + 1], *shared, offsets[: split + 1], blocks, given, solved),
                    (indptr[split:], *shared, offsets[split:], blocks, given[split:], solved[split:]),
                )
            else:
                solve_blocks(*side, given, solved)
            out.append(solved)
        k = parts.user_factors.shape[1]
        mean = parts.mean / self.diagonal[: len(parts.mean)]
        return self.problem.join(mean, out[0][:, -1], out[1][:, -1], out[0][:, :k], out[1][:, :k])
