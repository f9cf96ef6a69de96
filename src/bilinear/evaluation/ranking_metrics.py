"""Metrics of ranked lists, with ties taken by expectation. Definitions: docs/guide/metrics.md."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bilinear.arguments import is_whole
from bilinear.errors import ParameterValueError
from bilinear.kernels.ranking import expected_lists, expected_metrics, places_of, tied_with_last
from bilinear.kernels.top_k_blocks import top_k_scores
from bilinear.model.parameters import Array

ACCURACY = ("recall", "capped_recall", "precision", "hit_rate", "ndcg", "map", "mrr")
"""Of each user at each cut-off, in the kernel's order; AUC has no cut-off."""
OF_LISTS = ("popularity", "novelty", "diversity")
"""Of each user's list at each cut-off, in the kernel's order."""
OF_CATALOGUE = ("coverage", "gini", "popular_share")
"""Of all lists together at each cut-off; methods of `ListStatistics`."""
_MOST_POPULAR = 0.01  # of the items


def checked_cutoffs(cutoffs: Iterable[int]) -> NDArray[np.int64]:
    """Cut-offs, ascending and distinct.

    Raises:
        ParameterValueError: none, or one that is not a whole number from one.
    """
    given = list(cutoffs) if isinstance(cutoffs, Iterable) else [cutoffs]
    if not given or not all(is_whole(k) and k >= 1 for k in given):
        raise ParameterValueError(f"cutoffs={cutoffs!r}; whole numbers of one or more, such as (10, 20)")
    return np.array(sorted({int(k) for k in given}), np.int64)


def metrics_of_scores(
    scores: Array, relevant: Sequence[NDArray[Any]], cutoffs: Iterable[int] = (10, 20)
) -> dict[str, NDArray[np.float64]]:
    """Each user's metrics from scores alone.

    Args:
        scores: (n, n_items), larger is better, NaN where an item is not a candidate.
        relevant: for each user the rows of the relevant items, at least one, each once; -1 is an
            item that has no score and is never listed.
    Returns:
        (n,) by name: "recall@20", ..., "auc".
    Cost:
        O(n * n_items) times the number of relevant items while they are few.
    """
    counts = np.array([len(rows) for rows in relevant], np.int64)
    if not counts.all():
        raise ParameterValueError(f"user {int(np.argmin(counts))} has no relevant item; leave the user out")
    items = np.concatenate([*relevant, []]).astype(np.int32)
    starts = np.concatenate([[0], np.cumsum(counts)])
    ks = checked_cutoffs(cutoffs)
    accuracy, auc = accuracy_of_scores(scores, starts, items, ks, Sums.up_to(scores.shape[1]))
    named = {
        f"{name}@{k}": accuracy[m, c] for m, name in enumerate(ACCURACY) for c, k in enumerate(ks.tolist())
    }
    return named | {"auc": auc}


@dataclass(frozen=True, eq=False)
class Sums:
    """Sums over the places 1..p for every p: of 1 / log2(1 + place), and of 1 / place; sums[0] is 0."""

    discounts: NDArray[np.float64]
    reciprocals: NDArray[np.float64]

    @classmethod
    def up_to(cls, n_places: int) -> Sums:
        places = np.arange(1, n_places + 1)
        return cls(
            np.concatenate([[0.0], np.cumsum(1 / np.log2(places + 1))]),
            np.concatenate([[0.0], np.cumsum(1 / places)]),
        )


