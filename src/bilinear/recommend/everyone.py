"""Exact lists for all users, or the most similar items for all items."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bilinear.arguments import is_whole
from bilinear.data.vocabulary import Id, Vocabulary
from bilinear.errors import ParameterValueError
from bilinear.model.blocks import checked_block_size, checked_threads, map_blocks
from bilinear.recommend.block_rankers import (
    Lists,
    Maker,
    Model,
    Rows,
    alike_maker,
    cosine_maker,
    dot_product_maker,
    score_maker,
    supported_maker,
)

_USERS_AT_ONCE = 1008  # whole tiles of 12 and of 6
_SCORES_AT_ONCE = 1 << 23


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
        n_threads: None takes all cores.
        block_size: users at once; None chooses.
    Raises:
        UnknownIdError: a user or a candidate that the model does not know.
    Cost:
        8 bytes a place of memory. Of a dot product O(users * n_items * n_factors) time at most; items
        whose vectors are too short to reach a list are not multiplied. Of other models what
        `score_block` costs, 32 MB of scores a thread.

    Examples:
        >>> from bilinear import Interactions, Popularity, recommend_everyone
        >>> users, items = "ann ann bob bob cat".split(), "tea jam tea salt tea".split()
        >>> model = Popularity().fit(Interactions.from_columns(users, items))
        >>> lists = recommend_everyone(model, n=2)
        >>> lists.counts, model.item_vocabulary_.decode(lists.items[2])
        (array([1, 1, 2]), array(['jam', 'salt'], dtype=object))
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

    Examples:
        >>> from bilinear import EASE, similar_everyone, synthetic_catalogue
        >>> model = EASE(l2=20.0).fit(synthetic_catalogue(1000, 40, 60, rng=0).interactions)
        >>> similar_everyone(model, n=5).items.shape
        (60, 5)
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
    seen = model.hidden(exclude_seen)
    parameters = model.dot_product()

    def maker_of(allowed: NDArray[np.bool_]) -> Maker:
        if parameters is not None:
            return dot_product_maker(parameters, seen, allowed, k)
        return score_maker(model, seen, allowed, k)

    maker, enough = maker_of(allowed), model.supported()
    known = model.has_ratings(rows) | model.feature_rows("users", rows)
    if not (known.all() or enough.all()):
        nobodys = np.unique(rows[~known])
        maker = supported_maker(maker, maker_of(allowed & enough), maker_of(allowed & ~enough), nobodys)
    default = _USERS_AT_ONCE if parameters is not None else max(1, _SCORES_AT_ONCE // len(allowed))
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
        cosine_maker(vectors, trained, allowed, k)
        if vectors is not None
        else alike_maker(model, trained, allowed, k)
    )
    return map_blocks(maker, rows, checked_block_size(block_size, _USERS_AT_ONCE), checked_threads(n_threads))


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
