"""Exact top-k lists for a few users at once, for requests that wait together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard

import numpy as np
from numpy.typing import NDArray

from bilinear.estimators.fold_in import best_rows
from bilinear.kernels.screen_tile import SCREEN_USERS
from bilinear.model.parameters import Array, Parameters
from bilinear.recommend.screening import Ranked, Rows, ScreenedItems

AT_ONCE = 8 * SCREEN_USERS
_FEW = 32
"""Below this share of the items, each of them is scored rather than all of them screened."""


@dataclass(frozen=True, eq=False, slots=True)
class TopKQuery:
    """One list to be made: score(i) = offset + item_biases[i] + <vector, item_factors[i]>.

    Attributes:
        vector: (n_factors,) float32.
        offset: what all scores have in common.
        hidden: rows that are left out, ascending.
        n: length.
        only: rows that may be listed, ascending, or None for all.
    """

    vector: Array
    offset: float
    hidden: Rows
    n: int
    only: Rows | None = None


class DotRetrieval:
    """Exact lists over the item factors of one model; safe to call from several threads.

    A list is that of a scan of all items in row order, with the same bits (`kernels.screened_top_k`).

    Args:
        allowed: (n_items,) what may be listed at all; None is all.
        screened: the items, where they have been screened before.
    Cost:
        a byte for each item and factor. A list costs O(n_items * n_factors) at most; lists made together
        share the reading of the items.
    """

    def __init__(
        self,
        parameters: Parameters,
        allowed: NDArray[np.bool_] | None = None,
        screened: ScreenedItems | None = None,
    ) -> None:
        self.parameters, self._allowed = parameters, allowed
        self._items = ScreenedItems.of(parameters, allowed) if screened is None else screened

    def lists(self, queries: Sequence[TopKQuery]) -> list[Ranked]:
        """Rows and scores of each list, best first; ties by row."""
        ranked: list[Ranked | None] = [
            self._among(query, query.only) if self._is_few(query.only) else None for query in queries
        ]
        whole = [at for at, made in enumerate(ranked) if made is None]
        for start in range(0, len(whole), AT_ONCE):
            part = whole[start : start + AT_ONCE]
            for at, made in zip(part, self._together([queries[at] for at in part]), strict=True):
                ranked[at] = made
        return [made for made in ranked if made is not None]

    def _is_few(self, only: Rows | None) -> TypeGuard[Rows]:
        return only is not None and len(only) < self.parameters.n_items // _FEW

    def _together(self, queries: Sequence[TopKQuery]) -> list[Ranked]:
        vectors = np.empty((len(queries), self.parameters.n_factors), np.float32)
        for at, query in enumerate(queries):
            vectors[at] = query.vector
        return self._items.lists(
            vectors,
            np.array([query.offset for query in queries], np.float32),
            [query.hidden for query in queries],
            [query.n for query in queries],
            [query.only for query in queries],
        )

    def _among(self, query: TopKQuery, only: Rows) -> Ranked:
        """A list from a few of the items: only their factors are read."""
        left = np.isin(only, query.hidden, assume_unique=True, invert=True)
        if self._allowed is not None:
            left &= self._allowed[only]
        rows = only[left]
        vector = np.ascontiguousarray(query.vector, np.float32)
        scores = self._items.scores(vector, np.float32(query.offset), rows)
        best, kept = best_rows(scores[None], query.n, np.ones(len(rows), bool))
        return rows[best], kept
