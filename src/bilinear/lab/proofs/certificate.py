"""Bounds of the distance from the global optimum: a convex lower bound and its gap.

Every X = U V^T costs at least l2 |X|_* (the nuclear norm), so the training objective is never
below a convex problem in X. A dual point of that problem, made from the loss gradient G at any
point, bounds the objective from below for every number of factors. Source:
docs/theory/certificate.md (after Srebro 2004; Bach 2008; Mazumder et al. 2010; Haeffele & Vidal
2015).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bilinear.errors import DivergenceError
from bilinear.lab.numerics.problem import Problem, Vector
from bilinear.lab.numerics.spectral import top_singular
from bilinear.model.link import Identity
from bilinear.model.parameters import Parameters
from bilinear.objective.losses import CrossEntropy, SquaredError
from bilinear.objective.objective import Objective
from bilinear.tabular import Shown

CERTIFIED_GAP = 1e-6
"""A relative gap up to which a point counts as a global optimum."""


@dataclass(frozen=True, eq=False)
class Certificate(Shown):
    """Bounds that the loss gradient G at one point gives for the global optimum.

    Attributes:
        loss: The objective at the point.
        lower_bound: No parameters, with any number of factors, have a lower objective. For a model
            without factors and their L2: no biases have.
        untrained: The objective with all weights zero.
        l2: The L2 of factors that the norm is compared with.
        spectral_norm: Largest singular value of G in natural coordinates.
        gain: Decrease of the objective by one more factor along the top singular pair.
        refusal: The reason why no certificate exists, or None. `lower_bound` is then the trivial one, the
            loss of a model that fits every rating as well as any score can.
        n_factors: Of the point.
        user_direction: The left vector of the top singular pair, natural coordinates, compact rows,
            negated so that the pair's product lowers the loss.
        item_direction: The right vector.
        step: The multiple of the pair's product that gives `gain`.

    Examples:
        >>> from bilinear import lab, synthetic_ratings
        >>> found = lab.certify(synthetic_ratings(20, 15, 150, rng=0), penalty=lab.L2(1.0, 1.0))
        >>> found.certificate.certified, found.certificate.gap < 1e-3
        (True, True)
    """

    loss: float
    lower_bound: float
    untrained: float
    l2: float
    spectral_norm: float
    gain: float
    refusal: str | None
    n_factors: int
    user_direction: Vector
    item_direction: Vector
    step: float

    @property
    def gap(self) -> float:
        """Largest possible distance of the objective above the global optimum."""
        return max(self.loss - self.lower_bound, 0.0)

    @property
    def relative_gap(self) -> float:
        """`gap` over the objective; where that is close to zero, over a millionth of the untrained one."""
        scale = max(abs(self.loss), 1e-6 * abs(self.untrained))
        return self.gap / scale if scale else 0.0

    @property
    def ratio(self) -> float:
        """Spectral norm over L2; 1 (less, without factors) proves a stationary point optimal."""
        return self.spectral_norm / self.l2 if self.l2 > 0 else np.inf

    @property
    def certified(self) -> bool:
        """Whether the point is a global optimum, to a relative gap of 1e-6."""
        return bool(self.relative_gap <= CERTIFIED_GAP)

    def to_dict(self) -> dict[str, Any]:
        """JSON values, without the directions."""
        return {
            "loss": self.loss,
            "lower_bound": self.lower_bound,
            "gap": self.gap,
            "relative_gap": self.relative_gap,
            "spectral_norm": self.spectral_norm,
            "l2": self.l2,
            "ratio": self.ratio if np.isfinite(self.ratio) else None,
            "gain_of_one_more_factor": self.gain,
            "n_factors": self.n_factors,
            "certified": self.certified,
            "refusal": self.refusal,
        }

    def __str__(self) -> str:
        if self.certified:
            return f"a global optimum: no model with any number of factors is better by {self.gap:.3g}"
        if self.refusal:
            return f"no certificate: {self.refusal}"
        return (
            f"at most {self.relative_gap:.2%} above the global optimum; one more factor lowers the "
            f"objective by {self.gain:.4g}"
        )


def certificate_at(problem: Problem, at: Vector, *, rng: int = 0) -> Certificate:
    """The certificate at any point, stationary or not.

    Cost:
        one sparse spectral norm, some tens of O(n_ratings) products; memory O(n_ratings).

    Args:
        problem: The objective.
        at: A flat vector.
        rng: Seed of the start vector of the spectral norm.

    Returns:
        Lower bound, gap and the direction of descent by one more factor.

    Examples:
        Above the largest useful L2 the origin is optimal:

        >>> from bilinear import Identity, Interactions, SquaredError, lab
        >>> from bilinear.objective.objective import Objective
        >>> one = Interactions.from_columns([0], [0], [1.0])
        >>> objective = Objective(SquaredError(), Identity(-9, 9), lab.L2(1.5, 0.0, 0.0), one)
        >>> problem = lab.Problem.of(objective, 0.0, has_biases=False)
        >>> lab.certificate_at(problem, problem.zeros(1)).certified
        True
    """
    scores = problem.scores(at)
    loss_gradient = problem.loss_gradient(scores)
    loss = problem.value_at(scores, at)
    top = top_singular(problem.matrix(loss_gradient), rng=rng)
    norm, p, q = top.norm, -top.left[:, 0], top.right[:, 0]
    step, gain = _one_more(problem, scores, norm, p, q)
    refusal = certificate_refusal(problem, problem.n_factors(at))
    if refusal:
        bound = floor(problem)
    else:
        bound = lower_bound(
            problem, loss_gradient, spectral_norm=top.bound if problem.l2 > 0 else None, rng=rng
        )
    untrained = problem.value(problem.zeros(0))
    n_factors = problem.n_factors(at)
    return Certificate(loss, bound, untrained, problem.l2, norm, gain, refusal, n_factors, p, q, step)


def certificate_of(objective: Objective, parameters: Parameters, *, rng: int = 0) -> Certificate:
    """The certificate of a model's parameters, with their global mean fixed.

    Args:
        objective: The training objective.
        parameters: Of the model.
        rng: Seed of the start vector of the spectral norm.

    Returns:
        See `certificate_at`.

    Examples:
        >>> from bilinear import lab, synthetic_ratings
        >>> found = lab.certify(synthetic_ratings(20, 15, 150, rng=0), penalty=lab.L2(1.0, 1.0))
        >>> lab.certificate_of(found.objective, found.parameters).certified
        True
    """
    problem = Problem.of(objective, parameters.global_mean)
    return certificate_at(problem, problem.pack(parameters), rng=rng)


def certificate_refusal(problem: Problem, n_factors: int) -> str | None:
    """The reason why no certificate exists for an objective, or None.

    Args:
        problem: The objective.
        n_factors: Of the model.

    Returns:
        The reason with its remedy, or None where a certificate exists.

    Examples:
        >>> from bilinear import Identity, SquaredError, lab, synthetic_ratings
        >>> from bilinear.objective.objective import Objective
        >>> ratings = synthetic_ratings(10, 8, 50, rng=0)
        >>> problem = lab.Problem.of(Objective(SquaredError(), Identity(0.5, 5), lab.L2(0, 1), ratings), 3.5)
        >>> lab.certificate_refusal(problem, n_factors=2)
        'without an L2 penalty the factors are not bounded; train with l2 above zero to have one'
    """
    if not problem.convex_in_score:
        return (
            f"{type(problem.loss).__name__} after {type(problem.link).__name__} is not convex in the score, "
            "so no convex lower bound is known; train with CrossEntropy to have one"
        )
    if problem.l2 == 0 and n_factors:
        return "without an L2 penalty the factors are not bounded; train with l2 above zero to have one"
    return None


def lower_bound(
    problem: Problem, loss_gradient: Vector, *, spectral_norm: float | None, rng: int = 0
) -> float:
    """The best dual value on the ray of a loss gradient: a lower bound for every number of factors.

    Args:
        problem: The objective.
        loss_gradient: (n_ratings,) w_n d loss / d score at any scores.
        spectral_norm: Of the loss gradient in natural coordinates, or larger; None for models without
            factors.
        rng: Seed of the start vector of further spectral norms.

    Returns:
        No parameters have a lower objective.

    Examples:
        >>> from bilinear import Identity, SquaredError, lab, synthetic_ratings
        >>> from bilinear.objective.objective import Objective
        >>> ratings = synthetic_ratings(10, 8, 50, rng=0)
        >>> problem = lab.Problem.of(Objective(SquaredError(), Identity(0.5, 5), lab.L2(1, 1), ratings), 3.5)
        >>> gradient = problem.loss_gradient(problem.scores(problem.zeros(0)))
        >>> lab.lower_bound(problem, gradient, spectral_norm=100.0) < problem.value(problem.zeros(0))
        True
    """
    ray = _feasible(problem, loss_gradient)
    most = np.inf
    if spectral_norm is not None:
        if ray is not loss_gradient:
            spectral_norm = top_singular(problem.matrix(ray), rng=rng).bound
        if spectral_norm > 0:
            most = problem.l2 / spectral_norm
    return max(_best_on_ray(problem, ray, most), floor(problem))


def floor(problem: Problem) -> float:
    """The objective without penalty of scores that fit every rating as well as any score can."""
    if isinstance(problem.loss, CrossEntropy):
        return float(problem.weights @ _entropy(_fractions(problem)))
    return 0.0


def add_factor(problem: Problem, at: Vector, found: Certificate, *, step: float | None = None) -> Vector:
    """A point with one more factor along the singular pair of its certificate.

    Args:
        problem: The objective.
        at: A flat vector.
        found: The certificate there.
        step: Multiple of the pair's product; by default the best.

    Returns:
        A flat vector; with the best step its objective is lower by `found.gain`.

    Examples:
        >>> from bilinear import Identity, SquaredError, lab, synthetic_ratings
        >>> from bilinear.objective.objective import Objective
        >>> ratings = synthetic_ratings(10, 8, 50, rng=0)
        >>> problem = lab.Problem.of(Objective(SquaredError(), Identity(0.5, 5), lab.L2(1, 1), ratings), 3.5)
        >>> at = problem.zeros(1)
        >>> found = lab.certificate_at(problem, at)
        >>> lower = problem.value(at) - problem.value(lab.add_factor(problem, at, found))
        >>> abs(lower - found.gain) < 1e-9
        True
    """
    parts = problem.parts(at)
    root = np.sqrt(found.step if step is None else step)
    return problem.join(
        parts.mean,
        parts.user_biases,
        parts.item_biases,
        np.column_stack([parts.user_factors, root * found.user_direction]),
        np.column_stack([parts.item_factors, root * found.item_direction]),
    )


def _one_more(problem: Problem, scores: Vector, norm: float, p: Vector, q: Vector) -> tuple[float, float]:
    """The best multiple t >= 0 of the pair's product, and its gain f(z) - f(z + t m) - l2 t."""
    if norm <= problem.l2:
        return 0.0, 0.0
    moves = problem.pair_products(p[:, None], q[:, None])
    if isinstance(problem.loss, SquaredError) and isinstance(problem.link, Identity):
        energy = float(problem.weights @ moves**2)
        return (norm - problem.l2) / energy, (norm - problem.l2) ** 2 / (2 * energy)
    before = problem.loss.value(scores, problem.ratings, problem.link)

    def change(t: float) -> float:
        after = problem.loss.value(scores + t * moves, problem.ratings, problem.link)
        return float(problem.weights @ (after - before)) + problem.l2 * t

    from scipy.optimize import minimize_scalar

    most = 1.0
    while change(2 * most) < change(most) and most < 1e12:
        most *= 2
    best = minimize_scalar(change, bounds=(0, 2 * most), method="bounded", options={"xatol": 1e-9 * most})
    return (float(best.x), float(-best.fun)) if best.fun < 0 else (0.0, 0.0)


