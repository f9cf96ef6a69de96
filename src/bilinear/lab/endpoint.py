"""Diagnosis of the end of training: a minimum, a saddle point, on the way, or no minimum exists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from bilinear.inspection.charts import bars, lines
from bilinear.lab.numerics.curvature import Curvature, imbalance, smallest_curvature
from bilinear.lab.numerics.polish import Polished, norm, polish
from bilinear.lab.numerics.problem import Problem, Vector
from bilinear.lab.numerics.trust_region import trust_region_newton
from bilinear.lab.proofs.certificate import Certificate, certificate_at
from bilinear.lab.reporting.context import Context
from bilinear.lab.reporting.instrument import Instrument, register
from bilinear.lab.reporting.matching import MatchedRatings
from bilinear.lab.reporting.section import Fact, Section
from bilinear.model.parameters import Parameters
from bilinear.objective.objective import Objective
from bilinear.tabular import Shown
from bilinear.training.history import CONVERGED

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
"""A polished point whose scores moved by more than this share does not describe its start."""
_GROWTH = 1.1  # of the norm from one checkpoint to the next, where the weights diverge
_CHECKPOINTS = 4  # each at a hundredth of the gradient before
_CHECKPOINT_PRODUCTS = 1000


@dataclass(frozen=True, eq=False)
class Escape:
    """The descent from a saddle point along its direction of negative curvature.

    Attributes:
        curvature: Along the unit direction; negative.
        step: The distance along it at which the objective is lowest.
        loss: The objective at that distance.
        loss_after_descent: The objective after a short descent from there.
        parameters: The point at that distance, float64.

    Examples:
        >>> from bilinear import Identity, SquaredError, lab, synthetic_ratings
        >>> from bilinear.model.parameters import Parameters
        >>> from bilinear.objective.objective import Objective
        >>> ratings = synthetic_ratings(10, 8, 50, rng=0)
        >>> objective = Objective(SquaredError(), Identity(0.5, 5), lab.L2(0.1, 1.0), ratings)
        >>> origin = Parameters.zeros(ratings.shape, 1, 3.5)
        >>> escape = lab.diagnose_endpoint(origin, objective).escape
        >>> escape.curvature < 0, escape.loss_after_descent < escape.loss
        (True, True)
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
class Endpoint(Shown):
    """The kind of point that training ended at, with the evidence.

    Attributes:
        polished: What polishing to a stationary point in float64 changed, and how far it moved.
        imbalance: `|U^T U - V^T V|` over `|U^T U + V^T V|` at the given point.
        certificate: At the given point.
        polished_certificate: At the polished point.
        curvature: At the polished point; None where it is not stationary.
        norms: Of the weights at ever smaller gradients during a longer descent, where some weights
            are not penalised and a minimum may not exist.
        losses: The objective at those norms.
        escape: The descent from a strict saddle point, or None.
        n_factors: Of the point.

    Examples:
        >>> from bilinear import lab, synthetic_ratings
        >>> found = lab.certify(synthetic_ratings(20, 15, 150, rng=0), penalty=lab.L2(1.0, 1.0))
        >>> end = lab.diagnose_endpoint(found.parameters, found.objective)
        >>> end.polished.stationary, end.certificate.certified
        (True, True)
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
        """The kind of the given point."""
        nearby = self.nearby
        if nearby == "no minimiser":
            return nearby
        if self.certificate.certified:
            return "certified global"
        return nearby if self.polished.distance <= NEAR else "not converged"

    @property
    def nearby(self) -> Verdict:
        """The kind of the stationary point that polishing reached, however far away it is."""
        if self.diverges:
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
    def diverges(self) -> bool:
        """Whether the weights grow without bound while the objective decreases."""
        if len(self.norms) < 3:
            return False
        grows = np.array(self.norms[1:]) >= _GROWTH * np.array(self.norms[:-1])
        return bool(grows.all() and (np.diff(self.losses) < 0).all())

    def to_dict(self) -> dict[str, Any]:
        """JSON values, without the points themselves."""
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


def diagnose_endpoint(
    model: Any, objective: Objective | Problem, *, max_products: int = 5000, rng: int = 0
) -> Endpoint:
    """Classifies the point that training ended at: minimum, saddle point, or not stationary.

    Polishes a copy to a stationary point in float64, takes the certificate before and after, and the
    smallest curvature there with the symmetries removed. Cost: O(n_ratings * n_factors) a Hessian
    product. Source: docs/theory/curvature.md, docs/theory/certificate.md.

    Args:
        model: A fitted model, or its Parameters.
        objective: The training objective on the training ratings, or a `Problem`.
        max_products: Hessian products for polishing and for the curvature, each.
        rng: Seed of the random starts of the spectral computations.

    Returns:
        The verdict with its evidence.

    Examples:
        >>> from bilinear import lab, synthetic_ratings
        >>> found = lab.certify(synthetic_ratings(20, 15, 150, rng=0), penalty=lab.L2(1.0, 1.0))
        >>> lab.diagnose_endpoint(found.parameters, found.objective).verdict
        'certified global'
    """
    parameters: Parameters = model if isinstance(model, Parameters) else model.parameters_
    problem = objective if isinstance(objective, Problem) else Problem.of(objective, parameters.global_mean)
    at = problem.pack(parameters)
    polished = polish(problem, at, max_products=max_products)
    before = certificate_at(problem, at, rng=rng)
    after = before if polished.at is at else certificate_at(problem, polished.at, rng=rng)
    curvature = None
    if polished.stationary:
        curvature = smallest_curvature(problem, polished.at, max_products=max_products, rng=rng)
    norms, losses = _longer_descent(problem, at, polished, curvature)
    escape = None
    if curvature is not None and curvature.negative and not after.certified:
        escape = _escape(problem, polished.at, curvature, rng)
    return Endpoint(
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


def sentence(found: Endpoint) -> str:
    """The verdict in one plain sentence."""
    polished, after = found.polished, found.polished_certificate
    if found.verdict == "certified global":
        return "Training ended at the global minimum: no model with any number of factors has a lower loss."
    if found.verdict == "no minimiser":
        return (
            "No best model exists: the loss keeps falling while the weights grow without end; train with an "
            "L2 above zero."
        )
    if found.verdict == "not converged":
        reached = f"polishing lowers it from {polished.loss_before:.6g} to {polished.loss:.6g}"
        return (
            f"Training stopped before the minimum of its loss, as it usually does: {reached} and moves the "
            f"scores by {polished.distance:.0%}."
        )
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
            "Training ended at a minimum: the loss rises in every direction. Whether another minimum is "
            f"lower cannot be proved here: {after.refusal}."
        )
    return (
        "Training ended where the loss falls in no direction to second order and is flat in some: it may "
        "be a "
        "minimum, which is not certified."
    )


def _longer_descent(
    problem: Problem, at: Vector, before: Polished, curvature: Curvature | None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Norms and losses at ever smaller gradients, where some weights are not penalised.

    Only then may the infimum not be attained. A gradient close to zero far from the origin then looks
    like a minimum, but there is a flat direction that is not a symmetry, and the norm grows with
    every digit of the gradient; near a minimum it converges.
    """
    unpenalised = (problem.l2 == 0 and problem.n_factors(at) > 0) or (
        problem.has_biases and problem.l2_biases == 0
    )
    if not unpenalised or (curvature is not None and curvature.positive):
        return (), ()
    norms, losses = [], []
    tolerance = min(before.gradient_before, 0.1)
    for _ in range(_CHECKPOINTS):
        tolerance /= 100
        step = trust_region_newton(problem, at, tolerance=tolerance, max_products=_CHECKPOINT_PRODUCTS)
        if step.n_products:
            at = step.at
            norms.append(norm(problem, at))
            losses.append(step.value)
    return tuple(norms), tuple(losses)


