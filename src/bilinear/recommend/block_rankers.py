"""Rankers of blocks of users or items, chosen by the capabilities of the model."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from bilinear.data.interactions import Grouped
from bilinear.data.vocabulary import Id, Vocabulary
from bilinear.errors import ParameterValueError
from bilinear.kernels.tile import TILE_ITEMS, TILE_USERS
from bilinear.kernels.top_k_blocks import first_nan, hide_seen, packed_rows, top_k_block, top_k_scores
from bilinear.kernels.views import read_only
from bilinear.model.blocks import in_tiles, user_offsets
from bilinear.model.parameters import Array, Parameters

Rows = NDArray[np.int32]
Maker = Callable[[Rows], "Lists"]


class Model(Protocol):
    """Protocol of the models that lists are made from; every `Recommender` follows it."""

    user_vocabulary_: Vocabulary
    item_vocabulary_: Vocabulary
    seen_: Grouped

    def score_block(self, user_rows: NDArray[Any]) -> Array: ...
    def dot_product(self) -> Parameters | None: ...
    def item_vectors(self) -> Array | None: ...
    def allowed(self, candidates: Iterable[Id] | None) -> NDArray[np.bool_]: ...
    def item_has_ratings(self, item_rows: NDArray[Any]) -> NDArray[np.bool_]: ...
    def has_ratings(self, user_rows: NDArray[Any]) -> NDArray[np.bool_]: ...
    def feature_rows(self, side: Literal["items", "users"], rows: NDArray[Any]) -> NDArray[np.bool_]: ...
    def supported(self) -> NDArray[np.bool_]: ...
    def hidden(self, exclude_seen: bool) -> Grouped: ...
    def _alike(self, item_row: int, n: int, allowed: NDArray[np.bool_]) -> tuple[Rows, Array]: ...


@dataclass(frozen=True, eq=False)
class Lists:
    """Ranked lists as arrays of rows, best first; ties by row.

    Attributes:
        subjects: (n_lists,) rows of the users (or items) that the lists are for.
        items: (n_lists, n) rows of items, -1 past the end of a list.
        scores: (n_lists, n) what a list is sorted by, NaN past its end.
        counts: (n_lists,) lengths: below n where the catalogue or the candidates run out.
    """

    subjects: Rows
    items: Rows
    scores: Array
    counts: NDArray[np.int64]

    @classmethod
    def empty(cls, subjects: Rows, n: int, dtype: Any = np.float32) -> Lists:
        """Lists without places, to be filled."""
        shape = len(subjects), n
        return cls(
            subjects,
            np.full(shape, -1, np.int32),
            np.full(shape, np.nan, dtype),
            np.zeros(len(subjects), np.int64),
        )

    @classmethod
    def joined(cls, parts: Iterable[Lists], n: int) -> Lists:
        """One after the other."""
        parts = list(parts) or [cls.empty(np.empty(0, np.int32), n)]
        return cls(
            np.concatenate([part.subjects for part in parts]),
            np.concatenate([part.items for part in parts]),
            np.concatenate([part.scores for part in parts]),
            np.concatenate([part.counts for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.subjects)


@dataclass(frozen=True, eq=False, slots=True)
class ItemPanels:
    """Items as `top_k_block` reads them, those that reach far first; `reach_*` (n_panels,) float64.

    Attributes:
        tiles, biases, rows: factors, biases and rows of `TILE_ITEMS` items a panel.
        reach_lengths, reach_biases: no vector and no bias is larger from a panel on.
        user_lengths: (n_users,) of the user factors.
    """

    tiles: Array
    biases: Array
    rows: Rows
    reach_lengths: NDArray[np.float64]
    reach_biases: NDArray[np.float64]
    user_lengths: NDArray[np.float64]

    @classmethod
    def of(cls, parameters: Parameters, allowed: NDArray[np.bool_] | None = None) -> ItemPanels:
        """A copy of the factors of the items that are `allowed`, None being all."""
        lengths, user_lengths = (
            vector_lengths(parameters.item_factors),
            vector_lengths(parameters.user_factors),
        )
        biases = parameters.item_biases.astype(np.float32)
        order = np.arange(len(biases)) if allowed is None else np.flatnonzero(allowed)
        # By the most an item can score for a user of middling length, so that floors rise early.
        middling = float(np.median(user_lengths)) if len(user_lengths) else 0.0
        order = order[np.argsort(-(biases[order] + middling * lengths[order]), kind="stable")]
        panel_biases = in_tiles(biases[order], TILE_ITEMS, -np.inf)
        return cls(
            packed_rows(parameters.item_factors, order, TILE_ITEMS),
            panel_biases,
            in_tiles(order.astype(np.int32), TILE_ITEMS, -1),
            _most_from_here(in_tiles(lengths[order], TILE_ITEMS)),
            _most_from_here(panel_biases.astype(np.float64)),
            user_lengths,
        )


def dot_product_maker(
    parameters: Parameters, seen: Grouped, allowed: NDArray[np.bool_], k: int
) -> Callable[[Rows], Lists]:
    """Makes lists from tiles of scores; what blocks share is prepared here, once."""
    _check_finite(parameters)
    panels = ItemPanels.of(parameters, allowed)
    user_lengths = panels.user_lengths
    indptr, indices = read_only(seen.indptr), read_only(seen.indices)

    def make(user_rows: Rows) -> Lists:
        lists = Lists.empty(user_rows, k)
        own_lengths = np.where(user_rows >= 0, user_lengths[user_rows], 0.0) if len(user_lengths) else 0.0
        top_k_block(
            packed_rows(parameters.user_factors, user_rows, TILE_USERS),
            in_tiles(user_offsets(parameters, user_rows), TILE_USERS),
            in_tiles(np.broadcast_to(own_lengths, len(user_rows)), TILE_USERS),
            panels.tiles,
            panels.biases,
            panels.rows,
            panels.reach_lengths,
            panels.reach_biases,
            user_rows,
            indptr,
            indices,
            k,
            lists.items,
            lists.scores,
            lists.counts,
        )
        return lists

    return make


def score_maker(model: Model, seen: Grouped, allowed: NDArray[np.bool_], k: int) -> Maker:
    indptr, indices = read_only(seen.indptr), read_only(seen.indices)

    def make(user_rows: Rows) -> Lists:
        scores = model.score_block(user_rows)
        wrong = first_nan(scores)
        if wrong >= 0:
            user = model.user_vocabulary_[int(user_rows[wrong])]
            raise ParameterValueError(
                f"{type(model).__name__}: a score of user {user!r} is not a number, so its items cannot be "
                "ranked; train again"
            )
        hide_seen(scores, user_rows, indptr, indices)
        lists = Lists.empty(user_rows, k, scores.dtype)
        top_k_scores(scores, allowed, k, lists.items, lists.scores, lists.counts)
        return lists

    return make


def supported_maker(make: Maker, first: Maker, rest: Maker, unknown: Rows) -> Maker:
    """Lists by `make`; those of the `unknown` users (rows, ascending) by `first`, filled up by `rest`."""

    def made(user_rows: Rows) -> Lists:
        lists = make(user_rows)
        chosen = np.flatnonzero(np.isin(user_rows, unknown))
        if len(chosen):
            head, tail = first(user_rows[chosen]), rest(user_rows[chosen])
            for n, at in enumerate(chosen.tolist()):
                a = int(head.counts[n])
                b = min(int(tail.counts[n]), lists.items.shape[1] - a)
                for whole, one, other in (
                    (lists.items, head.items, tail.items),
                    (lists.scores, head.scores, tail.scores),
                ):
                    whole[at, :a], whole[at, a : a + b] = one[n, :a], other[n, :b]
                lists.counts[at] = a + b
        return lists

    return made


def cosine_maker(
    vectors: Array, trained: NDArray[np.bool_], allowed: NDArray[np.bool_], k: int
) -> Callable[[Rows], Lists]:
    lengths = vector_lengths(vectors)
    has_direction = lengths > 0
    unit = (vectors / np.where(has_direction, lengths, 1)[:, None]).astype(np.float32)
    nothing = np.zeros(len(unit), np.float32)
    itself = Grouped(np.arange(len(unit) + 1), np.arange(len(unit), dtype=np.int32), nothing)
    by_dot = dot_product_maker(
        Parameters(0.0, nothing, nothing, unit, unit), itself, allowed & has_direction, k
    )
    listed = trained & has_direction

    def make(item_rows: Rows) -> Lists:
        lists = Lists.empty(item_rows, k)
        mine = np.flatnonzero(listed[item_rows])
        made = by_dot(item_rows[mine])
        lists.items[mine], lists.scores[mine], lists.counts[mine] = made.items, made.scores, made.counts
        return lists

    return make


def alike_maker(model: Model, trained: NDArray[np.bool_], allowed: NDArray[np.bool_], k: int) -> Maker:
    def make(item_rows: Rows) -> Lists:
        lists = Lists.empty(item_rows, k)
        for n, row in enumerate(item_rows.tolist()):
            if trained[row]:
                rows, scores = model._alike(row, k, allowed)
                found = lists.counts[n] = len(rows)
                lists.items[n, :found], lists.scores[n, :found] = rows, scores
        return lists

    return make


def _check_finite(parameters: Parameters) -> None:
    for name, array in parameters.arrays().items():
        if not np.isfinite(array).all():
            raise ParameterValueError(f"{name} has values that are not finite; train again")


def vector_lengths(vectors: Array) -> NDArray[np.float64]:
    """(n,) in float64."""
    lengths: NDArray[np.float64] = np.sqrt(np.einsum("nf,nf->n", vectors, vectors, dtype=np.float64))
    return lengths


def _most_from_here(panels: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n_panels,) the largest value in each panel and all after it."""
    most: NDArray[np.float64] = np.maximum.accumulate(panels.max(axis=1)[::-1])[::-1].copy()
    return most
