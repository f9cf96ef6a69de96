"""A trust-region Newton method for the training objective, preconditioned by the rows' own blocks.

Each row's block of the Gauss-Newton matrix (the one that alternating least squares inverts) is factored
exactly; conjugate gradients solve for the coupling between rows. Source: Steihaug, SIAM J. Numer.
Anal. 20 (1983), in the norm of the preconditioner.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bilinear.lab.numerics.curvature import relative_gradient
from bilinear.lab.numerics.hessian import Hessian
from bilinear.lab.numerics.problem import Problem, Vector
from bilinear.lab.numerics.row_blocks import RowBlocks

_FORCING = 0.05  # relative residual of a step: with a smaller one, steps follow the symmetries
_NOISE = 1e-11  # differences of the objective below this share of it are rounding


@dataclass(frozen=True, eq=False)
class Descent:
    """The end point of a descent.

    Attributes:
        at: The flat vector.
        value: The objective.
        gradient: The relative gradient.
        n_products: Hessian products used.
    """

    at: Vector
    value: float
    gradient: float
    n_products: int


def trust_region_newton(
    problem: Problem, at: Vector, *, tolerance: float, max_products: int, max_steps: int = 1000
) -> Descent:
    """Minimises the objective until the relative gradient is at most `tolerance`.

    Directions of negative curvature are followed to the boundary of the trust region, so that the
    descent leaves a saddle point unless it starts exactly there. Cost: O(n_ratings * n_factors) a
    product, and a factorisation of every row's block a step.

    Args:
        problem: The objective.
        at: The start, a flat vector.
        tolerance: Relative gradient at which it ends.
        max_products: Hessian products, at most.
        max_steps: Newton steps, at most.

    Returns:
        The end point.
    """
    value, gradient = problem.value_and_gradient(at)
    relative = relative_gradient(problem, at, gradient)
    radius, used = np.inf, 0
    for _ in range(max_steps):
        if relative <= tolerance or used >= max_products:
            break
        hessian = Hessian(problem, at)
        blocks = RowBlocks.of(hessian)
        most = max_products - used
        while True:
            step, predicted, length, products = _steihaug(hessian, blocks, gradient, radius, _FORCING, most)
            used += products
            moved = at + step
            new_value = problem.value(moved)
            if predicted > _NOISE * abs(value):
                agreement = (value - new_value) / predicted
                accepted = agreement > 1e-4
            else:  # lost in the rounding of the objective: the gradient decides
                new_relative = relative_gradient(problem, moved)
                accepted, agreement = new_relative < relative, 1.0
            if agreement < 0.25:
                radius = 0.25 * length
            elif agreement > 0.75:
                radius = max(radius, 2.5 * length)
            if accepted or used >= max_products or not length > 1e-14 * np.linalg.norm(at):
                break
        if not accepted:
            break
        at = moved
        value, gradient = problem.value_and_gradient(at)
        relative = relative_gradient(problem, at, gradient)
    return Descent(at, value, relative, used)


def inner(first: Vector, second: Vector) -> float:
    """The inner product, without BLAS: its threads wait for each other on busy cores."""
    return float(np.einsum("i,i->", first, second))


def _steihaug(
    hessian: Hessian, blocks: RowBlocks, gradient: Vector, radius: float, tolerance: float, most: int
) -> tuple[Vector, float, float, int]:
    """The step that minimises the quadratic model within `radius`.

    Returns (step, decrease of the model, length of the step, products). Lengths are in the norm of
    the preconditioner.
    """
    step, rest = np.zeros(len(gradient)), gradient.copy()
    solved = blocks.solve(rest)
    size = inner(rest, solved)
    target = tolerance**2 * size
    direction = -solved
    step_step, step_direction, direction_direction = 0.0, 0.0, size
    predicted, n_products = 0.0, 0
    while n_products < most:
        product = hessian.times(direction)
        n_products += 1
        curvature = inner(direction, product)
        alpha = size / curvature if curvature > 0 else np.inf
        ahead = step_step + 2 * alpha * step_direction + alpha**2 * direction_direction
        if curvature <= 0 and not np.isfinite(radius):  # no radius yet: the length of the first gradient step
            radius = float(np.sqrt(max(step_step, size)))
        if curvature <= 0 or ahead >= radius**2:
            root = np.sqrt(step_direction**2 + direction_direction * (radius**2 - step_step))
            alpha = (root - step_direction) / direction_direction
            predicted += alpha * size - 0.5 * alpha**2 * curvature
            return step + alpha * direction, predicted, radius, n_products
        step += alpha * direction
        predicted += 0.5 * alpha * size
        rest += alpha * product
        solved = blocks.solve(rest)
        new_size = inner(rest, solved)
        step_step = ahead
        if new_size <= target:
            break
        beta, size = new_size / size, new_size
        step_direction = beta * (step_direction + alpha * direction_direction)
        direction_direction = size + beta**2 * direction_direction
        direction = beta * direction - solved
    return step, predicted, float(np.sqrt(step_step)), n_products
