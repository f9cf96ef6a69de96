"""The training objective of the lab: float64, rated rows only, natural coordinates.

    L = sum_n w_n loss(z_n, r_n) + l2/2 (|U|^2 + |V|^2) + l2_biases/2 (|b|^2 + |c|^2)
    z_n = mean + b_u/s_u + c_i/s_i + <U_u, V_i>/(s_u s_i)

Each row of weights is multiplied by its scale s (the root of its penalty weight), which turns the
penalty of every normalisation into plain L2. Theorems on plain L2 then hold as they are
(docs/theory/certificate.md); signs of curvatures are the same in any coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bilinear.arguments import check_known
from bilinear.errors import ParameterValueError
from bilinear.model.link import Link
from bilinear.model.parameters import Parameters
from bilinear.objective.losses import Loss, second_derivative
from bilinear.objective.objective import Objective

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Vector = NDArray[np.float64]


class Parts(NamedTuple):
    """Views into one flat vector, in natural coordinates."""

    mean: Vector
    """(1,) when the mean is free, else (0,)."""
    user_biases: Vector
    item_biases: Vector
    user_factors: Vector
    item_factors: Vector


@dataclass(frozen=True, eq=False)
class Problem:
    """A training objective over flat float64 vectors `(mean?, biases?, U, V)` in natural coordinates.

    Cost of value, gradient and a Hessian product: O(n_ratings * n_factors) time and
    O(n_ratings + (n_users + n_items) * n_factors) memory; never an n_users x n_items array.

    Attributes:
        loss: Of one rating.
        link: From score to prediction.
        users: (n_ratings,) compact user rows, ascending; every row has a rating.
        items: (n_ratings,) compact item rows.
        ratings: (n_ratings,) targets.
        weights: (n_ratings,) weight of each rating's loss.
        l2: Penalty of the factors.
        l2_biases: Penalty of the biases.
        user_scales: (n_users,) positive factors between natural coordinates and weights.
        item_scales: (n_items,) likewise.
        user_rows: (n_users,) the table row of each compact row.
        item_rows: (n_items,) likewise.
        shape: (n_users, n_items) of the table.
        mean: The fixed global mean, or the start of a free one.
        has_biases: Whether biases are part of the model.
        free_mean: Whether the global mean is optimised; it is never penalised.

    Examples:
        >>> from bilinear import Identity, SquaredError, lab, synthetic_ratings
        >>> from bilinear.objective.objective import Objective
        >>> ratings = synthetic_ratings(10, 8, 50, rng=0)
        >>> problem = lab.Problem.of(Objective(SquaredError(), Identity(0.5, 5), lab.L2(1, 1), ratings), 3.5)
        >>> at = problem.zeros(2)
        >>> at.shape == (problem.size(2),), problem.value(at) > 0
        (True, True)
        >>> problem.unpack(at).user_factors.shape == (ratings.n_users, 2)
        True
    """

    loss: Loss
    link: Link
    users: NDArray[np.int32]
    items: NDArray[np.int32]
    ratings: Vector
    weights: Vector
    l2: float
    l2_biases: float
    user_scales: Vector
    item_scales: Vector
    user_rows: NDArray[np.int64]
    item_rows: NDArray[np.int64]
    shape: tuple[int, int]
    mean: float
    has_biases: bool = True
    free_mean: bool = False

    @classmethod
    def of(
        cls,
        objective: Objective,
        mean: float,
        *,
        has_biases: bool = True,
        free_mean: bool = False,
        weights: float | Vector = 1.0,
        l2_sides: tuple[float, float] | None = None,
    ) -> Problem:
        """The objective with its global mean fixed at `mean`, or free.

        Args:
            objective: The training objective.
            mean: The global mean.
            has_biases: False removes the biases from the model.
            free_mean: Whether the mean is optimised, from `mean` on.
            weights: Weight of each rating's loss; 2 / n_ratings makes `SquaredError` the mean
                squared error.
            l2_sides: The L2 of user factors and that of item factors, instead of `penalty.factors`;
                biases are then penalised in the same proportion.

        Returns:
            The problem.

        Raises:
            ParameterValueError: no ratings, or an entry of `l2_sides` is not positive.
        """
        table, penalty = objective.interactions, objective.penalty
        check_known(objective.loss, objective.link, penalty)
        if not table.n_ratings:
            raise ParameterValueError(f"{table.source}: expected ratings to make an objective of, got none")
        user_rows, users = _compact(objective.user_counts, table.users)
        item_rows, items = _compact(objective.item_counts, table.items)
        user_scales = np.sqrt(penalty.row_weights(objective.user_counts[user_rows]))
        item_scales = np.sqrt(penalty.row_weights(objective.item_counts[item_rows]))
        l2 = penalty.factors
        if l2_sides is not None:
            if min(l2_sides) <= 0:
                raise ParameterValueError(f"l2_sides: expected two positive numbers, got {l2_sides}")
            l2 = float(np.sqrt(l2_sides[0] * l2_sides[1]))
            user_scales = user_scales * np.sqrt(l2_sides[0] / l2)
            item_scales = item_scales * np.sqrt(l2_sides[1] / l2)
        return cls(
            objective.loss,
            objective.link,
            users,
            items,
            table.ratings.astype(np.float64),
            np.array(np.broadcast_to(np.asarray(weights, np.float64), (table.n_ratings,))),
            float(l2),
            float(penalty.biases),
            user_scales,
            item_scales,
            user_rows,
            item_rows,
            table.shape,
            float(mean),
            has_biases,
            free_mean,
        )

    @property
    def n_users(self) -> int:
        """Number of users with ratings."""
        return len(self.user_rows)

    @property
    def n_items(self) -> int:
        """Number of items with ratings."""
        return len(self.item_rows)

    @property
    def n_ratings(self) -> int:
        """Number of ratings."""
        return len(self.ratings)

    @property
    def convex_in_score(self) -> bool:
        """Whether the loss is convex in the score, for every rating."""
        return self.loss.convex_in_score(self.link)

    def size(self, n_factors: int) -> int:
        """Length of a flat vector."""
        rows = self.n_users + self.n_items
        return int(self.free_mean) + rows * (int(self.has_biases) + n_factors)

    def n_factors(self, vector: Vector) -> int:
        """Number of factors of a flat vector."""
        rows = self.n_users + self.n_items
        return (len(vector) - int(self.free_mean)) // rows - int(self.has_biases)

    def zeros(self, n_factors: int) -> Vector:
        """The origin; a free mean is `mean` there."""
        vector = np.zeros(self.size(n_factors))
        vector[: int(self.free_mean)] = self.mean
        return vector

    def parts(self, vector: Vector) -> Parts:
        """Views of the vector's parts; without biases they are empty."""
        m, n, k = self.n_users, self.n_items, self.n_factors(vector)
        lengths = [int(self.free_mean), *((m, n) if self.has_biases else (0, 0)), m * k, n * k]
        ends = np.cumsum(lengths)
        mean, b, c, u, v = (vector[end - length : end] for end, length in zip(ends, lengths, strict=True))
        return Parts(mean, b, c, u.reshape(m, k), v.reshape(n, k))

    def join(self, mean: Any, b: Any, c: Any, u: Vector, v: Vector) -> Vector:
        """The flat vector of parts in natural coordinates, without those that the problem does not have."""
        parts = [np.atleast_1d(mean)] if self.free_mean else []
        parts += [b, c] if self.has_biases else []
        return np.concatenate([*parts, u.ravel(), v.ravel()])

    def pack(self, parameters: Parameters) -> Vector:
        """Parameters of the table's shape as a flat vector; rows without ratings are left out.

        Raises:
            ParameterValueError: Shape, biases or global mean differ from those of the problem.
        """
        if (parameters.n_users, parameters.n_items) != self.shape:
            raise ParameterValueError(
                f"parameters: expected {self.shape[0]} x {self.shape[1]} rows as in the ratings, got "
                f"{parameters.n_users} x {parameters.n_items}; use the table that the model was trained on"
            )
        if not self.has_biases and (parameters.user_biases.any() or parameters.item_biases.any()):
            raise ParameterValueError(
                "parameters: expected zero biases, as this problem has none, got others"
            )
        if not self.free_mean and parameters.global_mean != self.mean:
            raise ParameterValueError(
                f"parameters: expected the global mean {self.mean:g} of the problem, got "
                f"{parameters.global_mean:g}"
            )
        wide = parameters.astype(np.float64)
        s, t = self.user_scales, self.item_scales
        return self.join(
            wide.global_mean,
            s * wide.user_biases[self.user_rows],
            t * wide.item_biases[self.item_rows],
            s[:, None] * wide.user_factors[self.user_rows],
            t[:, None] * wide.item_factors[self.item_rows],
        )

    def unpack(self, vector: Vector) -> Parameters:
        """Float64 parameters of the table's shape; rows without ratings are zero."""
        parts = self.parts(vector)
        out = Parameters.zeros(self.shape, self.n_factors(vector), self.mean_of(vector), np.float64)
        if self.has_biases:
            out.user_biases[self.user_rows] = parts.user_biases / self.user_scales
            out.item_biases[self.item_rows] = parts.item_biases / self.item_scales
        out.user_factors[self.user_rows] = parts.user_factors / self.user_scales[:, None]
        out.item_factors[self.item_rows] = parts.item_factors / self.item_scales[:, None]
        return out

    def mean_of(self, vector: Vector) -> float:
        """The global mean at a point."""
        return float(vector[0]) if self.free_mean else self.mean

    def scores(self, vector: Vector) -> Vector:
        """(n_ratings,) scores of the rated pairs."""
        parts = self.parts(vector)
        return self.mean_of(vector) + self.bias_scores(parts) + self.products(parts)

    def products(self, parts: Parts) -> Vector:
        """(n_ratings,) <U_u, V_i> / (s_u s_i): the factors' part of the score."""
        return self.pair_products(parts.user_factors, parts.item_factors)

    def pair_products(self, user_factors: Vector, item_factors: Vector) -> Vector:
        """(n_ratings,) <U_u, V_i> / (s_u s_i) of any two matrices."""
        from bilinear.kernels.second_order import pair_products

        out = np.empty(self.n_ratings)
        pair_products(self.users, self.items, user_factors, item_factors, self.inverse_scales, out)
        return out

    def value(self, vector: Vector) -> float:
        """The objective."""
        return self.value_at(self.scores(vector), vector)

    def value_at(self, scores: Vector, vector: Vector) -> float:
        """The objective at a point whose scores are known."""
        losses = self.loss.value(scores, self.ratings, self.link)
        return float(self.weights @ losses) + self.penalty(vector)

    def penalty(self, vector: Vector) -> float:
        """The L2 terms."""
        parts = self.parts(vector)
        return 0.5 * self.l2 * _squares(*parts[3:]) + 0.5 * self.l2_biases * _squares(*parts[1:3])

    def loss_gradient(self, scores: Vector) -> Vector:
        """(n_ratings,) w_n d loss / d score: the entries of G."""
        gradient: Vector = self.weights * self.loss.gradient(scores, self.ratings, self.link)
        return gradient

    def loss_curvature(self, scores: Vector) -> Vector:
        """(n_ratings,) w_n d^2 loss / d score^2, exact and so negative where the loss is not convex."""
        return self.weights * second_derivative(self.loss, scores, self.ratings, self.link)

    def gradient(self, vector: Vector) -> Vector:
        """The gradient with respect to the flat vector."""
        return self.gradient_at(self.loss_gradient(self.scores(vector)), vector)

    def gradient_at(self, loss_gradient: Vector, vector: Vector) -> Vector:
        """The gradient at a point whose `loss_gradient` is known."""
        from bilinear.kernels.second_order import gradient_pairs

        u, v = self.parts(vector)[3:]
        out_u, out_v = np.zeros_like(u), np.zeros_like(v)
        gradient_pairs(self.users, self.items, loss_gradient * self.inverse_scales, u, v, out_u, out_v)
        return self.adjoint(loss_gradient, out_u, out_v, vector)

    def value_and_gradient(self, vector: Vector) -> tuple[float, Vector]:
        """Both, from one computation of the scores."""
        scores = self.scores(vector)
        return self.value_at(scores, vector), self.gradient_at(self.loss_gradient(scores), vector)

    def matrix(self, entries: Vector, *, scaled: bool = True) -> csr_array:
        """A sparse (n_users, n_items) matrix on the rated pairs, by default divided by s_u s_i."""
        from scipy.sparse import csr_array

        data = entries * self.inverse_scales if scaled else entries
        return csr_array((data, self.items, self.by_user[0]), shape=(self.n_users, self.n_items))

    def row_sums(self, entries: Vector) -> tuple[Vector, Vector]:
        """Sums of entries by user and by item, each divided by the row's scale."""
        return (
            np.bincount(self.users, entries, self.n_users) / self.user_scales,
            np.bincount(self.items, entries, self.n_items) / self.item_scales,
        )

    def bias_scores(self, parts: Parts) -> Vector:
        """(n_ratings,) the biases' part of the scores."""
        if not self.has_biases:
            return np.zeros(self.n_ratings)
        user_biases, item_biases = parts.user_biases / self.user_scales, parts.item_biases / self.item_scales
        return user_biases[self.users] + item_biases[self.items]

    def adjoint(self, entries: Vector, u: Vector, v: Vector, penalised: Vector) -> Vector:
        """(sum, row sums, u, v) of entries, plus the gradient of the penalty at `penalised`."""
        parts = self.parts(penalised)
        b, c = self.row_sums(entries) if self.has_biases else (np.empty(0), np.empty(0))
        return self.join(
            entries.sum(),
            b + self.l2_biases * parts.user_biases,
            c + self.l2_biases * parts.item_biases,
            u + self.l2 * parts.user_factors,
            v + self.l2 * parts.item_factors,
        )

    @cached_property
    def by_user(self) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]:
        """(starts, items, order): the ratings of user u are order[starts[u]:starts[u + 1]]."""
        starts = np.searchsorted(self.users, np.arange(self.n_users + 1)).astype(np.int32)
        return starts, self.items, np.arange(self.n_ratings)

    @cached_property
    def by_item(self) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]:
        """(starts, users, order), likewise for items."""
        order = np.argsort(self.items, kind="stable")
        starts = np.concatenate([[0], np.cumsum(np.bincount(self.items))]).astype(np.int32)
        return starts, self.users[order], order

    @cached_property
    def inverse_scales(self) -> Vector:
        """(n_ratings,) 1 / (s_u s_i)."""
        return 1 / (self.user_scales[self.users] * self.item_scales[self.items])


def _compact(
    counts: NDArray[np.int64], rows: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """The rows that have ratings, and each rating's place among them."""
    used = np.flatnonzero(counts)
    place = np.zeros(len(counts), np.int32)
    place[used] = np.arange(len(used), dtype=np.int32)
    return used, place[rows]


def _squares(*arrays: Vector) -> float:
    return sum(float(np.vdot(array, array)) for array in arrays)
