"""A model whose scores are a given table, for tests of what is done with scores."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bilinear.data.interactions import Interactions
from bilinear.data.vocabulary import Vocabulary


class Scorer:
    """Scores users by a table (n_users, n_items); row -1 gets the last line, of a stranger."""

    def __init__(self, train, scores, stranger=None):
        self.user_vocabulary_, self.item_vocabulary_ = train.user_vocabulary, train.item_vocabulary
        self.seen_ = train.by_user
        stranger = np.zeros(train.n_items) if stranger is None else stranger
        self.table = np.vstack([scores, stranger])
        self.largest_block = 0

    def score_block(self, user_rows):
        self.largest_block = max(self.largest_block, len(user_rows))
        return self.table[user_rows].copy()

    def supported(self):
        return np.ones(len(self.item_vocabulary_), bool)

    def feature_rows(self, side, rows):
        return np.zeros(len(rows), bool)

    def score_histories(self, histories):
        """The number of items that came before each in the history's last, or so: a made-up rule."""
        out = np.zeros((len(histories.counts), len(self.item_vocabulary_)))
        for n in range(len(out)):
            mine = histories.indices[histories.indptr[n] : histories.indptr[n + 1]]
            out[n] = -np.abs(np.arange(out.shape[1]) - (mine.mean() if len(mine) else 0))
        return out


def clicks(pairs, n_users=None, n_items=None, ratings=None):
    """Interactions of (user row, item row) pairs with ids u0, u1, ... and 0, 1, ..."""
    users, items = np.array(pairs, np.int32).reshape(-1, 2).T
    n_users = n_users or int(users.max()) + 1
    n_items = n_items or int(items.max()) + 1
    return Interactions.from_rows(
        users,
        items,
        np.ones(len(users)) if ratings is None else np.array(ratings, float),
        None,
        Vocabulary.from_sorted([f"u{n:03}" for n in range(n_users)]),
        Vocabulary.from_sorted(np.arange(n_items)),
        source="clicks",
    )


def random_parts(n_users=40, n_items=60, density=0.15, test=0.3, seed=0):
    """(train, test) of one random table, on one vocabulary."""
    rng = np.random.default_rng(seed)
    table = clicks(np.argwhere(rng.random((n_users, n_items)) < density), n_users, n_items)
    mask = rng.random(table.n_ratings) < test
    return table.take(~mask), replace(table.take(mask), source="test part")
