"""The state of a Gibbs sampler of the dot-product model, and one sweep of it.

Ratings are standardised, y = (r - mean) / deviation. A row w = (factors, bias) of a side has the prior
N(m + sum over blocks of x A, diag(precisions)^-1), and y_ui = b_u + c_i + <p_u, q_i> + noise of precision
t_u. All conditionals are closed forms; docs/theory/gibbs.md derives them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bilinear.data.interactions import Grouped, Interactions
from bilinear.data.sparse_block import Entries, SparseBlock
from bilinear.kernels.normal_equations import LINE
from bilinear.kernels.row_draws import draw_map_rows, draw_rows
from bilinear.model.parameters import Array
from bilinear.training.initialization import deviation_of, mean_of
from bilinear.training.progress import NullProgress, Progress
from bilinear.training.thread_pool import Workers, aligned

ITEMS_RATED, USERS_WHO_RATED = "items rated", "users who rated"
"""Names of the blocks of histories."""
_MASK = 2**64 - 1
_START = 0.3  # standard deviation of the starting factors times the fourth root of their number
_PRECISIONS = 0.5, 0.5  # shape and rate of the Gamma prior of rows' and maps' precisions
_SHAPES = np.geomspace(0.5, 500.0, 80)  # of the population's noise precisions: a prior flat in the logarithm
_RATE = 1.0, 1.0  # shape and rate of the Gamma prior of its rate, and of one noise for all
_AT_ONCE = 16  # columns of a map drawn by one task


@dataclass(eq=False)
class BlockMap:
    """A block of features with its map A (n_columns, d) and the map's precisions (d,)."""

    block: SparseBlock
    by_column: Entries
    """Of the rows with ratings alone: others tell nothing of the map."""
    weights: Array
    precisions: NDArray[np.float64]

    @classmethod
    def of(cls, block: SparseBlock, rated: NDArray[np.bool_], d: int) -> BlockMap:
        entries = block.by_column()
        kept = rated[entries.indices]
        indptr = np.concatenate([[0], np.cumsum(kept)])[entries.indptr]
        by_column = Entries(indptr.astype(np.int64), entries.indices[kept], entries.values[kept])
        return cls(block, by_column, np.zeros((block.n_columns, d), np.float32), np.ones(d))


@dataclass(eq=False)
class SideState:
    """One side: rows (n, d) with the bias last, and their prior."""

    rows: Grouped
    weights: Array
    residuals: Array
    """(n, d): weights less their prior's mean."""
    mean: NDArray[np.float64]
    precisions: NDArray[np.float64]
    maps: list[BlockMap]
    rated: NDArray[np.bool_]
    costs: NDArray[np.float64]

    @classmethod
    def of(cls, rows: Grouped, d: int, blocks: Sequence[SparseBlock], rng: np.random.Generator) -> SideState:
        n, counts = len(rows.indptr) - 1, rows.counts
        rated = counts > 0
        weights = rng.standard_normal((n, d), dtype=np.float32)
        weights *= np.float32(_START / max(d - 1, 1) ** 0.25)
        weights[:, -1] = 0
        weights[~rated] = 0
        maps = [BlockMap.of(block, rated, d) for block in blocks]
        costs = np.asarray(counts * (d * d / 2 + 8.0 * d) + np.where(rated, d**3 / 6 + 30.0 * d, 1.0), float)
        return cls(rows, weights, weights.copy(), np.zeros(d), np.ones(d), maps, rated, costs)

    def prior_means(self) -> Array:
        """(n, d) of rows with ratings: what the residuals are about."""
        means: Array = self.weights - self.residuals
        return means

    def all_means(self) -> Array:
        """(n, d) of all rows, from the maps anew."""
        means = np.tile(self.mean.astype(np.float32), (len(self.weights), 1))
        for found in self.maps:
            means += found.block.matrix() @ found.weights
        return means

    def go_on_from(self, other: SideState) -> None:
        """Takes the rows, the prior and the maps of the same side of another chain."""
        self.mean[:], self.precisions[:] = other.mean, other.precisions
        for mine, its in zip(self.maps, other.maps, strict=True):
            mine.weights[:], mine.precisions[:] = its.weights, its.precisions
        means = self.all_means()
        self.weights[:] = np.where(other.rated[:, None], other.weights, means)
        self.residuals[:] = self.weights - means
        self.residuals[~self.rated] = 0

    def draw_prior(self, chance: np.random.Generator) -> None:
        """Precisions and mean of the rows, given their residuals: Normal-Gamma, column by column."""
        about_mean = self.residuals[self.rated].astype(np.float64) + self.mean
        n = len(about_mean)
        mean = about_mean.sum(axis=0) / max(n, 1)
        spread = ((about_mean - mean) ** 2).sum(axis=0) + n / (n + 1) * mean**2
        shape, rate = _PRECISIONS
        self.precisions = chance.gamma(shape + n / 2, 1 / (rate + spread / 2))
        old = self.mean
        self.mean = n * mean / (n + 1) + chance.standard_normal(len(mean)) / np.sqrt(
            self.precisions * (n + 1)
        )
        self.residuals += (old - self.mean).astype(np.float32)
        self.residuals[~self.rated] = 0

    def draw_maps(self, chance: np.random.Generator, key: int, pool: Workers) -> None:
        """Penalties and weights of all maps, given the rows."""
        d = self.weights.shape[1]
        cuts = np.append(np.arange(0, d, _AT_ONCE), d)
        for n, found in enumerate(self.maps):
            squares = (found.weights.astype(np.float64) ** 2).sum(axis=0)
            shape, rate = _PRECISIONS
            found.precisions = chance.gamma(shape + len(found.weights) / 2, 1 / (rate + squares / 2))
            own = np.uint64(derived(key, n + 1))
            precisions, penalties = self.precisions.astype(np.float32), found.precisions.astype(np.float32)

            def draw(a: int, b: int, found: BlockMap = found, own: np.uint64 = own) -> None:
                draw_map_rows(
                    a, b, *found.by_column, precisions, penalties, own, True, self.residuals, found.weights  # noqa: B023
                )  # fmt: skip

            pool.run(draw, cuts)

    def state(self, name: str) -> dict[str, NDArray[Any]]:
        own = {"weights": self.weights, "residuals": self.residuals}
        own |= {"mean": self.mean, "precisions": self.precisions}
        for n, found in enumerate(self.maps):
            own |= {f"map{n}": found.weights, f"penalties{n}": found.precisions}
        return {f"{name}.{key}": array for key, array in own.items()}

    def restore(self, name: str, state: Mapping[str, NDArray[Any]]) -> None:
        for key, array in self.state(name).items():
            array[...] = state[key]


