"""Choosing the weights of a mixture of models on an inner validation part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bilinear.arguments import is_real
from bilinear.data.interactions import Interactions
from bilinear.data.splits import Split, split_per_user, split_validation
from bilinear.errors import DataError, EmptyDataError, ParameterValueError
from bilinear.estimators.recommender import Recommender
from bilinear.evaluation.metrics import Metric
from bilinear.kernels.mixture import add_standardised, mixture_lists
from bilinear.kernels.top_k_blocks import hide_seen, top_k_scores
from bilinear.model.blocks import checked_threads, map_blocks
from bilinear.model.parameters import Array

_SCORES_AT_ONCE = 1 << 22
_LISTED = 100  # items of each model's list that may be in the mixture's own
_GRID = (0.0, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0)
_PASSES = 4
MOST_VALIDATION_USERS = 3000
"""Users an inner validation looks at; a sample of more."""


def bytes_to_validate(n_models: int, fitting: int, n_pairs: int, n_users: int, n_items: int) -> int:
    """Memory that models on an inner split take, about: the split, and fitting or scores; measured."""
    scores = (10 + 4 * n_models) * min(n_users * n_items, _SCORES_AT_ONCE)
    return 25 * n_pairs + max(fitting, scores)


def inner_split(interactions: Interactions, share: float, seed: int, *, latest: bool = True) -> Split:
    """A share of each user's interactions held out: the latest where there are times, else at random.

    A recommender has to predict the future; where no user has enough interactions for a share of
    their own, a share of all is drawn.

    Args:
        latest: False draws at random where there are times too.
    """
    if not (is_real(share) and 0 < share < 1):
        raise ParameterValueError(f"validation={share!r}: the share to hold out lies between 0 and 1")
    if latest and interactions.times is not None:
        chance = np.random.default_rng(seed).random(interactions.n_ratings)  # within one moment
        order = np.lexsort((chance, interactions.times, interactions.users))
        counts = interactions.by_user.counts
        place = np.arange(interactions.n_ratings) - np.repeat(interactions.by_user.indptr[:-1], counts)
        late = np.zeros(interactions.n_ratings, bool)
        late[order] = place >= np.repeat(counts - np.floor(share * counts + 1e-9), counts)
        if late.any():
            how = f"latest {share:.0%} of each user"
            return Split(interactions.take(~late), interactions.take(late), how)
    try:
        return split_per_user(interactions, share, seed)
    except DataError:
        if interactions.n_ratings < 2:
            raise
        return split_validation(interactions, share, np.random.default_rng(seed))


@dataclass(frozen=True, eq=False)
class ValidationUsers:
    """Users of an inner validation part, with the items of their held-out interactions.

    Attributes:
        rows: (n,) rows of users, ascending.
        test: their held-out interactions.
        starts (n + 1,), items: the relevant items of each, as rows.
    """

    rows: NDArray[np.int32]
    test: Interactions
    starts: NDArray[np.int64]
    items: NDArray[np.int32]

    @classmethod
    def of(
        cls,
        split: Split,
        relevant_from: float | None,
        seed: int,
        most: int = MOST_VALIDATION_USERS,
        *,
        strangers: bool = False,
    ) -> ValidationUsers:
        """A sample of at most `most` users with something relevant in the validation part.

        With one seed, fewer users are some of more.

        Args:
            strangers: whether users without an interaction in the training part count.
        Raises:
            EmptyDataError: not a single user has one.
        """
        test = split.test
        if test.weighted:
            test = test.take(test.ratings > 0)
        if relevant_from is not None:
            test = test.take(test.ratings >= relevant_from)
        known = strangers | (split.train.by_user.counts > 0)
        rows = np.flatnonzero((test.by_user.counts > 0) & known).astype(np.int32)
        if not len(rows):
            raise EmptyDataError(
                f"{test.source}: nothing relevant is left to validate on; give more interactions, or choose "
                "the weights or the model yourself"
            )
        if len(rows) > most:
            rows = np.sort(np.random.default_rng([seed, 7]).permutation(rows)[:most])
        chosen = np.zeros(test.n_users, bool)
        chosen[rows] = True
        test = test.take(chosen[test.users])
        starts = np.concatenate([[0], np.cumsum(test.by_user.counts[rows])]).astype(np.int64)
        return cls(rows, test, starts, test.by_user.indices)


@dataclass(frozen=True, eq=False)
class BlendCandidates:
    """Standardised scores of several models for the items that a mixture of them could list.

    Attributes:
        starts (n_users + 1,); items (n_candidates,); scores (n_candidates, n_models); relevant
            (n_candidates,) bool; n_relevant (n_users,).
    """

    starts: NDArray[np.int64]
    items: NDArray[np.int32]
    scores: Array
    relevant: NDArray[np.bool_]
    n_relevant: NDArray[np.int64]

    @classmethod
    def of(
        cls, models: Sequence[Recommender], validation_users: ValidationUsers, n_threads: int | None = None
    ) -> BlendCandidates:
        """The 100 best items of each model for each user, and the relevant ones, by all models.

        An item past all of these lists is taken not to be among the mixture's first.
        """
        n_items = len(models[0].item_vocabulary_)
        everything = np.ones(n_items, bool)
        k = min(_LISTED, n_items)

        def work(block: NDArray[Any]) -> tuple[list[int], tuple[NDArray[Any], ...]]:
            rows = validation_users.rows[block]
            tables, listed = [], []
            for model in models:
                scores = np.zeros((len(rows), n_items), np.float32)
                heard = voiced(model, models, model.score_block(rows), model.seen_.counts[rows])
                add_standardised(heard, 1.0, scores)
                hide_seen(scores, rows, model.seen_.indptr, model.seen_.indices)
                best, values = np.empty((len(rows), k), np.int32), np.empty((len(rows), k), np.float32)
                counts = np.zeros(len(rows), np.int64)
                top_k_scores(scores, everything, k, best, values, counts)
                tables.append(scores)
                listed.append((best, counts))
            lengths, candidates, parts, hits = [], [], [], []
            for n, user in enumerate(block.tolist()):
                mine = validation_users.items[
                    validation_users.starts[user] : validation_users.starts[user + 1]
                ]
                items = np.unique(np.concatenate([mine, *(best[n, : counts[n]] for best, counts in listed)]))
                candidates.append(items)
                parts.append(np.stack([scores[n, items] for scores in tables], axis=1))
                hits.append(np.isin(items, mine, assume_unique=True))
                lengths.append(len(items))
            return lengths, tuple(map(np.concatenate, (candidates, parts, hits)))

        size = max(1, _SCORES_AT_ONCE // n_items)
        blocks = map_blocks(work, np.arange(len(validation_users.rows)), size, checked_threads(n_threads))
        lengths, parts = zip(*blocks, strict=True)
        starts = np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64)
        items, scores, hits = map(np.concatenate, zip(*parts, strict=True))
        return cls(starts, items, scores, hits, np.diff(validation_users.starts))

    def value(self, weights: Sequence[float], metric: Metric) -> float:
        """The mean of the metric over the users, of the mixture with these weights."""
        return float(self.lists(weights, metric)[1].mean())

    def lists(
        self, weights: Sequence[float], metric: Metric
    ) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """The mixture's lists (n_users, k), -1 past the end of one, and the metric of each (n_users,)."""
        assert metric.k is not None
        places = np.empty((len(self.n_relevant), metric.k), np.int64)
        mixture_lists(self.starts, self.scores, np.asarray(weights, np.float64), places)
        hits = self.relevant[places] & (places >= 0)
        items = np.where(places >= 0, self.items[places], np.int32(-1))
        return items, metric.of_lists(items, hits, self.n_relevant)


