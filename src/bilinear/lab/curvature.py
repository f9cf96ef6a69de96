"""Second derivatives of the training objective: products, the smallest curvature, balance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bilinear.errors import ParameterValueError
from bilinear.lab.halves import both, middle
from bilinear.lab.problem import Problem, Vector
from bilinear.lab.symmetries import Symmetries
from bilinear.model.parameters import Parameters
from bilinear.objective.objective import Objective

_DENSE_BELOW = 300  # unknowns up to which all eigenvalues are computed
_LANCZOS_TOLERANCE = 1e-8  # of the largest curvature
_EIGENVALUE_BIN = 1e-6  # of the largest curvature: what counts as zero


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
        from bilinear.kernels.second_order import bend_pairs

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
                bend_pairs,
                (*(column[first] for column in columns), *factors, dz[first], out_u, out_v),
                (*(column[second] for column in columns), *factors, dz[second], out_u, other_v),
            )
            out_v += other_v
        else:
            bend_pairs(*columns, *factors, dz, out_u, out_v)
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


@dataclass(frozen=True, eq=False)
class Curvature:
    """The ends of the spectrum at a point, symmetries taken out, in natural coordinates.

    Attributes:
        smallest: the smallest second derivative along any unit direction that is no symmetry;
            where `converged` is False, an upper bound on it.
        largest: the largest.
        direction: the flat unit vector of `smallest`.
        n_negative: how many eigenvalues lie below -1e-6 * largest; None when only the ends were
            computed and `smallest` is negative.
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

    Lanczos for the smallest algebraic eigenvalue of the Hessian, to 1e-8 of the largest; up to
    `dense_below` unknowns all eigenvalues instead. At a point that is not stationary the
    symmetries are directions of constant value, but curved ones.

    Cost: O(n_ratings * n_factors) a product, at most `max_products` products, and memory for
        some 40 flat vectors.
    """
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

    hessian, symmetries = Hessian(problem, at), Symmetries(problem, at)
    size = len(at)
    n_products = 0

    def projected(direction: Vector) -> Vector:
        nonlocal n_products
        n_products += 1
        return symmetries.without(hessian.times(symmetries.without(direction.ravel())))

    if size <= dense_below:
        matrix = np.array([projected(axis) for axis in np.eye(size)])
        basis = _complement(symmetries, size)
        values, vectors = np.linalg.eigh(basis.T @ (matrix + matrix.T) @ basis / 2)
        if not len(values):  # every direction is a symmetry
            values, vectors = np.zeros(1), np.zeros((0, 1))
        largest = float(max(values[-1], 0.0))
        negative = int((values < -_EIGENVALUE_BIN * max(largest, abs(values[0]))).sum())
        return Curvature(
            float(values[0]),
            largest,
            basis @ vectors[:, 0],
            negative,
            symmetries.count,
            symmetries.rank,
            n_products,
            True,
        )
    rng = np.random.default_rng(seed)

    def ends(times: Callable[[Vector], Vector], which: str, tolerance: float) -> tuple[float, Vector, bool]:
        operator = LinearOperator((size, size), matvec=times, dtype=np.float64)
        n_vectors = min(40, size - 1)
        begin = symmetries.without(rng.standard_normal(size))
        restarts = max(1, max_products // (n_vectors - 1))
        try:
            found = eigsh(operator, 1, which=which, ncv=n_vectors, v0=begin, tol=tolerance, maxiter=restarts)
        except ArpackNoConvergence:
            return np.nan, _krylov_best(times, begin, n_vectors, which), False
        return float(found[0][0]), found[1][:, 0], True

    largest, vector, _ = ends(projected, "LA", 1e-3)
    if not np.isfinite(largest):
        largest = float(vector @ projected(vector))
    lift = max(largest, 0.0) * 1.01 or 1.0
    # Lifted so that the symmetries lie at the top and the tolerance is one of `largest`.
    _, vector, converged = ends(
        lambda x: projected(x) - lift * symmetries.without(x.ravel()), "SA", _LANCZOS_TOLERANCE
    )
    vector = symmetries.without(vector)
    vector /= np.linalg.norm(vector)
    smallest = float(vector @ hessian.times(vector))
    none_negative = smallest >= -_EIGENVALUE_BIN * abs(largest)
    return Curvature(
        smallest,
        largest,
        vector,
        0 if none_negative and converged else None,
        symmetries.count,
        symmetries.rank,
        n_products,
        converged,
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


def _complement(symmetries: Symmetries, size: int) -> Vector:
    """An orthonormal basis (columns) of what is left without the symmetries."""
    projector = np.array([symmetries.without(axis) for axis in np.eye(size)])
    values, vectors = np.linalg.eigh((projector + projector.T) / 2)
    return vectors[:, values > 0.5]


def _krylov_best(times: Callable[[Vector], Vector], begin: Vector, n: int, which: str) -> Vector:
    """The best vector of one Krylov space, for when Lanczos has not converged."""
    basis = [begin / np.linalg.norm(begin)]
    images = []
    for _ in range(n):
        images.append(times(basis[-1]))
        rest = images[-1] - np.array(basis).T @ (np.array(basis) @ images[-1])
        rest -= np.array(basis).T @ (np.array(basis) @ rest)
        size = float(np.linalg.norm(rest))
        if size < 1e-12 * float(np.linalg.norm(images[-1])) or len(basis) == n:
            break
        basis.append(rest / size)
    rows = np.array(basis[: len(images)])
    _, vectors = np.linalg.eigh(rows @ np.array(images).T)
    return np.asarray(rows.T @ vectors[:, 0 if which == "SA" else -1])
