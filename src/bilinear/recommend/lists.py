"""Ranked lists of items: for users, for new users, and for items like an item."""

from __future__ import annotations

from dataclasses import dataclass
from functools import total_ordering
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bilinear.data.interactions import Grouped
from bilinear.data.vocabulary import Id, IdCarrier, Vocabulary
from bilinear.errors import ParameterValueError, UnknownIdError
from bilinear.kernels.top_k import top_k_rows, top_k_users
from bilinear.kernels.views import read_only
from bilinear.model.link import Link
from bilinear.model.parameters import Array, Parameters
from bilinear.tabular import Row, Tabular

_BLOCK = 1 << 18  # items whose directions are made at once
_SHOWN = 5  # items of a list, lists of several, before the rest is counted


@total_ordering
class Place(IdCarrier, Row):
    """One place of a list. It stands for the id of its item: they are equal, sort alike, and print alike."""

    item: Any

    @property
    def carried_id(self) -> Id:
        found: Id = self.item
        return found

    def __eq__(self, other: object) -> bool:
        return bool(self.item == (other.item if isinstance(other, Place) else other))

    def __hash__(self) -> int:
        return hash(self.item)

    def __lt__(self, other: Any) -> bool:
        return bool(self.item < (other.item if isinstance(other, Place) else other))

    def __str__(self) -> str:
        return str(self.item)


@dataclass(frozen=True, eq=False)
class RankedItems(Tabular):
    """One list, best first; a table with the columns rank, item, score, prediction and title.

    Attributes:
        items: (n,) ids.
        scores: (n,) what the list is sorted by (ties: by row in the vocabulary).
        predictions: (n,) in rating units; None where scores are similarities.
        titles: n texts, where the model has titles; else None.

    Examples:
        >>> from bilinear import Interactions, Popularity
        >>> users, items = "ann ann bob bob cat".split(), "tea jam tea jam salt".split()
        >>> ranked = Popularity().fit(Interactions.from_columns(users, items)).recommend("cat", n=2)
        >>> ranked[0]
        Row(rank=1, item='jam', score=2.0)
        >>> list(ranked) == ["jam", "tea"], "tea" in ranked, ranked["score"]
        (True, True, array([2., 2.], dtype=float32))
        >>> ranked.to_pandas().shape
        (2, 3)
    """

    row_base = Place

    items: NDArray[Any]
    scores: Array
    predictions: Array | None = None
    titles: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.items)

    def __repr__(self) -> str:
        shown = [repr(item) for item in self.items[:_SHOWN].tolist()]
        if len(self) > _SHOWN:
            shown.append("...")
        return f"RankedItems({len(self):,} items: {', '.join(shown)})" if shown else "RankedItems(no items)"

    def __str__(self) -> str:
        name, values = (
            ("score", self.scores) if self.predictions is None else ("prediction", self.predictions)
        )
        titles = [""] * len(self) if self.titles is None else [f"  {title}" for title in self.titles]
        ids = [str(item) for item in self.items.tolist()]
        width = 0 if self.titles is None else max(map(len, ids), default=0)
        lines = [f"rank  {name:>10}  {'item':<{width}}{'' if self.titles is None else '  title'}"]
        lines += [
            f"{rank:4d}  {value:10.3f}  {item:<{width}}{title}"
            for rank, (value, item, title) in enumerate(zip(values.tolist(), ids, titles, strict=True), 1)
        ]
        return "\n".join(lines)

    def followed_by(self, other: RankedItems, n: int) -> RankedItems:
        """This list and then another, `n` places at most.

        Examples:
            >>> import numpy as np
            >>> from bilinear import RankedItems
            >>> one, two = (RankedItems(np.array([name]), np.ones(1)) for name in ("tea", "jam"))
            >>> one.followed_by(two, 5)
            RankedItems(2 items: 'tea', 'jam')
        """
        both = None
        if self.predictions is not None and other.predictions is not None:
            both = np.concatenate([self.predictions, other.predictions])[:n]
        items, scores = (
            np.concatenate(pair)[:n] for pair in ((self.items, other.items), (self.scores, other.scores))
        )
        titles = None
        if self.titles is not None and other.titles is not None:
            titles = (*self.titles, *other.titles)[:n]
        return RankedItems(items, scores, both, titles)

    def to_columns(self) -> dict[str, Any]:
        """rank, item, score and, where there are such, prediction and title."""
        columns = {"rank": np.arange(1, len(self.items) + 1), "item": self.items, "score": self.scores}
        if self.predictions is not None:
            columns["prediction"] = self.predictions
        if self.titles is not None:
            columns["title"] = np.array(self.titles, object)
        return columns