def voiced(model: Recommender, models: Sequence[Recommender], scores: Array, counts: NDArray[Any]) -> Array:
    """A model's scores as they count in a mixture; of users without interactions, `counts` (n,) says.

    For those a personal model only repeats what is popular, so it is silent (zeros) where the mixture has a
    model that is not personal, such as `Popularity` with a half-life.
    """
    if not model.is_personal or all(other.is_personal for other in models) or counts.all():
        return scores
    return np.where((counts > 0)[:, None], scores, np.float32(0))


def choose_weights(
    n_models: int, value: Callable[[Sequence[float]], float]
) -> tuple[tuple[float, ...], float]:
    """Weights that sum to one, and their value: by turns along a fixed grid, from the best single model.

    `value` is maximised; a model enters only for a gain, and of equal weights the smaller stays.

    Cost:
        some 8 * n_models evaluations a turn, at most four turns.
    """
    singles = [value(tuple(float(n == m) for n in range(n_models))) for m in range(n_models)]
    first = int(np.argmax(singles))
    weights, best = [float(n == first) for n in range(n_models)], singles[first]
    for _ in range(_PASSES):
        before = best
        for m in sorted(range(n_models), key=lambda m: -singles[m]):
            if m == first:
                continue
            for weight in _GRID:
                trial = [*weights[:m], weight, *weights[m + 1 :]]
                found = value(trial)
                if found > best:
                    weights, best = trial, found
        if best <= before:
            break
    total = sum(weights)
    return tuple(weight / total for weight in weights), best