def _escape(problem: Problem, at: Vector, curvature: Curvature, rng: int) -> Escape:
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
    descent = trust_region_newton(problem, there, tolerance=1e-4, max_products=500)
    return Escape(
        curvature.smallest,
        float(best.x),
        min(float(best.fun), start),
        descent.value,
        problem.unpack(there),
    )


@register
class TrainingEndpoint(Instrument):
    """The point that training ended at: a minimum, a saddle point, on the way, or none exists.

    Examples:
        >>> from bilinear import BiasModel, lab, synthetic_ratings
        >>> ratings = synthetic_ratings(20, 15, 150, rng=0)
        >>> model = BiasModel(l2_biases=1.0).fit(ratings)
        >>> lab.report(model, ratings, only=["endpoint"])["endpoint"].answer
        'Training ended at the global minimum: no model with any number of factors has a lower loss.'
    """

    name = "endpoint"
    question = "Where did training end?"
    order = 0

    def measure(self, context: Context) -> Section:
        if context.training == "posterior":
            return self._of_a_chain(context)
        if context.descent_model is None:
            answer, headline = _RANKING[context.training]
            return self.section(
                answer,
                "measure it with evaluate_ranking on interactions that it was not trained on",
                {},
                headline=headline,
            )
        found = endpoint_of(context)
        notes = []
        if context.mismatch:
            notes.append(f"Note: {context.mismatch}.")
        if not context.matched.exact:
            notes.append(f"Note: {_other_ratings(context.matched)}, so it need not be at rest here.")
        facts = [*_reported(context), *_facts(found)]
        tone, headline, next_step = _FINDINGS[found.verdict]
        near = found.polished.distance <= NEAR and not found.polished.stationary
        if near and found.verdict == "not converged":
            next_step = "repeat it with more Hessian products: the point is near rest, of an unknown kind"
        return self.section(
            " ".join([sentence(found), *notes]),
            next_step,
            found.to_dict(),
            facts,
            picture=_picture(found),
            headline=_headline(found, context, headline),
            verdict=found.verdict,
            tone=tone,
            measured=found,
        )

    def _of_a_chain(self, context: Context) -> Section:
        """Averages have no end point: whether the chain has converged, and the error on held-out ratings."""
        model: Any = context.model
        largest = max(model.history_.diagnostics.values(), default=float("nan"))
        converged = largest <= CONVERGED
        error, r_hat = _held_out(context), f"largest R-hat {largest:.2f}, {CONVERGED:g} or less is converged"
        if converged:
            words = "its chain has converged"
            step = "nothing: choose between models by the error on held-out ratings"
        else:
            words = (
                "its chain has not converged yet"
                if largest > CONVERGED
                else "the chain is too short to judge"
            )
            step = "train with more sweeps: `--set solver=Gibbs --set solver__n_epochs=320`"
        headline = f"{words[0].upper()}{words[1:]}." if error is None else f"{error}; {words}."
        return self.section(
            "At the mean of a posterior, which is not a minimum and need not be one: the model averages the "
            f"draws of a chain, and {words} ({r_hat}).",
            step,
            {"r_hats": model.history_.diagnostics},
            [
                *_reported(context),
                *((f"R-hat of {name}", f"{value:.3f}") for name, value in model.history_.diagnostics.items()),
            ],
            headline=headline,
            tone="good" if converged else "open",
        )