def accuracy_of_scores(
    scores: Array, starts: NDArray[np.int64], items: NDArray[np.int32], cutoffs: NDArray[np.int64], sums: Sums
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(7, n_cutoffs, n) and AUC (n,); items[starts[n]:starts[n + 1]] are relevant to user n."""
    n, n_items = scores.shape
    ahead, tied = np.empty(len(items), np.int64), np.empty(len(items), np.int64)
    n_candidates = np.empty(n, np.int64)
    places_of(scores, starts, items, ahead, tied, n_candidates)
    out, auc = np.empty((len(ACCURACY), len(cutoffs), n)), np.empty(n)
    most = int(max(cutoffs.max(), n_items)) if len(cutoffs) else n_items
    sums = sums if len(sums.discounts) > most else Sums.up_to(most)
    expected_metrics(
        ahead,
        tied,
        starts,
        np.diff(starts),
        n_candidates,
        cutoffs,
        sums.discounts,
        sums.reciprocals,
        out,
        auc,
    )
    return out, auc


@dataclass(frozen=True, eq=False)
class TopLists:
    """The k best candidates of some users, and those past the end that tie with the last.

    rows, scores (n, k), counts (n,); user n's further ties are tied_rows[tied_starts[n]:...].
    """

    rows: NDArray[np.int32]
    scores: Array
    counts: NDArray[np.int64]
    tied_starts: NDArray[np.int64]
    tied_rows: NDArray[np.int32]

    @classmethod
    def of(cls, scores: Array, k: int) -> TopLists:
        """From scores (n, n_items), NaN where an item is not a candidate."""
        n, n_items = scores.shape
        rows, best = np.empty((n, k), np.int32), np.empty((n, k), scores.dtype)
        counts, tied_starts = np.empty(n, np.int64), np.empty(n + 1, np.int64)
        top_k_scores(scores, np.ones(n_items, bool), k, rows, best, counts)
        tied_rows = np.empty(0, np.int32)
        n_tied = tied_with_last(scores, rows, best, counts, k, tied_starts, tied_rows)
        if n_tied:
            tied_rows = np.empty(n_tied, np.int32)
            tied_with_last(scores, rows, best, counts, k, tied_starts, tied_rows)
        return cls(rows, best, counts, tied_starts, tied_rows)


class ListStatistics:
    """Statistics of a set of lists, apart from relevance: popularity, novelty, diversity, spread.

    Args:
        item_counts: (n_items,) training interactions of each item.
        n_users: who made them.
        vectors: (n_items, any) whose cosines say how alike two items are, or None.
    """

    def __init__(
        self,
        cutoffs: NDArray[np.int64],
        item_counts: NDArray[np.int64],
        n_users: int,
        vectors: Array | None = None,
    ) -> None:
        self._cutoffs = cutoffs
        self._popularity = item_counts.astype(np.float64)
        # An item without interactions counts as if it had one: its self-information would be infinite.
        self._information = -np.log2(np.maximum(item_counts, 1) / max(n_users, 1))
        self._unit = np.zeros((len(item_counts), 0))
        if vectors is not None:
            lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
            self._unit = vectors / np.where(lengths > 0, lengths, 1)[:, None].astype(np.float64)
        self._exposure = np.zeros((len(cutoffs), len(item_counts)))
        self._missed = np.ones((len(cutoffs), len(item_counts)))

    def add(self, lists: TopLists) -> NDArray[np.float64]:
        """Counts some lists; returns (3, n_cutoffs, n): popularity, novelty, diversity of each."""
        out = np.empty((len(OF_LISTS), len(self._cutoffs), len(lists.counts)))
        expected_lists(
            lists.rows,
            lists.scores,
            lists.counts,
            lists.tied_starts,
            lists.tied_rows,
            self._cutoffs,
            self._popularity,
            self._information,
            self._unit,
            self._exposure,
            self._missed,
            out,
        )
        return out

    def coverage(self) -> NDArray[np.float64]:
        """(n_cutoffs,) expected share of the items that are in at least one list."""
        share: NDArray[np.float64] = 1 - self._missed.mean(axis=1)
        return share

    def popular_share(self) -> NDArray[np.float64]:
        """(n_cutoffs,) share of all places that the 1 % most popular items take, one item at the least."""
        n_most = max(1, round(_MOST_POPULAR * len(self._popularity)))
        most = np.argsort(-self._popularity, kind="stable")[:n_most]
        total = self._exposure.sum(axis=1)
        share: NDArray[np.float64] = np.zeros(len(total))
        np.divide(self._exposure[:, most].sum(axis=1), total, out=share, where=total > 0)
        return share

    def gini(self) -> NDArray[np.float64]:
        """(n_cutoffs,) inequality of how often items are listed: 0 all alike, near 1 a few alone."""
        ordered = np.sort(self._exposure, axis=1)
        n = ordered.shape[1]
        total = ordered.sum(axis=1)
        weighted = ordered @ (2 * np.arange(1, n + 1) - n - 1)
        inequality: NDArray[np.float64] = np.zeros(len(total))
        np.divide(weighted, n * total, out=inequality, where=total > 0)
        return inequality
