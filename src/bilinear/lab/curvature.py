"""How the training objective bends at a point: gradient, ends of the spectrum, balance."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bilinear.eigen import largest_eigen_by_products, symmetric_eigen
from bilinear.errors import DivergenceError
from bilinear.lab.numerics.row_blocks import Blocks
from bilinear.lab.numerics.hessian import Hessian
from bilinear.lab.numerics.problem import Problem, Vector
from bilinear.lab.numerics.symmetries import Symmetries

_DENSE_BELOW = 300  # unknowns up to which all eigenvalues are computed
_AT_ONCE = 3  # eigenvectors sought together, lest the smallest be missed
_EIGENVALUE_BIN = 1e-6  # of the largest curvature: what counts as zero


@dataclass(frozen=True, eq=False)
class Curvature:
    """The ends of the spectrum at a point, symmetries taken out, in natural coordinates.

    Attributes:
        smallest: the smallest second derivative along any unit direction that is no symmetry;
            where `converged` is False, an upper bound on it.
        largest: the largest.
        direction: the flat unit vector of `smallest`.
        n_negative: how many eigenvalues lie below -1e-6 * largest; None when all that were
            computed do.
        n_symmetries: dimension of the flat directions that were taken out.
        rank: rank of the factors.
        n_products: Hessian products that were needed.
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
        """Whether there is a direction of escape. Certain even where `converged` is False."""
        return self.smallest < -self.tolerance

    @property
    def positive(self) -> bool:
        """Whether every direction but the symmetries goes up: a strict local minimum."""
        return self.converged and self.smallest > self.tolerance


def smallest_curvature(
    problem: Problem,
    at: Vector,
    *,
    seed: int = 0,
    max_products: int = 3000,
    dense_below: int = _DENSE_BELOW,
) -> Curvature:
    """The smallest and largest curvature at `at` over all directions that are no symmetry.

    The smallest by LOBPCG (Lanczos with a preconditioner: the rows' own blocks), to 1e-7 of the
    largest; up to `dense_below` unknowns all eigenvalues instead. At a point that is not
    stationary the symmetries are directions of constant value, but curved ones.

    Cost: O(n_ratings * n_factors) a product, at most `max_products` of them, and memory for some
        40 flat vectors.
    Source: Knyazev, SIAM J. Sci. Comput. 23 (2001).
    """
    hessian, symmetries = Hessian(problem, at), Symmetries(problem, at)
    if len(at) <= dense_below:
        return _all_curvatures(hessian, symmetries)
    n_products = 0

    def times(direction: Vector) -> Vector:
        nonlocal n_products
        n_products += 1
        return symmetries.without(hessian.times(symmetries.without(direction.ravel())))

    rng = np.random.default_rng(seed)
    largest = _largest(times, symmetries.without(rng.standard_normal(len(at))))
    tolerance = 1e-7 * max(abs(largest), 1e-300)
    values, vectors = _smallest(hessian, symmetries, times, rng, tolerance, max_products)
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
    rng: np.random.Generator,
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

    start = np.column_stack([precondition(rng.standard_normal(size)) for _ in range(_AT_ONCE)])
    with warnings.catch_warnings():  # what has not converged is measured by the caller
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
    """By all eigenvalues, for a few unknowns."""
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
    """Length of the gradient over the length its terms have with the residuals of an untrained model.

    Zero exactly at a stationary point, of order one far from all; does not depend on the units of
    ratings, factors or loss. Source: docs/theory/curvature.md.
    """
    gradient = problem.gradient(at) if gradient is None else gradient
    length = float(np.linalg.norm(gradient))
    if length == 0:
        return 0.0
    parts = problem.parts(at)
    untrained = problem.slopes(np.full(problem.n_ratings, problem.mean))
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
    """|U^T U - V^T V| over |U^T U + V^T V|, in [0, 1]; zero at every stationary point with L2."""
    u, v = problem.parts(at)[3:]
    left, right = u.T @ u, v.T @ v
    total = float(np.linalg.norm(left + right))
    return float(np.linalg.norm(left - right)) / total if total else 0.0


def balanced(problem: Problem, at: Vector, *, n_factors: int | None = None) -> Vector:
    """The same scores with U^T U = V^T V = diagonal, descending: the least penalty for them.

    Args: n_factors: how many columns to keep (the largest), by default as many as there are.
    Cost: O((n_users + n_items) * n_factors^2).
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
    pads = [np.zeros((max(0, k - len(rows)), k)) for rows in (u, v)]  # QR wants no fewer rows than columns
    (q_u, r_u), (q_v, r_v) = (
        np.linalg.qr(np.vstack([rows, pad])) for rows, pad in zip((u, v), pads, strict=True)
    )
    x, sizes, y = np.linalg.svd(r_u @ r_v.T)
    return (q_u @ x)[: len(u)], (q_v @ y.T)[: len(v)], sizes
