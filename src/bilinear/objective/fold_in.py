"""Fold-in of a new user: bias and factors from a few ratings with the items held fixed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bilinear.model.link import Link
from bilinear.model.parameters import Array, Parameters
from bilinear.objective.losses import Loss, second_derivative
from bilinear.objective.penalties import L2

_MAX_STEPS = 50
_TOLERANCE = 1e-9
_NEAR = 0.01
"""Share of the first gradient below which second derivatives are exact: in the same valley as before."""


@dataclass(frozen=True, eq=False)
class FoldedIn:
    """One user's weights, fitted to their ratings alone.

    Attributes:
        bias, factors (n_factors,): in score units, float64.
        steps: Newton steps taken; 1 for squared error with the identity, which is linear.
        relative_gradient: length of the gradient against that at the start.
    """

    bias: float
    factors: Array
    steps: int
    relative_gradient: float


def fold_in(
    parameters: Parameters,
    link: Link,
    loss: Loss,
    penalty: L2,
    items: NDArray[Any],
    ratings: NDArray[Any],
    *,
    centre: Array | None = None,
) -> FoldedIn:
    """Bias and factors of one user that minimise the training objective, all other parameters fixed.

    With the identity and squared error this is ridge regression on the item factors, solved
    in closed form; otherwise by damped Newton steps, until the norm of the gradient is 1e-9 of that at the
    start. Without convexity they are Gauss-Newton steps until it is a hundredth, then Newton.

    Args:
        items: (n,) rows of known items.
        ratings: (n,) their ratings.
        centre: (n_factors + 1,) bias and factors that the penalty pulls to, the bias in front; None is zero.
    Returns:
        the weights; those of `centre` for no ratings.
    Cost:
        O(n * n_factors^2 + n_factors^3) a step.
    Source:
        docs/theory/fold_in.md.
    """
    n_factors = parameters.n_factors
    prior = np.zeros(n_factors + 1) if centre is None else np.roll(np.asarray(centre, np.float64), -1)
    if not len(items):
        return FoldedIn(float(prior[-1]), prior[:-1], 0, 0.0)
    design = np.hstack([parameters.item_factors[items].astype(np.float64), np.ones((len(items), 1))])
    offset = parameters.global_mean + parameters.item_biases[items].astype(np.float64)
    targets = ratings.astype(np.float64)
    weight = float(penalty.row_weights(np.array([len(items)]))[0])
    ridge = weight * np.append(np.full(n_factors, penalty.factors), penalty.biases)

    unique = bool((ridge > 0).all())
    convex = loss.convex_in_score(link)

    def value(at: Array, scores: Array) -> float:
        return float(loss.value(scores, targets, link).sum() + 0.5 * (ridge @ (at - prior) ** 2))

    def gradient_at(at: Array, scores: Array) -> Array:
        found: Array = design.T @ loss.gradient(scores, targets, link) + ridge * (at - prior)
        return found

    def hessian(curvatures: Array) -> Array:
        found: Array = design.T @ (curvatures[:, None] * design)
        found.flat[:: n_factors + 2] += ridge
        return found

    at, scores = prior, offset + design @ prior
    gradient, here = gradient_at(at, scores), value(at, scores)
    start = float(np.linalg.norm(gradient)) or 1.0
    steps = 0
    while (length := float(np.linalg.norm(gradient))) > _TOLERANCE * start and steps < _MAX_STEPS:
        step = None
        if unique and not convex and length < _NEAR * start:
            step = _newton_step(hessian(second_derivative(loss, scores, targets, link)), gradient)
        if step is None:
            system = hessian(loss.curvature(scores, targets, link))
            # perhaps singular without a penalty: the shortest of its steps
            step = (
                np.linalg.solve(system, gradient)
                if unique
                else np.linalg.lstsq(system, gradient, rcond=None)[0]
            )
        along, down, size = design @ step, 1e-4 * float(gradient @ step), 1.0
        while value(at - size * step, scores - size * along) > here - size * down and size > 1e-8:
            size /= 2
        at = at - size * step
        scores = offset + design @ at
        gradient, here = gradient_at(at, scores), value(at, scores)
        steps += 1
        if size <= 1e-8:
            break
    return FoldedIn(float(at[-1]), at[:-1], steps, float(np.linalg.norm(gradient)) / start)


def _newton_step(hessian: Array, gradient: Array) -> Array | None:
    """`hessian^-1 gradient`; None where the hessian is not positive definite: the step could lead up."""
    try:
        np.linalg.cholesky(hessian)
    except np.linalg.LinAlgError:
        return None
    step: Array = np.linalg.solve(hessian, gradient)
    return step
