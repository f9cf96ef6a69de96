"""Lists of a few users at once from items that were rounded to eight bits, exactly: what a server asks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bilinear.kernels.screen_tile import SCREEN_ITEMS, SCREEN_USERS
from bilinear.kernels.screened_top_k import (
    PANEL_TERMS,
    USER_TERMS,
    scores_of_rows,
    screen_items,
    screen_users,
    screened_top_k,
)
from bilinear.kernels.views import read_only
from bilinear.model.blocks import in_tiles
from bilinear.model.parameters import Array, Parameters
from bilinear.recommend.block_rankers import vector_lengths

Rows = NDArray[np.int32]
Ranked = tuple[Rows, NDArray[np.float32]]

_MANY = 100_000
"""Users whose lengths are looked at."""
_WIDEST = 1024.0
"""The bias and the factors of a rounded item differ in scale by at most this."""


@dataclass(frozen=True, eq=False, slots=True)
class ScreenedItems:
    """Items as `screened_top_k` reads them: a byte a factor, beside the factors themselves.

    Attributes:
        factors, biases: (n_items, n_factors) and (n_items,) float32, as in the model.
        bias_weight: by what a bias is multiplied where it is one more factor.
        pairs, rows, terms: see `screen_items`.
    """

    factors: NDArray[np.float32]
    biases: NDArray[np.float32]
    bias_weight: float
    pairs: NDArray[np.uint8]
    rows: Rows
    terms: NDArray[np.float64]

    @classmethod
    def of(cls, parameters: Parameters, allowed: NDArray[np.bool_] | None = None) -> ScreenedItems:
        """The items that are `allowed`, None being all; those that reach far come first.

        Cost:
            O(n_items * n_factors) time; n_items * n_factors bytes. The factors are not copied.
        """
        factors = np.ascontiguousarray(parameters.item_factors, np.float32)
        biases = np.ascontiguousarray(parameters.item_biases, np.float32)
        order = np.arange(len(biases)) if allowed is None else np.flatnonzero(allowed)
        lengths = vector_lengths(factors)
        user_lengths = vector_lengths(parameters.user_factors[:: 1 + len(parameters.user_factors) // _MANY])
        # By the most an item can score for a user of middling length, so that floors rise early.
        middling = float(np.median(user_lengths)) if len(user_lengths) else 0.0
        middling = middling or 1.0
        order = order[np.argsort(-(biases[order] + middling * lengths[order]), kind="stable")].astype(
            np.int32
        )
        n_panels, n_pairs = -(-len(order) // SCREEN_ITEMS), parameters.n_factors // 2 + 1
        pairs = np.empty((n_panels, n_pairs, SCREEN_ITEMS, 2), np.uint8)
        rows = np.empty((n_panels, SCREEN_ITEMS), np.int32)
        terms = np.empty((n_panels, PANEL_TERMS), np.float64)
        weight = _bias_weight(biases[order], lengths[order], middling)
        screen_items(read_only(factors), read_only(biases), order, weight, pairs, rows, terms)
        return cls(factors, biases, weight, pairs, rows, terms)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """What `restored` takes, beside the parameters."""
        weight = np.array([self.bias_weight])
        return {"bias_weight": weight, "pairs": self.pairs, "rows": self.rows, "terms": self.terms}

    @classmethod
    def restored(cls, parameters: Parameters, tensor: Callable[..., NDArray[Any]]) -> ScreenedItems:
        """The inverse of `tensors`; KeyError or ValueError for what another version has made."""
        n_items, n_factors = parameters.item_factors.shape
        n_panels = -(-n_items // SCREEN_ITEMS)
        rows = tensor("rows", np.int32, n_panels, SCREEN_ITEMS)
        if n_items and not (rows.min() >= -1 and rows.max() < n_items):
            raise ValueError("rows names items that are not there")
        return cls(
            parameters.item_factors.astype(np.float32, copy=False),
            parameters.item_biases.astype(np.float32, copy=False),
            float(tensor("bias_weight", np.float64, 1)[0]),
            tensor("pairs", np.uint8, n_panels, n_factors // 2 + 1, SCREEN_ITEMS, 2),
            rows,
            tensor("terms", np.float64, n_panels, PANEL_TERMS),
        )

    def lists(
        self,
        vectors: NDArray[np.float32],
        offsets: NDArray[np.float32],
        hidden: Sequence[Rows],
        lengths: Sequence[int],
        only: Sequence[Rows | None] | None = None,
    ) -> list[Ranked]:
        """Rows and scores of a list for each user, best first; ties by row.

        score(i) = offset + biases[i] + <vector, factors[i]>, with the bits of a full scan.

        Args:
            vectors: (n, n_factors).
            offsets: (n,) what all scores of a user have in common.
            hidden: rows that are left out of each list, ascending.
            lengths: of the lists; one is shorter where the items run out.
            only: rows that each list may hold, None for all.
        Cost:
            O(n_items * n_factors) at most; the items are read once for all users.
        """
        n = len(vectors)
        ks = np.minimum(np.asarray(lengths, np.int64), self.rows.size)
        width = int(ks.max(initial=0))
        starts = np.zeros(n + 1, np.int64)
        np.cumsum([len(one) for one in hidden], out=starts[1:])
        mask_of = np.full(n, -1, np.int32)
        asked = [at for at, rows in enumerate(only or ()) if rows is not None]
        masks = np.zeros((len(asked), len(self.biases)), np.bool_)
        for mask, at in enumerate(asked):
            masks[mask, only[at]], mask_of[at] = True, mask  # type: ignore[index]
        n_tiles = -(-n // SCREEN_USERS)
        user_pairs = np.zeros((n_tiles, self.pairs.shape[1], SCREEN_USERS), np.int32)
        user_starts = np.zeros((n_tiles, SCREEN_USERS), np.int16)
        user_terms = np.empty((n_tiles * SCREEN_USERS, USER_TERMS))
        vectors, offsets = read_only(vectors), read_only(offsets)
        screen_users(vectors, offsets, self.bias_weight, user_pairs, user_starts, user_terms)
        rows, scores = np.empty((n, width), np.int32), np.empty((n, width), np.float32)
        counts = np.zeros(n, np.int64)
        screened_top_k(
            user_pairs,
            user_starts,
            user_terms,
            read_only(self.pairs),
            read_only(self.rows),
            read_only(self.terms),
            vectors,
            offsets,
            read_only(self.factors),
            read_only(self.biases),
            starts,
            read_only(np.concatenate(hidden)),
            masks,
            mask_of,
            ks,
            rows,
            scores,
            counts,
        )
        return [(rows[at, :count], scores[at, :count]) for at, count in enumerate(counts.tolist())]

    def scores(self, vector: NDArray[np.float32], offset: np.float32, rows: Rows) -> NDArray[np.float32]:
        """(n,) scores of some items, with the bits of a full scan."""
        scores = np.empty(len(rows), np.float32)
        scores_of_rows(
            read_only(vector), offset, read_only(self.factors), read_only(self.biases), rows, scores
        )
        return scores


def _bias_weight(biases: Array, lengths: NDArray[np.float64], user_length: float) -> float:
    """The scale that makes the error of biases and factors together small for a user of that length."""
    if not len(biases):
        return 1.0
    panels = in_tiles(biases.astype(np.float64), SCREEN_ITEMS, np.nan)
    spread = float(np.mean(np.nanmax(panels, axis=1) - np.nanmin(panels, axis=1))) / 2
    length = float(np.median(lengths))
    weight = np.sqrt(length / (user_length * spread)) if spread > 0 else np.inf
    return float(np.clip(weight, 1 / (_WIDEST * user_length), _WIDEST / user_length))
