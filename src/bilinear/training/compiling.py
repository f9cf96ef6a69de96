"""Many draws of a dot-product model as one set of factors: the posterior mean of all scores.

The average over S draws of <p_u, q_i> is the dot product of factors laid side by side, S n_factors of
them. Their Gram matrices and one decomposition of the small core cut it to the nearest matrix of lower rank
(Eckart and Young), whatever rotation or scale the draws are in. Derivation: docs/theory/gibbs.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bilinear.data.interactions import Grouped
from bilinear.model.parameters import Array, Parameters
from bilinear.objective.row_prior import RowPrior
from bilinear.training.gibbs_chain import Draw
from bilinear.training.score_variance import ScoreVariance, of_rows, score_variance
from bilinear.training.user_prior import estimate_user_prior

_ROWS = 4096  # of the stacked factors at a time
_NOTHING = 1e-6  # of the largest singular value is rounding


@dataclass(frozen=True, eq=False)
class DrawSet:
    """Draws of all scores in rating units, each a dot product of its own.

    Attributes:
        global_means (S,); users (S, n_users, n_factors + 1), items (S, n_items, n_factors + 1): factors, and
            the bias last; rows without ratings, which have no features either, are zero.
        new_items (S, n_factors + 1, n_factors + 1): R of each draw; e R, e standard normal, is how the row of
            an item without ratings differs from its mean.
    """

    global_means: NDArray[np.float64]
    users: Array
    items: Array
    new_items: Array

    def __len__(self) -> int:
        return len(self.global_means)

    def scores(self, draw: int, users: NDArray[np.int32], items: NDArray[np.int32]) -> NDArray[np.float64]:
        """(n,) of pairs of rows, -1 being unknown, by one draw."""
        p, q = (_rows(side[draw], rows) for side, rows in ((self.users, users), (self.items, items)))
        product = np.einsum("nf,nf->n", p[:, :-1], q[:, :-1], dtype=np.float64)
        found: NDArray[np.float64] = self.global_means[draw] + p[:, -1] + q[:, -1] + product
        return found

    def taken(self, side: Literal["users", "items"], rows: NDArray[np.int32]) -> DrawSet:
        """With other rows of a side: those at `rows`, and zeros where it is -1."""
        moved: dict[str, Any] = {side: np.stack([_rows(draw, rows) for draw in getattr(self, side)])}
        return replace(self, **moved)


@dataclass(frozen=True, eq=False)
class Posterior:
    """What a chain ends with.

    Attributes:
        parameters: the compiled model: its scores are the means over the draws.
        user_prior: of the users' weights in its terms, for fold-in.
        noise (n_users,): mean variance of the users' ratings about their scores.
        new_noise: that of a user without ratings.
        variance: of the scores over the draws.
        draws: where they were asked for.
    """

    parameters: Parameters
    user_prior: RowPrior
    noise: Array
    new_noise: float
    variance: ScoreVariance
    draws: DrawSet | None = None

    def predictive_variance(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> NDArray[np.float64]:
        """(n,) of the ratings of pairs of rows, -1 being unknown: of the score and of the noise about it."""
        noise = self.noise[np.maximum(users, 0)] if len(self.noise) else np.zeros(len(users))
        noise = np.where(users >= 0, noise, self.new_noise)
        return np.asarray(noise + self.variance.of_pairs(users, items), np.float64)

    def taken(
        self, side: Literal["users", "items"], rows: NDArray[np.int32], parameters: Parameters
    ) -> Posterior:
        """Of `parameters`, in which a side has other rows: those at `rows`, and new ones where it is -1.

        New rows have no ratings: a user's noise and the variance of scores are those of the prior.
        """
        variance, draws = self.variance.taken(side, rows), self.draws
        moved = replace(
            self,
            parameters=parameters,
            variance=variance,
            draws=None if draws is None else draws.taken(side, rows),
        )
        if side == "users":
            return replace(moved, noise=of_rows(self.noise, rows, self.new_noise).astype(np.float32))
        weight = self.new_noise / (self.new_noise + variance.new_item)
        return replace(moved, user_prior=self.user_prior.taken(rows, weight))


def compile_draws(
    draws: Sequence[Draw],
    center: float,
    deviation: float,
    n_factors: int,
    by_user: Grouped,
    *,
    keep: bool = False,
) -> Posterior:
    """The posterior mean of all scores as one dot product, and the users' prior in its terms.

    Args:
        draws: one or more, standardised: rating = center + deviation * score.
        n_factors: at most so many are kept.
        by_user: the training ratings.
        keep: return the draws too.

    Cost:
        O((n_users + n_items) * (S k)^2 + (S k)^3) for S draws of k factors.
    """
    centred = [_Centred.of(draw) for draw in draws]
    k, n = centred[0].users.shape[1] - 1, len(centred)
    user_gram = _gram([draw.users[:, :k] for draw in centred])
    item_gram = _gram([draw.items[:, :k] for draw in centred])
    to_users, to_items, values = _cut(user_gram, item_gram, n, n_factors)
    root = np.sqrt(deviation)

    def side(rows: Sequence[Array], to: NDArray[np.float64]) -> tuple[Array, Array]:
        """(factors, biases) in rating units from rows (n_rows, k + 1) of each draw."""
        factors = np.zeros((len(rows[0]), len(values)), np.float32)
        biases = np.zeros(len(rows[0]))
        for s, own in enumerate(rows):
            factors += own[:, :k] @ (to[s * k : (s + 1) * k] * root).astype(np.float32)
            biases += own[:, k]
        return factors, (biases * deviation / n).astype(np.float32)

    user_factors, user_biases = side([draw.users for draw in centred], to_users)
    item_factors, item_biases = side([draw.items for draw in centred], to_items / n)
    mean = center + deviation * float(np.mean([draw.mean for draw in centred]))
    parameters = Parameters(mean, user_biases, item_biases, user_factors, item_factors)
    histories = [draw.user_map for draw in centred if draw.user_map is not None]
    history = None
    if histories:
        factors, biases = side(histories, to_users)
        history = np.column_stack([factors, biases])
    noise = (np.mean([1 / draw.noise for draw in draws], axis=0) * deviation**2).astype(np.float32)
    new = deviation**2 / float(np.mean([draw.precision for draw in centred]))
    lost = _uncertainty(centred, item_gram, to_items / n, values, item_factors, deviation) * deviation**2
    prior = estimate_user_prior(parameters, by_user, noise, new, new / (new + lost), history)
    return Posterior(
        parameters,
        prior,
        noise,
        float(np.mean([draw.new_noise for draw in draws])) * deviation**2,
        _variance(centred, draws, by_user, deviation),
        _draw_set(centred, center, deviation) if keep else None,
    )


@dataclass(frozen=True, eq=False)
class _Centred:
    """A draw with the prior's means taken into biases and global mean: a zero row is the prior's mean.

    With p = m_p + x, q = m_q + y: <p, q> = <m_p, m_q> + <x, m_q> + <m_p, y> + <x, y>.
    """

    mean: float
    users: Array
    items: Array
    user_map: Array | None
    covariance: NDArray[np.float64]
    """(k + 1, k + 1) of the users' rows in these terms, given their features."""
    new_item: Array
    """(k + 1, k + 1) what standard normal numbers are multiplied by to draw an item's row about its mean."""
    precision: float
    """Of a new user's ratings."""

    @classmethod
    def of(cls, draw: Draw) -> _Centred:
        user_mean, item_mean = draw.user_mean.astype(np.float64), draw.item_mean.astype(np.float64)
        users, items = draw.users - draw.user_mean, draw.items - draw.item_mean
        users[:, -1] += users[:, :-1] @ draw.item_mean[:-1]
        items[:, -1] += items[:, :-1] @ draw.user_mean[:-1]
        history = None
        if draw.user_maps:
            history = draw.user_maps[0].copy()
            history[:, -1] += history[:, :-1] @ draw.item_mean[:-1]
        turn = np.eye(len(user_mean))
        turn[-1, :-1] = item_mean[:-1]
        covariance = turn @ np.diag(1 / draw.user_precisions.astype(np.float64)) @ turn.T
        mean = user_mean[-1] + item_mean[-1] + user_mean[:-1] @ item_mean[:-1]
        new_item = np.diag(1 / np.sqrt(draw.item_precisions))
        new_item[:, -1] += new_item[:, :-1] @ draw.user_mean[:-1]
        return cls(float(mean), users, items, history, covariance, new_item, draw.new_precision)


