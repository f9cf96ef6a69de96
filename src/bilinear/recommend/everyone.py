"""Lists for everyone: exact top n for all users, or for all items the items like them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bilinear.arguments import is_whole
from bilinear.data.interactions import Grouped
from bilinear.data.vocabulary import Id, Vocabulary
from bilinear.errors import ParameterValueError
from bilinear.kernels.tile import TILE_ITEMS, TILE_USERS
from bilinear.kernels.top_k_blocks import first_nan, hide_seen, packed_rows, top_k_block, top_k_scores
from bilinear.model.blocks import checked_block_size, checked_threads, in_tiles, map_blocks, user_offsets
from bilinear.model.parameters import Array, Parameters

_USERS_AT_ONCE = 1008  # whole tiles of 12 and of 6
_SCORES_AT_ONCE = 1 << 23

Rows = NDArray[np.int32]
Maker = Callable[[Rows], "Lists"]


class Model(Protocol):
    """What lists need of a fitted model; every `Recommender` has it."""

    user_vocabulary_: Vocabulary
    item_vocabulary_: Vocabulary
    seen_: Grouped

    def score_block(self, user_rows: NDArray[Any]) -> Array: ...
    def dot_product(self) -> Parameters | None: ...
    def item_vectors(self) -> Array | None: ...
    def allowed(self, candidates: Iterable[Id] | None) -> NDArray[np.bool_]: ...
    def item_has_ratings(self, item_rows: NDArray[Any]) -> NDArray[np.bool_]: ...
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


def recommend_everyone(
    model: Model,
    n: int = 10,
    *,
    users: Iterable[Id] | None = None,
    exclude_seen: bool = True,
    candidates: Iterable[Id] | None = None,
    n_threads: int | None = None,
    block_size: int | None = None,
) -> Lists:
    """The `n` best items of each user, exactly; the same bits for any block size and thread count.

    Args:
        users: ids in the order wanted; None is all users of the model.
        exclude_seen: leave out what the user has seen in training.
        candidates: only these items.
        n_threads: None takes all cores. block_size: users at once; None chooses.
    Raises:
        UnknownIdError: a user or a candidate that the model does not know.
    Cost: 8 bytes a place of memory. Of a dot product O(users * n_items * n_factors) time at most;
        items whose vectors are too short to reach a list are not multiplied. Of other models what
        `score_block` costs, 32 MB of scores a thread.
    """
    blocks = lists_of_users(
        model,
        n,
        users=users,
        exclude_seen=exclude_seen,
        candidates=candidates,
        n_threads=n_threads,
        block_size=block_size,
    )
    return Lists.joined(blocks, _list_length(n, len(model.item_vocabulary_)))


def similar_everyone(
    model: Model,
    n: int = 10,
    *,
    items: Iterable[Id] | None = None,
    candidates: Iterable[Id] | None = None,
    n_threads: int | None = None,
    block_size: int | None = None,
) -> Lists:
    """For each item the `n` items most like it, as `similar` has them, without itself.

    An item without training ratings has an empty list. Arguments, errors and cost as
    `recommend_everyone`, with `items` for `users`.
    """
    blocks = lists_of_items(
        model, n, items=items, candidates=candidates, n_threads=n_threads, block_size=block_size
    )
    return Lists.joined(blocks, _list_length(n, len(model.item_vocabulary_)))


def lists_of_users(
    model: Model,
    n: int = 10,
    *,
    users: Iterable[Id] | None = None,
    exclude_seen: bool = True,
    candidates: Iterable[Id] | None = None,
    n_threads: int | None = None,
    block_size: int | None = None,
) -> Iterator[Lists]:
    """`recommend_everyone` block by block, in order, for lists that do not fit in memory."""
    k = _list_length(n, len(model.item_vocabulary_))
    rows = _rows_of(users, model.user_vocabulary_, "user")
    allowed = model.allowed(candidates)
    seen = model.seen_ if exclude_seen else _nothing(len(model.user_vocabulary_))
    parameters = model.dot_product()
    if parameters is not None:
        maker, default = dot_product_maker(parameters, seen, allowed, k), _USERS_AT_ONCE
    else:
        maker, default = _score_maker(model, seen, allowed, k), max(1, _SCORES_AT_ONCE // len(allowed))
    return map_blocks(maker, rows, checked_block_size(block_size, default), checked_threads(n_threads))


def lists_of_items(
    model: Model,
    n: int = 10,
    *,
    items: Iterable[Id] | None = None,
    candidates: Iterable[Id] | None = None,
    n_threads: int | None = None,
    block_size: int | None = None,
) -> Iterator[Lists]:
    """`similar_everyone` block by block, in order."""
    n_items = len(model.item_vocabulary_)
    k = _list_length(n, n_items)
    rows = _rows_of(items, model.item_vocabulary_, "item")
    allowed = model.allowed(candidates)
    trained = model.item_has_ratings(np.arange(n_items))
    vectors = model.item_vectors()
    maker = (
        _cosine_maker(vectors, trained, allowed, k)
        if vectors is not None
        else _alike_maker(model, trained, allowed, k)
    )
    return map_blocks(maker, rows, checked_block_size(block_size, _USERS_AT_ONCE), checked_threads(n_threads))


def dot_product_maker(
    parameters: Parameters, seen: Grouped, allowed: NDArray[np.bool_], k: int
) -> Callable[[Rows], Lists]:
    """Makes lists from tiles of scores; what blocks share is prepared here, once."""
    _check_finite(parameters)
    lengths = _lengths(parameters.item_factors)
    biases = parameters.item_biases.astype(np.float32)
    order = np.flatnonzero(allowed)
    # By the most an item can score for a user of middling length, so that floors rise early.
    user_lengths = _lengths(parameters.user_factors)
    middling = float(np.median(user_lengths)) if len(user_lengths) else 0.0
    order = order[np.argsort(-(biases[order] + middling * lengths[order]), kind="stable")]
    tiles = packed_rows(parameters.item_factors, order, TILE_ITEMS)
    item_rows = in_tiles(order.astype(np.int32), TILE_ITEMS, -1)
    panel_biases = in_tiles(biases[order], TILE_ITEMS, -np.inf)
    reach_lengths = _most_from_here(in_tiles(lengths[order], TILE_ITEMS))
    reach_biases = _most_from_here(panel_biases.astype(np.float64))
    starts, others = _read_only(seen.starts), _read_only(seen.others)

    def make(user_rows: Rows) -> Lists:
        lists = Lists.empty(user_rows, k)
        own_lengths = np.where(user_rows >= 0, user_lengths[user_rows], 0.0) if len(user_lengths) else 0.0
        top_k_block(
            packed_rows(parameters.user_factors, user_rows, TILE_USERS),
            in_tiles(user_offsets(parameters, user_rows), TILE_USERS),
            in_tiles(np.broadcast_to(own_lengths, len(user_rows)), TILE_USERS),
            tiles,
            panel_biases,
            item_rows,
            reach_lengths,
            reach_biases,
            user_rows,
            starts,
            others,
            k,
            lists.items,
            lists.scores,
            lists.counts,
        )
        return lists

    return make


def _score_maker(model: Model, seen: Grouped, allowed: NDArray[np.bool_], k: int) -> Maker:
    starts, others = _read_only(seen.starts), _read_only(seen.others)

    def make(user_rows: Rows) -> Lists:
        scores = model.score_block(user_rows)
        wrong = first_nan(scores)
        if wrong >= 0:
            user = model.user_vocabulary_[int(user_rows[wrong])]
            raise ParameterValueError(
                f"{type(model).__name__}: a score of user {user!r} is no number, so its items cannot be "
                "ranked; train again"
            )
        hide_seen(scores, user_rows, starts, others)
        lists = Lists.empty(user_rows, k, scores.dtype)
        top_k_scores(scores, allowed, k, lists.items, lists.scores, lists.counts)
        return lists

    return make


def _cosine_maker(
    vectors: Array, trained: NDArray[np.bool_], allowed: NDArray[np.bool_], k: int
) -> Callable[[Rows], Lists]:
    lengths = _lengths(vectors)
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


def _alike_maker(model: Model, trained: NDArray[np.bool_], allowed: NDArray[np.bool_], k: int) -> Maker:
    def make(item_rows: Rows) -> Lists:
        lists = Lists.empty(item_rows, k)
        for n, row in enumerate(item_rows.tolist()):
            if trained[row]:
                rows, scores = model._alike(row, k, allowed)
                found = lists.counts[n] = len(rows)
                lists.items[n, :found], lists.scores[n, :found] = rows, scores
        return lists

    return make


def _rows_of(ids: Iterable[Id] | None, vocabulary: Vocabulary, what: str) -> Rows:
    if ids is None:
        return np.arange(len(vocabulary), dtype=np.int32)
    if isinstance(ids, (str, bytes)) or not isinstance(ids, Iterable):
        raise ParameterValueError(f"{what}s takes several ids, not {ids!r} alone; give [{ids!r}]")
    asked: Any = ids if isinstance(ids, np.ndarray) else list(ids)
    rows = vocabulary.encode(asked)
    if (rows < 0).any():
        vocabulary.row(asked[int(np.argmax(rows < 0))], what)
    return rows


def _list_length(n: int, n_items: int) -> int:
    if not (is_whole(n) and n >= 1):
        raise ParameterValueError(f"n={n!r}: the length of a list is a whole number, one or more")
    return min(int(n), n_items)


def _check_finite(parameters: Parameters) -> None:
    for name, array in parameters.arrays().items():
        if not np.isfinite(array).all():
            raise ParameterValueError(f"{name} has values that are not finite; train again")


def _lengths(vectors: Array) -> NDArray[np.float64]:
    lengths: NDArray[np.float64] = np.sqrt(np.einsum("nf,nf->n", vectors, vectors, dtype=np.float64))
    return lengths


def _most_from_here(panels: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n_panels,) the largest value in each panel and all after it."""
    most: NDArray[np.float64] = np.maximum.accumulate(panels.max(axis=1)[::-1])[::-1].copy()
    return most


def _nothing(n_rows: int) -> Grouped:
    return Grouped(np.zeros(n_rows + 1, np.int64), np.empty(0, np.int32), np.empty(0, np.float32))


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    """A view; kernels are compiled once for all tables, in memory or on disk."""
    view = np.asarray(array).view()
    view.setflags(write=False)
    return view
