"""Evaluation of rankings: all items ranked for every user with a test item."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from bilinear.data.interactions import Interactions
from bilinear.data.splits import Split
from bilinear.engines.engine import Engine, chosen_engine
from bilinear.errors import ParameterValueError
from bilinear.evaluation.bootstrap import Interval, mean_intervals
from bilinear.evaluation.metrics import MetricLike, hits_in
from bilinear.evaluation.ranking_metrics import (
    ACCURACY,
    OF_CATALOGUE,
    OF_LISTS,
    ListStatistics,
    Sums,
    TopLists,
    accuracy_of_scores,
)
from bilinear.evaluation.ranking_task import Model, RankingTask, taken_rows
from bilinear.evaluation.ranking_task import RankingProtocol as RankingProtocol
from bilinear.evaluation.ratings import interval_columns
from bilinear.kernels.ranking import keep_only
from bilinear.kernels.top_k_blocks import first_nan, hide_seen
from bilinear.model.blocks import checked_block_size, map_blocks
from bilinear.model.parameters import Array
from bilinear.tabular import Tabular

_SCORES_AT_ONCE = 1 << 23
_BLOCKS = 8  # of a shard


@dataclass(frozen=True, eq=False)
class RankingScores(Tabular):
    """Metrics of ranked lists, means over users with 95 % bootstrap intervals.

    Attributes:
        protocol: what was ranked, in words.
        cutoffs: lengths of lists.
        means: by name, such as "recall@20" or "auc": means over users.
        catalogue: by name, such as "coverage@20" or "gini@20": of all lists together.
        n_users: users with at least one relevant test item; all of them count.
        n_relevant: relevant test items of these users.
        n_users_without_test: users known from training that have no relevant test item.
        n_unknown_users: of `n_users`, those without training interactions (list not personal).
        n_unknown_items: of `n_relevant`, those whose item has no training interactions.
        n_trained_pairs: test pairs that were trained on; no longer candidates, so left out of
            `n_relevant` (kept if seen items are ranked).
        n_short_of_negatives: users for whom fewer negatives were left than asked for.
        users: (n_users,) rows in the vocabulary of the test table.
        per_user: (n_users,) by name.
            Both are empty in scores that were read back with `from_dict`.
    """

    protocol: str
    cutoffs: tuple[int, ...]
    means: Mapping[str, Interval]
    catalogue: Mapping[str, float]
    n_users: int
    n_relevant: int
    n_users_without_test: int
    n_unknown_users: int
    n_unknown_items: int
    n_trained_pairs: int
    n_short_of_negatives: int = 0
    users: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64), repr=False)
    per_user: Mapping[str, NDArray[np.float64]] = field(default_factory=dict, repr=False)

    @overload
    def __getitem__(self, name: str) -> float: ...
    @overload
    def __getitem__(self, name: Any) -> Any: ...
    def __getitem__(self, name: Any) -> Any:
        """The mean, or the figure of the catalogue, by name; a row of the table by its number."""
        if not isinstance(name, str) or name in ("metric", "value", "low", "high"):
            return super().__getitem__(name)
        if name in self.means:
            return self.means[name].value
        if name in self.catalogue:
            return self.catalogue[name]
        known = ", ".join([*self.means, *self.catalogue])
        raise ParameterValueError(f"no metric {name!r} here; there are {known}")

    def intervals(self) -> dict[str, Interval]:
        """By the name of the metric; those of the catalogue, which have none, with ends that are NaN."""
        alone = {name: Interval(value, np.nan, np.nan) for name, value in self.catalogue.items()}
        return {**self.means, **alone}

    def to_columns(self) -> dict[str, Any]:
        """metric, value, low, high."""
        return {"metric": list(self.intervals()), **interval_columns(self.intervals().values())}

    def _caption(self) -> str:
        return "; ".join([self.protocol, *self._counts()])

    def to_dict(self) -> dict[str, Any]:
        """JSON values, without the vectors of users."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        del plain["users"], plain["per_user"]
        means = {name: [mean.value, mean.low, mean.high] for name, mean in self.means.items()}
        return plain | {"cutoffs": list(self.cutoffs), "means": means, "catalogue": dict(self.catalogue)}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> RankingScores:
        means = {name: Interval(*mean) for name, mean in stored["means"].items()}
        return cls(**{**stored, "cutoffs": tuple(stored["cutoffs"]), "means": means})

    def __str__(self) -> str:
        rows = [["", *(f"@{k}" for k in self.cutoffs)]]
        for name in (*ACCURACY, *OF_LISTS, *OF_CATALOGUE):
            cells = [self._cell(f"{name}@{k}") for k in self.cutoffs]
            if any(cells):
                rows.append([name, *cells])
        own = [name for name in self.means if name.partition("@")[0] not in (*ACCURACY, *OF_LISTS)]
        rows += [[name, self._cell(name)] for name in sorted(own, key=lambda name: name == "auc")]
        return "\n".join([self.protocol, *self._counts(), "", aligned(rows)])

    def _cell(self, name: str) -> str:
        if name in self.means:
            return str(self.means[name])
        return f"{self.catalogue[name]:.4f}" if name in self.catalogue else ""

    def _counts(self) -> list[str]:
        lines = [
            f"{self.n_users:,} users with {self.n_relevant:,} relevant test items; "
            f"{self.n_users_without_test:,} users without any are not counted; 95 % bootstrap over users"
        ]
        for count, text in (
            (self.n_unknown_users, "of the users have no training interactions (list not personal)"),
            (self.n_unknown_items, "of the relevant items have no training interactions"),
            (self.n_trained_pairs, "test pairs were trained on: not held out"),
            (self.n_short_of_negatives, "users have fewer items left than the negatives asked for"),
        ):
            lines += [f"{count:,} {text}"] if count else []
        return lines


