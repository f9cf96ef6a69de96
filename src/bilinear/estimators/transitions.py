"""Transitions from item to item: directed, counted with decay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from bilinear.arguments import is_real, is_whole
from bilinear.data.interactions import Grouped, Interactions, InteractionsLike
from bilinear.errors import ParameterValueError
from bilinear.estimators.history_model import HistoryModel
from bilinear.estimators.neighbour_model import NeighbourModel, checked_exponent, checked_neighbours
from bilinear.registry import register
from bilinear.training.progress import Progress

_BYTES_A_PAIR, _BYTES_A_TRANSITION = 12, 26  # while transitions are weighed; measured


@register
@dataclass(repr=False, eq=False)
class Transitions(NeighbourModel):
    """score(user, j) = sum over the user's items i of history_decay^r(i) * weight(i, j).

    r counts the moments of the user's history after that of i: 0 for what came last. The weight is

        weight(i, j) = c(i, j) / (out_i^item_exponent in_j^popularity_exponent),
        c(i, j) = sum over users who took up j after i, at most `window` places later, of 1 / places,

    with out and in the sums of the rows and columns of c. Interactions of one moment have no order: there is
    no transition between them. Of each item i the `n_neighbours` largest weights are kept. Markov chains of
    first order are window=1, history_decay=0; session models in production are near to the defaults.

    Args:
        window: places that are looked ahead.
        history_decay: from 0 (the latest moment alone) to 1 (all of the history alike).
        n_neighbours: items that may follow an item.
        item_exponent, popularity_exponent: as above.
        threshold, confidence, half_life: see `HistoryModel` and `RecentHistoryModel`; an interaction's weight
            multiplies each of its steps.

    The learned attributes are those of `NeighbourModel`. Nothing is random. The table needs times.

    Source:
        transitions weighed by distance as in Ludewig, Jannach, "Evaluation of session-based recommendation
        algorithms", UMUAI 2018 (sequential rules), with the normalisation of `RandomWalk`.
    Cost:
        O(window * n_ratings) to fit; 8 bytes a transition.

    Examples:
        >>> from bilinear import Interactions, Transitions
        >>> users, items = "ann ann ann bob bob cat".split(), "bread butter jam bread butter bread".split()
        >>> clicks = Interactions.from_columns(users, items, times=[1, 2, 3, 1, 2, 1])
        >>> model = Transitions().fit(clicks)
        >>> model.recommend("cat", n=2).items  # butter follows bread
        array(['butter', 'jam'], dtype=object)
        >>> model.fold_in(["bread", "butter"]).recommend(1).items
        array(['jam'], dtype=object)
    """

    needs_times = True

    window: int = 10
    history_decay: float = 0.8
    n_neighbours: int = 200
    item_exponent: float = 0.5
    popularity_exponent: float = 0.0

    def bytes_to_fit(self, n_pairs: int, n_users: int, n_items: int) -> int:
        counting = HistoryModel.bytes_to_fit(self, n_pairs, n_users, n_items) + _BYTES_A_PAIR * n_pairs
        return counting + _BYTES_A_TRANSITION * min(n_pairs * self.window, n_items * n_items)

    def fit(self, interactions: InteractionsLike, *, progress: Progress | bool = False) -> Self:
        """Counts transitions; returns self."""
        n_neighbours = checked_neighbours(self.n_neighbours)
        for name in ("item_exponent", "popularity_exponent"):
            checked_exponent(name, getattr(self, name))
        if not (is_whole(self.window) and self.window >= 1):
            raise ParameterValueError(f"window={self.window!r}; a whole number of places, one or more")
        if not (is_real(self.history_decay) and 0 <= self.history_decay <= 1):
            raise ParameterValueError(f"history_decay={self.history_decay!r}; a number from 0 to 1")
        table = self._positives(interactions)
        self.weights_ = self._weights(_counts(table, int(self.window)), n_neighbours)
        self.seed_ = None
        self._learn_positives(interactions, table.by_user)
        return self

    def _weights(self, counts: Grouped, n_neighbours: int) -> Grouped:
        """The kept weights of transitions that were counted, grouped by what comes first."""
        n = len(counts.counts)
        first = np.repeat(np.arange(n), counts.counts)
        out = np.bincount(first, counts.ratings, n)
        into = np.bincount(counts.indices, counts.ratings, n)
        scale = out[first] ** self.item_exponent * into[counts.indices] ** self.popularity_exponent
        values = counts.ratings / scale
        order = np.lexsort((counts.indices, -values, first))
        place = np.arange(len(order)) - np.repeat(counts.indptr[:-1], counts.counts)
        kept = np.sort(order[place < n_neighbours])
        starts = np.searchsorted(first[kept], np.arange(n + 1)).astype(np.int64)
        return Grouped(starts, counts.indices[kept], values[kept].astype(np.float32))

    def _aged(self, weighted: Grouped, times: NDArray[np.float64]) -> Grouped:
        faded = super()._aged(weighted, times)
        decay = self.history_decay ** moments_after(weighted, times)
        return faded._replace(ratings=(faded.ratings * decay).astype(np.float32))


def moments_after(grouped: Grouped, times: NDArray[np.float64]) -> NDArray[np.int64]:
    """(n_interactions,) how many later moments the row of each interaction has.

    Examples:
        >>> import numpy as np
        >>> from bilinear.data.interactions import Grouped
        >>> from bilinear.estimators.transitions import moments_after
        >>> rows = Grouped(np.array([0, 3, 4]), np.array([0, 1, 2, 0]), np.ones(4))
        >>> moments_after(rows, np.array([5.0, 9.0, 5.0, 7.0]))
        array([1, 0, 1, 0])
    """
    if not len(times):
        return np.zeros(0, np.int64)
    owner = np.repeat(np.arange(len(grouped.counts)), grouped.counts)
    order = np.lexsort((-times, owner))
    later = np.zeros(len(order), np.int64)
    new_moment = np.cumsum((times[order][1:] != times[order][:-1]) | (owner[1:] != owner[:-1]))
    moments = np.concatenate([[0], new_moment])  # of all rows, counted on
    counts = grouped.counts
    later[order] = moments - np.repeat(moments[grouped.indptr[:-1][counts > 0]], counts[counts > 0])
    return later


def _counts(table: Interactions, window: int) -> Grouped:
    """c(i, j), grouped by i."""
    from scipy.sparse import coo_array, csr_array

    assert table.times is not None
    order = np.lexsort((table.items, table.times, table.users))
    users, items, times = table.users[order], table.items[order], table.times[order]
    weights = table.ratings[order].astype(np.float64)
    shape = table.n_items, table.n_items
    total = csr_array(shape, dtype=np.float64)
    for places in range(1, window + 1):
        at = np.flatnonzero((users[places:] == users[:-places]) & (times[places:] > times[:-places]))
        if not len(at):
            continue
        steps = weights[at] * weights[at + places] / places
        total = total + coo_array((steps, (items[at], items[at + places])), shape).tocsr()
    total.sort_indices()
    return Grouped(total.indptr.astype(np.int64), total.indices.astype(np.int32), total.data)