def _gram(parts: Sequence[Array]) -> NDArray[np.float64]:
    """(S k, S k) the products of all columns of all parts (n, k)."""
    n, k = parts[0].shape
    total = np.zeros((len(parts) * k, len(parts) * k))
    for begin in range(0, n, _ROWS):
        block = np.hstack([part[begin : begin + _ROWS] for part in parts])
        total += block.T @ block
    return total


def _cut(
    user_gram: NDArray[np.float64], item_gram: NDArray[np.float64], n_draws: int, n_factors: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Maps (S k, n) of the stacked factors of either side, and the singular values (n,) of the average.

    With P = E R and Q = F T, E and F orthonormal, P Q^T / S = E (R T^T / S) F^T; for R T^T / S = U D V^T the
    best factors are P T^T V D^-1/2 / S and Q R^T U D^-1/2 / S. U and D^2 are eigenvectors and eigenvalues of
    R Q^T Q R^T / S^2, of which the largest are enough, and T^T V = Q^T Q R^T U D^-1 / S.
    """
    from scipy.linalg import eigh

    size = len(user_gram)
    root = _root(user_gram)
    inner = root @ item_gram @ root.T / n_draws**2
    first = max(size - n_factors, 0)
    squares, left = eigh(inner, subset_by_index=(first, size - 1)) if first < size else (np.ones(0), inner)
    values = np.sqrt(np.maximum(squares[::-1], 0))
    kept = int((values > _NOTHING * values.max(initial=0)).sum())
    values, to_items = values[:kept], root.T @ left[:, ::-1][:, :kept]
    return item_gram @ to_items * values**-1.5 / n_draws**2, to_items * values**-0.5, values


def _root(gram: NDArray[np.float64]) -> NDArray[np.float64]:
    """R with R^T R = gram."""
    values, vectors = np.linalg.eigh(gram)
    found: NDArray[np.float64] = np.sqrt(np.maximum(values, 0))[:, None] * vectors.T
    return found


def _uncertainty(
    centred: Sequence[_Centred],
    item_gram: NDArray[np.float64],
    to_items: NDArray[np.float64],
    values: NDArray[np.float64],
    item_factors: Array,
    deviation: float,
) -> NDArray[np.float64]:
    """(n_items,) variance of the scores of new users that the compiled item has not, standardised.

    It is what the compiled factors cannot express of each draw's (least squares), under the users' prior, and
    the variance of the bias.
    """
    k, n = len(centred[0].covariance) - 1, len(centred)
    lost = np.var([draw.items[:, k] for draw in centred], axis=0).astype(np.float64)
    for s, draw in enumerate(centred):
        within = to_items.T @ item_gram[:, s * k : (s + 1) * k] / values[:, None] / np.sqrt(deviation)
        left = draw.items[:, :k] - item_factors @ within.astype(np.float32)
        lost += np.einsum("if,fg,ig->i", left, draw.covariance[:k, :k], left, optimize=True) / n
    return np.asarray(lost, np.float64)


def _variance(
    centred: Sequence[_Centred], draws: Sequence[Draw], by_user: Grouped, deviation: float
) -> ScoreVariance:
    """In squared ratings; of new rows from the prior, against the average row of the other side."""
    new = np.zeros(2)
    for draw in draws:
        sides = (draw.user_precisions, draw.items), (draw.item_precisions, draw.users)
        for n, (precisions, others) in enumerate(sides):
            squares = (others[:, :-1].astype(np.float64) ** 2).mean(axis=0)
            new[n] += (squares / precisions[:-1]).sum() + 1 / float(precisions[-1])
    new /= len(draws)
    found = score_variance(
        [draw.users for draw in centred],
        [draw.items for draw in centred],
        [draw.mean for draw in centred],
        float(new[0]),
        float(new[1]),
        by_user,
    )
    scale = deviation**2
    users, items = (array * np.float32(scale) for array in (found.users, found.items))
    return ScoreVariance(users, items, found.new_user * scale, found.new_item * scale)


def _draw_set(centred: Sequence[_Centred], center: float, deviation: float) -> DrawSet:
    scale = np.full(centred[0].users.shape[1], np.sqrt(deviation), np.float32)
    scale[-1] = deviation
    return DrawSet(
        np.array([center + deviation * draw.mean for draw in centred]),
        np.stack([draw.users for draw in centred]) * scale,
        np.stack([draw.items for draw in centred]) * scale,
        np.stack([draw.new_item for draw in centred]) * scale,
    )


def _rows(side: Array, rows: NDArray[np.int32]) -> Array:
    """The rows of a side, zeros for -1."""
    if len(side) == 0:
        return np.zeros((len(rows), side.shape[1]), side.dtype)
    found: Array = side[np.maximum(rows, 0)]
    found[rows < 0] = 0
    return found
