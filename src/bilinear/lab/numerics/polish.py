"""The stationary point near the end of training, in float64.

Near a stationary point of any kind, Newton steps on the gradient lead to that point, be it a
minimum or a saddle point. From further away, a trust-region Newton method descends. The distance
moved says whether the result still describes the point it started from.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bilinear.lab.numerics.curvature import principal_axes, relative_gradient
from bilinear.lab.numerics.hessian import Hessian
from bilinear.lab.numerics.problem import Problem, Vector
from bilinear.lab.numerics.row_blocks import RowBlocks
from bilinear.lab.numerics.symmetries import Symmetries
from bilinear.lab.numerics.trust_region import trust_region_newton

STATIONARY = 1e-10
"""A relative gradient up to which a point counts as stationary."""
_NEAR = 1e-4  # relative gradient up to which Newton steps are tried before any descent
_FAR = 0.01  # a Newton step that moves the scores by more than this share does not lead to a point nearby
_NEWTON_STEPS = 12


@dataclass(frozen=True, eq=False)
class Polished:
    """A point after polishing, and the work it took.

    Attributes:
        at: The flat vector.
        loss_before: The objective before polishing.
        loss: The objective after polishing.
        gradient_before: The relative gradient before polishing.
        gradient: The relative gradient after polishing.
        distance: Root mean square change of the scores of rated pairs over their spread around the
            global mean.
        norm_before: `|weights|` before, in natural coordinates, with U and V balanced.
        norm: The same after polishing.
        n_products: Hessian products used.

    Examples:
        >>> from bilinear import Identity, SquaredError, lab, synthetic_ratings
        >>> from bilinear.objective.objective import Objective
        >>> ratings = synthetic_ratings(10, 8, 50, rng=0)
        >>> problem = lab.Problem.of(Objective(SquaredError(), Identity(0.5, 5), lab.L2(1, 1), ratings), 3.5)
        >>> found = lab.polish(problem, problem.zeros(2))
        >>> found.gradient < found.gradient_before
        True
    """

    at: Vector
    loss_before: float
    loss: float
    gradient_before: float
    gradient: float
    distance: float
    norm_before: float
    norm: float
    n_products: int

    @property
    def stationary(self) -> bool:
        """Whether the relative gradient is at most 1e-10."""
        return self.gradient <= STATIONARY


def polish(problem: Problem, at: Vector, *, max_products: int = 5000) -> Polished:
    """The stationary point near `at`, if `max_products` Hessian products lead there.

    Cost:
        O(n_ratings * n_factors) a product; memory for some ten flat vectors and, up to a limit, one
        factored block for each row.

    Args:
        problem: The objective.
        at: A flat vector.
        max_products: Hessian products, at most.

    Returns:
        The point reached, stationary or not.

    Examples:
        >>> from bilinear import Identity, SquaredError, lab, synthetic_ratings
        >>> from bilinear.objective.objective import Objective
        >>> ratings = synthetic_ratings(10, 8, 50, rng=0)
        >>> problem = lab.Problem.of(Objective(SquaredError(), Identity(0.5, 5), lab.L2(1, 1), ratings), 3.5)
        >>> found = lab.polish(problem, problem.zeros(2))
        >>> found.stationary, found.loss < found.loss_before
        (True, True)
    """
    loss, full_gradient = problem.value_and_gradient(at)
    before = relative_gradient(problem, at, full_gradient)
    found, gradient, used = at, before, 0
    if STATIONARY < before <= _NEAR:
        near, gradient, used = newton(problem, at, max_products=max_products)
        if gradient <= STATIONARY and distance(problem, at, near) <= _FAR:
            found = near
        else:
            gradient = before
    if gradient > STATIONARY:
        descent = trust_region_newton(problem, at, tolerance=1e-8, max_products=max(max_products - used, 1))
        used += descent.n_products
        found, gradient = descent.at, descent.gradient
        if gradient <= _NEAR or used < max_products:
            left = max(max_products - used, max_products // 4)
            found, gradient, more = newton(problem, found, max_products=left)
            used += more
    return Polished(
        found,
        loss,
        problem.value(found),
        before,
        gradient,
        distance(problem, at, found),
        norm(problem, at),
        norm(problem, found),
        used,
    )


def newton(problem: Problem, at: Vector, *, max_products: int) -> tuple[Vector, float, int]:
    """Newton steps on the gradient while each reduces it; (point, relative gradient, products used).

    MINRES solves for the step on the complement of the symmetries, so that the iteration converges to
    saddle points as to minima and does not move along flat directions.
    """
    gradient, used = relative_gradient(problem, at), 0
    for _ in range(_NEWTON_STEPS):
        if gradient <= 1e-3 * STATIONARY or used >= max_products:
            break
        step, n_products = _newton_step(problem, at, min(1e-2, gradient**0.5), max_products - used)
        used += n_products
        new = relative_gradient(problem, at + step)
        if not new < gradient:
            break
        at, gradient = at + step, new
    return at, gradient, used


def _newton_step(problem: Problem, at: Vector, tolerance: float, most: int) -> tuple[Vector, int]:
    from scipy.sparse.linalg import LinearOperator, minres

    hessian, symmetries = Hessian(problem, at), Symmetries(problem, at)
    blocks = RowBlocks.of(hessian)
    n_products = 0

    def times(x: Vector) -> Vector:
        nonlocal n_products
        n_products += 1
        return symmetries.without(hessian.times(x.ravel()))  # x is a result of `precondition`

    def precondition(x: Vector) -> Vector:
        return symmetries.without(blocks.solve(x.ravel()))  # and x here is a result of `times`

    size = (len(at), len(at))
    step, _ = minres(
        LinearOperator(size, matvec=times, dtype=np.float64),
        -symmetries.without(problem.gradient(at)),
        rtol=tolerance,
        maxiter=max(min(most, 2000), 1),
        M=LinearOperator(size, matvec=precondition, dtype=np.float64),
    )
    return symmetries.without(step), n_products


def distance(problem: Problem, first: Vector, second: Vector) -> float:
    """Root mean square difference of the scores of rated pairs over their larger spread around the mean."""
    before, after = problem.scores(first), problem.scores(second)
    spread = max(float(np.linalg.norm(scores - problem.mean)) for scores in (before, after))
    return float(np.linalg.norm(after - before)) / spread if spread > 0 else 0.0


def norm(problem: Problem, at: Vector) -> float:
    """`|weights|` with U and V balanced: the smallest norm with these scores."""
    parts = problem.parts(at)
    squares = 2 * float(principal_axes(parts.user_factors, parts.item_factors)[2].sum())
    squares += float(parts.user_biases @ parts.user_biases + parts.item_biases @ parts.item_biases)
    return float(np.sqrt(squares))
