"""Second derivatives of the training objective, known by their products with vectors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bilinear.errors import ParameterValueError
from bilinear.lab.numerics.two_threads import both, middle
from bilinear.lab.numerics.problem import Problem, Vector
from bilinear.model.parameters import Parameters
from bilinear.objective.objective import Objective


def hessian_vector_product(objective: Objective, at: Parameters, direction: Parameters) -> Parameters:
    """Curvature of the training objective along `direction`, the global mean held fixed.

    Args:
        at, direction: Parameters of equal shape; user_factors is (n_users, n_factors).
    Returns:
        Parameters in float64, in loss units per squared parameter unit; its global_mean is 0.
    Raises:
        ParameterValueError: `direction` does not match `at`.
    Cost: O(n_ratings * n_factors) time, no n_users x n_items array.
    Source: docs/theory/curvature.md.
    """
    shapes = [{name: a.shape for name, a in p.arrays().items()} for p in (at, direction)]
    if shapes[0] != shapes[1]:
        raise ParameterValueError(f"the direction has shapes {shapes[1]}, the point {shapes[0]}")
    problem = Problem.of(objective, at.global_mean)
    product = problem.unpack(Hessian(problem, problem.pack(at)).times(problem.pack(direction)))
    l2 = objective.penalty
    wide = direction.astype(np.float64)
    for name, counts, rows, scales in (
        ("user", objective.user_counts, problem.user_rows, problem.user_scales),
        ("item", objective.item_counts, problem.item_rows, problem.item_scales),
    ):
        biases, factors = product.arrays()[f"{name}_biases"], product.arrays()[f"{name}_factors"]
        biases[rows] *= scales**2  # natural coordinates, back
        factors[rows] *= scales[:, None] ** 2
        rest = counts == 0
        weights = l2.row_weights(counts[rest])
        biases[rest] = l2.biases * weights * wide.arrays()[f"{name}_biases"][rest]
        factors[rest] = l2.factors * weights[:, None] * wide.arrays()[f"{name}_factors"][rest]
    return Parameters(0.0, **product.arrays())


@dataclass(frozen=True, eq=False)
class Hessian:
    """The matrix of second derivatives at a point, known by its products with vectors."""

    problem: Problem
    at: Vector

    def times(self, direction: Vector) -> Vector:
        """Its product with a flat vector. Cost: O(n_ratings * n_factors)."""
        from bilinear.kernels.second_order import hessian_product_pairs

        problem = self.problem
        here, change = problem.parts(self.at), problem.parts(direction)
        dz = problem.bias_scores(change)
        if problem.free_mean:
            dz += change.mean[0]
        out_u, out_v = np.zeros_like(here.user_factors), np.zeros_like(here.item_factors)
        columns = (problem.users, problem.items, problem.inverse_scales, self.bends, self.slopes)
        factors = (*here[3:], *change[3:])
        starts = problem.by_user[0]
        half = starts[middle(starts, problem.n_ratings * here.user_factors.shape[1])]
        if half:
            other_v = np.zeros_like(out_v)
            first, second = slice(None, half), slice(half, None)  # at the border between two users
            both(
                hessian_product_pairs,
                (*(column[first] for column in columns), *factors, dz[first], out_u, out_v),
                (*(column[second] for column in columns), *factors, dz[second], out_u, other_v),
            )
            out_v += other_v
        else:
            hessian_product_pairs(*columns, *factors, dz, out_u, out_v)
        return problem.adjoint(dz, out_u, out_v, direction)

    def diagonal(self) -> Vector:
        """The diagonal of the Gauss-Newton part with the penalty: positive where either is."""
        problem, parts = self.problem, self.problem.parts(self.at)
        bends = problem.weights * problem.loss.curvature(self.scores, problem.ratings, problem.link)
        s, t = problem.user_scales, problem.item_scales
        squares = problem.matrix(bends * problem.inverse_scales)
        b, c = problem.row_sums(bends)
        return problem.join(
            bends.sum(),
            b / s + problem.l2_biases,
            c / t + problem.l2_biases,
            squares @ parts.item_factors**2 + problem.l2,
            squares.T @ parts.user_factors**2 + problem.l2,
        )

    @cached_property
    def scores(self) -> Vector:
        return self.problem.scores(self.at)

    @cached_property
    def slopes(self) -> Vector:
        return self.problem.slopes(self.scores)

    @cached_property
    def bends(self) -> Vector:
        return self.problem.bends(self.scores)
