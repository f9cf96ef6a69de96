"""Validation during training, by any metric on the inner validation part."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bilinear.data.interactions import Interactions
from bilinear.data.splits import Split
from bilinear.evaluation.metrics import RMSE, Metric, hits_in
from bilinear.evaluation.ranking_task import taken_rows
from bilinear.model.link import Link
from bilinear.model.parameters import Array, Parameters
from bilinear.model.scoring import score_rows
from bilinear.recommend.block_rankers import dot_product_maker
from bilinear.training.loop import Run, Validation

USERS_AT_ONCE = 1200


class RatingValidation(Validation):
    """A metric of predicted ratings.

    Args:
        table: the validation part.
        own: from ratings and predictions in the units of training to the ratings' own.
    """

    def __init__(
        self,
        table: Interactions,
        link: Link,
        metric: Metric = RMSE,
        own: Callable[[Array], Array] = lambda ratings: ratings,
    ) -> None:
        self.table, self.link, self.metric, self.own = table, link, metric, own

    def __call__(self, parameters: Parameters) -> float:
        return self._of_scores(score_rows(parameters, self.table.users, self.table.items))

    def measure(self, run: Run) -> float:
        return self._of_scores(run.scores(self.table))

    def _of_scores(self, scores: Array) -> float:
        predictions = self.link.prediction(scores)
        return self.metric.of_predictions(self.own(predictions), self.own(self.table.ratings))


def rmse(parameters: Parameters, link: Link, table: Interactions) -> float:
    """Root mean squared error of the predictions for a table with the same rows."""
    return RatingValidation(table, link)(parameters)


class RankingValidation(Validation):
    """The mean of a metric of lists over users of the validation part, all items ranked.

    Args:
        split: what is trained on is not ranked.
        most_users: more are sampled, so that measuring stays cheap beside an epoch.
        ranking: from the weights to those whose dot products are the scores.
        every: epochs between two measurements.
    """

    def __init__(
        self,
        split: Split,
        metric: Metric,
        most_users: int,
        rng: np.random.Generator,
        ranking: Callable[[Parameters], Parameters] = lambda parameters: parameters,
        every: int = 1,
    ) -> None:
        self.metric, self.ranking, self.every = metric, ranking, every
        self.hidden, self.wanted = split.train.by_user, split.test.by_user
        users = np.flatnonzero(self.wanted.counts).astype(np.int32)
        self.users = np.sort(rng.permutation(users)[:most_users])

    def __call__(self, parameters: Parameters) -> float:
        """The metric now. Cost: O(users * n_items * n_factors)."""
        assert self.metric.k is not None
        n_items = parameters.n_items
        length = min(self.metric.k, n_items)
        make = dot_product_maker(self.ranking(parameters), self.hidden, np.ones(n_items, bool), length)
        total = 0.0
        for first in range(0, len(self.users), USERS_AT_ONCE):
            users = self.users[first : first + USERS_AT_ONCE]
            items = np.full((len(users), self.metric.k), -1, np.int32)
            items[:, :length] = make(users).items
            wanted = taken_rows(self.wanted, users)
            hits = hits_in(items, wanted.indptr, wanted.indices)
            total += float(self.metric.of_lists(items, hits, wanted.counts).sum())
        return total / len(self.users)
