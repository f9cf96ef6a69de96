"""Base class of ranking models: lists from clicks, plays and ratings."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bilinear.data.interactions import Grouped, InteractionsLike
from bilinear.data.splits import Split
from bilinear.data.vocabulary import Vocabulary
from bilinear.engines.engine import Engine
from bilinear.estimators.fold_in import best_rows
from bilinear.estimators.recommender import Recommender
from bilinear.evaluation.ranking import RankingProtocol, RankingScores, evaluate_ranking
from bilinear.kernels.top_k_blocks import hide_seen
from bilinear.model.parameters import Array
from bilinear.recommend.lists import RankedItems

_SCORES_AT_ONCE = 1 << 23


class RankingModel(Recommender):
    """Base class of ranking models: a subclass defines `score_block` and `score_histories`.

    Scores order items for a user and have no unit. A user without interactions is answered by one
    list for all.
    """

    def evaluate(
        self,
        test: InteractionsLike | Split,
        protocol: RankingProtocol | None = None,
        *,
        n_threads: int | None = None,
        engine: Engine | None = None,
    ) -> RankingScores:
        """Ranking metrics on interactions that were not trained on, see `evaluate_ranking`.

        Takes what `fit` takes: a table, a data frame, a sparse matrix.

        Examples:
            >>> from bilinear import EASE, RankingProtocol, split_random, synthetic_catalogue
            >>> split = split_random(synthetic_catalogue(1000, 40, 60, rng=0).interactions, rng=0)
            >>> model = EASE(l2=20.0).fit(split.train)
            >>> scores = model.evaluate(split.test, RankingProtocol(cutoffs=(10,)))
            >>> print(scores.protocol)
            full ranking of 60 items (not seen in training)
            >>> 0 < scores.means["ndcg@10"].value < 1
            True
        """
        if not isinstance(test, Split):
            test = self._table(test, None, "evaluate")
        return evaluate_ranking(self, test, protocol, n_threads=n_threads, engine=engine)

    def score(self, X: InteractionsLike | Split, y: Any = None) -> float:
        """NDCG@10 of the lists on interactions that were not trained on, for searches of scikit-learn.

        Args:
            X: Pairs of users and items, or what `evaluate` takes.
            y: Their ratings, where they have some.

        Examples:
            >>> from bilinear import EASE, split_random, synthetic_catalogue
            >>> split = split_random(synthetic_catalogue(1000, 40, 60, rng=0).interactions, rng=0)
            >>> 0 < EASE(l2=20.0).fit(split.train).score(split.test) < 1
            True
        """
        table = X if isinstance(X, Split) else self._table(X, y, "score")
        return self.evaluate(table, RankingProtocol(cutoffs=(10,)))["ndcg@10"]

    def _rank(
        self, user_rows: NDArray[np.int32], n: int, exclude_seen: bool, allowed: NDArray[np.bool_]
    ) -> list[RankedItems]:
        size = max(1, _SCORES_AT_ONCE // max(len(allowed), 1))
        ranked, hidden = [], self.hidden(exclude_seen)
        for start in range(0, len(user_rows), size):
            rows = user_rows[start : start + size]
            scores = self.score_block(rows)
            hide_seen(scores, rows, hidden.indptr, hidden.indices)
            ranked += ranked_lists(scores, n, allowed, self.item_vocabulary_)
        return ranked


def rows_of(grouped: Grouped, rows: NDArray[Any]) -> Grouped:
    """Some rows of a grouped table, as a grouped table; row -1 is empty."""
    known = rows >= 0
    inside = np.where(known, rows, 0)
    counts = np.where(known, grouped.counts[inside], 0) if len(grouped.counts) else np.zeros(len(rows), int)
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    first = grouped.indptr[inside] - starts[:-1]
    at = np.arange(starts[-1]) + np.repeat(first, counts)
    return Grouped(starts, grouped.indices[at], grouped.ratings[at])


def ranked_lists(scores: Array, n: int, allowed: NDArray[np.bool_], items: Vocabulary) -> list[RankedItems]:
    """One list a row of scores (n_lists, n_items); NaN is left out."""
    lists = []
    for row in range(len(scores)):
        rows, best = best_rows(scores[row : row + 1], n, allowed)
        lists.append(RankedItems(items.decode(rows), best))
    return lists
