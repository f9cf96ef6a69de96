"""A small neural network instead of the dot product, with and without its curves, on the same ratings.

The network is that of the fast.ai course (`EmbeddingNN`): the embeddings of user and item side by side, then
layers of 100 and 50 units, one output, through the same sigmoid. All are trained by one loop here, in NumPy:
the same batches, Adam with one-cycle rates, decoupled weight decay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from time import process_time
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from bilinear.arguments import is_whole
from bilinear.data.interactions import Interactions
from bilinear.data.splits import split_validation
from bilinear.errors import ParameterValueError
from bilinear.estimators.baselines import BiasModel
from bilinear.estimators.rating_model import check_table
from bilinear.evaluation.bootstrap import Interval
from bilinear.evaluation.ratings import interval_columns, rating_scores, rmse_difference
from bilinear.lab.numerics.summaries import table_share
from bilinear.model.link import Sigmoid
from bilinear.tabular import Tabular
from bilinear.training.schedules import OneCycle

Kind = Literal["dot product", "network", "network without ReLU"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Weights = dict[str, NDArray[Any]]

_LEGEND = (
    "bend: of a score at the midpoint of two rows, over half their difference; none if linear in each",
    "interaction: share of the scores beyond the sum of a user's number and an item's",
)
_LAYERS = 100, 50
_DECAYS = 0.01, 0.1, 0.3
_BETAS, _EPSILON = (0.9, 0.99), 1e-5
_START = 0.01  # standard deviation of embeddings
_PROBES = 400  # rows of a side that bends and interactions are measured on
_AT_ONCE = 1 << 15


@dataclass(frozen=True)
class ContrastedModel:
    """One of the models of a contrast, the mean over its random starts.

    Attributes:
        rmse: On held-out ratings, of the mean prediction of all starts; the interval is over users.
        single_rmse: The mean RMSE of single starts.
        difference: RMSE less that of the dot product, paired; None of that itself.
        n_weights: Numbers that are trained.
        seconds: CPU seconds of one training.
        bend: How far the score at the midpoint of two users' embeddings is from the mean of their scores,
            over half their difference (root mean squares), or of items: zero of what is linear in each.
        interaction: Share of the scores that no sum of a user's and an item's number gives.
        weight_decay: That predicted the inner validation part best.

    Examples:
        >>> from bilinear import lab, split_random, synthetic_ratings
        >>> split = split_random(synthetic_ratings(60, 40, 900, rng=0), rng=0)
        >>> found = lab.contrast(split.train, split.test, n_factors=4, n_epochs=1, n_seeds=1)
        >>> found.models["dot product"].n_weights
        501
    """

    rmse: Interval
    single_rmse: float
    difference: Interval | None
    n_weights: int
    seconds: float
    bend: float
    interaction: float
    weight_decay: float


@dataclass(frozen=True)
class Contrast(Tabular):
    """Held-out error, cost and measured curvature of dot product and network.

    Attributes:
        models: By name.
        biases_rmse: Of the biases alone, in closed form.
        n_train, n_test: Ratings.
        n_seeds: Random starts of each.

    Examples:
        >>> from bilinear import lab, split_random, synthetic_ratings
        >>> split = split_random(synthetic_ratings(60, 40, 900, rng=0), rng=0)
        >>> found = lab.contrast(split.train, split.test, n_factors=4, n_epochs=1, n_seeds=1)
        >>> found.n_test, list(found.models)
        (180, ['dot product', 'network', 'network without ReLU'])
    """

    models: Mapping[str, ContrastedModel]
    biases_rmse: float
    n_train: int
    n_test: int
    n_seeds: int

    def to_columns(self) -> dict[str, Any]:
        """One row a model."""
        found = list(self.models.values())
        own = ("single_rmse", "n_weights", "seconds", "bend", "interaction", "weight_decay")
        return {
            "model": list(self.models),
            **interval_columns((one.rmse for one in found), "rmse"),
            **interval_columns((one.difference for one in found), "difference"),
            **{name: [getattr(one, name) for one in found] for name in own},
        }

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [
            f"Held out: {self.n_test:,} of {self.n_train + self.n_test:,} ratings; starts of each: "
            f"{self.n_seeds}. Biases alone: RMSE {self.biases_rmse:.4f}",
            f"{'':<21} {'RMSE [95 % interval]':<24} {'less the dot product':<27} {'weights':>9} "
            f"{'CPU s':>6} {'bend':>7} {'interaction':>11}",
        ]
        for name, one in self.models.items():
            by = one.difference
            paired = "" if by is None else f"{by.value:+.4f} [{by.low:+.4f}, {by.high:+.4f}]"
            lines.append(
                f"{name:<21} {one.rmse!s:<24} {paired:<27} {one.n_weights:>9,} {one.seconds:>6.1f} "
                f"{one.bend:>7.1%} {one.interaction:>11.1%}"
            )
        return "\n".join([*lines, *_LEGEND])


def contrast(
    train: Interactions,
    test: Interactions,
    *,
    n_factors: int = 50,
    n_epochs: int = 5,
    batch_size: int = 256,
    learning_rate: float = 5e-3,
    n_seeds: int = 3,
    rng: int = 0,
    on_progress: Callable[[str], None] | None = None,
) -> Contrast:
    """Trains a dot product with biases, a network, and the same network without ReLU; measures all three.

    Each takes the weight decay of three that predicts a tenth of the training ratings best, and is then
    trained on all of them from `n_seeds` starts.

    Args:
        train: Ratings to train on, a part of a table as of `split_random`.
        test: The other part.
        n_factors: Length of the embeddings.
        n_epochs: Passes over the ratings of each training.
        batch_size: Ratings a step.
        learning_rate: The top of one cycle.
        n_seeds: Random starts.
        rng: Seed of the starts and batches.
        on_progress: Called with a line before each model.

    Returns:
        `Contrast`.

    Raises:
        ParameterValueError: Fewer than one epoch, factor, start or rating a batch; or no test ratings.

    Cost:
        3 * (3 + n_seeds) trainings, each O(n_ratings * (n_factors + 15,000) * n_epochs) for a network.

    Source:
        Howard, Gugger, Deep Learning for Coders with fastai and PyTorch, chapter 8.

    Examples:
        >>> from bilinear import lab, split_random, synthetic_ratings
        >>> split = split_random(synthetic_ratings(60, 40, 900, rng=0), rng=0)
        >>> found = lab.contrast(split.train, split.test, n_factors=4, n_epochs=2, n_seeds=1)
        >>> [name for name, one in found.models.items() if one.bend > 1e-6]
        ['network']
        >>> [name for name, one in found.models.items() if one.interaction > 1e-9]
        ['dot product', 'network']
    """
    given = {"n_factors": n_factors, "n_epochs": n_epochs, "batch_size": batch_size, "n_seeds": n_seeds}
    for name, value in given.items():
        if not (is_whole(value) and value >= 1):
            raise ParameterValueError(f"{name}={value!r}; a whole number, one or more")
    if not test.n_ratings:
        raise ParameterValueError(f"{test.source}: no ratings are held out to compare the models on")
    check_table(train)
    inner = split_validation(train, 0.1, np.random.default_rng([rng, 0]))
    fit = partial(Net.fit, n_epochs=n_epochs, batch_size=batch_size, learning_rate=learning_rate)
    predicted: dict[str, NDArray[np.float64]] = {}
    found: dict[str, ContrastedModel] = {}
    for kind in KINDS:
        if on_progress is not None:
            on_progress(f"{kind}: {len(_DECAYS)} weight decays, then {n_seeds} starts")
        trials = []
        for decay in _DECAYS:
            net = Net.start(kind, inner.train, n_factors, np.random.default_rng([rng, 1]))
            fit(net, inner.train, decay, rng=np.random.default_rng([rng, 2]))
            off = net.predict(inner.test.users, inner.test.items) - inner.test.ratings
            trials.append(float((off**2).mean()))
        decay = _DECAYS[int(np.argmin(trials))]
        began, nets = process_time(), []
        for seed in range(n_seeds):
            nets.append(Net.start(kind, train, n_factors, np.random.default_rng([rng, 3, seed])))
            fit(nets[-1], train, decay, rng=np.random.default_rng([rng, 4, seed]))
        seconds = (process_time() - began) / n_seeds
        each = np.stack([net.predict(test.users, test.items) for net in nets])
        predicted[kind] = each.mean(axis=0)
        errors = np.sqrt(((each - test.ratings) ** 2).mean(axis=1))
        bend, interaction = (
            float(np.mean(values)) for values in zip(*(net.curvature(rng) for net in nets), strict=True)
        )
        none = np.zeros(test.n_ratings, bool)
        found[kind] = ContrastedModel(
            rating_scores(predicted[kind], test.ratings, test.users, none, none, rng=rng).rmse,
            float(errors.mean()),
            None
            if kind == KINDS[0]
            else rmse_difference(predicted[kind], predicted[KINDS[0]], test.ratings, test.users, rng=rng),
            sum(weights.size for weights in nets[0].weights.values()),
            seconds,
            bend,
            interaction,
            decay,
        )
    biases = BiasModel(rng=rng).fit(train).evaluate(test).rmse.value
    return Contrast(found, biases, train.n_ratings, test.n_ratings, n_seeds)


@dataclass(eq=False)
class Net:
    """A model of ratings by embeddings: dot product with biases, or layers over them.

    Attributes:
        weights: By name; `users` and `items` hold a row each, a dot product's bias last.
    """

    kind: Kind
    link: Sigmoid
    weights: Weights

    @classmethod
    def start(cls, kind: Kind, table: Interactions, n_factors: int, rng: np.random.Generator) -> Net:
        """Embeddings small, layers as PyTorch starts them; float32."""
        own = int(kind == "dot product")
        sizes = {"users": table.n_users, "items": table.n_items}
        weights: Weights = {
            side: rng.normal(0, _START, (n, n_factors + own)).astype(np.float32) for side, n in sizes.items()
        }
        weights["out"] = np.zeros(1, np.float32)
        if not own:
            widths = (2 * n_factors, *_LAYERS, 1)
            for n, (before, after) in enumerate(pairwise(widths)):
                limit = before**-0.5
                weights[f"layer {n}"] = rng.uniform(-limit, limit, (before, after)).astype(np.float32)
                if after > 1:
                    weights[f"offset {n}"] = rng.uniform(-limit, limit, after).astype(np.float32)
        low, high = float(table.ratings.min()), float(table.ratings.max())
        return cls(kind, Sigmoid().resolved(low, high), weights)

    @property
    def _bends(self) -> bool:
        return self.kind == "network"

    def scores(self, p: NDArray[Any], q: NDArray[Any]) -> tuple[NDArray[Any], list[NDArray[Any]]]:
        """(n,) scores of rows of embeddings, and what each layer was given."""
        weights = self.weights
        if self.kind == "dot product":
            return weights["out"] + p[:, -1] + q[:, -1] + (p[:, :-1] * q[:, :-1]).sum(axis=1), []
        inputs, x = [], np.hstack([p, q])
        for n in range(len(_LAYERS)):
            inputs.append(x)
            x = x @ weights[f"layer {n}"] + weights[f"offset {n}"]
            if self._bends:
                x = np.maximum(x, 0)
        inputs.append(x)
        return weights["out"] + (x @ weights[f"layer {len(_LAYERS)}"])[:, 0], inputs

    def gradient(
        self, users: NDArray[np.int32], items: NDArray[np.int32], ratings: NDArray[np.float32]
    ) -> Weights:
        """Of the mean squared error of a batch; of embeddings one row for each rating."""
        p, q = self.weights["users"][users], self.weights["items"][items]
        scores, inputs = self.scores(p, q)
        by_score = (self.link.prediction(scores) - ratings) * self.link.derivative(scores)
        by_score = (2 / len(ratings) * by_score).astype(scores.dtype)[:, None]
        found = {"out": by_score.sum(axis=0)}
        if self.kind == "dot product":
            ones = np.ones((len(p), 1), p.dtype)
            found["users"] = by_score * np.hstack([q[:, :-1], ones])
            found["items"] = by_score * np.hstack([p[:, :-1], ones])
            return found
        back = by_score
        for n in range(len(_LAYERS), -1, -1):
            found[f"layer {n}"] = inputs[n].T @ back
            if n < len(_LAYERS):
                found[f"offset {n}"] = back.sum(axis=0)
            back = back @ self.weights[f"layer {n}"].T
            if n and self._bends:
                back = back * (inputs[n] > 0)
        found["users"], found["items"] = np.hsplit(back, [p.shape[1]])
        return found

    def fit(
        self,
        table: Interactions,
        weight_decay: float,
        *,
        n_epochs: int,
        batch_size: int,
        learning_rate: float,
        rng: np.random.Generator,
    ) -> None:
        """Adam over shuffled batches; of embeddings the rows of a batch step, and all of them decay."""
        moments = {name: (np.zeros_like(w), np.zeros_like(w)) for name, w in self.weights.items()}
        n, schedule = table.n_ratings, OneCycle()
        n_batches = -(-n // batch_size)
        sides = {"users": table.users, "items": table.items}
        decayed = {side: np.zeros(len(self.weights[side])) for side in sides}  # log of what a row has lost
        done = 0.0
        for step in range(n_epochs * n_batches):
            if step % n_batches == 0:
                order = rng.permutation(n)
            at = order[step % n_batches * batch_size :][:batch_size]
            rate = learning_rate * schedule((step + 0.5) / (n_epochs * n_batches))
            done += float(np.log1p(-rate * weight_decay))
            gradient = self.gradient(table.users[at], table.items[at], table.ratings[at])
            for name, slope in gradient.items():
                rows: Any = slice(None)
                if name in sides:
                    rows, place = np.unique(sides[name][at], return_inverse=True)
                    slope = _summed(slope, place, len(rows))
                    kept = np.exp(done - decayed[name][rows])[:, None].astype(slope.dtype)
                    decayed[name][rows] = done
                else:
                    kept = slope.dtype.type(1 - rate * weight_decay)
                first, second = moments[name]
                first[rows] = _BETAS[0] * first[rows] + (1 - _BETAS[0]) * slope
                second[rows] = _BETAS[1] * second[rows] + (1 - _BETAS[1]) * slope**2
                move = first[rows] / (1 - _BETAS[0] ** (step + 1))
                size = np.sqrt(second[rows] / (1 - _BETAS[1] ** (step + 1))) + _EPSILON
                self.weights[name][rows] = kept * self.weights[name][rows] - rate * move / size
        for side, lost in decayed.items():
            self.weights[side] *= np.exp(done - lost)[:, None].astype(np.float32)

    def predict(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> NDArray[np.float64]:
        """(n,) predicted ratings of pairs of rows."""
        parts = [
            self.link.prediction(self.scores(self.weights["users"][u], self.weights["items"][i])[0])
            for u, i in zip(_chunks(users), _chunks(items), strict=True)
        ]
        return np.concatenate(parts).astype(np.float64)

    def curvature(self, rng: int) -> tuple[float, float]:
        """(bend, interaction), see `ContrastedModel`, of scores before the sigmoid, in float64."""
        exact = Net(self.kind, self.link, {name: w.astype(np.float64) for name, w in self.weights.items()})
        chance, bends = np.random.default_rng([rng, 9]), []
        p, q = (exact.weights[side] for side in ("users", "items"))
        u, v, i, j = (chance.integers(len(side), size=_PROBES) for side in (p, p, q, q))
        for one, two, middle in (
            ((p[u], q[i]), (p[v], q[i]), ((p[u] + p[v]) / 2, q[i])),
            ((p[u], q[i]), (p[u], q[j]), (p[u], (q[i] + q[j]) / 2)),
        ):
            first, second, between = (exact.scores(*pair)[0] for pair in (one, two, middle))
            half = np.sqrt((((first - second) / 2) ** 2).mean())
            bends.append(float(np.sqrt(((between - (first + second) / 2) ** 2).mean()) / half))
        rows = (np.unique(u[: _PROBES // 4]), np.unique(i[: _PROBES // 4]))
        n_users, n_items = map(len, rows)
        table, _ = exact.scores(np.repeat(p[rows[0]], n_items, axis=0), np.tile(q[rows[1]], (n_users, 1)))
        return max(bends), table_share(table.reshape(n_users, n_items))


def _summed(rows: NDArray[Any], place: NDArray[Any], n: int) -> NDArray[Any]:
    """Sums of rows by place, (n, columns)."""
    order = np.argsort(place, kind="stable")
    starts = np.searchsorted(place[order], np.arange(n))
    found: NDArray[Any] = np.add.reduceat(rows[order], starts, axis=0)
    return found


def _chunks(rows: NDArray[np.int32]) -> Iterator[NDArray[np.int32]]:
    for start in range(0, len(rows), _AT_ONCE):
        yield rows[start : start + _AT_ONCE]
