"""Is the training objective convex? Witnesses on the model's own weights; no Hessian needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bilinear.lab.problem import Problem, Vector
from bilinear.model.link import Link, Sigmoid, logistic
from bilinear.objective.losses import Loss, SquaredError

_ROUNDING = 1e-12  # of the objective: differences below it are none


@dataclass(frozen=True, eq=False)
class Convexity:
    """What chords through the objective show.

    Attributes:
        loss: the objective at the model; loss_flipped: with the sign of all factors changed (the
            same scores, so the same); loss_between: at their midpoint, the model without factors.
        convex_in_score: whether the loss is a convex function of the score for every rating.
        share_in_band: share of the ratings at whose score the loss bends upwards.
        n_chords, n_above: chords between points around the model, and how many have a midpoint
            above the mean of their ends: each is a proof that the objective is not convex.
        n_half_chords, n_half_above: the same with the items' factors and biases held fixed, and
            with the users': none for a loss convex in the score.
        slice: the objective over (a U, b V), see `factor_slice`.
    """

    loss: float
    loss_flipped: float
    loss_between: float
    convex_in_score: bool
    share_in_band: float
    n_chords: int
    n_above: int
    n_half_chords: int
    n_half_above: int
    slice: Slice

    @property
    def witnessed(self) -> bool:
        """Whether model, sign-flipped model and their midpoint prove that it is not convex."""
        return self.loss_between > max(self.loss, self.loss_flipped) + _ROUNDING * abs(self.loss)

    @property
    def halves_convex(self) -> bool:
        """Whether no chord of a half-problem went above its ends: alternating descent is safe."""
        return self.n_half_above == 0

    def to_dict(self) -> dict[str, Any]:
        values = {name: value for name, value in vars(self).items() if name != "slice"}
        return values | {
            "witnessed": self.witnessed,
            "halves_convex": self.halves_convex,
            "slice": self.slice.to_dict(),
        }

    def __str__(self) -> str:
        if self.witnessed:
            return (
                f"not convex: the model and its sign-flipped twin have the objective {self.loss:.6g}, "
                f"halfway between them it is {self.loss_between:.6g}"
            )
        return "no witness against convexity: without its factors the model is no worse"


@dataclass(frozen=True, eq=False)
class Slice:
    """The objective over a grid of a plane: values[i, j] at origin + a[i] first + b[j] second."""

    a: Vector
    b: Vector
    values: Vector

    def to_dict(self) -> dict[str, Any]:
        return {name: array.tolist() for name, array in vars(self).items()}


@dataclass(frozen=True)
class Band:
    """The shares sigma(z) of the range between which squared error after a sigmoid is convex."""

    low: float
    high: float


def convexity(problem: Problem, at: Vector, *, n_chords: int = 20, seed: int = 0) -> Convexity:
    """Looks for chords above which the objective rises.

    Chords join the model with points as far from it as it is from zero, in random directions.
    Cost: some 6 * n_chords evaluations, O(n_ratings * n_factors) each.
    Source: docs/theory/convexity.md.
    """
    parts = problem.parts(at)
    flipped = problem.join(*parts[:3], -parts.user_factors, -parts.item_factors)
    without = problem.join(*parts[:3], 0 * parts.user_factors, 0 * parts.item_factors)
    rng = np.random.default_rng(seed)
    value = problem.value(at)
    n_above = sum(_above(problem, at, value, _direction(problem, at, rng)) for _ in range(n_chords))
    half_above = sum(
        _above(problem, at, value, _direction(problem, at, rng, side))
        for _ in range(n_chords)
        for side in (0, 1)
    )
    return Convexity(
        value,
        problem.value(flipped),
        problem.value(without),
        problem.convex_in_score,
        share_in_band(problem, at),
        n_chords,
        n_above,
        2 * n_chords,
        half_above,
        factor_slice(problem, at),
    )


def convex_band(fraction: float) -> Band:
    """Where (sigma(z) - y)^2 bends upwards, for a rating at the fraction y of its range.

    The roots of 3 s^2 - 2 (1 + y) s + y = 0 in s = sigma(z).
    """
    root = float(np.sqrt(1 - fraction + fraction**2))
    return Band((1 + fraction - root) / 3, (1 + fraction + root) / 3)


def share_in_band(problem: Problem, at: Vector) -> float:
    """Share of the ratings at whose score the loss bends upwards; 1 for losses convex in the score."""
    return band_share(problem.loss, problem.link, problem.scores(at), problem.ratings)


def band_share(loss: Loss, link: Link, scores: Vector, ratings: Vector) -> float:
    """As `share_in_band`, of any scores."""
    if not (isinstance(loss, SquaredError) and isinstance(link, Sigmoid)):
        return 1.0
    low, high = link.bounds
    y, s = (ratings - low) / (high - low), logistic(scores)
    return float(np.mean(-3 * s**2 + 2 * (1 + y) * s - y >= 0))


def factor_slice(problem: Problem, at: Vector, *, reach: float = 1.5, n: int = 21) -> Slice:
    """The objective over (a U, b V), the biases fixed: the picture of x * y.

    Two valleys around the model (1, 1) and its twin (-1, -1), a pass between them at (0, 0).
    Cost: n^2 evaluations of O(n_ratings), one of O(n_ratings * n_factors).
    """
    parts = problem.parts(at)
    zero_u, zero_v = 0 * parts.user_factors, 0 * parts.item_factors
    empty = problem.join(*parts[:3], zero_u, zero_v)
    none = (0 * parts.mean, 0 * parts.user_biases, 0 * parts.item_biases)
    first = problem.join(*none, parts.user_factors, zero_v)
    second = problem.join(*none, zero_u, parts.item_factors)
    steps = np.linspace(-reach, reach, n)
    return plane(problem, empty, first, second, steps, steps)


def plane(problem: Problem, origin: Vector, first: Vector, second: Vector, a: Vector, b: Vector) -> Slice:
    """The objective at origin + a[i] first + b[j] second, exactly.

    The scores are quadratic along any plane, so six vectors of scores give all of them.
    Cost: O(n_ratings) a point.
    """
    here, one, two = (problem.parts(vector) for vector in (origin, first, second))

    def moved(change: Any) -> Vector:
        linear = problem.bias_scores(change) + (change.mean[0] if problem.free_mean else 0.0)
        linear = linear + problem.pair_products(change.user_factors, here.item_factors)
        return np.asarray(linear + problem.pair_products(here.user_factors, change.item_factors))

    base, along_one, along_two = problem.scores(origin), moved(one), moved(two)
    squares = [problem.products(one), problem.products(two)]
    cross = problem.pair_products(one.user_factors, two.item_factors)
    cross = cross + problem.pair_products(two.user_factors, one.item_factors)
    pull = _penalty_weights(problem, origin)
    corners = (origin, first, second)
    gram = np.array([[0.5 * float((pull * left) @ right) for left in corners] for right in corners])
    values = np.empty((len(a), len(b)))
    for i, x in enumerate(a):
        row = base + x * along_one + x * x * squares[0]
        for j, y in enumerate(b):
            scores = row + y * along_two + y * y * squares[1] + x * y * cross
            place = np.array([1.0, x, y])
            losses = problem.loss.value(scores, problem.ratings, problem.link)
            values[i, j] = float(problem.weights @ losses) + float(place @ gram @ place)
    return Slice(np.asarray(a), np.asarray(b), values)


def _penalty_weights(problem: Problem, at: Vector) -> Vector:
    """The L2 of every entry of a flat vector."""
    parts = problem.parts(at)
    biases, factors = problem.l2_biases, problem.l2
    sizes = (0.0, biases, biases, factors, factors)
    return problem.join(*(np.full(part.shape, size) for part, size in zip(parts, sizes, strict=True)))


def _direction(problem: Problem, at: Vector, rng: np.random.Generator, fixed: int | None = None) -> Vector:
    """A random direction, each part as long as that of the point; `fixed` 0 or 1 holds users or items."""
    out = np.zeros(len(at))
    for index, (change, part) in enumerate(zip(problem.parts(out), problem.parts(at), strict=True)):
        held = fixed is not None and (index - 1) % 2 == fixed and index > 0
        if not held and change.size:
            drawn = rng.standard_normal(change.shape)
            change[...] = drawn * np.linalg.norm(part) / np.linalg.norm(drawn)
    return out


def _above(problem: Problem, at: Vector, value: float, direction: Vector) -> bool:
    ends = value, problem.value(at + direction)
    return problem.value(at + direction / 2) > sum(ends) / 2 + _ROUNDING * sum(map(abs, ends))
