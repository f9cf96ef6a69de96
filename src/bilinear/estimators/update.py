"""Further interactions of a fitted model: the table they make with the trained one, and what is new."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bilinear.data.interactions import Grouped, Interactions
from bilinear.data.packed_text import PackedText
from bilinear.data.vocabulary import Id, Vocabulary, by_rules, canonical_integer
from bilinear.errors import EmptyDataError, IdValueError, ParameterValueError

Updates = Literal["exact", "approximate", "no"]
"""How `update` learns: as training on all interactions would, nearly so, or not at all."""


ROUNDS = 1
"""Half-steps of users and of items in an approximate update; one more of users follows."""


@dataclass(frozen=True, eq=False)
class Change:
    """Further interactions of a fitted model.

    Attributes:
        table: all interactions, those of the training and the further ones, in new vocabularies.
        user_rows, item_rows: (n_users,), (n_items,) of each row of `table`, its row in the model, or -1.
        users, items: rows of `table` that the further interactions or what was forgotten have, ascending.
    """

    table: Interactions
    user_rows: NDArray[np.int32]
    item_rows: NDArray[np.int32]
    users: NDArray[np.int32]
    items: NDArray[np.int32]

    @classmethod
    def of(
        cls,
        seen: Grouped,
        users: Vocabulary,
        items: Vocabulary,
        has_ratings: bool,
        weighted: bool,
        source: str,
        further: Interactions,
        forget: tuple[Sequence[Id], Sequence[Id]] = ((), ()),
    ) -> Change:
        """Of a pair that comes again the further rating counts; counts of it add up.

        Args:
            forget: users and items of pairs that are taken out before.
        Raises:
            ParameterValueError: no table, or one with ratings where the model's has none, or the reverse; or
                not as many users as items to forget.
            EmptyDataError: it has no rows, or none are left.
            IdValueError: an id is text where those of the model are integers.
        """
        if not isinstance(further, Interactions):
            raise ParameterValueError(
                f"update takes Interactions, not {type(further).__name__}; make them with "
                "bilinear.read_ratings or bilinear.read_interactions(file or frame)"
            )
        if len(forget[0]) != len(forget[1]):
            raise ParameterValueError(
                f"forget has {len(forget[0])} users and {len(forget[1])} items; give the two of each pair"
            )
        if not further.n_ratings and not len(forget[0]):
            raise EmptyDataError(f"{further.source} has no rows to update with")
        if further.has_ratings != has_ratings:
            mine, other = ("ratings", "none") if has_ratings else ("no ratings", "some")
            reader = "read_ratings" if has_ratings else "read_interactions"
            raise ParameterValueError(
                f"{further.source}: the model was trained on {mine} and this table has {other}; read it with "
                f"bilinear.{reader}"
            )
        if further.weighted and not weighted:
            raise ParameterValueError(
                f"{further.source} has weights of events, and the model was trained on a table without; read "
                "it without events, or train on all of it with them"
            )
        user_vocabulary, user_rows, user_place = _wider(further.user_vocabulary, users, "user", further)
        item_vocabulary, item_rows, item_place = _wider(further.item_vocabulary, items, "item", further)
        old_users = user_vocabulary.encode(users).astype(np.int32)
        old_items = item_vocabulary.encode(items).astype(np.int32)
        new_users, new_items = user_place[further.users], item_place[further.items]
        known = np.repeat(np.arange(len(seen.counts), dtype=np.int32), seen.counts)
        kept = ~are_pairs(known, seen.indices, users.encode(forget[0]), items.encode(forget[1]), len(items))
        if not kept.any() and not further.n_ratings:
            raise EmptyDataError("nothing is left of what the model was trained on; keep a pair")
        table = Interactions.from_rows(
            np.concatenate([old_users[known[kept]], new_users]),
            np.concatenate([old_items[seen.indices[kept]], new_items]),
            np.concatenate([seen.ratings[kept], further.ratings]),
            None,
            user_vocabulary,
            item_vocabulary,
            source=f"{source.removesuffix(_UPDATED)}{_UPDATED}",
            has_ratings=has_ratings,
            weighted=weighted,
            duplicates="last" if has_ratings else "sum",
        )
        changed_users = np.union1d(new_users, old_users[known[~kept]])
        changed_items = np.union1d(new_items, old_items[seen.indices[~kept]])
        return cls(table, user_rows, item_rows, changed_users, changed_items)


_UPDATED = ", updated"


def are_pairs(
    users: NDArray[np.int32],
    items: NDArray[np.int32],
    of_users: NDArray[np.int32],
    of_items: NDArray[np.int32],
    n_items: int,
) -> NDArray[np.bool_]:
    """(n,) whether each pair of rows is among others; -1 is in none.

    Examples:
        >>> import numpy as np
        >>> from bilinear.estimators.update import are_pairs
        >>> rows = [np.array(column, np.int32) for column in ([0, 0, 1], [1, 2, 1], [0, -1], [2, 1])]
        >>> are_pairs(*rows, n_items=3)
        array([False,  True, False])
    """
    there = (of_users >= 0) & (of_items >= 0)
    wanted = of_users[there].astype(np.int64) * n_items + of_items[there]
    return np.isin(users.astype(np.int64) * n_items + items, wanted)


def rows_from(old: NDArray[np.float32], rows: NDArray[np.int32]) -> NDArray[np.float32]:
    """(n, ...) a copy of the old rows at `rows`, zeros where it is -1.

    Examples:
        >>> import numpy as np
        >>> from bilinear.estimators.update import rows_from
        >>> rows_from(np.array([1.0, 2.0], np.float32), np.array([1, -1, 0], np.int32))
        array([2., 0., 1.], dtype=float32)
    """
    new = np.zeros((len(rows), *old.shape[1:]), old.dtype)
    new[rows >= 0] = old[rows[rows >= 0]]
    return new


def wider_texts(
    old: dict[str, PackedText], rows: NDArray[np.int32], fresh: dict[str, PackedText]
) -> dict[str, PackedText]:
    """Texts of the old items at `rows` as they were, those of new ones (-1) from `fresh`, else empty."""
    return {
        name: PackedText.of(
            texts[row] if row >= 0 else fresh[name][at] if name in fresh else ""
            for at, row in enumerate(rows.tolist())
        )
        for name, texts in old.items()
    }


def ids_like(given: Vocabulary, known: Vocabulary, noun: str, source: str) -> list[Id]:
    """The ids of a table as those of a model are: integers, or text by its rules.

    Raises:
        IdValueError: an id is not an integer, and those of the model are.
    """
    if known.kind == "text":
        return [by_rules(str(id_), known.rules) for id_ in given]
    found = [canonical_integer(by_rules(str(id_), known.rules)) for id_ in given]
    if None in found:
        raise IdValueError(
            f"{source}: {noun} {given[found.index(None)]!r} is not an integer, as the {noun}s of the model "
            "are; correct the ids, or train with ids as text"
        )
    return [id_ for id_ in found if id_ is not None]


def _wider(
    given: Vocabulary, known: Vocabulary, noun: str, table: Interactions
) -> tuple[Vocabulary, NDArray[np.int32], NDArray[np.int32]]:
    """(vocabulary with further ids, its rows in the one known, rows of the given in it)."""
    ids = ids_like(given, known, noun, table.source)
    counts = table.user_counts if noun == "user" else table.item_counts
    there = counts > 0
    unknown = [id_ for id_, is_there in zip(ids, (known.encode(ids) < 0) & there, strict=True) if is_there]
    both = Vocabulary.from_ids([*known, *unknown]) if unknown else known
    both = Vocabulary.from_tensors(both.tensors(), known.rules)
    return both, known.encode(both), both.encode(ids)
