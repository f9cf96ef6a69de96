"""Base class of all models: lists, similar items, saving."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import replace
from difflib import get_close_matches
from html import escape
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from bilinear.arguments import is_real, is_whole
from bilinear.data.interactions import Grouped, Interactions, InteractionsLike, taken_pairs
from bilinear.data.packed_text import PackedText
from bilinear.data.vocabulary import Id, Vocabulary
from bilinear.errors import NotFittedError, ParameterValueError, RatingValueError
from bilinear.estimators.capabilities import Capabilities
from bilinear.estimators.explanation import By, Explanation, explain
from bilinear.estimators.fold_in import FoldedUser, best_rows, ids_of, is_single, last_of_each, one_history
from bilinear.estimators.table_arguments import keeping_titles, taking_tables
from bilinear.estimators.update import Change, wider_texts
from bilinear.model.parameters import Array, Parameters
from bilinear.persistence.codec import TensorReader as TensorReader
from bilinear.recommend.lists import RankedItems, Recommendations
from bilinear.tabular import html_table
from bilinear.training.progress import Progress

if TYPE_CHECKING:
    from bilinear.recommend.screening import ScreenedItems

_AT_ONCE = 1 << 24  # ratings that are counted in one go

NewItems = Literal["mixed", "only", "none"]
"""Items without training ratings in lists: among the others, alone, or not at all."""


class Recommender(Capabilities):
    """The interface of all models; subclasses are dataclasses of arguments with a `fit`.

    A subclass fits, and says how it ranks (`_rank`), which items are alike (`_alike`), and what
    it keeps on disk (`_state`, `_restore`); the rest is here. Evaluation and lists for everyone
    ask it for scores: `score_block`, `score_histories`, and, where the model is a dot product,
    `dot_product` and `item_vectors`, which make them several times faster.

    Learned attributes:
        user_vocabulary_, item_vocabulary_: external ids of the rows.
        seen_: the training table grouped by user.
        has_ratings_: whether that table had ratings; else `seen_.ratings` are counts, or weights.
        weighted_: whether it had weights of events, whose dislikes are never recommended.
        seen_times_: (n_seen,) seconds since 1970 of `seen_`, of models that use times; else None.
        seed_: int or None.
        source_: what it was trained on, for people.
        item_texts_: titles and other text columns of the items by name, each in row order.
        report_: what a command measured with this model (JSON values).
        min_support_: training ratings from which on an item leads lists that are not personal; may be set.
    """

    user_vocabulary_: Vocabulary
    item_vocabulary_: Vocabulary
    seen_: Grouped
    has_ratings_: bool = True
    weighted_: bool = False
    seen_times_: NDArray[np.float64] | None = None
    seed_: int | None
    source_: str
    item_texts_: dict[str, PackedText]
    report_: dict[str, Any]
    _screened: ScreenedItems | None = None
    min_support_: int = 0

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name in ("fit", "retrain"):
            if name in vars(cls):
                setattr(cls, name, taking_tables(vars(cls)[name]))
        if "retrain" in vars(cls):
            cls.retrain = keeping_titles(cls.retrain)  # type: ignore[method-assign]

    def fit(self, interactions: InteractionsLike) -> Self:
        """Learns from `interactions`; returns self.

        Every model's `fit` takes a data frame, a matrix whose rows are users, or pairs with their ratings as
        `y` as well, see `interactions_of`; and `items`, a table or frame with titles for its lists.

        Examples:
            >>> from bilinear import EASE, synthetic_catalogue
            >>> clicks = synthetic_catalogue(1000, 40, 60, rng=0).interactions
            >>> EASE(l2=20.0).fit(clicks)
            EASE(l2=20.0)
        """
        raise NotImplementedError

    def bytes_to_fit(self, n_pairs: int, n_users: int, n_items: int, /) -> int:
        """Memory that `fit` takes at its peak, about, beside the table and the process."""
        raise NotImplementedError

    @keeping_titles
    def retrain(self, interactions: InteractionsLike, *, progress: Progress | None = None) -> Self:
        """Trains again on another table with the settings that `fit` found, searching nothing; returns self.

        Use it to train on everything once a model has been measured on a part. Items keep their titles.

        Examples:
            >>> from bilinear import EASE, split_random, synthetic_catalogue
            >>> clicks = synthetic_catalogue(1000, 40, 60, rng=0).interactions
            >>> split = split_random(clicks, rng=0)
            >>> model = EASE(l2=20.0).fit(split.train)
            >>> model.count_trained_pairs(split.test)
            0
            >>> model.retrain(clicks).count_trained_pairs(split.test)
            200
        """
        if "progress" in signature(self.fit).parameters:
            return self.fit(interactions, progress=False if progress is None else progress)  # type: ignore[call-arg]
        return self.fit(interactions)

    def update(
        self, interactions: Interactions, *, forget: tuple[Sequence[Id], Sequence[Id]] = ((), ())
    ) -> Self:
        """Learns further interactions without training on all again; returns self.

        New users and items become known. Of a pair that comes again the further rating counts; counts add up.
        Pairs to `forget`, their users and their items, are taken out of the training before, counts as well;
        ids stay known. With pairs to forget, `interactions` may be empty.
        Arguments that are "auto" keep the values that `fit` found. Where `updates` is "exact", the model is
        the one that `fit` makes of all interactions with these values; where it is "approximate", the rows of
        the users and items that occur are solved anew, the others held. A model that fails stays as it was.

        Raises:
            ParameterValueError: this model cannot be updated (`updates` is "no"), or another kind of table.
            EmptyDataError, RatingValueError, IdValueError: the interactions cannot be learned.

        Examples:
            >>> from bilinear import ImplicitALS, Interactions, Popularity
            >>> users, items = "ann ann bob bob cat".split(), "tea jam tea jam salt".split()
            >>> model = Popularity().fit(Interactions.from_columns(users, items))
            >>> model.update(Interactions.from_columns(["cat", "dan"], ["rye", "rye"])).recommend("bob").items
            array(['rye', 'salt'], dtype=object)
            >>> more = Interactions.from_columns(["bob"], ["salt"])
            >>> model.update(more, forget=(["cat", "dan"], ["rye", "rye"])).recommend("ann").items
            array(['salt', 'rye'], dtype=object)
            >>> model.updates, ImplicitALS().updates
            ('exact', 'approximate')
        """
        if self.updates == "no":
            raise ParameterValueError(self._cannot_update())
        change = Change.of(
            self.seen_,
            self.user_vocabulary_,
            self.item_vocabulary_,
            self.has_ratings_,
            self.weighted_,
            self.source_,
            interactions,
            forget,
        )
        self._checked_ratings(
            interactions.item_vocabulary.decode(interactions.items), interactions.ratings.tolist()
        )
        model = copy(self)
        model._update(change)
        model.item_texts_ = wider_texts(self.item_texts_, change.item_rows, {})
        model.report_ = self.report_
        vars(self).update(vars(model))
        return self

    def _cannot_update(self) -> str:
        """Why `update` refuses, and what to do."""
        return (
            f"a {type(self).__name__} cannot learn further interactions alone; train it on all of them with "
            "fit or retrain (bilinear train)"
        )

    def _update(self, change: Change) -> None:
        """Learns `change.table`; attributes are set anew, never changed in place. Here: all of it anew."""
        self.retrain(change.table)

    def __getattr__(self, name: str) -> Any:
        fitted = "seen_" in self.__dict__
        if name.endswith("_") and not name.startswith("_") and not fitted:
            raise NotFittedError(
                f"this {type(self).__name__} has no {name} yet: call fit(interactions) first"
            )
        near = [] if name.startswith("_") else get_close_matches(name, dir(self), 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}{hint}")

    def __dir__(self) -> list[str]:
        """Without what models answer to evaluation, lab and server, and without private names."""
        asked = {name for name in vars(Capabilities) if not name.startswith("__")}
        return [
            name
            for name in super().__dir__()
            if name not in asked and (not name.startswith("_") or name.startswith("__"))
        ]

    def _repr_html_(self) -> str:
        """The arguments that were set and, of a fitted model, what it was trained on."""
        if "seen_" not in self.__dict__:
            return f"<pre>{escape(repr(self))}</pre>"
        facts = {
            "trained on": self.source_,
            "users": len(self.user_vocabulary_),
            "items": len(self.item_vocabulary_),
            "ratings" if self.has_ratings_ else "interactions": len(self.seen_.indices),
        }
        return html_table({"fitted": list(facts), "": list(facts.values())}, len(facts), repr(self))

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn's searches ask of an estimator: pairs of ids go in."""
        from sklearn.utils import InputTags, Tags, TargetTags

        return Tags(
            estimator_type=None,
            target_tags=TargetTags(required=False),
            input_tags=InputTags(categorical=True, string=True),
        )

    def _table(self, given: InteractionsLike, ratings: Any, what: str) -> Interactions:
        """The table that an argument means; of a model that ranks, the numbers of a matrix are counts."""
        if isinstance(given, Interactions) and ratings is None:
            return given
        from bilinear.data.reading.given import interactions_of

        counts = not self.predicts_ratings and getattr(self, "threshold", None) is None
        return interactions_of(given, ratings, counts=counts, what=what)

    def recommend(
        self,
        users: Id | Sequence[Id] | None = None,
        n: int = 10,
        *,
        exclude_seen: bool = True,
        candidates: Iterable[Id] | None = None,
        exclude: Iterable[Id] | None = None,
        unknown: str = "error",
        new: NewItems = "mixed",
        min_support: int | None = None,
        explore: float | None = None,
        rng: int | None = None,
    ) -> RankedItems | Recommendations:
        """The `n` items with the highest scores for each user.

        Args:
            users: one id gives `RankedItems`; a sequence gives `Recommendations`; None is all users.
            exclude_seen: leave out what the user rated in training; without, dislikes alone.
            candidates: only these items; a list is shorter when they run out.
            exclude: none of these items, such as those out of stock. Not all may be unknown to the model.
            unknown: "error", or "non-personal" to answer unknown users with one list for all, marked as such.
            new: Items without training ratings are "mixed" among the others, the "only" ones, or "none". What
                is known of them by their features is shrunk to the mean, so that few reach the top of a mixed
                list.
            min_support: In a list that is not personal, items with fewer training ratings come after all
                others, by score as well. None takes `min_support_`: of a model of ratings what makes the mean
                rating of an item reliable, see `bilinear.estimators.support`; of models of counts 0.
            explore: Rank by mean + explore * (draw - mean), one draw of the posterior for each user, so that
                items of which little is known come up sometimes: 1.0 is Thompson sampling. Items without
                ratings are drawn from their prior. The scores and predictions of such lists are the drawn
                ones. Needs a model of `Gibbs(keep_draws=True)`.
            rng: Seed of these draws; None takes another one each time.
        Raises:
            UnknownIdError: a user (see `unknown`) or a candidate that the model does not know.
            ParameterValueError: `explore` and the model has no draws; `rng` without `explore`.
        Cost:
            O(users * n_items * n_factors); exploring, three times that and O(n_items * n_factors) a draw.

        Examples:
            >>> from bilinear import Interactions, Popularity
            >>> users, items = "ann ann bob bob cat".split(), "tea jam tea jam salt".split()
            >>> clicks = Interactions.from_columns(users, items)
            >>> model = Popularity().fit(clicks)
            >>> print(model.recommend("cat", n=2))
            rank       score  item
               1       2.000  jam
               2       2.000  tea
            >>> model.recommend("cat", exclude_seen=False, candidates=["salt", "tea"]).items
            array(['tea', 'salt'], dtype=object)
            >>> model.recommend("cat", exclude=["jam"]).items
            array(['tea'], dtype=object)
            >>> print(model.recommend(["ann", "dan"], n=1, unknown="non-personal"))
            User ann
            rank       score  item
               1       1.000  salt
            <BLANKLINE>
            User dan
            rank       score  item
               1       2.000  jam
        """
        if unknown not in ("error", "non-personal"):
            raise ParameterValueError(f"unknown={unknown!r}; choose 'error' or 'non-personal'")
        single = users is not None and is_single(users)
        everyone = self.user_vocabulary_ if users is None else users
        asked: list[Any] = [users] if single else list(ids_of(everyone, "users"))  # type: ignore[arg-type]
        rows = self.user_vocabulary_.encode(asked)
        if unknown == "error" and (rows < 0).any():
            self.user_vocabulary_.row(asked[int(np.argmax(rows < 0))], "user")
        known = self.has_ratings(rows) | self.feature_rows("users", rows)
        how = n, exclude_seen, self.allowed(candidates, new, exclude), min_support
        if explore is not None:
            from bilinear.estimators.exploration import explored_lists

            found = explored_lists(self, rows, known, explore, rng, *how)
        elif rng is not None:
            raise ParameterValueError(f"rng={rng!r} is the seed of explore=; give explore=1.0 as well")
        else:
            found = self._lists(rows, known, *how)
        lists = self._titled(found)
        if single:
            return lists[0]
        names = (
            self.user_vocabulary_[row] if row >= 0 else user
            for user, row in zip(asked, rows.tolist(), strict=True)
        )
        return Recommendations(tuple(names), known, tuple(lists))

    def score_block(self, user_rows: NDArray[Any]) -> Array:
        """Scores of all items for some users: what rankings are made from.

        Args:
            user_rows: (n,) rows of `user_vocabulary_`; -1 is a user the model does not know, who gets the
                scores of the list that is not personal.
        Returns:
            (n, n_items) float32 or float64, a new array that the caller may change, without NaN; larger
            is better. Items that the user has seen are scored like any other. A user's scores do not
            depend on who else is in the block. It is called by several threads at once.

        Examples:
            >>> import numpy as np
            >>> from bilinear import Interactions, Popularity
            >>> users, items = "ann ann bob bob cat".split(), "tea jam tea jam salt".split()
            >>> clicks = Interactions.from_columns(users, items)
            >>> model = Popularity().fit(clicks)
            >>> model.item_vocabulary_.decode(np.arange(3))
            array(['jam', 'salt', 'tea'], dtype=object)
            >>> model.score_block(np.array([0, -1]))
            array([[2., 1., 2.],
                   [2., 1., 2.]], dtype=float32)
        """
        raise NotImplementedError

    def explain(self, user: Id, item: Id, *, by: By | None = None) -> Explanation:
        """The score of an item for a user as a sum of parts.

        Args:
            user, item: Ids that the model knows.
            by: "items" or "users" for what each of their features adds, with what is the row's own; "ratings"
                for what each of the user's training ratings adds. None takes "items" where the model has
                features of items.
        Returns:
            `Explanation`, whose parts add up to its score.
        Raises:
            UnknownIdError: The model does not know the user or the item.
            ParameterValueError: It has no such features.
        Examples:
            >>> from bilinear import EASE, Interactions
            >>> users, items = "ann ann bob bob cat cat".split(), "tea jam tea jam tea beer".split()
            >>> found = EASE(l2=1.0).fit(Interactions.from_columns(users, items)).explain("cat", "jam")
            >>> [(part.name, round(part.value, 2)) for part in found.parts if part.group == "rating"]
            [('tea', 0.57), ('beer', -0.29)]
        """
        return explain(self, user, item, by)

    def fold_in(
        self,
        items: Sequence[Id],
        ratings: Sequence[float] | None = None,
        *,
        times: Sequence[float] | None = None,
        unknown: str = "error",
        features: Mapping[str, Any] | None = None,
    ) -> FoldedUser:
        """A new user, or a session, from a few items or ratings, at once; the model is not changed.

        An item that is given more than once counts with its last rating. For models that use times
        (`Transitions`, those with a half-life) the items are in their order, the latest last.

        Args:
            items: Ids of items.
            ratings: One an item; where `needs_ratings()` is False they may be left out.
            times: When each was, in seconds; None: in their order, a second apart.
            unknown: "error", or "skip" to leave out items the model does not know (they are listed
                in `FoldedUser.unknown_items`).
            features: What is known of the user, by the names of the model's user features. The user is then
                pulled to what these say instead of to the mean; without ratings they alone answer.
        Raises:
            UnknownIdError: an item the model does not know (see `unknown`).
            ParameterValueError: ratings or times are missing or of another number, or the model uses no
                times, or has no such features.
            RatingValueError: a rating is not finite, or one the model cannot take.
        Cost:
            of one row of `score_histories`.

        Examples:
            >>> from bilinear import BiasModel, EASE, Interactions, synthetic_ratings
            >>> users = "ann ann ann bob bob cat cat cat dan dan".split()
            >>> items = "tea jam scone tea jam beer crisps nuts beer crisps".split()
            >>> model = EASE(l2=1.0).fit(Interactions.from_columns(users, items))
            >>> someone = model.fold_in(["beer", "cider"], unknown="skip")
            >>> someone.recommend(n=1).items, someone.unknown_items
            (array(['crisps'], dtype=object), ('cider',))
            >>> model = BiasModel(l2_biases=1.0).fit(synthetic_ratings(50, 30, 600, rng=0))
            >>> len(model.fold_in([1, 2], [5.0, 4.5]).recommend(n=3))
            3
        """
        if unknown not in ("error", "skip"):
            raise ParameterValueError(f"unknown={unknown!r}; choose 'error' or 'skip'")
        items = list(ids_of(items, "items"))
        if ratings is None:
            if self.needs_ratings():
                raise ParameterValueError(
                    f"ratings: this {type(self).__name__} learns from ratings; give one an item"
                )
            ratings = [1.0] * len(items)
        if len(items) != len(ratings):
            raise ParameterValueError(f"{len(items)} items and {len(ratings)} ratings; one of each a pair")
        values = self._checked_ratings(items, ratings)
        rows = self.item_rows(items)
        missing = tuple(item for item, row in zip(items, rows, strict=True) if row < 0)
        if missing and unknown == "error":
            self.item_vocabulary_.row(missing[0], "item")
        rated, kept = last_of_each(rows, values)
        clock = last_of_each(rows, self._checked_times(times, len(items)))[1]
        if features is not None:
            found = self._folded_with_features(rated, kept, features)
        elif self.uses_times:
            found = self.score_timed_histories(one_history(rated, kept), clock)[0]
        else:
            found = self._folded_user(rated, kept)
        disliked = rated[self._are_dislikes(kept)]
        return FoldedUser(self, rated, missing, found, features is not None, disliked)

    def similar(
        self,
        item: Id,
        n: int = 10,
        *,
        candidates: Iterable[Id] | None = None,
        exclude: Iterable[Id] | None = None,
    ) -> RankedItems:
        """The `n` items most like an item; how scores are made, the model says.

        Raises:
            UnknownIdError: the model does not know the item.
            ParameterValueError: the model cannot say (no factors), or this item was not trained on.

        Examples:
            >>> from bilinear import EASE, Interactions
            >>> users = "ann ann ann bob bob cat cat cat dan dan".split()
            >>> items = "tea jam scone tea jam beer crisps nuts beer crisps".split()
            >>> model = EASE(l2=1.0).fit(Interactions.from_columns(users, items))
            >>> model.similar("beer", n=2).items
            array(['crisps', 'nuts'], dtype=object)
            >>> model.similar("beer", candidates=["nuts", "scone"]).items
            array(['nuts'], dtype=object)
        """
        row = self.item_vocabulary_.row(item, "item")
        at = np.array([row])
        if not (self.item_has_ratings(at) | self.feature_rows("items", at))[0]:
            raise ParameterValueError(
                f"item {item!r} has no training ratings, so nothing is known to be like it"
            )
        rows, scores = self._alike(row, n, self.allowed(candidates, exclude=exclude))
        return self._titled([RankedItems(self.item_vocabulary_.decode(rows), scores)])[0]

    def save(self, path: str | Path) -> None:
        """Writes the model as a folder, whole or not at all; see `bilinear.load`.

        Examples:
            >>> import bilinear
            >>> clicks = bilinear.synthetic_catalogue(1000, 40, 60, rng=0).interactions
            >>> bilinear.EASE(l2=20.0).fit(clicks).save("model")
            >>> bilinear.load("model")
            EASE(l2=20.0)
        """
        from bilinear.persistence.models import save

        save(self, Path(path))

    def count_trained_pairs(self, interactions: Interactions) -> int:
        """Number of these pairs that were trained on; zero for a valid test.

        Cost:
            O(n log n); memory that of a million pairs.

        Examples:
            >>> from bilinear import Popularity, split_random, synthetic_ratings
            >>> split = split_random(synthetic_ratings(50, 30, 600, rng=0), rng=0)
            >>> model = Popularity().fit(split.train)
            >>> model.count_trained_pairs(split.test), model.count_trained_pairs(split.train)
            (0, 480)
        """
        users, items = interactions.aligned_to(self.user_vocabulary_, self.item_vocabulary_)
        return int(np.count_nonzero(self.seen_.holds(users, items)))

    def title(self, item: Id) -> str:
        """The item's title where the model has one, else its id.

        Examples:
            >>> from bilinear import Interactions, Popularity
            >>> Popularity().fit(Interactions.from_columns([1, 2], [10, 20])).title(20)
            '20'
        """
        titles = self.item_texts_.get("title")
        row = int(self.item_rows([item])[0])
        return str(item) if titles is None or row < 0 else titles[row] or str(item)

    def _titled(self, lists: list[RankedItems]) -> list[RankedItems]:
        """Lists with titles, where the model has some."""
        texts = self.item_texts_.get("title")
        if texts is None or not lists:
            return lists
        rows = self.item_rows(np.concatenate([ranked.items for ranked in lists]))
        distinct, at = np.unique(rows, return_inverse=True)
        names = [texts[row] for row in distinct.tolist()]
        titles, start = [names[place] for place in at.tolist()], 0
        titled = []
        for ranked in lists:
            titled.append(replace(ranked, titles=tuple(titles[start : start + len(ranked)])))
            start += len(ranked)
        return titled

    def item_rows(self, items: Iterable[Id]) -> NDArray[np.int32]:
        """Rows of items, -1 where unknown."""
        return self.item_vocabulary_.encode(items)

    def hidden(self, exclude_seen: bool) -> Grouped:
        """What is not recommended to each user: all that they have seen, or dislikes alone."""
        if exclude_seen:
            return self.seen_
        if not self.weighted_:  # nothing is read: this is asked for every list
            return Grouped(np.zeros_like(self.seen_.indptr), self.seen_.indices[:0], self.seen_.ratings[:0])
        return taken_pairs(self.seen_, self._are_dislikes(self.seen_.ratings))

    def _are_dislikes(self, ratings: NDArray[Any]) -> NDArray[np.bool_]:
        return ratings <= 0 if self.weighted_ else np.zeros(len(ratings), bool)

    def has_ratings(self, user_rows: NDArray[Any]) -> NDArray[np.bool_]:
        """Whether each user row (-1: unknown) had a training rating."""
        starts = self.seen_.indptr
        rows = np.maximum(user_rows, 0)
        found: NDArray[np.bool_] = (user_rows >= 0) & (
            starts[rows] < starts[np.minimum(rows + 1, len(starts) - 1)]
        )
        return found

    def item_has_ratings(self, item_rows: NDArray[Any]) -> NDArray[np.bool_]:
        """Whether each item row (-1: unknown) had a training rating."""
        counts = self.item_totals()[0]
        if not len(counts):
            return np.zeros(len(item_rows), bool)
        found: NDArray[np.bool_] = (item_rows >= 0) & (counts[np.maximum(item_rows, 0)] > 0)
        return found

    def item_totals(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """(n_items,) training ratings of each item, and their sum; made once a table."""
        known = self.__dict__.get("_item_totals")
        if known is None or known[0] is not self.seen_:
            n_items, (_, items, ratings) = len(self.item_vocabulary_), self.seen_
            counts, sums = np.zeros(n_items, np.int64), np.zeros(n_items)
            for start in range(0, len(items), _AT_ONCE):
                part = slice(start, start + _AT_ONCE)
                counts += np.bincount(items[part], minlength=n_items)
                sums += np.bincount(items[part], ratings[part], n_items)
            known = self._item_totals = self.seen_, counts, sums
        return known[1:]

    def allowed(
        self,
        candidates: Iterable[Id] | None,
        new: NewItems = "mixed",
        exclude: Iterable[Id] | None = None,
    ) -> NDArray[np.bool_]:
        """(n_items,) which items may be listed; the arguments are those of `recommend`.

        Raises:
            UnknownIdError: a candidate that the model does not know.
            ParameterValueError: `new` is none of its values.
        """
        n_items = len(self.item_vocabulary_)
        if exclude is not None:
            unwanted = ids_of(exclude, "exclude")
            rows = self.item_rows(unwanted)
            if len(rows) and (rows < 0).all():  # ids of another kind, or titles
                self.item_vocabulary_.row(unwanted[0], "item")
            allowed = self.allowed(candidates, new)
            allowed[rows[rows >= 0]] = False
            return allowed
        if new not in get_args(NewItems):
            raise ParameterValueError(f"new={new!r}; choose 'mixed', 'only' or 'none'")
        if new != "mixed":
            rated = self.item_has_ratings(np.arange(n_items))
            return self.allowed(candidates) & (rated if new == "none" else ~rated)
        if candidates is None:
            return np.ones(n_items, bool)
        wanted = ids_of(candidates, "candidates")
        rows = self.item_rows(wanted)
        if (rows < 0).any():
            self.item_vocabulary_.row(wanted[int(np.argmax(rows < 0))], "item")
        allowed = np.zeros(n_items, bool)
        allowed[rows] = True
        return allowed

    def supported(self, min_support: int | None = None) -> NDArray[np.bool_]:
        """(n_items,) which items lead lists that are not personal, see `recommend`.

        Raises:
            ParameterValueError: `min_support` is not a whole number, zero or more.

        Examples:
            >>> from bilinear import Interactions, Popularity
            >>> users, items = "ann ann bob bob cat".split(), "tea jam tea jam salt".split()
            >>> Popularity().fit(Interactions.from_columns(users, items)).supported(2)  # jam, salt, tea
            array([ True, False,  True])
        """
        needed = self._needed_support(min_support)
        enough: NDArray[np.bool_] = self.item_totals()[0] >= needed
        return enough

    def _needed_support(self, min_support: int | None) -> int:
        needed = self.min_support_ if min_support is None else min_support
        if not (is_whole(needed) and needed >= 0):
            raise ParameterValueError(f"min_support={needed!r}; a whole number, zero or more, or None")
        return needed

    def _lists(
        self,
        rows: NDArray[np.int32],
        known: NDArray[np.bool_],
        n: int,
        exclude_seen: bool,
        allowed: NDArray[np.bool_],
        min_support: int | None,
    ) -> list[RankedItems]:
        """`_rank`; rows that are not known get the items with enough support, then the others."""
        needed = self._needed_support(min_support)
        if known.all() or (enough := self.supported(needed)).all():
            return self._rank(rows, n, exclude_seen, allowed)
        lists: list[Any] = [None] * len(rows)
        for chosen, first in ((known, allowed), (~known, allowed & enough)):
            made = self._rank(rows[chosen], n, exclude_seen, first) if chosen.any() else []
            for at, ranked in zip(np.flatnonzero(chosen).tolist(), made, strict=True):
                lists[at] = ranked
        short = [at for at in np.flatnonzero(~known).tolist() if len(lists[at]) < n]
        rest = self._rank(rows[short], n, exclude_seen, allowed & ~enough) if short else []
        for at, more in zip(short, rest, strict=True):
            lists[at] = lists[at].followed_by(more, n)
        return lists

    def _learn_table(self, interactions: Interactions) -> None:
        """Stores what every model keeps of its training table."""
        self.user_vocabulary_ = interactions.user_vocabulary
        self.item_vocabulary_ = interactions.item_vocabulary
        self.seen_, self.has_ratings_ = interactions.by_user, interactions.has_ratings
        self.weighted_ = interactions.weighted
        self.seen_times_ = interactions.times if self.uses_times else None
        self.source_ = interactions.source
        self.item_texts_, self.report_ = {}, {}

    def _rank(
        self, user_rows: NDArray[np.int32], n: int, exclude_seen: bool, allowed: NDArray[np.bool_]
    ) -> list[RankedItems]:
        """The `n` best allowed items of each user row; -1 gets the list that is not personal."""
        raise NotImplementedError

    def _alike(self, item_row: int, n: int, allowed: NDArray[np.bool_]) -> tuple[NDArray[np.int32], Array]:
        """Rows and similarities of the `n` allowed items most like one, best first."""
        raise ParameterValueError(
            f"{type(self).__name__} does not compare items; use ItemKNN or another model that learns items"
        )

    def _checked_ratings(self, items: Iterable[Id], ratings: Iterable[float]) -> NDArray[np.float64]:
        """Ratings for `fold_in`; raises RatingValueError for one that the model cannot take."""
        for item, rating in zip(items, ratings, strict=True):
            if not is_real(rating):
                raise RatingValueError(f"rating {rating!s} of item {item!r} is not finite; correct it")
        return np.asarray(ratings, np.float64)

    def _checked_times(self, times: Sequence[float] | None, n: int) -> NDArray[np.float64]:
        """Times for `fold_in`; without any, a second from one to the next."""
        if times is None:
            return np.arange(n, dtype=np.float64)
        if not self.uses_times:
            raise ParameterValueError(
                f"times: the lists of this {type(self).__name__} do not depend on when an item was taken "
                "up; leave them out, or give the model a half_life where it has one"
            )
        clock = np.asarray(list(times), np.float64)
        if len(clock) != n or not np.isfinite(clock).all():
            raise ParameterValueError(f"times: expected {n} finite numbers, one an item, got {times!r}")
        return clock

    def _folded_user(self, rated: NDArray[np.int32], ratings: NDArray[np.float64]) -> Any:
        """What `_scores_of_folded` makes scores of; here these are the (n_items,) scores themselves."""
        return self.score_histories(one_history(rated, ratings))[0]

    def _scores_of_folded(self, found: Sequence[Any]) -> Array:
        """(n, n_items) scores of what `_folded_user` found."""
        return np.stack(found)

    def _rank_folded(self, user: FoldedUser, n: int, allowed: NDArray[np.bool_]) -> RankedItems:
        rows, scores = best_rows(user.scores[None], n, allowed)
        return RankedItems(self.item_vocabulary_.decode(rows), scores, self.predictions(scores))

    def feature_rows(self, side: Literal["items", "users"], rows: NDArray[Any]) -> NDArray[np.bool_]:
        """Whether rows (-1: unknown) of a side are known by their features: none, without features."""
        return np.zeros(len(rows), bool)

    def _folded_with_features(
        self, rated: NDArray[np.int32], ratings: NDArray[np.float64], features: Mapping[str, Any]
    ) -> Any:
        """`_folded_user` of a user that is known by features as well."""
        raise ParameterValueError(
            f"features: this {type(self).__name__} was fitted without user features; leave them out"
        )

    def _folded_towards(
        self, rated: NDArray[np.int32], ratings: NDArray[np.float64], centre: NDArray[np.float64]
    ) -> Any:
        """`_folded_user`, pulled to the row `centre` (the bias in front)."""
        raise NotImplementedError

    def _move_rows(self, side: Literal["items", "users"], rows: NDArray[np.int32]) -> None:
        """Moves what is kept by row beside the parameters: to row n what was at `rows[n]`, -1 being new."""

    def _prepared_to_serve(self) -> dict[str, NDArray[Any]]:
        """What a server makes of every model at its start; it takes minutes for the largest."""
        from bilinear.recommend.screening import ScreenedItems

        counts, sums = self.item_totals()
        parameters = self.dot_product()
        screened = {} if parameters is None else ScreenedItems.of(parameters).tensors()
        return {"item_counts": counts, "item_sums": sums, **screened}

    def _take_prepared(self, tensor: TensorReader) -> None:
        """Takes back what `_prepared_to_serve` gave, where the folder has it in the form of this version."""
        from bilinear.recommend.screening import ScreenedItems

        n_items = len(self.item_vocabulary_)
        with suppress(KeyError, ValueError):
            counts = tensor("item_counts", np.int64, n_items)
            self._item_totals = self.seen_, counts, tensor("item_sums", np.float64, n_items)
        parameters = self.dot_product()
        with suppress(KeyError, ValueError):
            self._screened = None if parameters is None else ScreenedItems.restored(parameters, tensor)

    def screened_of(self, parameters: Parameters) -> ScreenedItems | None:
        """The items as lists are made from, where they were loaded with these very parameters."""
        found = self._screened
        if found is None or found.factors is not parameters.item_factors:
            return None
        return found if found.biases is parameters.item_biases else None

    def _feature_state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """The section `features` of the manifest and its tensors, where the model has features."""
        return {}, {}

    def _restore_features(self, manifest: Any, tensor: TensorReader) -> None:
        """Takes back what `_feature_state` gave."""

    def _state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """What this model learned, beyond the vocabularies and `seen_`: JSON values and tensors."""
        raise NotImplementedError

    def _restore(self, manifest: Mapping[str, Any], tensor: TensorReader) -> None:
        """Takes back what `_state` gave, checking it; `tensor(name, dtype, *shape)` reads one."""
        raise NotImplementedError
