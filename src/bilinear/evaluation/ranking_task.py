"""Task of a ranking evaluation: its users, their relevant items, and the candidates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from bilinear.arguments import is_real, is_whole
from bilinear.data.interactions import Grouped, Interactions
from bilinear.data.splits import Split
from bilinear.data.vocabulary import Vocabulary
from bilinear.errors import EmptyDataError, ParameterValueError
from bilinear.evaluation.metrics import Metric, MetricLike
from bilinear.evaluation.ranking_metrics import ACCURACY, checked_cutoffs
from bilinear.model.parameters import Array


class Model(Protocol):
    """Protocol of the models that can be evaluated; every `Recommender` follows it."""

    user_vocabulary_: Vocabulary
    item_vocabulary_: Vocabulary
    seen_: Grouped

    def score_block(self, user_rows: NDArray[Any]) -> Array: ...
    def score_histories(self, histories: Grouped) -> Array: ...
    def score_timed_histories(self, histories: Grouped, times: NDArray[np.float64]) -> Array: ...
    def supported(self) -> NDArray[np.bool_]: ...
    def feature_rows(self, side: Literal["items", "users"], rows: NDArray[Any]) -> NDArray[np.bool_]: ...


@dataclass(frozen=True)
class RankingProtocol:
    """Protocol of a ranking evaluation: candidates, relevant items, and lengths of lists.

    Args:
        cutoffs: lengths of lists.
        relevant_from: the least rating of a relevant test item; None: every test item is relevant, and
            ratings that are all yes or no (1 or 0, 1 or -1) are refused.
        exclude_seen: rank only items that the user has not seen in training.
        n_negatives: None ranks all items. A number ranks the relevant ones among as many others,
            drawn uniformly for each user: easier, not comparable with full ranking, and known to
            order models differently (Krichene & Rendle, On Sampled Metrics for Item Recommendation,
            KDD 2020). It is there to compare with papers that report it.
        rng: seed of the resamples and of the negatives.
        metrics: more of them: functions or `Metric` objects of your own, of the lists as they are (ties by
            row), and names such as "ndcg@7", whose length becomes a cut-off.

    Examples:
        >>> from bilinear import RankingProtocol
        >>> RankingProtocol(cutoffs=(10, 20), relevant_from=4).describe(n_items=1000)
        'full ranking of 1,000 items (not seen in training); relevant from a rating of 4'
        >>> RankingProtocol(n_negatives=100, rng=1).describe(n_items=1000)[:45]
        'SAMPLED, not comparable with full ranking: 10'
    """

    cutoffs: tuple[int, ...] = (5, 10, 20, 50)
    relevant_from: float | None = None
    exclude_seen: bool = True
    n_negatives: int | None = None
    rng: int = 0
    metrics: tuple[MetricLike, ...] = ()

    def __post_init__(self) -> None:
        metrics = tuple(map(Metric.of_rankings, self.metrics))
        object.__setattr__(self, "metrics", metrics)
        if self.cutoffs != () or not metrics:
            checked_cutoffs(self.cutoffs)
        for metric in self.own_metrics:
            if metric.name.partition("@")[0] in ACCURACY:
                raise ParameterValueError(
                    f"metrics: {metric.name!r} is the name of one of bilinear's own; give yours another"
                )
        if self.relevant_from is not None and not is_real(self.relevant_from):
            raise ParameterValueError(f"relevant_from={self.relevant_from!r}; a rating, or None")
        if self.n_negatives is not None and not (is_whole(self.n_negatives) and self.n_negatives >= 1):
            raise ParameterValueError(f"n_negatives={self.n_negatives!r}; a whole number from 1, or None")
        if not (is_whole(self.rng) and self.rng >= 0):
            raise ParameterValueError(f"rng={self.rng!r}; a whole number, zero or more")

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The cut-offs and the lengths of further metrics, ascending and distinct."""
        return checked_cutoffs([*self.cutoffs, *(Metric.of(metric).k or 1 for metric in self.metrics)])

    @property
    def own_metrics(self) -> list[Metric]:
        """The metrics that are not measured anyway, with ties by expectation."""
        metrics = map(Metric.of, self.metrics)
        return [m for m in metrics if not (m.registered and m.name.partition("@")[0] in ACCURACY)]

    def describe(self, n_items: int) -> str:
        """One line that belongs beside every number made with it."""
        which = "not seen in training" if self.exclude_seen else "seen or not"
        text = f"full ranking of {n_items:,} items ({which})"
        if self.n_negatives is not None:
            text = (
                f"SAMPLED, not comparable with full ranking: {self.n_negatives:,} negatives a user, "
                f"uniform ({which}), seed {self.rng}"
            )
        if self.relevant_from is not None:
            text += f"; relevant from a rating of {self.relevant_from:g}"
        return text