def _reported(context: Context) -> list[Fact]:
    """The held-out error that the model's own report holds, if it holds one."""
    held = context.reported
    if held is None:
        return []
    return [("held-out RMSE in the model's own report", f"{held.rmse:.4f} [{held.low:.4f}, {held.high:.4f}]")]


def _held_out(context: Context) -> str | None:
    """The error on ratings that training did not see, in a few words."""
    model: Any = context.model
    if context.reported is not None:
        return f"Held-out RMSE {context.reported.rmse:.4f} in the model's own report"
    kept = model.history_.best_validation_rmse
    return None if kept is None else f"Validation RMSE {kept:.4f} at the epoch that was kept"


def endpoint_of(context: Context) -> Endpoint:
    """The diagnosis that the instruments for end point and optimality share."""

    def diagnose() -> Endpoint:
        context.on_progress("polishing, certificate, curvature")
        model: Any = context.model
        return diagnose_endpoint(
            model.parameters_, context.problem, max_products=context.max_products, rng=context.rng
        )

    return context.once("endpoint", diagnose)


_HOW_ONLY = "The lab can say how this model computes, not how well it was optimised."
_RANKING: dict[str, tuple[str, str]] = {
    "closed form": (
        "There was no descent: its weights are the exact solution of a linear system.",
        "Computed, not searched for: this model is the one solution of a convex problem.",
    ),
    "all pairs": (
        "The lab cannot say: its loss counts every pair of user and item, also the unseen ones, and "
        "the lab measures losses over the ratings that there are.",
        _HOW_ONLY,
    ),
    "rankings": ("The lab cannot say: its loss is over rankings, not over ratings.", _HOW_ONLY),
    "counts": (
        "There was no descent: it is counted from the interactions.",
        "There is nothing to optimise here: this model counts and compares.",
    ),
}
_FINDINGS: dict[Verdict, tuple[Literal["good", "bad", "open"], str, str]] = {
    "certified global": (
        "good",
        "Proved: no model with this loss and penalty fits its ratings better.",
        "nothing to do here: more training or another optimiser cannot lower the training loss; what is left "
        "to tune is the penalty, for the error on new ratings",
    ),
    "rank-limited": (
        "good",
        "Training arrived at a minimum for this number of factors; more could fit better.",
        "more epochs will not help; add factors only if the error on new ratings falls with them",
    ),
    "minimum": (
        "good",
        "Training arrived at a minimum; whether it is the lowest cannot be proved here.",
        "nothing, or compare other starts: another minimum may be lower",
    ),
    "strict saddle": (
        "bad",
        "Training stopped at a saddle point: the loss falls in one direction from there.",
        "continue training along the direction that was found, or start with larger random factors",
    ),
    "second-order point": (
        "open",
        "Training arrived where the loss is flat; it is probably a minimum.",
        "raise the L2 a little, which removes flat directions",
    ),
    "not converged": (
        "open",
        "training stopped before the minimum of its own loss, which is usual.",
        "judge it by the error on new ratings; train for more epochs, or with a learning rate that falls to "
        "zero, only while that error still falls",
    ),
    "no minimiser": (
        "bad",
        "This training has no end: the loss keeps falling while the weights grow.",
        "set an L2 above zero for factors and biases",
    ),
}
"""(tone, headline, next step) of each verdict."""


