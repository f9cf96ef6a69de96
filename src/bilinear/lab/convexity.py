"""Convexity of the training loss, measured on chords and slices through the weights, without a Hessian."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bilinear.inspection.charts import heatmap, lines
from bilinear.lab.numerics.problem import Problem, Vector
from bilinear.lab.reporting.context import Context
from bilinear.lab.reporting.instrument import Instrument, register
from bilinear.lab.reporting.section import Section
from bilinear.model.link import Link, Sigmoid, logistic
from bilinear.objective.losses import Loss, SquaredError
from bilinear.tabular import Shown

_ROUNDING = 1e-12  # of the objective: differences below it are none


@dataclass(frozen=True, eq=False)
class Convexity(Shown):
    """Convexity of the objective along chords.

    Attributes:
        loss: The objective at the model.
        loss_flipped: The objective with the sign of all factors changed: the same scores, so the same.
        loss_between: The objective at their midpoint, the model without factors.
        convex_in_score: Whether the loss is a convex function of the score for every rating.
        share_in_band: Share of the ratings at whose score the loss has positive curvature.
        n_chords: Chords between points around the model.
        n_above: Chords whose midpoint is above the mean of their ends: each proves that the
            objective is not convex.
        n_half_chords: Chords with the items' factors and biases held fixed, or with the users'.
        n_half_above: Those of them above the mean of their ends; 0 for a loss convex in the score.
        slice: The objective over (a U, b V), see `factor_slice`.

    Examples:
        >>> from bilinear import lab, synthetic_ratings
        >>> found = lab.certify(synthetic_ratings(20, 15, 150, rng=0), penalty=lab.L2(1.0, 1.0))
        >>> problem = lab.Problem.of(found.objective, found.parameters.global_mean)
        >>> shown = lab.measure_convexity(problem, problem.pack(found.parameters))
        >>> shown.convex_in_score, shown.n_half_above
        (True, 0)
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
    slice: PlaneSlice

    @property
    def witnessed(self) -> bool:
        """Whether the model, its negated factors and their midpoint prove that it is not convex."""
        return self.loss_between > max(self.loss, self.loss_flipped) + _ROUNDING * abs(self.loss)

    @property
    def halves_convex(self) -> bool:
        """Whether the midpoint of no half-problem's chord is above the mean of its ends."""
        return self.n_half_above == 0

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        values = {name: value for name, value in vars(self).items() if name != "slice"}
        return values | {
            "witnessed": self.witnessed,
            "halves_convex": self.halves_convex,
            "slice": self.slice.to_dict(),
        }

    def __str__(self) -> str:
        if self.witnessed:
            return (
                "not convex: the model and the model with negated factors have the objective "
                f"{self.loss:.6g}, "
                f"halfway between them it is {self.loss_between:.6g}"
            )
        return "no witness against convexity: without its factors the model is no worse"


@dataclass(frozen=True, eq=False)
class PlaneSlice:
    """The objective over a grid of a plane: values[i, j] at origin + a[i] first + b[j] second.

    Attributes:
        a: Multiples of the first direction.
        b: Multiples of the second direction.
        values: (len(a), len(b)) values of the objective.

    Examples:
        >>> from bilinear import Identity, SquaredError, lab, synthetic_ratings
        >>> from bilinear.objective.objective import Objective
        >>> ratings = synthetic_ratings(10, 8, 50, rng=0)
        >>> problem = lab.Problem.of(Objective(SquaredError(), Identity(0.5, 5), lab.L2(1, 1), ratings), 3.5)
        >>> import numpy as np
        >>> at = np.random.default_rng(0).standard_normal(problem.size(2))
        >>> lab.factor_slice(problem, at).values.shape
        (21, 21)
    """

    a: Vector
    b: Vector
    values: Vector

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {name: array.tolist() for name, array in vars(self).items()}