@dataclass(frozen=True, eq=False)
class Recommendations(Tabular):
    """Lists for several users; a table with the places of all lists, one below the other.

    Attributes:
        users: (n_lists,) ids as the model has them, or as asked for where it does not.
        known: (n_lists,) False where the user has no training ratings and the list is the
            non-personal one: items by item bias.
        lists: one `RankedItems` a user.

    Examples:
        >>> from bilinear import Interactions, Popularity
        >>> users, items = "ann ann bob bob cat".split(), "tea jam tea jam salt".split()
        >>> found = Popularity().fit(Interactions.from_columns(users, items)).recommend(["cat", "bob"], n=2)
        >>> found[0]
        Row(user='cat', rank=1, item='jam', score=2.0, known_user=True)
        >>> len(found.lists), len(found), found.of("bob")
        (2, 3, RankedItems(1 items: 'salt'))
    """

    users: tuple[Id, ...]
    known: NDArray[np.bool_]
    lists: tuple[RankedItems, ...]

    def of(self, user: Id) -> RankedItems:
        """The list of one user.

        Raises:
            UnknownIdError: no list is for this user.
        """
        if user not in self.users:
            raise UnknownIdError(f"no list for user {user!r}; there are lists for {len(self.users):,} others")
        return self.lists[self.users.index(user)]

    def __repr__(self) -> str:
        unknown = int((~self.known).sum())
        not_personal = f", {unknown:,} of them not personal" if unknown else ""
        return f"Recommendations({len(self):,} items for {len(self.lists):,} users{not_personal})"

    def __len__(self) -> int:
        return sum(len(ranked) for ranked in self.lists)

    def __str__(self) -> str:
        """The first lists, and how many more there are."""
        parts = [
            f"User {user}\n{ranked}" for user, ranked in zip(self.users, self.lists[:_SHOWN], strict=False)
        ]
        more = len(self.lists) - len(parts)
        return "\n\n".join([*parts, f"... and {more:,} more users"] if more else parts)

    def to_columns(self) -> dict[str, Any]:
        """user, rank, item, prediction (score, of a ranking model), known_user, title if there are any."""
        value = "score" if any(ranked.predictions is None for ranked in self.lists) else "prediction"
        titled = any(ranked.titles is not None for ranked in self.lists)
        names = ("user", "rank", "item", value, "known_user", *(("title",) if titled else ()))
        columns: dict[str, list[Any]] = {name: [] for name in names}
        for user, known, ranked in zip(self.users, self.known.tolist(), self.lists, strict=True):
            n = len(ranked)
            columns["user"] += [user] * n
            columns["rank"] += range(1, n + 1)
            columns["item"] += ranked.items.tolist()
            columns[value] += (ranked.scores if ranked.predictions is None else ranked.predictions).tolist()
            columns["known_user"] += [known] * n
            if titled:
                columns["title"] += ranked.titles or ()
        return columns


