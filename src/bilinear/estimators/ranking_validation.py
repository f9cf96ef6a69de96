"""How well weights under training rank the inner validation part."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from bilinear.data.splits import Split
from bilinear.errors import ParameterValueError
from bilinear.model.parameters import Parameters
from bilinear.recommend.makers import dot_product_maker

Metric = Literal["recall@20", "ndcg@20"]

_LENGTH = 20
USERS_AT_ONCE = 1200


def check_metric(metric: str) -> None:
    """Raises ParameterValueError unless it is one of `Metric`."""
    if metric not in get_args(Metric):
        raise ParameterValueError(f"metric={metric!r}; 'recall@20' or 'ndcg@20'")


class HeldOut:
    """Mean Recall@20 or NDCG@20 over users of the validation part, all items ranked.

    Args:
        split: what is trained on is not ranked.
        most_users: more are sampled, so that measuring stays cheap beside an epoch.
    """

    def __init__(self, split: Split, metric: Metric, most_users: int, rng: np.random.Generator) -> None:
        self.metric, self.hidden, self.wanted = metric, split.train.by_user, split.test.by_user
        users = np.flatnonzero(self.wanted.counts).astype(np.int32)
        self.users = np.sort(rng.permutation(users)[:most_users])
        self.discounts = 1 / np.log2(np.arange(2, _LENGTH + 2))

    def __call__(self, parameters: Parameters) -> float:
        """The metric now. Cost: O(users * n_items * n_factors)."""
        n_items = parameters.n_items
        length = min(_LENGTH, n_items)
        make = dot_product_maker(parameters, self.hidden, np.ones(n_items, bool), length)
        total = 0.0
        for first in range(0, len(self.users), USERS_AT_ONCE):
            users = self.users[first : first + USERS_AT_ONCE]
            listed = make(users).items
            counts = self.wanted.counts[users]
            keys = np.repeat(np.arange(len(users)), counts) * n_items
            at = np.repeat(self.wanted.starts[users] - np.cumsum(counts) + counts, counts)
            keys += self.wanted.others[at + np.arange(len(keys))]
            places = np.where(listed >= 0, np.arange(len(users))[:, None] * n_items + listed, -1)
            hits = np.isin(places, keys)
            if self.metric == "recall@20":
                total += float((hits.sum(axis=1) / counts).sum())
            else:
                gains = hits @ self.discounts[:length]
                ideal = np.cumsum(self.discounts)[np.minimum(counts, _LENGTH) - 1]
                total += float((gains / ideal).sum())
        return total / len(self.users)