def _headline(found: Endpoint, context: Context, words: str) -> str:
    if context.mismatch and found.verdict == "certified global":
        return "Nothing is certified: training did not minimise the loss and penalty of this model."
    if found.verdict != "not converged":
        return words
    error = _held_out(context)
    return f"{error}; {words}" if error else words[0].upper() + words[1:]


def _facts(found: Endpoint) -> list[Fact]:
    polished, curvature = found.polished, found.curvature
    facts: list[Fact] = [
        ("training loss as it is", f"{polished.loss_before:,.6g}"),
        ("after polishing to rest" if polished.stationary else "after polishing", f"{polished.loss:,.6g}"),
        ("relative gradient, 0 at rest, 1 untrained", f"{polished.gradient_before:.2g}"),
        ("how far polishing moved the scores", f"{polished.distance:.2%}"),
    ]
    if not polished.stationary:
        facts.append(("polishing came to rest", "no: the budget was used up first"))
    if curvature is not None:
        kind = "upwards" if curvature.positive else "downwards" if curvature.negative else "flat"
        facts += [
            ("smallest curvature of the loss at rest", f"{curvature.smallest:.4g} ({kind})"),
            ("largest curvature", f"{curvature.largest:.4g}"),
            ("flat directions that are only rotations", f"{curvature.n_symmetries:,}"),
        ]
        if curvature.n_negative:
            facts.append(("directions in which the loss falls", f"{curvature.n_negative:,}"))
    if found.escape is not None:
        facts += [
            ("lowest loss along the best of them", f"{found.escape.loss:,.6g}"),
            ("loss after a descent from there", f"{found.escape.loss_after_descent:,.6g}"),
        ]
    return facts


def _picture(found: Endpoint) -> str:
    if found.verdict == "no minimiser" and len(found.norms) > 2:
        return lines(
            {"length of the weights": list(enumerate(found.norms, 1))},
            "The weights grow without end",
            "Length of the weights at each checkpoint",
            "checkpoint, each further down",
        )
    losses = {"this model": found.polished.loss_before}
    if found.polished.loss < found.polished.loss_before * (1 - 1e-9):
        losses["polished"] = found.polished.loss
    if found.escape is not None:
        losses["past the saddle"] = found.escape.loss_after_descent
    losses["untrained"] = found.certificate.untrained
    return bars(losses, "Training loss, penalty included", "{:,.5g}", "{:.6g}")


def _other_ratings(matched: MatchedRatings) -> str:
    parts = []
    if matched.n_missing:
        parts.append(f"{matched.n_missing:,} training ratings are missing")
    if matched.n_extra:
        parts.append(f"{matched.n_extra:,} were not trained on")
    if matched.n_changed:
        parts.append(f"{matched.n_changed:,} had another value")
    return f"these are not the ratings it was trained on ({', '.join(parts)})"
