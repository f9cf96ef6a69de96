"""Exact lists for all users, or the most similar items for all items."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bilinear.arguments import is_whole
from bilinear.data.vocabulary import Id, Vocabulary
from bilinear.engines.engine import Engine, chosen_engine
from bilinear.errors import ParameterValueError
from bilinear.model.blocks import checked_block_size, map_blocks
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

_ROWS_AT_ONCE = 1008  # whole tiles of 12 and of 6
_SCORES_AT_ONCE = 1 << 23
_PLACES_A_SHARD = 1 << 19


def recommend_everyone(
    model: Model,
    n: int = 10,
    *,
    users: Iterable[Id] | None = None,
    exclude_seen: bool = True,
    candidates: Iterable[Id] | None = None,
    n_threads: int | None = None,
    block_size: int | None = None,
    engine: Engine | None = None,
) -> Lists:
    """The `n` best items of each user, exactly; the same bits for any block size and thread count.

    Args:
        users: ids in the order wanted; None is all users of the model.
        exclude_seen: leave out what the user has seen in training.
        candidates: only these items.
        n_threads: None takes all cores.
        block_size: users at once; None chooses.
        engine: what works on the lists, such as `Ray()`; None is this process.
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
    wanted = WantedOfUsers.of(model, n, users, exclude_seen, candidates, block_size)
    return _all_lists(wanted, chosen_engine(engine, n_threads))


def similar_everyone(
    model: Model,
    n: int = 10,
    *,
    items: Iterable[Id] | None = None,
    candidates: Iterable[Id] | None = None,
    n_threads: int | None = None,
    block_size: int | None = None,
    engine: Engine | None = None,
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
    wanted = WantedOfItems.of(model, n, items, candidates, block_size)
    return _all_lists(wanted, chosen_engine(engine, n_threads))


@dataclass(frozen=True, eq=False)
class Wanted:
    """All that the lists of a call depend on; engines carry it to where lists are made.

    Attributes:
        rows: (n,) the users, or items, in the order of their lists.
        k: length of a list.
        block_size: users at once; changes no list.
    """

    model: Model
    rows: Rows
    k: int
    allowed: NDArray[np.bool_]
    block_size: int | None = None

    def maker(self) -> Maker:
        """Makes the lists of a block of rows; what blocks share is prepared here, once."""
        raise NotImplementedError

    def default_block(self) -> int:
        """Rows of a block."""
        return _ROWS_AT_ONCE

    def shards(self) -> Iterator[Rows]:
        """Rows that are worked on together: cuts of the table alone, whatever works on them."""
        size = max(_PLACES_A_SHARD // max(self.k, 1), self.default_block())
        return (self.rows[start : start + size] for start in range(0, len(self.rows), size))


@dataclass(frozen=True, eq=False)
class WantedOfUsers(Wanted):
    """Lists of users; see `recommend_everyone`."""

    exclude_seen: bool = True

    @classmethod
    def of(
        cls,
        model: Model,
        n: int,
        users: Iterable[Id] | None,
        exclude_seen: bool,
        candidates: Iterable[Id] | None,
        block_size: int | None,
    ) -> WantedOfUsers:
        return cls(
            model,
            _rows_of(users, model.user_vocabulary_, "user"),
            _list_length(n, len(model.item_vocabulary_)),
            model.allowed(candidates),
            None if block_size is None else checked_block_size(block_size, 1),
            exclude_seen,
        )

    def default_block(self) -> int:
        dot_product = self.model.dot_product() is not None
        return _ROWS_AT_ONCE if dot_product else max(1, _SCORES_AT_ONCE // len(self.allowed))

    def maker(self) -> Maker:
        model, rows = self.model, self.rows
        seen, parameters = model.hidden(self.exclude_seen), model.dot_product()

        def maker_of(allowed: NDArray[np.bool_]) -> Maker:
            if parameters is not None:
                return dot_product_maker(parameters, seen, allowed, self.k)
            return score_maker(model, seen, allowed, self.k)

        maker, enough = maker_of(self.allowed), model.supported()
        known = model.has_ratings(rows) | model.feature_rows("users", rows)
        if known.all() or enough.all():
            return maker
        first, rest = maker_of(self.allowed & enough), maker_of(self.allowed & ~enough)
        return supported_maker(maker, first, rest, np.unique(rows[~known]))


@dataclass(frozen=True, eq=False)
class WantedOfItems(Wanted):
    """Lists of items; see `similar_everyone`."""

    @classmethod
    def of(
        cls,
        model: Model,
        n: int,
        items: Iterable[Id] | None,
        candidates: Iterable[Id] | None,
        block_size: int | None,
    ) -> WantedOfItems:
        vocabulary = model.item_vocabulary_
        return cls(
            model,
            _rows_of(items, vocabulary, "item"),
            _list_length(n, len(vocabulary)),
            model.allowed(candidates),
            None if block_size is None else checked_block_size(block_size, 1),
        )

    def maker(self) -> Maker:
        trained = self.model.item_has_ratings(np.arange(len(self.model.item_vocabulary_)))
        vectors = self.model.item_vectors()
        if vectors is not None:
            return cosine_maker(vectors, trained, self.allowed, self.k)
        return alike_maker(self.model, trained, self.allowed, self.k)


def list_maker(wanted: Wanted, n_threads: int) -> Callable[[Rows], Lists]:
    """Makes the lists of a shard on several threads; for `Engine.map`."""
    maker, size = wanted.maker(), wanted.block_size or wanted.default_block()
    return lambda rows: Lists.joined(map_blocks(maker, rows, size, n_threads), wanted.k)


def _all_lists(wanted: Wanted, engine: Engine) -> Lists:
    return Lists.joined(engine.map(list_maker, wanted, wanted.shards()), wanted.k)


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