@dataclass(frozen=True)
class ConvexBand:
    """The interval in which squared error after a sigmoid is convex in the score.

    Attributes:
        low: Smallest share sigma(z) of the rating range.
        high: Largest share.

    Examples:
        >>> from bilinear import lab
        >>> band = lab.convex_band(0.5)
        >>> 0 <= band.low < 0.5 < band.high <= 1
        True
    """

    low: float
    high: float


def measure_convexity(problem: Problem, at: Vector, *, n_chords: int = 20, rng: int = 0) -> Convexity:
    """Searches for chords whose midpoint is above the mean of their ends.

    Chords join the model with points as far from it as it is from zero, in random directions.

    Cost:
        some 6 * n_chords evaluations, O(n_ratings * n_factors) each.
    Source:
        docs/theory/convexity.md.

    Args:
        problem: The objective.
        at: The model as a flat vector.
        n_chords: Random chords.
        rng: Seed of the directions.

    Returns:
        Counts of chords, three witnesses, and a slice to draw.

    Examples:
        >>> from bilinear import lab, synthetic_ratings
        >>> found = lab.certify(synthetic_ratings(20, 15, 150, rng=0), penalty=lab.L2(1.0, 1.0))
        >>> problem = lab.Problem.of(found.objective, found.parameters.global_mean)
        >>> shown = lab.measure_convexity(problem, problem.pack(found.parameters))
        >>> shown.witnessed, shown.halves_convex
        (True, True)
    """
    parts = problem.parts(at)
    flipped = problem.join(*parts[:3], -parts.user_factors, -parts.item_factors)
    without = problem.join(*parts[:3], 0 * parts.user_factors, 0 * parts.item_factors)
    generator = np.random.default_rng(rng)
    value = problem.value(at)
    n_above = sum(_above(problem, at, value, _direction(problem, at, generator)) for _ in range(n_chords))
    half_above = sum(
        _above(problem, at, value, _direction(problem, at, generator, side))
        for _ in range(n_chords)
        for side in (0, 1)
    )
    return Convexity(
        value,
        problem.value(flipped),
        problem.value(without),
        problem.convex_in_score,
        convex_share(problem, at),
        n_chords,
        n_above,
        2 * n_chords,
        half_above,
        factor_slice(problem, at),
    )


def convex_band(fraction: float) -> ConvexBand:
    """The interval of sigma(z) in which (sigma(z) - y)^2 has positive curvature.

    Its ends are the roots of `3 s^2 - 2 (1 + y) s + y = 0` in `s = sigma(z)`.

    Args:
        fraction: The rating y as a share of its range.

    Returns:
        Both ends, as shares.

    Examples:
        >>> from bilinear import lab
        >>> lab.convex_band(0.0)
        ConvexBand(low=0.0, high=0.6666666666666666)
    """
    root = float(np.sqrt(1 - fraction + fraction**2))
    return ConvexBand((1 + fraction - root) / 3, (1 + fraction + root) / 3)


def convex_share(problem: Problem, at: Vector) -> float:
    """The share of the ratings at whose score the loss has positive curvature.

    Args:
        problem: The objective.
        at: A flat vector.

    Returns:
        1 for losses that are convex in the score.

    Examples:
        >>> from bilinear import Identity, SquaredError, lab, synthetic_ratings
        >>> from bilinear.objective.objective import Objective
        >>> ratings = synthetic_ratings(10, 8, 50, rng=0)
        >>> problem = lab.Problem.of(Objective(SquaredError(), Identity(0.5, 5), lab.L2(1, 1), ratings), 3.5)
        >>> lab.convex_share(problem, problem.zeros(2))
        1.0
    """
    return convex_share_of_scores(problem.loss, problem.link, problem.scores(at), problem.ratings)


def convex_share_of_scores(loss: Loss, link: Link, scores: Vector, ratings: Vector) -> float:
    """`convex_share` of any scores."""
    if not (isinstance(loss, SquaredError) and isinstance(link, Sigmoid)):
        return 1.0
    low, high = link.bounds
    y, s = (ratings - low) / (high - low), logistic(scores)
    return float(np.mean(-3 * s**2 + 2 * (1 + y) * s - y >= 0))


