"""The best items for a few people at once, exactly: what requests that wait together share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bilinear.kernels.tile import TILE_ITEMS, TILE_USERS
from bilinear.kernels.top_k import top_k_rows
from bilinear.kernels.top_k_blocks import packed_rows, top_k_block
from bilinear.model.blocks import in_tiles
from bilinear.model.parameters import Array, Parameters

Rows = NDArray[np.int32]
Ranked = tuple[Rows, NDArray[np.float32]]

AT_ONCE = 2 * TILE_USERS
_FEW = 8
"""Below this share of the items, their factors are copied together rather than looked for."""


@dataclass(frozen=True, eq=False, slots=True)
class Wish:
    """One list to be made: score(i) = offset + item_biases[i] + <vector, item_factors[i]>.

    Attributes:
        vector: (n_factors,) float32. offset: what all scores have in common.
        hidden: rows that are left out, ascending.
        n: length. only: rows that may be listed, ascending, or None for all.
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
    Cost: one copy of the item factors. A list costs O(n_items * n_factors) at most; up to
    `TILE_USERS` lists at once cost little more than one, because they share the reading of the items.
    """

    def __init__(self, parameters: Parameters) -> None:
        self.parameters = parameters
        lengths, user_lengths = _lengths(parameters.item_factors), _lengths(parameters.user_factors)
        biases = parameters.item_biases.astype(np.float32)
        middling = float(np.median(user_lengths)) if len(user_lengths) else 0.0
        order = np.argsort(-(biases + middling * lengths), kind="stable")
        self._tiles = packed_rows(parameters.item_factors, order, TILE_ITEMS)
        self._item_rows = in_tiles(order.astype(np.int32), TILE_ITEMS, -1)
        self._biases = in_tiles(biases[order], TILE_ITEMS, -np.inf)
        self._reach_lengths = _most_from_here(in_tiles(lengths[order], TILE_ITEMS))
        self._reach_biases = _most_from_here(self._biases.astype(np.float64))

    def lists(self, wishes: Sequence[Wish]) -> list[Ranked]:
        """Rows and scores of each list, best first; ties by row."""
        ranked: list[Ranked | None] = [
            None if wish.only is None else self._among(wish, wish.only) for wish in wishes
        ]
        whole = [at for at, made in enumerate(ranked) if made is None]
        for start in range(0, len(whole), AT_ONCE):
            part = whole[start : start + AT_ONCE]
            for at, made in zip(part, self._together([wishes[at] for at in part]), strict=True):
                ranked[at] = made
        return [made for made in ranked if made is not None]

    def _together(self, wishes: Sequence[Wish]) -> list[Ranked]:
        n_wishes = len(wishes)
        k = min(max(wish.n for wish in wishes), self.parameters.n_items)
        vectors = np.empty((n_wishes, self.parameters.n_factors), np.float32)
        offsets, starts = np.empty(n_wishes, np.float32), np.zeros(n_wishes + 1, np.int64)
        for at, wish in enumerate(wishes):
            vectors[at], offsets[at] = wish.vector, wish.offset
            starts[at + 1] = starts[at] + len(wish.hidden)
        hidden = np.concatenate([wish.hidden for wish in wishes])
        users = np.arange(n_wishes, dtype=np.int32)
        rows = np.full((n_wishes, k), -1, np.int32)
        scores, counts = np.empty((n_wishes, k), np.float32), np.zeros(n_wishes, np.int64)
        top_k_block(
            packed_rows(vectors, users, TILE_USERS),
            in_tiles(offsets, TILE_USERS),
            in_tiles(_lengths(vectors), TILE_USERS),
            self._tiles,
            self._biases,
            self._item_rows,
            self._reach_lengths,
            self._reach_biases,
            users,
            _read_only(starts),
            _read_only(hidden),
            k,
            rows,
            scores,
            counts,
        )
        lengths = [min(int(count), wish.n) for count, wish in zip(counts, wishes, strict=True)]
        return [(rows[at, :length], scores[at, :length]) for at, length in enumerate(lengths)]

    def _among(self, wish: Wish, only: Rows) -> Ranked:
        """A list from some of the items: only their factors are read."""
        factors, biases = self.parameters.item_factors, self.parameters.item_biases
        k = min(wish.n, len(only))
        few = len(only) < len(biases) // _FEW
        if few:
            factors, biases = factors[only], biases[only]
            allowed = np.isin(only, wish.hidden, assume_unique=True, invert=True)
        else:  # no copy of factors
            allowed = np.zeros(len(biases), bool)
            allowed[only] = True
            allowed[wish.hidden] = False
        rows, scores = np.empty(k, np.int32), np.empty(k, np.float32)
        vector, nothing = np.ascontiguousarray(wish.vector, np.float32), np.zeros(len(biases), np.int64)
        found = top_k_rows(
            vector,
            float(wish.offset),
            _read_only(factors),
            _read_only(biases),
            allowed,
            nothing,
            -1,
            k,
            rows,
            scores,
        )
        return (only[rows[:found]] if few else rows[:found]), scores[:found]


def _lengths(vectors: Array) -> NDArray[np.float64]:
    lengths: NDArray[np.float64] = np.sqrt(np.einsum("nf,nf->n", vectors, vectors, dtype=np.float64))
    return lengths


def _most_from_here(panels: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n_panels,) the largest value in each panel and all after it."""
    most: NDArray[np.float64] = np.maximum.accumulate(panels.max(axis=1)[::-1])[::-1].copy()
    return most


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    """As tables mapped from disk are, so that a kernel is compiled once."""
    view = array.view()
    view.setflags(write=False)
    return view