def _feasible(problem: Problem, loss_gradient: Vector) -> Vector:
    """The nearest dual point whose sums are zero where unpenalised biases and a free mean need it."""
    if problem.has_biases and problem.l2_biases == 0:
        return _without_sums(problem, loss_gradient)
    if problem.free_mean:
        centred: Vector = loss_gradient - loss_gradient.mean()
        return centred
    return loss_gradient


def _without_sums(problem: Problem, entries: Vector) -> Vector:
    """`entries` minus the a_u + d_i that leaves every row and column sum zero."""
    from scipy.sparse.linalg import LinearOperator, cg

    m, n = problem.n_users, problem.n_items
    users, items = problem.users, problem.items
    counts = np.concatenate([np.bincount(users), np.bincount(items)]).astype(np.float64)

    def sums(values: Vector) -> Vector:
        return np.concatenate([np.bincount(users, values, m), np.bincount(items, values, n)])

    def spread(shifts: Vector) -> Vector:
        shifts = shifts.ravel()
        added: Vector = shifts[users] + shifts[m + items]
        return added

    size = (m + n, m + n)
    system = LinearOperator(size, matvec=lambda x: sums(spread(x)), dtype=np.float64)
    jacobi = LinearOperator(size, matvec=lambda x: x.ravel() / counts, dtype=np.float64)
    right = sums(entries)
    rounding = 1e-13 * float(np.linalg.norm(sums(np.abs(entries))))
    if np.linalg.norm(right) <= rounding:
        return entries
    shifts, failed = cg(system, right, rtol=0, atol=rounding, maxiter=5000, M=jacobi)
    if failed:
        raise DivergenceError(
            "row sums of the loss gradient: expected a linear solve to remove them, got no convergence; "
            "use an l2_biases above zero"
        )
    left: Vector = entries - spread(shifts)
    return left