@dataclass(frozen=True, eq=False)
class RankingTask:
    """Users to evaluate, their relevant items, and the items that they have seen.

    users: (n,) rows of the test vocabulary; known: (n,) whether they have seen anything.
    items[starts[n]:starts[n + 1]]: relevant rows of the model's items, -1 unknown.
    seen: what they have seen, row seen_rows[n] (-1: nothing); times: when, of users met by their history.
    """

    users: NDArray[np.int64]
    known: NDArray[np.bool_]
    starts: NDArray[np.int64]
    items: NDArray[np.int32]
    seen: Grouped
    seen_rows: NDArray[np.int32]
    by_history: bool
    times: NDArray[np.float64] | None
    n_without_test: int
    n_trained_pairs: int

    @classmethod
    def of(cls, model: Model, test: Interactions | Split, protocol: RankingProtocol) -> RankingTask:
        history = test.history if isinstance(test, Split) else None
        table = test.test if isinstance(test, Split) else test
        model_rows, items = table.aligned_to(model.user_vocabulary_, model.item_vocabulary_)
        users = table.users.astype(np.int64)
        if history is None:
            seen, rows, times = model.seen_, model_rows, None
        else:
            (seen, times), rows = _grouped(history, model), table.users
        relevant = table.ratings > 0 if table.weighted else np.ones(len(users), bool)
        if protocol.relevant_from is None and (signs := table.signs()) is not None:
            no, yes = signs
            raise ParameterValueError(
                f"{table.source}: every rating is {no:g} or {yes:g}, and {no:g} seems to be a no: "
                f"relevant_from={yes:g} (--relevant-from {yes:g}) counts the others as hits, "
                f"relevant_from={no:g} all"
            )
        if protocol.relevant_from is not None:
            relevant &= table.ratings >= protocol.relevant_from
        trained = relevant & seen.holds(rows, items)
        relevant &= ~trained | (not protocol.exclude_seen)
        users, rows, items = users[relevant], rows[relevant], items[relevant]
        if not len(users):
            raise EmptyDataError(
                f"{table.source}: no user has a relevant test item ({len(relevant):,} rows, of which "
                f"{int(trained.sum()):,} were trained on); nothing can be measured"
            )
        first = np.flatnonzero(np.diff(users, prepend=-1))
        rows = rows[first]
        known = np.zeros(len(rows), bool)
        known[rows >= 0] = seen.counts[rows[rows >= 0]] > 0
        return cls(
            users[first],
            known,
            np.append(first, len(users)),
            items,
            seen,
            rows,
            history is not None,
            times,
            int((seen.counts > 0).sum() - known.sum()),
            int(trained.sum()),
        )


def _grouped(history: Interactions, model: Model) -> tuple[Grouped, NDArray[np.float64] | None]:
    """What held-out users have seen, in the model's item rows, by their rows in their own table; and when.

    Items that the model does not know can tell it nothing and are left out.
    """
    _, items = history.aligned_to(model.user_vocabulary_, model.item_vocabulary_)
    order = np.lexsort((items, history.users))
    order = order[items[order] >= 0]
    starts = np.searchsorted(history.users[order], np.arange(history.n_users + 1)).astype(np.int64)
    times = None if history.times is None else history.times[order]
    return Grouped(starts, items[order], history.ratings[order]), times


def taken_rows(grouped: Grouped, rows: NDArray[Any]) -> Grouped:
    """Some rows of a grouped table, as a grouped table."""
    counts = grouped.counts[rows]
    starts = np.concatenate([[0], np.cumsum(counts)])
    at = np.arange(starts[-1]) + np.repeat(grouped.indptr[rows] - starts[:-1], counts)
    return Grouped(starts, grouped.indices[at], grouped.ratings[at])
