"""The random draws behind the synthetic data: popularity, activity, choices, genres, times."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bilinear.data.synthetic.invented_titles import GENRES

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

_FIRST_SECOND = 1_451_606_400  # 2016-01-01 UTC
_YEARS_OF_RATINGS = 4


def zipf(n_items: int, rng: np.random.Generator) -> Floats:
    """Weights ~ 1 / (rank + offset) in random order; the offset flattens the head as in real data."""
    ranks: Floats = rng.permutation(n_items).astype(np.float64) + 1
    return 1.0 / (ranks + n_items / 250)


def draw_genres(n_items: int, rng: np.random.Generator) -> list[list[int]]:
    """One to three distinct genres an item, the main one first."""
    orders = np.argsort(rng.random((n_items, len(GENRES))) ** np.linspace(1.0, 1.6, len(GENRES)), axis=1)
    lengths = 1 + (rng.random((n_items, 2)) < (0.45, 0.15)).sum(axis=1)
    return [order[:length].tolist() for order, length in zip(orders, lengths, strict=True)]


def user_counts(n_users: int, total: int, low: int, high: int, rng: np.random.Generator) -> Counts:
    """Log-normal counts in [low, high] that sum to `total` exactly."""
    weights = rng.lognormal(0.0, 1.1, n_users)

    def counts_at(scale: float) -> Counts:
        return np.clip(np.minimum(weights * scale, high).astype(np.int64), low, high)

    below, above = 0.0, (high + 1) / weights.min()  # every user at `low`, every user at `high`
    for _ in range(80):
        middle = (below + above) / 2
        below, above = (middle, above) if counts_at(middle).sum() <= total else (below, middle)
    counts = counts_at(below)
    while missing := total - int(counts.sum()):  # what rounding down left over: one each
        counts[np.flatnonzero(counts < high)[:missing]] += 1
    return counts


def choose_items(
    log_popularity: Floats, item_factors: Floats, taste: Floats, count: int, rng: np.random.Generator
) -> NDArray[np.int32]:
    """`count` distinct items, ascending, drawn one after another in proportion to popularity * exp(p . q).

    Gumbel noise on the logarithms and the largest `count` of them is the same draw at once
    (Efraimidis and Spirakis 2006).
    """
    keys = log_popularity + np.einsum("if,f->i", item_factors, taste) + rng.gumbel(size=len(log_popularity))
    chosen = np.argpartition(keys, len(keys) - count)[len(keys) - count :]
    return np.sort(chosen).astype(np.int32)


def draw_times(counts: Counts, rng: np.random.Generator) -> Floats:
    """Whole seconds: each user joins at some time, then rates in evenings spread over some months."""
    span = _YEARS_OF_RATINGS * 365 * 86_400
    users = np.repeat(np.arange(len(counts)), counts)
    joined = rng.uniform(0.0, 0.9, len(counts)) * span
    evening_length = 7_200
    stay = np.minimum(rng.exponential(0.06, len(counts)) * span, span - evening_length - joined)
    n_evenings = 1 + counts // 30
    first_evening = np.cumsum(n_evenings) - n_evenings
    evenings = rng.random(int(n_evenings.sum()))
    evening = first_evening[users] + (rng.random(len(users)) * n_evenings[users]).astype(np.int64)
    seconds = joined[users] + stay[users] * evenings[evening] + evening_length * rng.random(len(users))
    clock: Floats = _FIRST_SECOND + np.floor(seconds)
    return clock
