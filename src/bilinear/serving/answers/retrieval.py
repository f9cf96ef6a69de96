"""Exact top-k lists for a few users at once, for requests that wait together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bilinear.kernels.tile import TILE_USERS
from bilinear.kernels.top_k import top_k_rows
from bilinear.kernels.top_k_blocks import packed_rows, top_k_block
from bilinear.kernels.views import read_only
from bilinear.model.blocks import in_tiles
from bilinear.model.parameters import Array, Parameters
from bilinear.recommend.block_rankers import ItemPanels, vector_lengths

Rows = NDArray[np.int32]
Ranked = tuple[Rows, NDArray[np.float32]]

AT_ONCE = 2 * TILE_USERS
_FEW = 8
"""Below this share of the items, their factors are copied together rather than looked for."""


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

    Items lie in panels with the largest first, so that a list is done when no later item can reach
    it; scores are compared with the user's worst kept while in registers (`kernels.top_k_blocks`).

    Cost:
        one copy of the item factors. A list costs O(n_items * n_factors) at most; up to `TILE_USERS`
        lists at once cost little more than one, because they share the reading of the items.
    """

    def __init__(self, parameters: Parameters) -> None:
        self.parameters = parameters
        self._panels = ItemPanels.of(parameters)

    def lists(self, queries: Sequence[TopKQuery]) -> list[Ranked]:
        """Rows and scores of each list, best first; ties by row."""
        ranked: list[Ranked | None] = [
            None if query.only is None else self._among(query, query.only) for query in queries
        ]
        whole = [at for at, made in enumerate(ranked) if made is None]
        for start in range(0, len(whole), AT_ONCE):
            part = whole[start : start + AT_ONCE]
            for at, made in zip(part, self._together([queries[at] for at in part]), strict=True):
                ranked[at] = made
        return [made for made in ranked if made is not None]

    def _together(self, queries: Sequence[TopKQuery]) -> list[Ranked]:
        n_queries, panels = len(queries), self._panels
        k = min(max(query.n for query in queries), self.parameters.n_items)
        vectors = np.empty((n_queries, self.parameters.n_factors), np.float32)
        offsets, starts = np.empty(n_queries, np.float32), np.zeros(n_queries + 1, np.int64)
        for at, query in enumerate(queries):
            vectors[at], offsets[at] = query.vector, query.offset
            starts[at + 1] = starts[at] + len(query.hidden)
        hidden = np.concatenate([query.hidden for query in queries])
        users = np.arange(n_queries, dtype=np.int32)
        rows = np.full((n_queries, k), -1, np.int32)
        scores, counts = np.empty((n_queries, k), np.float32), np.zeros(n_queries, np.int64)
        top_k_block(
            packed_rows(vectors, users, TILE_USERS),
            in_tiles(offsets, TILE_USERS),
            in_tiles(vector_lengths(vectors), TILE_USERS),
            panels.tiles,
            panels.biases,
            panels.rows,
            panels.reach_lengths,
            panels.reach_biases,
            users,
            read_only(starts),
            read_only(hidden),
            k,
            rows,
            scores,
            counts,
        )
        lengths = [min(int(count), query.n) for count, query in zip(counts, queries, strict=True)]
        return [(rows[at, :length], scores[at, :length]) for at, length in enumerate(lengths)]

    def _among(self, query: TopKQuery, only: Rows) -> Ranked:
        """A list from some of the items: only their factors are read."""
        factors, biases = self.parameters.item_factors, self.parameters.item_biases
        k = min(query.n, len(only))
        few = len(only) < len(biases) // _FEW
        if few:
            factors, biases = factors[only], biases[only]
            allowed = np.isin(only, query.hidden, assume_unique=True, invert=True)
        else:  # no copy of factors
            allowed = np.zeros(len(biases), bool)
            allowed[only] = True
            allowed[query.hidden] = False
        rows, scores = np.empty(k, np.int32), np.empty(k, np.float32)
        vector, nothing = np.ascontiguousarray(query.vector, np.float32), np.zeros(len(biases), np.int64)
        found = top_k_rows(
            vector,
            float(query.offset),
            read_only(factors),
            read_only(biases),
            allowed,
            nothing,
            -1,
            k,
            rows,
            scores,
        )
        return (only[rows[:found]] if few else rows[:found]), scores[:found]
