"""Where did descent end? A minimum, a saddle, on the way, or nowhere because there is no minimum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from bilinear.lab.certificate import Certificate, certificate
from bilinear.lab.curvature import Curvature, imbalance, smallest_curvature
from bilinear.lab.descend import descend
from bilinear.lab.polish import Polished, norm, polish
from bilinear.lab.problem import Problem, Vector
from bilinear.model.parameters import Parameters
from bilinear.objective.objective import Objective

Verdict = Literal[
    "certified global",
    "rank-limited",
    "minimum",
    "strict saddle",
    "second-order point",
    "not converged",
    "no minimiser",
]

NEAR = 0.01
"""A polished point whose scores moved by more than this share says nothing of the point it began at."""
_GROWTH = 1.1  # of the norm, from one look to the next, where the weights run away
_LOOKS = 4  # each at a hundredth of the gradient before
_LOOK_PRODUCTS = 1000


@dataclass(frozen=True, eq=False)
class Escape:
    """The way down from a saddle.

    Attributes:
        curvature: along the unit direction, negative.
        step: how far along it the objective is lowest.
        loss: there.
        loss_after_descent: where a short descent from there comes to.
        parameters: there, float64.
    """

    curvature: float
    step: float
    loss: float
    loss_after_descent: float
    parameters: Parameters

    def to_dict(self) -> dict[str, float]:
        return {
            "curvature": self.curvature,
            "step": self.step,
            "loss": self.loss,
            "loss_after_descent": self.loss_after_descent,
        }


@dataclass(frozen=True, eq=False)
class WhereItEnded:
    """Evidence and verdict.

    Attributes:
        polished: what polishing to stationarity in float64 changed, and how far it went.
        imbalance: |U^T U - V^T V| over |U^T U + V^T V| at the point given.
        certificate: at the point given.
        polished_certificate: at the polished point.
        curvature: at the polished point; None where it is not stationary.
        norms: of the weights at ever smaller gradients on the way down, where some weights are
            not penalised and the point may therefore not be at rest.
        losses: at those norms.
        escape: the way down, at a strict saddle.
        n_factors: of the point.
    """

    polished: Polished
    imbalance: float
    certificate: Certificate
    polished_certificate: Certificate
    curvature: Curvature | None
    norms: tuple[float, ...]
    losses: tuple[float, ...]
    escape: Escape | None
    n_factors: int

    @property
    def verdict(self) -> Verdict:
        """Of the point given."""
        nearby = self.nearby
        if nearby == "no minimiser":
            return nearby
        if self.certificate.certified:
            return "certified global"
        return nearby if self.polished.distance <= NEAR else "not converged"

    @property
    def nearby(self) -> Verdict:
        """Of the stationary point that polishing led to, however far that is."""
        if self.runs_away:
            return "no minimiser"
        if not self.polished.stationary or self.curvature is None:
            return "not converged"
        if self.polished_certificate.certified:
            return "certified global"
        if self.curvature.negative:
            return "strict saddle"
        if not self.curvature.positive:
            return "second-order point"
        return "minimum" if self.polished_certificate.refusal else "rank-limited"

    @property
    def runs_away(self) -> bool:
        """Whether the weights grow without end while the objective falls."""
        if len(self.norms) < 3:
            return False
        grows = np.array(self.norms[1:]) >= _GROWTH * np.array(self.norms[:-1])
        return bool(grows.all() and (np.diff(self.losses) < 0).all())

    def to_dict(self) -> dict[str, Any]:
        polished = {name: value for name, value in vars(self.polished).items() if name != "at"}
        curvature = None
        if self.curvature is not None:
            curvature = {name: value for name, value in vars(self.curvature).items() if name != "direction"}
        return {
            "verdict": self.verdict,
            "nearby": self.nearby,
            "polished": polished | {"stationary": self.polished.stationary},
            "imbalance": self.imbalance,
            "certificate": self.certificate.to_dict(),
            "polished_certificate": self.polished_certificate.to_dict(),
            "curvature": curvature,
            "norms": list(self.norms),
            "losses": list(self.losses),
            "escape": None if self.escape is None else self.escape.to_dict(),
            "n_factors": self.n_factors,
        }

    def __str__(self) -> str:
        return sentence(self)


def where_did_it_end(
    model: Any, objective: Objective | Problem, *, max_products: int = 5000, seed: int = 0
) -> WhereItEnded:
    """Classifies the point that training ended at.

    Polishes it to a stationary point in float64, takes the certificate before and after, and the
    smallest curvature there with the symmetries removed. The model is not changed.

    Args:
        model: a fitted model, or its Parameters.
        objective: what was minimised, on the training ratings; or a `Problem`.
        max_products: Hessian products for polishing and for the curvature, each.
    Cost: O(n_ratings * n_factors) a Hessian product.
    Source: docs/theory/curvature.md, docs/theory/certificate.md.
    """
    parameters: Parameters = model if isinstance(model, Parameters) else model.parameters_
    problem = objective if isinstance(objective, Problem) else Problem.of(objective, parameters.global_mean)
    at = problem.pack(parameters)
    polished = polish(problem, at, max_products=max_products)
    before = certificate(problem, at, seed=seed)
    after = before if polished.at is at else certificate(problem, polished.at, seed=seed)
    curvature = None
    if polished.stationary:
        curvature = smallest_curvature(problem, polished.at, max_products=max_products, seed=seed)
    norms, losses = _run_on(problem, at, polished, curvature)
    escape = None
    if curvature is not None and curvature.negative and not after.certified:
        escape = _escape(problem, polished.at, curvature, seed)
    return WhereItEnded(
        polished,
        imbalance(problem, at),
        before,
        after,
        curvature,
        norms,
        losses,
        escape,
        problem.n_factors(at),
    )


def sentence(found: WhereItEnded) -> str:
    """One plain sentence for the verdict."""
    polished, after = found.polished, found.polished_certificate
    if found.verdict == "certified global":
        return "Training ended at the global minimum: no model with any number of factors has a lower loss."
    if found.verdict == "no minimiser":
        return (
            "There is no best model to find: the loss keeps falling while the weights grow without end; "
            "train with an L2 above zero."
        )
    if found.verdict == "not converged":
        reached = f"polishing lowers the loss from {polished.loss_before:.6g} to {polished.loss:.6g}"
        return f"Training had not come to rest: {reached} and moves the scores by {polished.distance:.0%}."
    if found.verdict == "strict saddle":
        assert found.escape is not None
        return (
            f"Training ended at a saddle, not at a minimum: along one direction the loss falls from "
            f"{polished.loss:.6g} to {found.escape.loss:.6g}."
        )
    if found.verdict == "rank-limited":
        return (
            f"Training ended at a minimum for {found.n_factors} factors; one more factor would lower the "
            f"loss by {after.gain:.4g}, so it is not known to be the best of its size."
        )
    if found.verdict == "minimum":
        return (
            "Training ended at a minimum: every direction goes up. Whether another is lower, nothing can "
            f"prove here: {after.refusal}."
        )
    return (
        "Training ended where no direction goes down to second order, and some are flat: it may be a "
        "minimum, which is not certified."
    )


def _run_on(
    problem: Problem, at: Vector, before: Polished, curvature: Curvature | None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Norms and losses at ever smaller gradients, where some weights are not penalised.

    Only then may the infimum not be attained. A gradient that is all but zero far out then looks
    like a minimum, but there is a flat direction that is no symmetry, and the norm grows with
    every digit of the gradient; towards a minimum it settles.
    """
    unpenalised = (problem.l2 == 0 and problem.n_factors(at) > 0) or (
        problem.has_biases and problem.l2_biases == 0
    )
    if not unpenalised or (curvature is not None and curvature.positive):
        return (), ()
    norms, losses = [], []
    tolerance = min(before.gradient_before, 0.1)
    for _ in range(_LOOKS):
        tolerance /= 100
        step = descend(problem, at, tolerance=tolerance, max_products=_LOOK_PRODUCTS)
        if step.n_products:
            at = step.at
            norms.append(norm(problem, at))
            losses.append(step.value)
    return tuple(norms), tuple(losses)


def _escape(problem: Problem, at: Vector, curvature: Curvature, seed: int) -> Escape:
    """The lowest point along the direction of negative curvature, by doubling and golden section."""
    from scipy.optimize import minimize_scalar

    direction = curvature.direction
    start = problem.value(at)
    if problem.value(at - 1e-3 * direction) < problem.value(at + 1e-3 * direction):
        direction = -direction
    most = 1e-3 * max(float(np.linalg.norm(at)), 1.0)
    while problem.value(at + 2 * most * direction) < problem.value(at + most * direction) and most < 1e9:
        most *= 2
    best = minimize_scalar(
        lambda t: problem.value(at + t * direction), bounds=(0.0, 2 * most), method="bounded"
    )
    there = at + float(best.x) * direction
    descent = descend(problem, there, tolerance=1e-4, max_products=500)
    return Escape(
        curvature.smallest,
        float(best.x),
        min(float(best.fun), start),
        descent.value,
        problem.unpack(there),
    )