def factor_slice(problem: Problem, at: Vector, *, reach: float = 1.5, n: int = 21) -> PlaneSlice:
    """The objective over (a U, b V) with the biases fixed.

    It has minima near the model (1, 1) and the model with negated factors (-1, -1), and a saddle
    point between them at (0, 0). Cost: n^2 evaluations of O(n_ratings), one of O(n_ratings * n_factors).

    Args:
        problem: The objective.
        at: The model as a flat vector.
        reach: Largest multiple of the factors.
        n: Points along each axis.

    Returns:
        An n x n grid.

    Examples:
        >>> import numpy as np
        >>> from bilinear import lab, synthetic_ratings
        >>> found = lab.certify(synthetic_ratings(20, 15, 150, rng=0), penalty=lab.L2(1.0, 1.0))
        >>> problem = lab.Problem.of(found.objective, found.parameters.global_mean)
        >>> cut = lab.factor_slice(problem, problem.pack(found.parameters), reach=1.0, n=3)
        >>> bool(np.isclose(cut.values[0, 0], cut.values[2, 2])), bool(cut.values[1, 1] > cut.values[2, 2])
        (True, True)
    """
    parts = problem.parts(at)
    zero_u, zero_v = 0 * parts.user_factors, 0 * parts.item_factors
    empty = problem.join(*parts[:3], zero_u, zero_v)
    none = (0 * parts.mean, 0 * parts.user_biases, 0 * parts.item_biases)
    first = problem.join(*none, parts.user_factors, zero_v)
    second = problem.join(*none, zero_u, parts.item_factors)
    steps = np.linspace(-reach, reach, n)
    return plane_slice(problem, empty, first, second, steps, steps)