def _best_on_ray(problem: Problem, ray: Vector, most: float) -> float:
    """max over 0 <= s <= most of the dual value at s * ray, which is concave in s.

    dual(y) = -sum conjugate_n(y_n) + mean * sum y - sum over rows of (row sum)^2 / (2 l2_biases)
    """
    if not ray.any():
        return floor(problem)
    linear, bent = 0.0, 0.0  # the part of the dual that is s * linear - s^2 * bent
    if not problem.free_mean:
        linear += problem.mean * float(ray.sum())
    if problem.has_biases and problem.l2_biases > 0:
        bent += sum(float(np.vdot(x, x)) for x in problem.row_sums(ray)) / (2 * problem.l2_biases)
    if isinstance(problem.loss, SquaredError):
        linear -= float(ray @ problem.ratings)
        bent += float(ray @ (ray / problem.weights)) / 2
        s = min(max(linear / (2 * bent), 0.0), most) if bent > 0 else 0.0
        return s * linear - s * s * bent
    from scipy.optimize import minimize_scalar

    fractions, steps = _fractions(problem), ray / problem.weights
    # fractions + s * steps must stay in [0, 1]
    room = np.where(steps > 0, 1 - fractions, fractions)[steps != 0] / np.abs(steps[steps != 0])
    most = min(most, float(room.min(initial=np.inf)))

    def dual(s: float) -> float:
        at = np.clip(fractions + s * steps, 0, 1)
        return float(problem.weights @ _entropy(at)) + s * linear - s * s * bent

    best = minimize_scalar(lambda s: -dual(s), bounds=(0, most), method="bounded", options={"xatol": 1e-12})
    return max(dual(s) for s in (float(best.x), min(1.0, most), most))


def _fractions(problem: Problem) -> Vector:
    low, high = problem.link.bounds
    fractions: Vector = np.clip((problem.ratings - low) / (high - low), 0, 1)
    return fractions


def _entropy(p: Vector) -> Vector:
    """-p log p - (1 - p) log(1 - p), zero at the ends."""
    from scipy.special import xlogy

    found: Vector = -xlogy(p, p) - xlogy(1 - p, 1 - p)
    return found
