"""Second derivatives of the training objective, by their products with vectors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bilinear.errors import ParameterValueError
from bilinear.lab.numerics.problem import Problem, Vector
from bilinear.lab.numerics.two_threads import run_both, split_row
from bilinear.model.parameters import Parameters
from bilinear.objective.objective import Objective


def hessian_vector_product(objective: Objective, at: Parameters, direction: Parameters) -> Parameters:
    """The Hessian of the training objective times a direction, with the global mean fixed.

    Cost:
        O(n_ratings * n_factors) time, without an n_users x n_items array. Source:
        docs/theory/curvature.md.

    Args:
        objective: The training objective.
        at: Parameters; user_factors is (n_users, n_factors).
        direction: Parameters of equal shape.

    Returns:
        Parameters in float64, in loss units per squared parameter unit; its global_mean is 0.

    Raises:
        ParameterValueError: `direction` and `at` differ in shape.

    Examples:
        >>> import numpy as np
        >>> from bilinear import Identity, SquaredError, lab, synthetic_ratings
        >>> from bilinear.model.parameters import Parameters
        >>> from bilinear.objective.objective import Objective
        >>> ratings = synthetic_ratings(10, 8, 50, rng=0)
        >>> objective = Objective(SquaredError(), Identity(0.5, 5), lab.L2(2.0, 2.0, 0.0), ratings)
        >>> at, direction = Parameters.zeros(ratings.shape, 1), Parameters.zeros(ratings.shape, 1)
        >>> direction.user_factors[0] = 1
        >>> lab.hessian_vector_product(objective, at, direction).user_factors[0]
        array([2.])
    """
    shapes = [{name: a.shape for name, a in p.arrays().items()} for p in (at, direction)]
    if shapes[0] != shapes[1]:
        raise ParameterValueError(
            f"direction: expected the shapes of the point, {shapes[0]}, got {shapes[1]}"
        )
    problem = Problem.of(objective, at.global_mean)
    product = problem.unpack(Hessian(problem, problem.pack(at)).times(problem.pack(direction)))
    l2 = objective.penalty
    wide = direction.astype(np.float64)
    for name, counts, rows, scales in (
        ("user", objective.user_counts, problem.user_rows, problem.user_scales),
        ("item", objective.item_counts, problem.item_rows, problem.item_scales),
    ):
        biases, factors = product.arrays()[f"{name}_biases"], product.arrays()[f"{name}_factors"]
        biases[rows] *= scales**2  # back from natural coordinates
        factors[rows] *= scales[:, None] ** 2
        rest = counts == 0
        weights = l2.row_weights(counts[rest])
        biases[rest] = l2.biases * weights * wide.arrays()[f"{name}_biases"][rest]
        factors[rest] = l2.factors * weights[:, None] * wide.arrays()[f"{name}_factors"][rest]
    return Parameters(0.0, **product.arrays())


@dataclass(frozen=True, eq=False)
class Hessian:
    """The matrix of second derivatives at a point, by its products with vectors.

    Attributes:
        problem: The objective.
        at: A flat vector.

    Examples:
        >>> import numpy as np
        >>> from bilinear import Identity, SquaredError, lab, synthetic_ratings
        >>> from bilinear.objective.objective import Objective
        >>> ratings = synthetic_ratings(10, 8, 50, rng=0)
        >>> problem = lab.Problem.of(Objective(SquaredError(), Identity(0.5, 5), lab.L2(1, 1), ratings), 3.5)
        >>> at, direction = np.random.default_rng(0).standard_normal((2, problem.size(2)))
        >>> product = lab.Hessian(problem, at).times(direction)
        >>> step = 1e-6 * direction
        >>> difference = (problem.gradient(at + step) - problem.gradient(at - step)) / 2e-6
        >>> bool(np.allclose(product, difference, rtol=1e-5, atol=1e-5))
        True
    """

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
        columns = (
            problem.users,
            problem.items,
            problem.inverse_scales,
            self.loss_curvature,
            self.loss_gradient,
        )
        factors = (*here[3:], *change[3:])
        starts = problem.by_user[0]
        split = starts[split_row(starts, problem.n_ratings * here.user_factors.shape[1])]
        if split:
            other_v = np.zeros_like(out_v)
            first, second = slice(None, split), slice(split, None)  # at the border between two users
            run_both(
                hessian_product_pairs,
                (*(column[first] for column in columns), *factors, dz[first], out_u, out_v),
                (*(column[second] for column in columns), *factors, dz[second], out_u, other_v),
            )
            out_v += other_v
        else:
            hessian_product_pairs(*columns, *factors, dz, out_u, out_v)
        return problem.adjoint(dz, out_u, out_v, direction)

    def diagonal(self) -> Vector:
        """The diagonal of the Gauss-Newton matrix with the penalty: positive where either is."""
        problem, parts = self.problem, self.problem.parts(self.at)
        loss_curvature = problem.weights * problem.loss.curvature(self.scores, problem.ratings, problem.link)
        s, t = problem.user_scales, problem.item_scales
        squares = problem.matrix(loss_curvature * problem.inverse_scales)
        b, c = problem.row_sums(loss_curvature)
        return problem.join(
            loss_curvature.sum(),
            b / s + problem.l2_biases,
            c / t + problem.l2_biases,
            squares @ parts.item_factors**2 + problem.l2,
            squares.T @ parts.user_factors**2 + problem.l2,
        )

    @cached_property
    def scores(self) -> Vector:
        """(n_ratings,) scores at the point."""
        return self.problem.scores(self.at)

    @cached_property
    def loss_gradient(self) -> Vector:
        """(n_ratings,) first derivatives of the weighted losses by the scores."""
        return self.problem.loss_gradient(self.scores)

    @cached_property
    def loss_curvature(self) -> Vector:
        """(n_ratings,) second derivatives of the weighted losses by the scores."""
        return self.problem.loss_curvature(self.scores)
