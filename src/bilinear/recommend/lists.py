"""Ranked lists of items: for users, for new users, and for items like an item."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bilinear.data.interactions import Grouped
from bilinear.data.vocabulary import Id, Vocabulary
from bilinear.errors import ParameterValueError
from bilinear.kernels.top_k import top_k_rows, top_k_users
from bilinear.kernels.views import read_only
from bilinear.model.link import Link
from bilinear.model.parameters import Array, Parameters

_SHOWN = 5  # items of a list, lists of several, before the rest is counted


@dataclass(frozen=True, eq=False)
class RankedItems:
    """One list, best first.

    Attributes:
        items: (n,) ids.
        scores: (n,) what the list is sorted by (ties: by row in the vocabulary).
        predictions: (n,) in rating units; None where scores are similarities.
    """

    items: NDArray[Any]
    scores: Array
    predictions: Array | None = None

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Id]:
        return iter(self.items.tolist())

    def __repr__(self) -> str:
        shown = [repr(item) for item in self.items[:_SHOWN].tolist()]
        if len(self) > _SHOWN:
            shown.append("...")
        return f"RankedItems({len(self):,} items: {', '.join(shown)})" if shown else "RankedItems(no items)"

    def __str__(self) -> str:
        name, values = (
            ("score", self.scores) if self.predictions is None else ("prediction", self.predictions)
        )
        lines = [f"rank  {name:>10}  item"]
        lines += [
            f"{rank:4d}  {value:10.3f}  {item}"
            for rank, (value, item) in enumerate(zip(values.tolist(), self, strict=True), 1)
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
        return RankedItems(items, scores, both)

    def to_dicts(self) -> list[dict[str, Any]]:
        """One dictionary a place: rank, item, score and, where there is one, prediction."""
        places = []
        for n, item in enumerate(self.items.tolist()):
            place = {"rank": n + 1, "item": item, "score": float(self.scores[n])}
            if self.predictions is not None:
                place["prediction"] = float(self.predictions[n])
            places.append(place)
        return places


@dataclass(frozen=True, eq=False)
class Recommendations:
    """Lists for several users.

    Attributes:
        users: (n_lists,) ids as the model has them, or as asked for where it does not.
        known: (n_lists,) False where the user has no training ratings and the list is the
            non-personal one: items by item bias.
        lists: one `RankedItems` a user.
    """

    users: tuple[Id, ...]
    known: NDArray[np.bool_]
    lists: tuple[RankedItems, ...]

    def __len__(self) -> int:
        return len(self.lists)

    def __getitem__(self, n: int) -> RankedItems:
        return self.lists[n]

    def __iter__(self) -> Iterator[RankedItems]:
        return iter(self.lists)

    def __repr__(self) -> str:
        unknown = int((~self.known).sum())
        n_places = sum(map(len, self.lists))
        not_personal = f", {unknown:,} of them not personal" if unknown else ""
        return f"Recommendations({n_places:,} items for {len(self):,} users{not_personal})"

    def __str__(self) -> str:
        """The first lists, and how many more there are."""
        parts = [
            f"User {user}\n{ranked}" for user, ranked in zip(self.users, self.lists[:_SHOWN], strict=False)
        ]
        more = len(self) - len(parts)
        return "\n\n".join([*parts, f"... and {more:,} more users"] if more else parts)

    def to_columns(self) -> dict[str, list[Any]]:
        """Long form for a table: user, rank, item, prediction (score, of a ranking model), known_user."""
        value = "score" if any(ranked.predictions is None for ranked in self.lists) else "prediction"
        columns: dict[str, list[Any]] = {name: [] for name in ("user", "rank", "item", value, "known_user")}
        for user, known, ranked in zip(self.users, self.known.tolist(), self.lists, strict=True):
            n = len(ranked)
            columns["user"] += [user] * n
            columns["rank"] += range(1, n + 1)
            columns["item"] += ranked.items.tolist()
            columns[value] += (ranked.scores if ranked.predictions is None else ranked.predictions).tolist()
            columns["known_user"] += [known] * n
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
        O(n_items * n_factors).
    """
    factors = parameters.item_factors
    lengths = np.linalg.norm(factors, axis=1)
    if lengths[row] == 0:
        return np.empty(0, np.int32), np.empty(0, factors.dtype)
    unit = factors / np.where(lengths > 0, lengths, 1)[:, None]
    possible = allowed & (lengths > 0)
    possible[row] = False
    return _top(unit[row], 0.0, unit, np.zeros(len(unit), factors.dtype), possible, n)


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