@dataclass(frozen=True, eq=False)
class Draw:
    """One draw of everything, in standardised units. Rows without ratings are at their prior's mean.

    Attributes:
        users (n_users, d), items (n_items, d): factors, and the bias last.
        noise (n_users,): precisions of the users' ratings.
        user_mean (d,), user_precisions (d,): the users' prior; user_maps: of their history, if it has one.
        item_mean, item_precisions (d,): the items'; the mean is that of a new one.
    """

    users: Array
    items: Array
    noise: Array
    user_mean: Array
    user_precisions: Array
    user_maps: tuple[Array, ...]
    item_mean: Array
    item_precisions: Array
    new_noise: float
    """Mean variance of the ratings of a user without any."""
    new_precision: float
    """Mean precision of them."""

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything by name."""
        names = (
            "users", "items", "noise", "user_mean", "user_precisions", "item_mean", "item_precisions",
        )  # fmt: skip
        own = {name: getattr(self, name) for name in names}
        own |= {f"user_map{n}": weights for n, weights in enumerate(self.user_maps)}
        return own | {"new": np.array([self.new_noise, self.new_precision])}

    @classmethod
    def from_arrays(cls, own: Mapping[str, NDArray[Any]]) -> Draw:
        """The inverse of `arrays`."""
        maps = tuple(own[f"user_map{n}"] for n in range(sum(name.startswith("user_map") for name in own)))
        return cls(
            own["users"], own["items"], own["noise"], own["user_mean"], own["user_precisions"], maps,
            own["item_mean"], own["item_precisions"], *map(float, own["new"]),
        )  # fmt: skip


@dataclass(eq=False)
class Chain:
    """A Gibbs sampler under way.

    Attributes:
        key: whole number that all random numbers follow from.
        noise (n_users,): the precisions t_u; all equal with `noise_per_user` false.
        shape, rate: of their Gamma population.
        squares (n_users,): sums of the squared residuals.
    """

    users: SideState
    items: SideState
    center: float
    deviation: float
    key: int
    noise_per_user: bool
    noise: NDArray[np.float64]
    shape: float = 1.0
    rate: float = 1.0
    sweeps: int = 0
    squares: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    @classmethod
    def start(
        cls,
        table: Interactions,
        n_factors: int,
        key: int,
        *,
        user_blocks: Sequence[SparseBlock] = (),
        item_blocks: Sequence[SparseBlock] = (),
        noise_per_user: bool = True,
    ) -> Chain:
        """Factors at random, biases zero, all precisions one."""
        center = mean_of(table.ratings)
        deviation = deviation_of(table.ratings, center) or 1.0
        rng = np.random.default_rng([key, 0])
        d = n_factors + 1
        items = SideState.of(_standardised(table.by_item, center, deviation), d, item_blocks, rng)
        users = SideState.of(_standardised(table.by_user, center, deviation), d, user_blocks, rng)
        n_users = len(users.weights)
        noise, squares = np.ones(n_users), np.zeros(n_users)
        return cls(users, items, center, deviation, key, noise_per_user, noise, squares=squares)

    def go_on_from(self, other: Chain) -> None:
        """Starts where another chain is, on other ratings of the same users and items."""
        self.users.go_on_from(other.users)
        self.items.go_on_from(other.items)
        self.noise, self.squares = other.noise.copy(), other.squares.copy()
        self.shape, self.rate, self.sweeps = other.shape, other.rate, other.sweeps

    @property
    def n_factors(self) -> int:
        return int(self.users.weights.shape[1]) - 1

    def sweep(self, pool: Workers, progress: Progress | None = None) -> float:
        """Draws everything once; returns the mean squared residual, in squared ratings."""
        progress = progress or NullProgress()
        self.sweeps += 1
        ones = np.ones(len(self.items.weights), np.float32)
        n = int(self.users.rows.indptr[-1])
        for side, tag in ((self.items, 1), (self.users, 2)):
            chance = np.random.default_rng([self.key, self.sweeps, tag])
            key = derived(self.key, self.sweeps * 4 + tag)
            if self.sweeps > 2:  # the first rows are those of the start, which is far too small
                side.draw_prior(chance)
                side.draw_maps(chance, key, pool)
            of_users = side is self.users
            fixed = self.items if of_users else self.users
            roots = ones if of_users else np.sqrt(self.noise).astype(np.float32)
            own = self.noise.astype(np.float32) if of_users else ones
            squares = self._draw_rows(side, fixed, roots, own, key, pool)
            if of_users:
                self.squares = squares
                self._draw_noise(chance)
            progress.advance(n - n // 2 if of_users else n // 2, self._loss())
        return self._loss()

    def _loss(self) -> float:
        return float(self.squares.sum() / max(int(self.users.rows.indptr[-1]), 1)) * self.deviation**2

    def _draw_rows(
        self, side: SideState, fixed: SideState, roots: Array, own: Array, key: int, pool: Workers
    ) -> NDArray[np.float64]:
        k = self.n_factors
        n, width = len(side.weights), -(-k // LINE) * LINE
        scale = np.sqrt(side.precisions[:k]).astype(np.float32)
        others = aligned(len(fixed.weights), width)
        others[:, k:] = 0
        np.multiply(fixed.weights[:, :k], roots[:, None] / scale, out=others[:, :k])
        biases = np.ascontiguousarray(fixed.weights[:, k])
        prior = side.prior_means()
        means = aligned(n, width)
        means[:, k:] = 0
        np.multiply(prior[:, :k], scale, out=means[:, :k])
        prior_biases = np.ascontiguousarray(prior[:, k])
        factors, drawn, squares = aligned(n, width), np.empty(n, np.float32), np.zeros(n)

        def draw(a: int, b: int) -> None:
            draw_rows(
                a, b, *side.rows, 0.0, others, roots, biases, own, means, prior_biases,
                float(side.precisions[k]), np.uint64(key), True, k, factors, drawn, squares,
            )  # fmt: skip

        pool.run(draw, pool.shares(side.costs))
        np.divide(factors[:, :k], scale, out=side.weights[:, :k])
        side.weights[:, k] = drawn
        np.subtract(side.weights, prior, out=side.residuals)
        side.residuals[~side.rated] = 0
        return squares

    def _draw_noise(self, chance: np.random.Generator) -> None:
        """The users' noise precisions and their population; or one for all."""
        rated, counts = self.users.rated, self.users.rows.counts
        shape, rate = _RATE
        if not self.noise_per_user:
            n = int(counts.sum())
            self.noise[:] = chance.gamma(shape + n / 2, 1 / (rate + self.squares.sum() / 2))
            return
        known = self.noise[rated]
        n, logs, total = len(known), float(np.log(known).sum()), float(known.sum())
        density = (
            (_SHAPES - 1) * logs - n * _log_gamma(_SHAPES)
            + _log_gamma(_SHAPES * n + shape) - (_SHAPES * n + shape) * np.log(rate + total)
        )  # fmt: skip
        weights = np.exp(density - density.max()).cumsum()
        at = int(np.searchsorted(weights, chance.random() * weights[-1]))
        self.shape = float(_SHAPES[min(at, len(_SHAPES) - 1)])
        self.rate = float(chance.gamma(self.shape * n + shape, 1 / (rate + total)))
        drawn = chance.gamma(self.shape + counts / 2, 1 / (self.rate + self.squares / 2))
        # a user whose ratings are all fitted exactly must not take the noise to zero
        self.noise = np.clip(drawn, 1e-6, 1e6)

    def log_likelihood(self) -> float:
        """Of the training ratings, standardised, given everything."""
        counts = self.users.rows.counts
        logs = counts * np.log(self.noise / (2 * np.pi))
        return float((logs - self.noise * self.squares).sum() / 2)

    def draw(self) -> Draw:
        """A copy of the state as a draw."""
        users, items = (side.weights.copy() for side in (self.users, self.items))
        for side, weights in ((self.users, users), (self.items, items)):
            if not side.rated.all():
                weights[~side.rated] = side.all_means()[~side.rated]
        item_mean = self._mean_of_new_items()
        of_features = items[~self.items.rated] - self.items.mean.astype(np.float32)
        items[~self.items.rated] = of_features + item_mean
        if self.noise_per_user:
            precision = self.shape / self.rate
            new = self.rate / (self.shape - 1) if self.shape > 1 else float((1 / self.noise).mean())
        else:
            precision = float(self.noise[0])
            new = 1 / precision
        return Draw(
            users, items, self.noise.astype(np.float32),
            self.users.mean.astype(np.float32), self.users.precisions.astype(np.float32),
            tuple(f.weights.copy() for f in self.users.maps if f.block.name == ITEMS_RATED),
            item_mean, self.items.precisions.astype(np.float32), new, precision,
        )  # fmt: skip

    def _mean_of_new_items(self) -> Array:
        """(d,) the row of an item without ratings and features.

        With a history of the users, m is the mean of an item that nobody rated, of which the ratings tell
        nothing: an item that user u rates has u in its history, and the mean m + A_u. Its row is the one
        whose scores are nearest to those: least squares over all ratings, under the rows' prior about m.
        """
        own = next((found for found in self.items.maps if found.block.name == USERS_WHO_RATED), None)
        if own is None:
            return self.items.mean.astype(np.float32)
        design = self.users.weights.astype(np.float64)
        further = own.weights[:, -1] + (design[:, :-1] * own.weights[:, :-1]).sum(axis=1)
        design[:, -1] = 1
        weighted = design * self.users.rows.counts[:, None]
        shift = np.linalg.solve(weighted.T @ design + np.diag(self.items.precisions), weighted.T @ further)
        return (self.items.mean + shift).astype(np.float32)

    def state(self) -> dict[str, NDArray[Any]]:
        """The arrays that later sweeps depend on; not copied."""
        numbers = np.array([self.shape, self.rate, self.sweeps])
        own = {"noise": self.noise, "squares": self.squares, "numbers": numbers}
        return own | self.users.state("users") | self.items.state("items")

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        self.users.restore("users", state)
        self.items.restore("items", state)
        self.noise, self.squares = np.array(state["noise"]), np.array(state["squares"])
        self.shape, self.rate = map(float, state["numbers"][:2])
        self.sweeps = int(state["numbers"][2])


def history_blocks(table: Interactions) -> tuple[SparseBlock, SparseBlock]:
    """Histories with rows of unit norm: (items rated by each user, users of each item)."""
    return (
        _history(ITEMS_RATED, table.by_user, table.n_items),
        _history(USERS_WHO_RATED, table.by_item, table.n_users),
    )


def derived(key: int, n: int) -> int:
    """Key number `n` of a key, in 64 bits."""
    z = (key + (n + 1) * 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def _history(name: str, rows: Grouped, n_columns: int) -> SparseBlock:
    counts = np.maximum(rows.counts, 1)
    values = np.repeat(1 / np.sqrt(counts), rows.counts).astype(np.float32)
    return SparseBlock(name, Entries(rows.indptr, rows.indices, values), n_columns)


def _standardised(rows: Grouped, center: float, deviation: float) -> Grouped:
    values = (rows.ratings.astype(np.float64) - center) / deviation
    return Grouped(rows.indptr, rows.indices, values.astype(np.float32))


def _log_gamma(x: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.special import gammaln

    found: NDArray[np.float64] = gammaln(x)
    return found