def plane_slice(
    problem: Problem, origin: Vector, first: Vector, second: Vector, a: Vector, b: Vector
) -> PlaneSlice:
    """The objective at origin + a[i] first + b[j] second, exactly.

    The scores are quadratic in a plane, so six vectors of scores give all of them.

    Cost:
        O(n_ratings) a point.

    Args:
        problem: The objective.
        origin: A flat vector.
        first: The first direction.
        second: The second direction.
        a: Multiples of the first direction.
        b: Multiples of the second direction.

    Returns:
        A len(a) x len(b) grid.

    Examples:
        >>> import numpy as np
        >>> from bilinear import Identity, SquaredError, lab, synthetic_ratings
        >>> from bilinear.objective.objective import Objective
        >>> ratings = synthetic_ratings(10, 8, 50, rng=0)
        >>> problem = lab.Problem.of(Objective(SquaredError(), Identity(0.5, 5), lab.L2(1, 1), ratings), 3.5)
        >>> origin, first, second = np.random.default_rng(0).standard_normal((3, problem.size(2)))
        >>> cut = lab.plane_slice(problem, origin, first, second, np.array([0.0, 1.0]), np.array([0.0]))
        >>> bool(np.isclose(cut.values[1, 0], problem.value(origin + first)))
        True
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
    return PlaneSlice(np.asarray(a), np.asarray(b), values)


def _penalty_weights(problem: Problem, at: Vector) -> Vector:
    """The L2 of every entry of a flat vector."""
    parts = problem.parts(at)
    biases, factors = problem.l2_biases, problem.l2
    sizes = (0.0, biases, biases, factors, factors)
    return problem.join(*(np.full(part.shape, size) for part, size in zip(parts, sizes, strict=True)))


def _direction(
    problem: Problem, at: Vector, generator: np.random.Generator, fixed: int | None = None
) -> Vector:
    """A random direction, each part as long as that of the point; `fixed` = 0 or 1 holds users or items."""
    out = np.zeros(len(at))
    for index, (change, part) in enumerate(zip(problem.parts(out), problem.parts(at), strict=True)):
        held = fixed is not None and (index - 1) % 2 == fixed and index > 0
        if not held and change.size:
            drawn = generator.standard_normal(change.shape)
            change[...] = drawn * np.linalg.norm(part) / np.linalg.norm(drawn)
    return out


def _above(problem: Problem, at: Vector, value: float, direction: Vector) -> bool:
    ends = value, problem.value(at + direction)
    return problem.value(at + direction / 2) > sum(ends) / 2 + _ROUNDING * sum(map(abs, ends))


@register
class LossConvexity(Instrument):
    """Whether the training loss is convex, with the model's own weights as witness.

    Examples:
        >>> from bilinear import BiasModel, lab, synthetic_ratings
        >>> ratings = synthetic_ratings(20, 15, 150, rng=0)
        >>> model = BiasModel(l2_biases=1.0).fit(ratings)
        >>> lab.report(model, ratings, only=["convexity"])["convexity"].answer
        'Yes, for this model: without factors nothing is multiplied with anything.'
    """

    name = "convexity"
    question = "Is the training loss convex?"
    order = 4

    def measure(self, context: Context) -> Section:
        model = context.descent_model
        if model is None:
            return self.section(_RANKING[context.training], "nothing", {})
        found = measure_convexity(context.problem, context.at, n_chords=10, rng=context.rng)
        n_factors = model.parameters_.n_factors
        return self.section(
            _answer(found, n_factors),
            "nothing: where training ended is what counts"
            if found.convex_in_score
            else f"the loss has negative curvature at {1 - found.share_in_band:.1%} of the ratings; "
            "CrossEntropy never has",
            found.to_dict(),
            (
                (
                    "loss of the model, and with all factors negated",
                    f"{found.loss:,.6g}, {found.loss_flipped:,.6g}",
                ),
                ("loss halfway, where the factors cancel", f"{found.loss_between:,.6g}"),
                ("random chords below the loss, of", f"{found.n_above}, {found.n_chords}"),
                ("the same with one side held fixed", f"{found.n_half_above}, {found.n_half_chords}"),
                ("ratings where the loss curves upwards", f"{found.share_in_band:.1%}"),
            ),
            picture=_picture(found),
            measured=found,
        )


_RANKING = {
    "closed form": "Yes: it is a least squares problem with a penalty, with one solution.",
    "all pairs": "Not in users and items together, as they are multiplied; with one side fixed it is, and "
    "that is why alternating least squares never raises it.",
    "rankings": "Not in users and items together, as their factors are multiplied.",
    "posterior": "The question does not arise: it is the mean of a posterior, and minimises no loss.",
    "counts": "The question does not arise: it minimises no loss.",
}


def _answer(found: Convexity, n_factors: int) -> str:
    if found.witnessed:
        answer = (
            "No: the model and the same model with all factors negated are equally good, and what lies "
            "halfway between them is worse."
        )
    elif n_factors:
        answer = "No witness was found: without its factors this model is no worse."
    elif found.convex_in_score:
        answer = "Yes, for this model: without factors nothing is multiplied with anything."
    else:
        answer = "No: it has no factors, but its loss is not convex in the score."
    if n_factors and found.halves_convex:
        answer += " With the items held fixed it is convex in the users, and the reverse."
    return answer


def _picture(found: Convexity) -> str:
    cut = found.slice
    if not np.ptp(cut.values) > 0:
        return ""
    along = np.diag(cut.values)
    return heatmap(
        cut.values,
        float(cut.a[-1]),
        "The loss from above; deep colour is low. Two valleys, and a pass where the factors are zero",
        "The training loss over multiples of the user factors and of the item factors",
        [(1, 1, "this model"), (-1, -1, "negated")],
    ) + lines(
        {"loss": list(zip(cut.a.tolist(), along.tolist(), strict=True))},
        "From the negated model (-1) to the model (1): a convex loss would have no hill",
        "The training loss on the line through the model, zero factors and the negated model",
        "all factors times this",
    )