def evaluate_ranking(
    model: Model,
    test: Interactions | Split,
    protocol: RankingProtocol | None = None,
    *,
    metrics: Iterable[MetricLike] = (),
    item_vectors: Array | None = None,
    n_threads: int | None = None,
    block_size: int | None = None,
    engine: Engine | None = None,
) -> RankingScores:
    """Ranks items for every user with a relevant test item, and measures where those items stand.

    Ties are taken by expectation: the metrics are those of a uniformly random order of equal
    scores, exactly. Definitions: docs/guide/metrics.md.

    Args:
        model: fitted; on `test.train` where a `Split` is given. A split with a `history` is
            answered by fold-in: its users are scored from their history, not from training.
        metrics: beside those of the protocol, see `RankingProtocol`.
        item_vectors: (n_items, any) in the model's item rows, for diversity; None leaves it out.
        n_threads: None takes all cores.
        block_size: users at once; the result does not depend on it.
        engine: what ranks the items, such as `Ray()`; None is this process.
    Raises:
        EmptyDataError: no user has a relevant test item.
        ParameterValueError: a score is NaN, or `item_vectors` has another number of rows.
    Cost:
        the model's `score_block` for each user, then O(n_items) a user and relevant item; 32 MB of
        scores a thread, never n_users x n_items.

    Examples:
        >>> from bilinear import EASE, RankingProtocol, evaluate_ranking, split_random, synthetic_catalogue
        >>> split = split_random(synthetic_catalogue(1000, 40, 60, rng=0).interactions, rng=0)
        >>> model = EASE(l2=20.0).fit(split.train)
        >>> scores = evaluate_ranking(model, split, RankingProtocol(cutoffs=(5,)), metrics=["ndcg@7"])
        >>> scores.means["recall@5"].value < scores.means["recall@5"].high
        True
        >>> "ndcg@7" in scores.means
        True
    """
    protocol = protocol or RankingProtocol()
    protocol = replace(protocol, metrics=(*protocol.metrics, *metrics))
    n_items = len(model.item_vocabulary_)
    if item_vectors is not None and len(item_vectors) != n_items:
        raise ParameterValueError(
            f"item_vectors has {len(item_vectors):,} rows; the model has {n_items:,} items"
        )
    task = RankingTask.of(model, test, protocol)
    cutoffs = protocol.lengths
    counts = np.bincount(model.seen_.indices, minlength=n_items)
    n_trained_users = int((model.seen_.counts > 0).sum())
    statistics = ListStatistics(cutoffs, counts, n_trained_users, item_vectors)
    size = checked_block_size(block_size, max(1, _SCORES_AT_ONCE // n_items))
    shared = model, task, protocol, cutoffs, size
    rows = np.arange(len(task.users))
    shards = (rows[start : start + size * _BLOCKS] for start in range(0, len(rows), size * _BLOCKS))
    accuracy, of_lists, aucs, own, short = [], [], [], [], 0
    for done in chain.from_iterable(chosen_engine(engine, n_threads).map(_shard_worker, shared, shards)):
        accuracy.append(done.accuracy)
        aucs.append(done.auc)
        short += done.n_short
        own.append(done.own)
        if done.lists is not None:
            of_lists.append(statistics.add(done.lists))
    per_user = _named(ACCURACY, np.concatenate(accuracy, axis=2), cutoffs) | {"auc": np.concatenate(aucs)}
    catalogue: dict[str, float] = {}
    if of_lists:
        named = _named(OF_LISTS, np.concatenate(of_lists, axis=2), cutoffs)
        per_user |= {
            name: values
            for name, values in named.items()
            if item_vectors is not None or not name.startswith("diversity")
        }
        for name in OF_CATALOGUE:
            values = getattr(statistics, name)()
            catalogue |= {f"{name}@{k}": float(value) for k, value in zip(cutoffs, values, strict=True)}
    names = [metric.name for metric in protocol.own_metrics]
    per_user |= {name: np.concatenate([values[name] for values in own]) for name in names}
    intervals = mean_intervals(np.stack(list(per_user.values()), axis=1), protocol.rng)
    return RankingScores(
        protocol.describe(n_items) + ("; users folded in from their history" if task.by_history else ""),
        tuple(cutoffs.tolist()),
        dict(zip(per_user, intervals, strict=True)),
        catalogue,
        len(task.users),
        len(task.items),
        task.n_without_test,
        int((~task.known).sum()),
        int((task.items < 0).sum() + (counts[task.items[task.items >= 0]] == 0).sum()),
        task.n_trained_pairs,
        short,
        task.users,
        per_user,
    )


def aligned(rows: list[list[str]]) -> str:
    """Rows of cells as lines: the first column to the left, the others to the right."""
    widths = [max(len(row[n]) for row in rows if n < len(row)) for n in range(max(map(len, rows)))]
    return "\n".join(
        "  ".join(
            cell.rjust(widths[n]) if n else cell.ljust(widths[0]) for n, cell in enumerate(row)
        ).rstrip()
        for row in rows
    )


@dataclass(frozen=True, eq=False)
class _Done:
    accuracy: NDArray[np.float64]
    auc: NDArray[np.float64]
    lists: TopLists | None
    own: Mapping[str, NDArray[np.float64]]
    """By name, of the protocol's own metrics."""
    n_short: int


def _shard_worker(
    shared: tuple[Model, RankingTask, RankingProtocol, NDArray[np.int64], int], n_threads: int
) -> Callable[[NDArray[Any]], list[_Done]]:
    """Measures the users of a shard, block by block; for `Engine.map`."""
    work, size = _worker(*shared[:4]), shared[4]
    return lambda rows: list(map_blocks(work, rows, size, n_threads))


def _worker(
    model: Model, task: RankingTask, protocol: RankingProtocol, cutoffs: NDArray[np.int64]
) -> Callable[[NDArray[Any]], _Done]:
    n_items = len(model.item_vocabulary_)
    sums = Sums.up_to(max(n_items, int(cutoffs[-1])))
    longest = min(int(cutoffs[-1]), n_items)
    enough = model.supported()

    def work(block: NDArray[Any]) -> _Done:
        rows = task.seen_rows[block]
        by_history = task.by_history
        scores = _scores_by_history(model, task, rows) if by_history else model.score_block(rows)
        wrong = first_nan(scores)
        if wrong >= 0:
            raise ParameterValueError(
                f"{type(model).__name__}: a score is not a number, so nothing can be ranked; train again"
            )
        if not enough.all():
            known = task.known[block]
            if not by_history:
                known = known | model.feature_rows("users", rows)
            put_last(scores, ~known, ~enough)
        if protocol.exclude_seen:
            hide_seen(scores, rows, task.seen.indptr, task.seen.indices)
        begin, end = task.starts[block[0]], task.starts[block[-1] + 1]
        starts, items = task.starts[block[0] : block[-1] + 2] - begin, task.items[begin:end]
        n_short = 0
        if protocol.n_negatives is not None:
            n_short = _keep_sample(
                scores, starts, items, task.users[block], protocol.n_negatives, protocol.rng
            )
        accuracy, auc = accuracy_of_scores(scores, starts, items, cutoffs, sums)
        lists = TopLists.of(scores, longest) if protocol.n_negatives is None or protocol.own_metrics else None
        own = {}
        for metric in protocol.own_metrics:
            assert lists is not None
            assert metric.k is not None
            listed = np.where(np.arange(longest) < lists.counts[:, None], lists.rows, np.int32(-1))
            listed = np.pad(
                listed[:, : metric.k], ((0, 0), (0, max(metric.k - longest, 0))), constant_values=-1
            )
            hits = hits_in(listed, starts, items)
            own[metric.name] = metric.of_lists(listed, hits, np.diff(starts))
        return _Done(accuracy, auc, lists if protocol.n_negatives is None else None, own, n_short)

    return work


def _scores_by_history(model: Model, task: RankingTask, rows: NDArray[np.int32]) -> Array:
    histories = taken_rows(task.seen, rows)
    if task.times is None:
        return model.score_histories(histories)
    times = taken_rows(task.seen._replace(ratings=task.times), rows).ratings  # type: ignore[arg-type]
    return model.score_timed_histories(histories, times)  # type: ignore[arg-type]


def put_last(scores: Array, lists: NDArray[np.bool_], items: NDArray[np.bool_]) -> None:
    """In some lists, items (n_items,) below all others, in their order; `scores` are changed.

    Examples:
        >>> import numpy as np
        >>> from bilinear.evaluation.ranking import put_last
        >>> scores = np.array([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]])
        >>> put_last(scores, np.array([True, False]), np.array([True, False, False]))
        >>> scores.argmax(axis=1)
        array([1, 0])
    """
    chosen = scores[lists].astype(np.float64)
    chosen[:, items] -= 1.0 + chosen.max(axis=1, keepdims=True) - chosen.min(axis=1, keepdims=True)
    scores[lists] = chosen


def _keep_sample(
    scores: Array,
    starts: NDArray[np.int64],
    items: NDArray[np.int32],
    users: NDArray[np.int64],
    n_negatives: int,
    rng: int,
) -> int:
    """Leaves the relevant items and a sample of the others; returns for how many users too few are left.

    The draw depends on the seed and the user alone: every model meets the same negatives.
    """
    kept, n_short = [], 0
    for n, user in enumerate(users.tolist()):
        relevant = items[starts[n] : starts[n + 1]]
        relevant = relevant[relevant >= 0]
        possible = ~np.isnan(scores[n])
        possible[relevant] = False
        others = np.flatnonzero(possible)
        n_short += len(others) < n_negatives
        size = min(n_negatives, len(others))
        drawn = np.random.default_rng([rng, user]).choice(len(others), size, replace=False)
        kept.append(np.sort(np.concatenate([relevant, others[drawn]])).astype(np.int32))
    keep_only(scores, np.concatenate([[0], np.cumsum([len(rows) for rows in kept])]), np.concatenate(kept))
    return n_short


def _named(
    names: tuple[str, ...], values: NDArray[np.float64], cutoffs: NDArray[np.int64]
) -> dict[str, NDArray[np.float64]]:
    return {
        f"{name}@{k}": values[m, c] for m, name in enumerate(names) for c, k in enumerate(cutoffs.tolist())
    }