def recommend_users(
    parameters: Parameters,
    link: Link,
    seen: Grouped,
    items: Vocabulary,
    user_rows: NDArray[np.int32],
    n: int,
    *,
    exclude_seen: bool,
    allowed: NDArray[np.bool_],
) -> list[RankedItems]:
    """The `n` best allowed items of each user row (-1: a user without factors).

    Cost:
        O(users * n_items * n_factors); memory O(users * n).
    """
    k = _list_length(n, parameters.n_items)
    rows = np.empty((len(user_rows), k), np.int32)
    scores = np.empty((len(user_rows), k), parameters.item_biases.dtype)
    counts = np.zeros(len(user_rows), np.int64)
    biases = np.where(user_rows >= 0, parameters.user_biases[user_rows], 0) if parameters.n_users else 0.0
    offsets = np.asarray(parameters.global_mean + biases, parameters.item_biases.dtype)
    top_k_users(
        read_only(user_rows),
        read_only(parameters.user_factors),
        np.broadcast_to(offsets, len(user_rows)).copy(),
        read_only(parameters.item_factors),
        read_only(parameters.item_biases),
        allowed,
        read_only(seen.indptr),
        read_only(seen.indices),
        exclude_seen,
        k,
        rows,
        scores,
        counts,
    )
    return [
        RankedItems(
            items.decode(rows[u, : counts[u]]),
            scores[u, : counts[u]],
            link.prediction(scores[u, : counts[u]]),
        )
        for u in range(len(user_rows))
    ]


def recommend_vector(
    parameters: Parameters,
    link: Link,
    items: Vocabulary,
    vector: Array,
    bias: float,
    n: int,
    allowed: NDArray[np.bool_],
) -> RankedItems:
    """The `n` best allowed items for a user vector that is not in the model."""
    rows, scores = _top(
        vector, parameters.global_mean + bias, parameters.item_factors, parameters.item_biases, allowed, n
    )
    return RankedItems(items.decode(rows), scores, link.prediction(scores))


def similar_rows(
    parameters: Parameters, row: int, n: int, allowed: NDArray[np.bool_]
) -> tuple[NDArray[np.int32], Array]:
    """Rows and cosines of the `n` items whose factors point most nearly the same way.

    Items with zero factors (no training ratings) have no direction and are never listed.

    Cost:
        O(n_items * n_factors) time, memory for a part of the items.
    """
    factors = parameters.item_factors
    (wanted,), lengths = _units(factors[row : row + 1])
    if lengths[0] == 0:
        return np.empty(0, np.int32), np.empty(0, factors.dtype)
    rows, scores = np.empty(0, np.int32), np.empty(0, factors.dtype)
    for start in range(0, len(factors), _BLOCK):
        unit, lengths = _units(factors[start : start + _BLOCK])
        possible = allowed[start : start + _BLOCK] & (lengths > 0)
        if start <= row < start + _BLOCK:
            possible[row - start] = False
        more, theirs = _top(wanted, 0.0, unit, np.zeros(len(unit), factors.dtype), possible, n)
        rows, scores = np.append(rows, more + np.int32(start)), np.append(scores, theirs)
        best = np.argsort(-scores, kind="stable")[: _list_length(n, len(factors))]
        rows, scores = rows[best], scores[best]
    return rows, scores


def _units(factors: Array) -> tuple[Array, Array]:
    """Rows of length one, zeros staying zeros, and what their lengths were."""
    lengths: Array = np.linalg.norm(factors, axis=1)
    unit: Array = factors / np.where(lengths > 0, lengths, 1)[:, None]
    return unit, lengths


def _top(
    vector: Array, offset: float, factors: Array, biases: Array, allowed: NDArray[np.bool_], n: int
) -> tuple[NDArray[np.int32], Array]:
    k = _list_length(n, len(biases))
    rows, scores = np.empty(k, np.int32), np.empty(k, biases.dtype)
    vector = np.ascontiguousarray(vector, biases.dtype)
    hidden = np.zeros(len(biases), np.int64)
    table = read_only(factors), read_only(biases)
    found = top_k_rows(vector, biases.dtype.type(offset), *table, allowed, hidden, -1, k, rows, scores)
    return rows[:found], scores[:found]


def _list_length(n: int, n_items: int) -> int:
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
        raise ParameterValueError(f"n={n!r}: the length of a list is a whole number, one or more")
    return min(int(n), n_items)
