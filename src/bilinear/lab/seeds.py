"""Agreement of models from other starts, before and after rotating their factors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bilinear.errors import ParameterValueError
from bilinear.inspection.charts import bars
from bilinear.kernels.top_k import top_k_rows
from bilinear.lab.numerics.problem import Problem, Vector
from bilinear.lab.numerics.trust_region import trust_region_newton
from bilinear.lab.reporting.context import Context
from bilinear.lab.reporting.instrument import Instrument, register
from bilinear.lab.reporting.section import Section
from bilinear.model.parameters import Parameters
from bilinear.tabular import Shown

_USERS = 200  # whose lists are compared
_LIST = 10


@dataclass(frozen=True)
class RunPair:
    """Two runs, compared.

    Attributes:
        barrier: Highest objective on the straight line between the two, above the higher of its ends.
        barrier_aligned: The same with the second run's factors rotated onto the first's.
        distance: Between the weights, over their mean length.
        distance_aligned: The same after the rotation.
        scores_differ: Root mean square difference of the scores of rated pairs.
        same_top_10: Mean share of a user's ten best items that both runs list.

    Examples:
        >>> from bilinear import Identity, SquaredError, lab, synthetic_ratings
        >>> from bilinear.objective.objective import Objective
        >>> ratings = synthetic_ratings(10, 8, 50, rng=0)
        >>> problem = lab.Problem.of(Objective(SquaredError(), Identity(0.5, 5), lab.L2(1, 1), ratings), 3.5)
        >>> found = lab.compare_seeds(problem, lab.run_seeds(problem, 2, n_starts=2))
        >>> found.pairs[0].barrier_aligned <= found.pairs[0].barrier
        True
    """

    barrier: float
    barrier_aligned: float
    distance: float
    distance_aligned: float
    scores_differ: float
    same_top_10: float


@dataclass(frozen=True)
class SeedComparison(Shown):
    """Several runs on one objective, compared.

    Attributes:
        losses: The objective that each run reached.
        pairs: Every pair of runs.
        spread: Root mean square deviation of the scores of a rated pair between runs.
        n_users: Users whose lists were compared.

    Examples:
        >>> from bilinear import Identity, SquaredError, lab, synthetic_ratings
        >>> from bilinear.objective.objective import Objective
        >>> ratings = synthetic_ratings(10, 8, 50, rng=0)
        >>> problem = lab.Problem.of(Objective(SquaredError(), Identity(0.5, 5), lab.L2(1, 1), ratings), 3.5)
        >>> found = lab.compare_seeds(problem, lab.run_seeds(problem, 2, n_starts=3))
        >>> len(found.losses), len(found.pairs)
        (3, 3)
    """

    losses: tuple[float, ...]
    pairs: tuple[RunPair, ...]
    spread: float
    n_users: int

    @property
    def barrier(self) -> float:
        """Mean barrier of the pairs, with the factors as they are."""
        return float(np.mean([pair.barrier for pair in self.pairs]))

    @property
    def barrier_aligned(self) -> float:
        """Mean barrier of the pairs, after the rotation."""
        return float(np.mean([pair.barrier_aligned for pair in self.pairs]))

    @property
    def same_top_10(self) -> float:
        """Mean share of equal top 10 items over the pairs."""
        return float(np.mean([pair.same_top_10 for pair in self.pairs]))

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "losses": list(self.losses),
            "spread": self.spread,
            "n_users": self.n_users,
            "barrier": self.barrier,
            "barrier_aligned": self.barrier_aligned,
            "same_top_10": self.same_top_10,
            "pairs": [vars(pair) for pair in self.pairs],
        }

    def __str__(self) -> str:
        return (
            f"{len(self.losses)} starts end at losses {min(self.losses):.6g} to {max(self.losses):.6g}; "
            f"two of them agree on {self.same_top_10:.0%} of a user's top {_LIST}; the barrier between "
            "them is "
            f"{self.barrier:.4g} high, after rotating the factors {self.barrier_aligned:.4g}"
        )


def run_seeds(
    problem: Problem,
    n_factors: int,
    *,
    n_starts: int = 4,
    size: float = 0.1,
    tolerance: float = 1e-4,
    max_products: int = 2000,
    rng: int = 0,
) -> list[Vector]:
    """End points of descents from several random starts, all on one objective.

    Cost:
        n_starts descents.

    Args:
        problem: The objective.
        n_factors: Of every run.
        n_starts: Number of runs.
        size: Standard deviation of the starting weights times sqrt(n_factors), natural coordinates.
        tolerance: Relative gradient at which a descent ends.
        max_products: Hessian products of one descent, at most.
        rng: Seed of the starts.

    Returns:
        One flat vector a run.

    Examples:
        >>> from bilinear import Identity, SquaredError, lab, synthetic_ratings
        >>> from bilinear.objective.objective import Objective
        >>> ratings = synthetic_ratings(10, 8, 50, rng=0)
        >>> problem = lab.Problem.of(Objective(SquaredError(), Identity(0.5, 5), lab.L2(1, 1), ratings), 3.5)
        >>> runs = lab.run_seeds(problem, 2, n_starts=3)
        >>> len(runs), max(lab.relative_gradient(problem, run) for run in runs) < 1e-3
        (3, True)
    """
    starts = []
    for n in range(n_starts):
        start = np.random.default_rng([rng, n]).standard_normal(problem.size(n_factors))
        start *= size / np.sqrt(max(n_factors, 1))
        start[: int(problem.free_mean)] = problem.mean
        starts.append(trust_region_newton(problem, start, tolerance=tolerance, max_products=max_products).at)
    return starts


def compare_seeds(problem: Problem, runs: Sequence[Vector], *, rng: int = 0) -> SeedComparison:
    """Compares every pair of end points: barriers, distances, scores and lists.

    Cost:
        O(pairs * n_ratings * n_factors) and the lists of 200 users, O(n_items * n_factors) each.
    Source:
        docs/theory/curvature.md (alignment by the polar factor).

    Args:
        problem: The objective of all runs.
        runs: Flat vectors, at least two, such as those of `run_seeds`.
        rng: Seed of the choice of users.

    Returns:
        The comparison of every pair.

    Raises:
        ParameterValueError: There are fewer than two runs, or they differ in their number of factors.

    Examples:
        >>> from bilinear import Identity, SquaredError, lab, synthetic_ratings
        >>> from bilinear.objective.objective import Objective
        >>> ratings = synthetic_ratings(20, 15, 150, rng=0)
        >>> objective = Objective(SquaredError(), Identity(0.5, 5), lab.L2(1.0, 1.0), ratings)
        >>> problem = lab.Problem.of(objective, 3.5)
        >>> found = lab.compare_seeds(problem, lab.run_seeds(problem, 2, n_starts=2))
        >>> found.barrier_aligned <= found.barrier
        True
    """
    if len(runs) < 2:
        raise ParameterValueError(f"runs: expected at least two to compare, got {len(runs)}")
    scores = [problem.scores(run) for run in runs]
    generator = np.random.default_rng(rng)
    some = np.sort(generator.permutation(problem.n_users)[:_USERS])
    lists = [_lists(problem.unpack(run), problem.user_rows[some], problem.item_rows) for run in runs]
    pairs = []
    for i in range(len(runs)):
        for j in range(i + 1, len(runs)):
            first, second = runs[i], runs[j]
            turned = aligned(problem, second, to=first)
            length = 0.5 * float(np.linalg.norm(first) + np.linalg.norm(second)) or 1.0
            pairs.append(
                RunPair(
                    barrier(problem, first, second),
                    barrier(problem, first, turned),
                    float(np.linalg.norm(first - second)) / length,
                    float(np.linalg.norm(first - turned)) / length,
                    float(np.sqrt(np.mean((scores[i] - scores[j]) ** 2))),
                    float(np.mean([len(a & b) / len(a) for a, b in zip(lists[i], lists[j], strict=True)])),
                )
            )
    return SeedComparison(
        tuple(problem.value(run) for run in runs),
        tuple(pairs),
        float(np.sqrt(np.mean(np.var(scores, axis=0)))),
        len(some),
    )


def aligned(problem: Problem, at: Vector, *, to: Vector) -> Vector:
    """`at` with its factors rotated to minimise their distance from those of `to`.

    The rotation is the polar factor of `U_at^T U_to + V_at^T V_to` (orthogonal Procrustes); scores and
    objective do not change. Cost: O((n_users + n_items) * n_factors^2).

    Args:
        problem: The objective of both.
        at: The flat vector to rotate.
        to: The flat vector to approach.

    Returns:
        The rotated flat vector.

    Raises:
        ParameterValueError: The two differ in their number of factors.

    Examples:
        >>> import numpy as np
        >>> from bilinear import Identity, SquaredError, lab, synthetic_ratings
        >>> from bilinear.objective.objective import Objective
        >>> ratings = synthetic_ratings(10, 8, 50, rng=0)
        >>> problem = lab.Problem.of(Objective(SquaredError(), Identity(0.5, 5), lab.L2(1, 1), ratings), 3.5)
        >>> first, second = np.random.default_rng(0).standard_normal((2, problem.size(2)))
        >>> turned = lab.aligned(problem, second, to=first)
        >>> bool(np.linalg.norm(first - turned) <= np.linalg.norm(first - second))
        True
    """
    mine, other = problem.parts(at), problem.parts(to)
    if mine.user_factors.shape != other.user_factors.shape:
        raise ParameterValueError(
            f"at and to: expected equal numbers of factors, got {mine.user_factors.shape[1]} and "
            f"{other.user_factors.shape[1]}"
        )
    overlap = mine.user_factors.T @ other.user_factors + mine.item_factors.T @ other.item_factors
    left, _, right = np.linalg.svd(overlap)
    turn = left @ right
    return problem.join(*mine[:3], mine.user_factors @ turn, mine.item_factors @ turn)


def barrier(problem: Problem, first: Vector, second: Vector, *, n: int = 21) -> float:
    """The height of the objective on the straight line between two points above the higher end.

    The scores are quadratic along a line, so three vectors of scores give all of them.

    Cost:
        O(n_ratings * n_factors + n * (n_ratings + size of a point)).

    Args:
        problem: The objective.
        first: One end, a flat vector.
        second: The other end.
        n: Points on the line.

    Returns:
        Zero where the objective is nowhere above the higher end.

    Examples:
        >>> import numpy as np
        >>> from bilinear import Identity, SquaredError, lab, synthetic_ratings
        >>> from bilinear.objective.objective import Objective
        >>> ratings = synthetic_ratings(10, 8, 50, rng=0)
        >>> problem = lab.Problem.of(Objective(SquaredError(), Identity(0.5, 5), lab.L2(1, 1), ratings), 3.5)
        >>> at = np.random.default_rng(0).standard_normal(problem.size(2))
        >>> lab.barrier(problem, at, at) < 1e-9
        True
    """
    middle = problem.scores((first + second) / 2)
    ends = problem.scores(first), problem.scores(second)
    bow = 2 * (ends[0] + ends[1]) - 4 * middle  # scores: linear interpolation - bow t (1 - t)
    heights = []
    for t in np.linspace(0, 1, n):
        scores = (1 - t) * ends[0] + t * ends[1] - bow * t * (1 - t)
        heights.append(problem.value_at(scores, (1 - t) * first + t * second))
    return max(max(heights) - max(heights[0], heights[-1]), 0.0)


def _lists(parameters: Parameters, users: Any, items: Any) -> list[set[int]]:
    """The ten best rated items of each user, by score, seen ones included."""
    factors = np.ascontiguousarray(parameters.item_factors[items])
    biases = np.ascontiguousarray(parameters.item_biases[items])
    k = min(_LIST, len(items))
    allowed, hidden = np.ones(len(items), bool), np.zeros(len(items), np.int64)
    out = []
    for user in users:
        rows, scores = np.empty(k, np.int32), np.empty(k)
        vector = np.ascontiguousarray(parameters.user_factors[user])
        n = top_k_rows(vector, 0.0, factors, biases, allowed, hidden, -1, k, rows, scores)
        out.append({int(row) for row in rows[:n]})
    return out


@register
class SeedAgreement(Instrument):
    """Whether further random starts lead to the same model; measured where `n_seeds` asks for them.

    Examples:
        >>> from bilinear import BiasModel, lab, synthetic_ratings
        >>> ratings = synthetic_ratings(20, 15, 150, rng=0)
        >>> model = BiasModel(l2_biases=1.0).fit(ratings)
        >>> lab.report(model, ratings, only=["seeds"], n_seeds=2)["seeds"].question
        'Do other starts find the same model?'
    """

    name = "seeds"
    question = "Do other starts find the same model?"
    order = 3

    def measure(self, context: Context) -> Section:
        model = context.descent_model
        if model is None:
            if context.training in ("closed form", "counts"):
                answer = "It has no random start: the same interactions give the same model."
                return self.section(answer, "nothing: any seed will do", {})
            return self.section(
                "The result depends on the random start.", "compare the lists of several seeds", {}
            )
        if not context.n_seeds:
            return self.section(
                "Not measured: it takes a training run for each start.",
                "ask for it: `--seeds 4`, or report(..., n_seeds=4)",
                {},
            )
        context.on_progress(f"{context.n_seeds} other starts")
        runs = run_seeds(
            context.problem,
            model.parameters_.n_factors,
            n_starts=context.n_seeds,
            max_products=context.max_products,
            rng=context.rng,
        )
        found = compare_seeds(context.problem, runs, rng=context.rng)
        same = found.same_top_10
        return self.section(
            f"{len(found.losses)} random starts end at training losses from {min(found.losses):,.6g} to "
            f"{max(found.losses):,.6g}, and two of them share {same:.0%} of a user's ten best items.",
            "average a few runs, or raise the penalty, if lists should not depend on the seed"
            if same < 0.9
            else "nothing: any seed will do",
            found.to_dict(),
            (
                ("barrier on the straight line between two runs", f"{found.barrier:.4g}"),
                ("the same, after rotating the factors", f"{found.barrier_aligned:.4g}"),
                ("scores differ between runs by", f"{found.spread:.3g}"),
                ("share of equal top 10 items", f"{same:.0%}"),
            ),
            picture=bars(
                {"as they are": found.barrier, "rotated": found.barrier_aligned},
                "Height of the barrier between two runs, before and after rotating the factors",
                "{:,.4g}",
                "{:.4g}",
            ),
            measured=found,
        )
