"""Gradient, ends of the Hessian's spectrum, and balance of the factors at a point."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bilinear.eigen import largest_eigen_by_products, symmetric_eigen
from bilinear.errors import DivergenceError
from bilinear.lab.numerics.hessian import Hessian
from bilinear.lab.numerics.problem import Problem, Vector
from bilinear.lab.numerics.row_blocks import RowBlocks
from bilinear.lab.numerics.symmetries import Symmetries

_DENSE_BELOW = 300  # unknowns up to which all eigenvalues are computed
_AT_ONCE = 3  # eigenvectors computed together, so that the smallest is not missed
_EIGENVALUE_BIN = 1e-6  # of the largest curvature: what counts as zero


@dataclass(frozen=True, eq=False)
class Curvature:
    """The ends of the Hessian's spectrum at a point, without its symmetries, in natural coordinates.

    Attributes:
        smallest: The smallest second derivative along any unit direction that is not a symmetry;
            where `converged` is False, an upper bound of it.
        largest: The largest.
        direction: The flat unit vector of `smallest`.
        n_negative: Eigenvalues below -1e-6 * largest; None where all that were computed are.
        n_symmetries: Dimension of the flat directions that were projected out.
        rank: Of the factors.
        n_products: Hessian products used.
        converged: Whether `smallest` is accurate to 1e-6 of the largest.

    Examples:
        >>> from bilinear import Identity, Interactions, SquaredError, lab
        >>> from bilinear.objective.objective import Objective
        >>> one = Interactions.from_columns([0], [0], [1.0])
        >>> objective = Objective(SquaredError(), Identity(-9, 9), lab.L2(0.25, 0.0, 0.0), one)
        >>> problem = lab.Problem.of(objective, 0.0, has_biases=False)
        >>> found = lab.smallest_curvature(problem, problem.zeros(1))
        >>> found.negative, found.n_symmetries
        (True, 0)
    """

    smallest: float
    largest: float
    direction: Vector
    n_negative: int | None
    n_symmetries: int
    rank: int
    n_products: int
    converged: bool

    @property
    def tolerance(self) -> float:
        """Curvatures within this of zero count as zero."""
        return _EIGENVALUE_BIN * abs(self.largest)

    @property
    def negative(self) -> bool:
        """Whether a direction of negative curvature exists. Certain even where `converged` is False."""
        return self.smallest < -self.tolerance

    @property
    def positive(self) -> bool:
        """Whether the curvature is positive along all but the symmetries: a strict local minimum."""
        return self.converged and self.smallest > self.tolerance


def smallest_curvature(
    problem: Problem,
    at: Vector,
    *,
    rng: int = 0,
    max_products: int = 3000,
    dense_below: int = _DENSE_BELOW,
) -> Curvature:
    """The smallest and largest curvature at a point over all directions that are not symmetries.

    The smallest by LOBPCG, preconditioned by the rows' own blocks, to 1e-7 of the largest; up to
    `dense_below` unknowns all eigenvalues instead. At a point that is not stationary the symmetries
    are curved paths of constant value. Cost: O(n_ratings * n_factors) a product, at most
    `max_products` of them, and memory for some 40 flat vectors. Source: Knyazev, SIAM J. Sci. Comput.
    23 (2001).

    Args:
        problem: The objective.
        at: A flat vector.
        rng: Seed of the start vectors.
        max_products: Hessian products, at most.
        dense_below: Unknowns up to which all eigenvalues are computed.

    Returns:
        Both ends of the spectrum.

    Examples:
        At the origin it is the L2 minus the largest singular value of the residuals, here 1:

        >>> from bilinear import Identity, Interactions, SquaredError, lab
        >>> from bilinear.objective.objective import Objective
        >>> one = Interactions.from_columns([0], [0], [1.0])
        >>> objective = Objective(SquaredError(), Identity(-9, 9), lab.L2(0.25, 0.0, 0.0), one)
        >>> problem = lab.Problem.of(objective, 0.0, has_biases=False)
        >>> round(lab.smallest_curvature(problem, problem.zeros(1)).smallest, 9)
        -0.75
    """
    hessian, symmetries = Hessian(problem, at), Symmetries(problem, at)
    if len(at) <= dense_below:
        return _all_curvatures(hessian, symmetries)
    n_products = 0

    def times(direction: Vector) -> Vector:
        nonlocal n_products
        n_products += 1
        return symmetries.without(hessian.times(symmetries.without(direction.ravel())))

    generator = np.random.default_rng(rng)
    largest = _largest(times, symmetries.without(generator.standard_normal(len(at))))
    tolerance = 1e-7 * max(abs(largest), 1e-300)
    values, vectors = _smallest(hessian, symmetries, times, generator, tolerance, max_products)
    direction = symmetries.without(vectors[:, 0])
    direction /= np.linalg.norm(direction)
    image = times(direction)
    smallest = float(direction @ image)
    rest = float(np.linalg.norm(image - smallest * direction))
    n_negative = int((values < -_EIGENVALUE_BIN * abs(largest)).sum())
    return Curvature(
        smallest,
        largest,
        direction,
        n_negative if n_negative < len(values) else None,
        symmetries.count,
        symmetries.rank,
        n_products,
        rest <= 10 * tolerance,
    )


def _smallest(
    hessian: Hessian,
    symmetries: Symmetries,
    times: Callable[[Vector], Vector],
    generator: np.random.Generator,
    tolerance: float,
    max_products: int,
) -> tuple[Vector, Vector]:
    """A few of the smallest eigenvalues, ascending, with their vectors as columns."""
    from scipy.sparse.linalg import LinearOperator, lobpcg

    blocks, size = RowBlocks.of(hessian), len(hessian.at)

    def precondition(direction: Vector) -> Vector:
        return symmetries.without(blocks.solve(symmetries.without(direction.ravel())))

    def operator(function: Callable[[Vector], Vector]) -> LinearOperator:
        columns = lambda x: np.column_stack([function(column) for column in x.T])  # noqa: E731
        return LinearOperator((size, size), matvec=function, matmat=columns, dtype=np.float64)

    start = np.column_stack([precondition(generator.standard_normal(size)) for _ in range(_AT_ONCE)])
    with warnings.catch_warnings():  # the caller measures whether it has converged
        warnings.simplefilter("ignore")
        try:
            values, vectors = lobpcg(
                operator(times),
                start,
                M=operator(precondition),
                largest=False,
                tol=tolerance,
                maxiter=max(1, max_products // _AT_ONCE),
            )
        except (ValueError, np.linalg.LinAlgError):  # fewer directions than vectors: the start is dependent
            values, vectors = np.full(1, np.nan), start
    if len(values) != vectors.shape[1] or not (np.isfinite(values).all() and np.isfinite(vectors).all()):
        basis, _ = np.linalg.qr(start)
        values, inner = symmetric_eigen(basis.T @ np.column_stack([times(column) for column in basis.T]))
        vectors = basis @ inner
    order = np.argsort(values)
    return values[order], vectors[:, order]


def _largest(times: Callable[[Vector], Vector], start: Vector) -> float:
    """The largest eigenvalue to a thousandth: a scale for what counts as zero."""
    try:
        return float(largest_eigen_by_products(times, start, 1, tolerance=1e-3, max_restarts=50).values[0])
    except DivergenceError:
        return float(start @ times(start) / (start @ start))


def _all_curvatures(hessian: Hessian, symmetries: Symmetries) -> Curvature:
    """Curvature from all eigenvalues, for few unknowns."""
    axes = np.eye(len(hessian.at))
    projector = np.array([symmetries.without(axis) for axis in axes])
    kept, vectors = symmetric_eigen((projector + projector.T) / 2)
    basis = vectors[:, kept > 0.5]
    images = np.array([hessian.times(vector) for vector in basis.T])
    values, inner = symmetric_eigen(images @ basis) if len(images) else (np.zeros(1), np.zeros((0, 1)))
    largest = float(values[-1])
    return Curvature(
        float(values[0]),
        largest,
        basis @ inner[:, 0],
        int((values < -_EIGENVALUE_BIN * np.abs(values).max()).sum()),
        symmetries.count,
        symmetries.rank,
        len(images),
        True,
    )


def relative_gradient(problem: Problem, at: Vector, gradient: Vector | None = None) -> float:
    """The norm of the gradient over the norm its terms have with the residuals of an untrained model.

    It does not depend on the units of ratings, factors or loss. Source: docs/theory/curvature.md.

    Args:
        problem: The objective.
        at: A flat vector.
        gradient: The gradient there, where it is known already.

    Returns:
        Zero exactly at a stationary point, of order one far from all of them.

    Examples:
        >>> from bilinear import Identity, SquaredError, lab, synthetic_ratings
        >>> from bilinear.objective.objective import Objective
        >>> ratings = synthetic_ratings(10, 8, 50, rng=0)
        >>> problem = lab.Problem.of(Objective(SquaredError(), Identity(0.5, 5), lab.L2(1, 1), ratings), 3.5)
        >>> lab.relative_gradient(problem, lab.polish(problem, problem.zeros(2)).at) < 1e-10
        True
    """
    gradient = problem.gradient(at) if gradient is None else gradient
    length = float(np.linalg.norm(gradient))
    if length == 0:
        return 0.0
    parts = problem.parts(at)
    untrained = problem.loss_gradient(np.full(problem.n_ratings, problem.mean))
    typical = untrained**2
    squares = problem.matrix(typical * problem.inverse_scales)
    terms = float((squares @ parts.item_factors**2).sum() + (squares.T @ parts.user_factors**2).sum())
    if problem.has_biases:
        terms += sum(
            float((sums / scales).sum())
            for sums, scales in zip(
                problem.row_sums(typical), (problem.user_scales, problem.item_scales), strict=True
            )
        )
    if problem.free_mean:
        terms += float(typical.sum())
    pull = problem.l2**2 * (np.vdot(parts[3], parts[3]) + np.vdot(parts[4], parts[4]))
    pull += problem.l2_biases**2 * (np.vdot(parts[1], parts[1]) + np.vdot(parts[2], parts[2]))
    scale = float(np.sqrt(terms + pull))
    return length / scale if scale > 0 else np.inf


def imbalance(problem: Problem, at: Vector) -> float:
    """`|U^T U - V^T V|` over `|U^T U + V^T V|`.

    Args:
        problem: The objective.
        at: A flat vector.

    Returns:
        From 0, at every stationary point with L2, to 1.

    Examples:
        >>> from bilinear import Identity, SquaredError, lab, synthetic_ratings
        >>> from bilinear.objective.objective import Objective
        >>> ratings = synthetic_ratings(10, 8, 50, rng=0)
        >>> problem = lab.Problem.of(Objective(SquaredError(), Identity(0.5, 5), lab.L2(1, 1), ratings), 3.5)
        >>> lab.imbalance(problem, problem.zeros(2))
        0.0
    """
    u, v = problem.parts(at)[3:]
    left, right = u.T @ u, v.T @ v
    total = float(np.linalg.norm(left + right))
    return float(np.linalg.norm(left - right)) / total if total else 0.0


def balanced(problem: Problem, at: Vector, *, n_factors: int | None = None) -> Vector:
    """The same scores with `U^T U = V^T V` diagonal, descending: their smallest penalty.

    Cost:
        O((n_users + n_items) * n_factors^2).

    Args:
        problem: The objective.
        at: A flat vector.
        n_factors: Columns to keep, the largest ones; by default all.

    Returns:
        A flat vector.

    Examples:
        >>> import numpy as np
        >>> from bilinear import Identity, SquaredError, lab, synthetic_ratings
        >>> from bilinear.objective.objective import Objective
        >>> ratings = synthetic_ratings(10, 8, 50, rng=0)
        >>> problem = lab.Problem.of(Objective(SquaredError(), Identity(0.5, 5), lab.L2(1, 1), ratings), 3.5)
        >>> at = np.random.default_rng(0).standard_normal(problem.size(2))
        >>> even = lab.balanced(problem, at)
        >>> bool(np.allclose(problem.scores(even), problem.scores(at))), lab.imbalance(problem, even) < 1e-12
        (True, True)
    """
    parts = problem.parts(at)
    left, right, sizes = principal_axes(parts.user_factors, parts.item_factors)
    k = len(sizes) if n_factors is None else n_factors
    roots = np.sqrt(sizes[:k])
    return problem.join(
        parts.mean, parts.user_biases, parts.item_biases, left[:, :k] * roots, right[:, :k] * roots
    )


def principal_axes(u: Vector, v: Vector) -> tuple[Vector, Vector, Vector]:
    """Left and right singular vectors (as columns) and singular values of U V^T, by two QRs."""
    k = u.shape[1]
    pads = [
        np.zeros((max(0, k - len(rows)), k)) for rows in (u, v)
    ]  # QR needs at least as many rows as columns
    (q_u, r_u), (q_v, r_v) = (
        np.linalg.qr(np.vstack([rows, pad])) for rows, pad in zip((u, v), pads, strict=True)
    )
    x, sizes, y = np.linalg.svd(r_u @ r_v.T)
    return (q_u @ x)[: len(u)], (q_v @ y.T)[: len(v)], sizes
