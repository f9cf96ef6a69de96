"""Do different seeds find the same model? Starts compared before and after the rotation that relates them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bilinear.errors import ParameterValueError
from bilinear.kernels.top_k import top_k_rows
from bilinear.lab.descend import descend
from bilinear.lab.problem import Problem, Vector
from bilinear.model.parameters import Parameters

_USERS = 200  # whose lists are compared
_LIST = 10


@dataclass(frozen=True)
class Pair:
    """Two runs, compared.

    Attributes:
        barrier, barrier_aligned: highest objective on the straight line between the two, above the
            higher of its ends; with the factors as they are, and with the second run's rotated.
        distance, distance_aligned: between the weights, over their mean length.
        scores_differ: root mean square difference of the scores of rated pairs.
        same_top_10: mean share of a user's ten best items that both runs list.
    """

    barrier: float
    barrier_aligned: float
    distance: float
    distance_aligned: float
    scores_differ: float
    same_top_10: float


@dataclass(frozen=True)
class Seeds:
    """Several runs on one objective.

    Attributes:
        losses: the objective each run came to.
        pairs: every pair of runs.
        spread: root mean square deviation of the scores of a rated pair between runs.
        n_users: users whose lists were compared.
    """

    losses: tuple[float, ...]
    pairs: tuple[Pair, ...]
    spread: float
    n_users: int

    @property
    def barrier(self) -> float:
        """Mean over pairs, as the runs are."""
        return float(np.mean([pair.barrier for pair in self.pairs]))

    @property
    def barrier_aligned(self) -> float:
        """Mean over pairs, after alignment."""
        return float(np.mean([pair.barrier_aligned for pair in self.pairs]))

    @property
    def same_top_10(self) -> float:
        """Mean over pairs."""
        return float(np.mean([pair.same_top_10 for pair in self.pairs]))

    def to_dict(self) -> dict[str, Any]:
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
            f"two of them agree on {self.same_top_10:.0%} of a user's top {_LIST}; the hill between them is "
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
    seed: int = 0,
) -> list[Vector]:
    """End points of descents from several random starts, all on one objective.

    Args: size: standard deviation of the starting weights times sqrt(n_factors), natural coordinates.
    Cost: n_starts descents.
    """
    starts = []
    for n in range(n_starts):
        start = np.random.default_rng([seed, n]).standard_normal(problem.size(n_factors))
        start *= size / np.sqrt(max(n_factors, 1))
        start[: int(problem.free_mean)] = problem.mean
        starts.append(descend(problem, start, tolerance=tolerance, max_products=max_products).at)
    return starts


def compare_seeds(problem: Problem, runs: Sequence[Vector], *, seed: int = 0) -> Seeds:
    """Compares every pair of end points.

    Cost: O(pairs * n_ratings * n_factors) and the lists of 200 users, O(n_items * n_factors) each.
    Source: docs/theory/curvature.md (alignment by the polar factor).
    """
    if len(runs) < 2:
        raise ParameterValueError(f"{len(runs)} run to compare; it takes at least two")
    scores = [problem.scores(run) for run in runs]
    rng = np.random.default_rng(seed)
    some = np.sort(rng.permutation(problem.n_users)[:_USERS])
    lists = [_lists(problem.unpack(run), problem.user_rows[some], problem.item_rows) for run in runs]
    pairs = []
    for i in range(len(runs)):
        for j in range(i + 1, len(runs)):
            first, second = runs[i], runs[j]
            turned = aligned(problem, second, to=first)
            length = 0.5 * float(np.linalg.norm(first) + np.linalg.norm(second)) or 1.0
            pairs.append(
                Pair(
                    barrier(problem, first, second),
                    barrier(problem, first, turned),
                    float(np.linalg.norm(first - second)) / length,
                    float(np.linalg.norm(first - turned)) / length,
                    float(np.sqrt(np.mean((scores[i] - scores[j]) ** 2))),
                    float(np.mean([len(a & b) / len(a) for a, b in zip(lists[i], lists[j], strict=True)])),
                )
            )
    return Seeds(
        tuple(problem.value(run) for run in runs),
        tuple(pairs),
        float(np.sqrt(np.mean(np.var(scores, axis=0)))),
        len(some),
    )


def aligned(problem: Problem, at: Vector, *, to: Vector) -> Vector:
    """`at` with its factors rotated to lie as near `to` as a rotation can bring them.

    The rotation is the polar factor of U_at^T U_to + V_at^T V_to (orthogonal Procrustes): scores and
    objective stay what they are.
    Cost: O((n_users + n_items) * n_factors^2).
    """
    mine, other = problem.parts(at), problem.parts(to)
    if mine.user_factors.shape != other.user_factors.shape:
        raise ParameterValueError(
            f"{mine.user_factors.shape[1]} and {other.user_factors.shape[1]} factors; "
            "compare runs of one size"
        )
    overlap = mine.user_factors.T @ other.user_factors + mine.item_factors.T @ other.item_factors
    left, _, right = np.linalg.svd(overlap)
    turn = left @ right
    return problem.join(*mine[:3], mine.user_factors @ turn, mine.item_factors @ turn)


def barrier(problem: Problem, first: Vector, second: Vector, *, n: int = 21) -> float:
    """How far the objective on the straight line between two points rises above the higher end.

    The scores are quadratic along a line, so three vectors of scores give all of them.
    Cost: O(n_ratings * n_factors + n * (n_ratings + size of a point)).
    """
    middle = problem.scores((first + second) / 2)
    ends = problem.scores(first), problem.scores(second)
    bend = 2 * (ends[0] + ends[1]) - 4 * middle  # scores: linear interpolation - bend t (1 - t)
    heights = []
    for t in np.linspace(0, 1, n):
        scores = (1 - t) * ends[0] + t * ends[1] - bend * t * (1 - t)
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
