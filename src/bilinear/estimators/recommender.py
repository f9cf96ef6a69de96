"""What every fitted model can do, whatever it learned and however."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bilinear.data.interactions import Grouped, Interactions
from bilinear.data.packed_text import PackedText
from bilinear.data.vocabulary import Id, Vocabulary
from bilinear.errors import NotFittedError, ParameterValueError
from bilinear.estimators.configurable import Configurable
from bilinear.model.parameters import Array, Parameters
from bilinear.recommend.lists import RankedItems, Recommendations

TensorReader = Callable[..., NDArray[Any]]


class Recommender(Configurable):
    """The interface of all models; subclasses are dataclasses of arguments with a `fit`.

    A subclass fits, and says how it ranks (`_rank`), which items are alike (`_alike`), and what
    it keeps on disk (`_state`, `_restore`); the rest is here. Evaluation and lists for everyone
    ask it for scores: `score_block`, `score_histories`, and, where the model is a dot product,
    `dot_product` and `item_vectors`, which make them several times faster.

    Learned attributes:
        user_vocabulary_, item_vocabulary_: external ids of the rows.
        seen_: the training table grouped by user.
        has_ratings_: whether that table had ratings; else `seen_.ratings` are counts.
        seed_: int or None.
        source_: what it was trained on, for people.
        item_texts_: titles and other text columns of the items by name, each in row order.
        report_: what a command measured with this model (JSON values).
    """

    user_vocabulary_: Vocabulary
    item_vocabulary_: Vocabulary
    seen_: Grouped
    has_ratings_: bool = True
    seed_: int | None
    source_: str
    item_texts_: dict[str, PackedText]
    report_: dict[str, Any]

    def fit(self, interactions: Interactions) -> Self:
        """Learns from `interactions`; returns self."""
        raise NotImplementedError

    def __getattr__(self, name: str) -> Any:
        if name.endswith("_") and not name.startswith("_"):
            raise NotFittedError(
                f"this {type(self).__name__} has no {name} yet: call fit(interactions) first"
            )
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def recommend(
        self,
        users: Id | Sequence[Id] | None = None,
        n: int = 10,
        *,
        exclude_seen: bool = True,
        candidates: Iterable[Id] | None = None,
        unknown: str = "error",
    ) -> RankedItems | Recommendations:
        """The `n` items with the highest scores for each user.

        Args:
            users: one id gives `RankedItems`; a sequence gives `Recommendations`; None is all users.
            exclude_seen: leave out what the user rated in training.
            candidates: only these items; a list is shorter when they run out.
            unknown: "error", or "non-personal" to answer unknown users with one list for all, marked as such.
        Raises:
            UnknownIdError: a user (see `unknown`) or a candidate that the model does not know.
        Cost: O(users * n_items * n_factors).
        """
        if unknown not in ("error", "non-personal"):
            raise ParameterValueError(f"unknown={unknown!r}; choose 'error' or 'non-personal'")
        single = users is not None and is_single(users)
        everyone = self.user_vocabulary_ if users is None else users
        asked: list[Any] = [users] if single else list(ids_of(everyone, "users"))  # type: ignore[arg-type]
        rows = self.user_vocabulary_.encode(asked)
        if unknown == "error" and (rows < 0).any():
            self.user_vocabulary_.row(asked[int(np.argmax(rows < 0))], "user")
        lists = self._rank(rows, n, exclude_seen, self.allowed(candidates))
        if single:
            return lists[0]
        names = (
            self.user_vocabulary_[row] if row >= 0 else user
            for user, row in zip(asked, rows.tolist(), strict=True)
        )
        return Recommendations(tuple(names), self.has_ratings(rows), tuple(lists))

    def score_block(self, user_rows: NDArray[Any]) -> Array:
        """Scores of all items for some users: what rankings are made from.

        Args: user_rows: (n,) rows of `user_vocabulary_`; -1 is a user the model does not know,
            who gets the scores of the list that is not personal.
        Returns: (n, n_items) float32 or float64, a new array that the caller may change, without NaN;
            larger is better. Items that the user has seen are scored like any other. A user's
            scores do not depend on who else is in the block. It is called by several threads at once.
        """
        raise NotImplementedError

    def score_histories(self, histories: Grouped) -> Array:
        """Scores of all items for users the model was not trained on, from what they have seen.

        Args: histories: one row a user; `others` are rows of `item_vocabulary_`.
        Returns: as `score_block`.
        Raises: ParameterValueError: this kind of model cannot fold in.
        """
        raise ParameterValueError(
            f"a {type(self).__name__} cannot fold in users that it was not trained on; "
            "choose a split that keeps every user in training"
        )

    def dot_product(self) -> Parameters | None:
        """Parameters, float32, whose scores rank as this model does; None where there are none."""
        return None

    def item_vectors(self) -> Array | None:
        """(n_items, any) vectors whose cosine says how alike items are to `similar`, or None."""
        return None

    def similar(self, item: Id, n: int = 10, *, candidates: Iterable[Id] | None = None) -> RankedItems:
        """The `n` items most like an item; how scores are made, the model says.

        Raises:
            UnknownIdError: the model does not know the item.
            ParameterValueError: the model cannot say (no factors), or this item was not trained on.
        """
        row = self.item_vocabulary_.row(item, "item")
        if not self.item_has_ratings(np.array([row]))[0]:
            raise ParameterValueError(
                f"item {item!r} has no training ratings, so nothing is known to be like it"
            )
        rows, scores = self._alike(row, n, self.allowed(candidates))
        return RankedItems(self.item_vocabulary_.decode(rows), scores)

    def save(self, path: str | Path) -> None:
        """Writes the model as a folder, whole or not at all; see `bilinear.load`."""
        from bilinear.persistence.models import save

        save(self, Path(path))

    def count_trained_pairs(self, interactions: Interactions) -> int:
        """How many of these pairs were trained on: zero for an honest test. O(n log n)."""
        users, items = interactions.aligned_to(self.user_vocabulary_, self.item_vocabulary_)
        n_items = len(self.item_vocabulary_)
        rows = np.repeat(np.arange(len(self.user_vocabulary_)), self.seen_.counts)
        trained = rows * n_items + self.seen_.others  # ascending: seen_ is sorted by user, then item
        asked = (users.astype(np.int64) * n_items + items)[(users >= 0) & (items >= 0)]
        at = np.minimum(np.searchsorted(trained, asked), max(len(trained) - 1, 0))
        return int((trained[at] == asked).sum()) if len(trained) else 0

    def title(self, item: Id) -> str:
        """The item's title where the model has one, else its id."""
        titles = self.item_texts_.get("title")
        row = int(self.item_rows([item])[0])
        return str(item) if titles is None or row < 0 else titles[row] or str(item)

    def item_rows(self, items: Iterable[Id]) -> NDArray[np.int32]:
        """Rows of items, -1 where unknown."""
        return self.item_vocabulary_.encode(items)

    def has_ratings(self, user_rows: NDArray[Any]) -> NDArray[np.bool_]:
        """Whether each user row (-1: unknown) had a training rating."""
        return _positive(self.seen_.counts, user_rows)

    def item_has_ratings(self, item_rows: NDArray[Any]) -> NDArray[np.bool_]:
        """Whether each item row (-1: unknown) had a training rating."""
        return _positive(np.bincount(self.seen_.others, minlength=len(self.item_vocabulary_)), item_rows)

    def allowed(self, candidates: Iterable[Id] | None) -> NDArray[np.bool_]:
        """(n_items,) which items may be listed: all, or the candidates."""
        n_items = len(self.item_vocabulary_)
        if candidates is None:
            return np.ones(n_items, bool)
        wanted = ids_of(candidates, "candidates")
        rows = self.item_rows(wanted)
        if (rows < 0).any():
            self.item_vocabulary_.row(wanted[int(np.argmax(rows < 0))], "item")
        allowed = np.zeros(n_items, bool)
        allowed[rows] = True
        return allowed

    def _learn_table(self, interactions: Interactions) -> None:
        """Stores what every model keeps of its training table."""
        self.user_vocabulary_ = interactions.user_vocabulary
        self.item_vocabulary_ = interactions.item_vocabulary
        self.seen_, self.has_ratings_ = interactions.by_user, interactions.has_ratings
        self.source_ = interactions.source
        self.item_texts_, self.report_ = {}, {}

    def _rank(
        self, user_rows: NDArray[np.int32], n: int, exclude_seen: bool, allowed: NDArray[np.bool_]
    ) -> list[RankedItems]:
        """The `n` best allowed items of each user row; -1 gets the list that is not personal."""
        raise NotImplementedError

    def _alike(self, item_row: int, n: int, allowed: NDArray[np.bool_]) -> tuple[NDArray[np.int32], Array]:
        """Rows and similarities of the `n` allowed items most like one, best first."""
        raise NotImplementedError

    def _state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """What this model learned, beyond the vocabularies and `seen_`: JSON values and tensors."""
        raise NotImplementedError

    def _restore(self, manifest: Mapping[str, Any], tensor: TensorReader) -> None:
        """Takes back what `_state` gave, checking it; `tensor(name, dtype, *shape)` reads one."""
        raise NotImplementedError


def ids_of(values: Iterable[Id], what: str) -> list[Id] | NDArray[Any]:
    """The ids as a list or array. A single one is refused: text would fall into letters."""
    if is_single(values):
        raise ParameterValueError(f"{what} takes several ids, not {values!r} alone; give [{values!r}]")
    return values if isinstance(values, np.ndarray) else list(values)


def is_single(value: object) -> bool:
    """Whether a value is one id rather than several: text, a number, or another single thing."""
    return isinstance(value, (str, bytes)) or not isinstance(value, Iterable)


def _positive(counts: NDArray[np.int64], rows: NDArray[Any]) -> NDArray[np.bool_]:
    if not len(counts):
        return np.zeros(len(rows), bool)
    positive: NDArray[np.bool_] = (rows >= 0) & (counts[np.maximum(rows, 0)] > 0)
    return positive
