"""A provably optimal factorisation, by descents between which the certificate adds factors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bilinear.data.interactions import Interactions
from bilinear.eigen import symmetric_eigen
from bilinear.errors import ParameterValueError
from bilinear.estimators.matrix_factorization import MatrixFactorization
from bilinear.lab.numerics.curvature import balanced
from bilinear.lab.numerics.problem import Problem, Vector
from bilinear.lab.numerics.spectral import top_singular
from bilinear.lab.numerics.symmetries import RANK_TOLERANCE
from bilinear.lab.numerics.trust_region import trust_region_newton
from bilinear.lab.proofs.certificate import (
    CERTIFIED_GAP,
    Certificate,
    certificate_at,
    certificate_refusal,
    lower_bound,
)
from bilinear.model.link import Identity, Link
from bilinear.model.parameters import Parameters
from bilinear.objective.losses import Loss, SquaredError
from bilinear.objective.objective import Objective
from bilinear.objective.penalties import L2
from bilinear.tabular import Shown
from bilinear.training.history import Epoch, History
from bilinear.training.sgd import SGD

_LOOSE = 1e-2  # relative gradient while factors are still to be added
_FIRST_FACTORS = 16
_FEW = 4  # added factors; with fewer, or fewer than an eighth of all, the next descent is more precise


@dataclass(frozen=True)
class Round(Shown):
    """One descent of `certify`.

    Attributes:
        n_factors: After it.
        gradient: The relative gradient reached.
        loss: The objective.
        lower_bound: Of the objective, for every number of factors.
        relative_gap: Between the two.
        ratio: Spectral norm of the loss gradient over L2.
        n_products: Hessian products used.

    Examples:
        >>> from bilinear import lab, synthetic_ratings
        >>> found = lab.certify(synthetic_ratings(20, 15, 150, rng=0), penalty=lab.L2(1.0, 1.0))
        >>> [stage.relative_gap for stage in found.rounds][-1] <= 1e-6
        True
    """

    n_factors: int
    gradient: float
    loss: float
    lower_bound: float
    relative_gap: float
    ratio: float
    n_products: int

    def __str__(self) -> str:
        return (
            f"{self.n_factors} factors, loss {self.loss:.8g}, at most {self.relative_gap:.2g} of it above "
            f"the optimum ({self.n_products} products)"
        )


@dataclass(frozen=True, eq=False)
class Certified(Shown):
    """A factorisation with its certificate.

    Attributes:
        parameters: float64, balanced, factors in descending order of size.
        objective: The training objective.
        certificate: At `parameters`; its relative gap is proved.
        rank: Factors in use.
        rounds: The descents that led to it.
        seed: Of the singular vectors' random starts.

    Examples:
        >>> from bilinear import lab, synthetic_ratings
        >>> found = lab.certify(synthetic_ratings(20, 15, 150, rng=0), penalty=lab.L2(1.0, 1.0))
        >>> found.rank, found.optimal
        (2, True)
        >>> found.to_model().predict([1], [2]).values.shape
        (1,)
    """

    parameters: Parameters
    objective: Objective
    certificate: Certificate
    rank: int
    rounds: tuple[Round, ...]
    seed: int = 0

    @property
    def optimal(self) -> bool:
        """Whether the relative gap is at most 1e-6."""
        return self.certificate.certified

    def to_model(self) -> MatrixFactorization:
        """A model of float32 weights, to predict, recommend and save.

        Its history has an epoch for each round, with the objective per rating, penalty included.
        `retrain` trains by SGD for as many epochs and certifies nothing.

        Returns:
            A fitted `MatrixFactorization`.
        """
        objective = self.objective
        table, penalty = objective.interactions, objective.penalty
        n = table.n_ratings
        epochs = tuple(
            Epoch(number, round_.loss / n, None, 0.0, 0.0, 0.0, 0.0)
            for number, round_ in enumerate(self.rounds, 1)
        )
        model = MatrixFactorization(
            n_factors=self.parameters.n_factors,
            l2=penalty.factors,
            l2_biases=penalty.biases,
            l2_exponent=penalty.exponent,
            loss=objective.loss,
            link=objective.link,
            rating_range=objective.link.bounds,
            solver=SGD(n_epochs=len(epochs)),
            validation_fraction=0,
            rng=self.seed,
        )
        model.loss_, model.link_, model.penalty_ = objective.loss, objective.link, penalty
        model.search_, model.seed_, model.solver_ = None, self.seed, model.solver.resolved(n)
        model._learn(
            table, self.parameters.astype(np.float32), History(epochs, len(epochs), "all epochs done")
        )
        return model

    def to_dict(self) -> dict[str, Any]:
        """JSON values, without the parameters."""
        return {
            "optimal": self.optimal,
            "rank": self.rank,
            "certificate": self.certificate.to_dict(),
            "rounds": [vars(round_) for round_ in self.rounds],
        }

    def __str__(self) -> str:
        return f"rank {self.rank}, objective {self.certificate.loss:.8g}: {self.certificate}"


def certify(
    interactions: Interactions,
    loss: Loss | None = None,
    link: Link | None = None,
    penalty: L2 | None = None,
    *,
    tolerance: float = CERTIFIED_GAP,
    max_factors: int | None = None,
    max_products: int = 20_000,
    rng: int = 0,
    on_round: Callable[[Round], None] | None = None,
) -> Certified:
    """The global minimum of the training objective over all numbers of factors, with its proof.

    Starts from the biases alone and adds, as long as any would lower the objective, factors along
    the top singular pairs of the loss gradient; ends when the duality gap is `tolerance` of the
    objective. The global mean is fixed at the score of the mean rating, as in training. Cost:
    O(n_ratings * rank) a Hessian product, some hundred products; memory O(n_ratings +
    (n_users + n_items) * rank) and one factored block a row.

    Args:
        interactions: The training ratings.
        loss: `SquaredError()` by default; it must be convex in the score.
        link: `Identity()` by default.
        penalty: `L2(1.0, 1.0)` by default; its L2 of factors must be positive.
        tolerance: Relative gap at which it ends.
        max_factors: Limit of the growth; the result may then not be optimal, which its
            certificate states.
        max_products: Hessian products, at most.
        rng: Seed of the singular vectors' random starts.
        on_round: Called after every round.

    Returns:
        The factorisation with its certificate.

    Raises:
        ParameterValueError: No certificate exists for this loss, link and penalty.

    Examples:
        >>> from bilinear import lab, synthetic_ratings
        >>> found = lab.certify(synthetic_ratings(20, 15, 150, rng=0), penalty=lab.L2(1.0, 1.0))
        >>> found.optimal, found.certificate.relative_gap <= 1e-6
        (True, True)
        >>> model = found.to_model()
    """
    ratings = interactions.ratings
    link = (link or Identity()).resolved(float(ratings.min()), float(ratings.max()))
    objective = Objective(loss or SquaredError(), link, penalty or L2(1.0, 1.0), interactions)
    problem = Problem.of(objective, link.score(float(ratings.mean(dtype=np.float64))))
    reason = certificate_refusal(problem, 1)
    if reason:
        raise ParameterValueError(
            f"loss, link, penalty: expected a combination with a certificate, got none: {reason}"
        )
    most = min(problem.n_users, problem.n_items)
    most = most if max_factors is None else min(most, max_factors)
    at, target, left = problem.zeros(0), _LOOSE, max_products
    rounds: list[Round] = []
    while True:
        descent = trust_region_newton(problem, at, tolerance=target, max_products=left)
        left -= descent.n_products
        at = _in_use(problem, descent.at)
        k = problem.n_factors(at)
        wanted = min(max(_FIRST_FACTORS, k), most - k)
        loss_gradient = problem.loss_gradient(problem.scores(at))
        top = top_singular(problem.matrix(loss_gradient), max(wanted, 1), rng=rng + len(rounds))
        bound = lower_bound(problem, loss_gradient, spectral_norm=top.bound, rng=rng)
        value = problem.value(at)
        gap = (value - bound) / abs(value) if value else 0.0
        rounds.append(
            Round(k, descent.gradient, value, bound, gap, top.norm / problem.l2, descent.n_products)
        )
        if on_round:
            on_round(rounds[-1])
        if gap <= 0.5 * tolerance or left <= 0:
            break
        # An excess within the error of the gradient is not reliable: descend further first.
        add = top.values > problem.l2 * (1 + max(descent.gradient, 0.1 * tolerance))
        n_add = int(add[:wanted].sum())
        if not n_add and target < 1e-13:
            break
        if n_add:
            at = _grown(problem, at, top.values[:n_add], top.left[:, :n_add], top.right[:, :n_add])
        if n_add < max(_FEW, k // 8):  # only precision is left to gain
            target *= 0.05
    at = balanced(problem, at)
    found = certificate_at(problem, at, rng=rng)
    return Certified(problem.unpack(at), objective, found, problem.n_factors(at), tuple(rounds), rng)


def _grown(problem: Problem, at: Vector, values: Vector, left: Vector, right: Vector) -> Vector:
    """The point with new factors along singular pairs, all by the multiple that minimises the objective."""
    parts = problem.parts(at)
    roots = np.sqrt(values - problem.l2)
    u, v = -left * roots, right * roots
    scores, moves = problem.scores(at), problem.pair_products(u, v)
    before, cost = problem.value(at), problem.l2 * float(roots @ roots)
    loss_gradient, loss_curvature = problem.loss_gradient(scores), problem.loss_curvature(scores)
    t = -(float(loss_gradient @ moves) + cost) / max(float(loss_curvature @ moves**2), 1e-300)
    for _ in range(30):
        grown = problem.join(
            parts.mean,
            parts.user_biases,
            parts.item_biases,
            np.column_stack([parts.user_factors, np.sqrt(t) * u]),
            np.column_stack([parts.item_factors, np.sqrt(t) * v]),
        )
        if problem.value(grown) < before:
            break
        t /= 2
    return grown


def _in_use(problem: Problem, at: Vector) -> Vector:
    """The point without factors that are zero, rotated to the axes of U^T U + V^T V."""
    parts = problem.parts(at)
    u, v = parts.user_factors, parts.item_factors
    if not u.shape[1]:
        return at
    squares, axes = symmetric_eigen(u.T @ u + v.T @ v)
    axes = axes[:, squares > RANK_TOLERANCE * squares.max()]
    return problem.join(parts.mean, parts.user_biases, parts.item_biases, u @ axes, v @ axes)
