"""One fitted model, ready to answer. Nothing in it changes, so a swap is one assignment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property, partial
from time import time
from types import MappingProxyType
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from bilinear.data.vocabulary import by_rules, canonical_integer
from bilinear.errors import ParameterValueError
from bilinear.estimators.capabilities import ItemWeights, UserWeights
from bilinear.estimators.fold_in import best_rows, one_history
from bilinear.estimators.recommender import NewItems, Recommender
from bilinear.model.parameters import Array, Parameters
from bilinear.recommend.screening import Ranked, Rows
from bilinear.serving.answers.additions import Additions
from bilinear.serving.answers.item_columns import ItemColumns
from bilinear.serving.answers.pauses import no_pause
from bilinear.serving.answers.retrieval import DotRetrieval, TopKQuery
from bilinear.serving.answers.title_search import TitleIndex, TitlesOnce
from bilinear.serving.feedback.properties import Put, Reader
from bilinear.serving.feedback.store import Side
from bilinear.serving.messages import Column, Columns, RankedItem
from bilinear.serving.problems import Conflict, NotFound

Basis = Literal["training", "feedback", "session", "features", "non-personal"]
NO_ITEMS = np.empty(0, np.int32)
NO_RATINGS = np.empty(0, np.float32)
_MOST_CARDS = 200_000
_MANY_ITEMS = 1_000_000
"""From here on what takes Python a microsecond an item is made when it is first asked for."""
_MOST_VALUES = 100
SCORE, PREDICTION = b'"score":', b',"prediction":'
_NUMBERS = SCORE + b"0.0" + PREDICTION + b"null"


@dataclass(frozen=True, eq=False, slots=True)
class UserState:
    """A user as one model sees them.

    Attributes:
        basis: what is known of them, see `messages.Basis`.
        row: in the model, -1 where it does not know them.
        rated: (n,) rows of the items they rated, ascending.
        ratings: (n,).
        weights: to rank by; None for models without.
        times: (n,) seconds, for models that use times.
    """

    basis: Basis
    row: int
    rated: Rows
    ratings: NDArray[np.float32]
    weights: UserWeights | None
    times: NDArray[np.float64] | None = None


class ServingModel:
    """All that requests share of one model, and the exact answers it gives.

    Rows are those of the model; those of new items that were put (`additions`) follow.

    Args:
        version: names the model in every answer.
        before: the model that answers meanwhile; what follows from equal items is taken over from it.
        pause: called every few microseconds of work in Python, see `Pauses`.
    Cost:
        seconds for a million items (title index, a byte for each item and factor), unless `before` has
        the same items. With more items titles are indexed by the first search; a model that was saved
        prepared, see `bilinear.load`, is ready in milliseconds.
    """

    def __init__(
        self,
        model: Recommender,
        version: str,
        before: ServingModel | None = None,
        pause: Callable[[], None] = no_pause,
    ) -> None:
        self.model, self.version, self.loaded_at = model, version, time()
        self.identity = object()  # what it shares with others that have other items beside the same model
        self.reader = Reader(model)
        parameters = model.dot_product()
        alike = before if before is not None and _have_same_items(before.model, model) else None
        columns = None if alike is None else alike.columns
        self.columns: ItemColumns = ItemColumns(model.item_texts_, columns)
        self._cards: dict[int, tuple[bytes, bytes]] = alike._cards if alike else {}
        self._names_by_text: dict[str, list[str]] = alike._names_by_text if alike else {}
        self._no_weights = None if parameters is None else model.fold_in_weights(NO_ITEMS, NO_RATINGS)
        by_weights = parameters is not None and self._no_weights is not None
        self.retrieval = (
            DotRetrieval(parameters, screened=model.screened_of(parameters))
            if parameters is not None and by_weights
            else None
        )
        self.n_items, self.n_users = len(model.item_vocabulary_), len(model.user_vocabulary_)
        self.item_counts = model.item_totals()[0]
        self.additions = Additions(self.n_items)
        self._supported: Rows | None = None
        self._unsupported = NO_ITEMS
        if model.min_support_ > 0:
            enough = model.supported()
            self._supported, self._unsupported = (
                np.flatnonzero(of).astype(np.int32) for of in (enough, ~enough)
            )
        if alike and "_rows_by_id" in alike.__dict__:
            self.__dict__["_rows_by_id"] = alike._rows_by_id
        lines = alike._titles.lines if alike else None
        titles = partial(map, self.title, range(self.n_items))
        self._titles: TitlesOnce = TitlesOnce(titles, self.item_counts, lines)
        if self.n_items < _MANY_ITEMS:
            self._titles(pause)
            self.columns.index("genres", pause)
        self._unknown_user = self._without_ratings(-1)
        few = np.arange(min(1, self.n_items), dtype=np.int32)
        for only in (None, few):  # compiles what was not compiled before
            self.rank([(self._unknown_user, 1, True, only)])

    def with_additions(self, additions: Additions) -> ServingModel:
        """This model with other items and users beside it; shares everything else."""
        other = copy(self)
        other.additions = additions
        if self.model.min_support_ > 0:  # else items without ratings have enough support as well
            fresh = np.arange(self.n_items, self.n_items + len(additions), dtype=np.int32)
            other._unsupported = np.append(self._unsupported[self._unsupported < self.n_items], fresh)
        return other

    def with_put(self, side: Side, puts: Mapping[str, Put | None]) -> ServingModel:
        """This model with items or users put, or taken away where None."""
        if side == "user":
            return self.with_additions(self.additions.with_users(puts))
        rows = dict(zip(puts, self._rows_of_model(list(puts)).tolist(), strict=True))
        trained = {id_: row for id_, row in rows.items() if row >= 0 and self.item_counts[row]}
        superseded = set(self.additions.superseded.tolist())
        for id_, row in rows.items():
            if row >= 0 and id_ not in trained:
                (superseded.discard if puts[id_] is None else superseded.add)(row)
        cold = np.array(sorted(superseded), np.int32)
        return self.with_additions(self.additions.with_items(puts, trained, cold))

    # Names

    @property
    def titles(self) -> TitleIndex:
        """The titles, to be searched."""
        return self._titles(no_pause)

    @property
    def rows_by_category(self) -> dict[str, Rows]:
        return self.columns.index("genres", no_pause)

    def item_id(self, row: int) -> str:
        if row >= self.n_items:
            return self.additions.fresh[row - self.n_items].id
        return str(self.model.item_vocabulary_[row])

    def title(self, row: int) -> str:
        put = self.additions.of_row(row)
        if put is not None and (put.title or row >= self.n_items):
            return put.title or put.id
        titles = self.model.item_texts_.get("title")
        return (titles[row] if titles is not None else "") or self.item_id(row)

    def texts(self, row: int) -> dict[str, str]:
        """Title and genres of an item as the model has them, or as they were put."""
        texts = self.model.item_texts_
        put = self.additions.of_row(row)
        if put is None:
            return {name: values[row] for name, values in texts.items()}
        own = {"title": self.title(row), "genres": "|".join(self.categories(row))}
        return {name: own.get(name, "") for name in texts}

    def n_ratings(self, row: int) -> int:
        """Training ratings of an item."""
        return int(self.item_counts[row]) if row < self.n_items else 0

    def n_trained(self, user_row: int) -> int:
        """Training ratings of a user."""
        begin, end = self.model.seen_.indptr[user_row : user_row + 2].tolist()
        return int(end - begin)

    def is_new(self, row: int) -> bool:
        """Whether an item was put and has no training ratings."""
        return row >= self.n_items

    def categories(self, row: int) -> list[str]:
        put = self.additions.of_row(row)
        if put is not None and ("genres" in put.features or row >= self.n_items):
            return put.categories("genres", self.reader.separator("genres"))
        return self._categories_of_model(row)

    def _categories_of_model(self, row: int) -> list[str]:
        genres = self.model.item_texts_.get("genres")
        if genres is None:
            return []
        text = genres[row]
        names = self._names_by_text.get(text)  # few texts for many items, so that their lists are shared
        if names is None:
            names = self._names_by_text[text] = [name for name in text.split("|") if name]
        return names

    def item_rows(self, items: Sequence[str]) -> NDArray[np.int32]:
        """Rows of items, -1 where unknown; a few microseconds each at most, also for a few at a time."""
        rows = self._rows_of_model(items)
        if self.additions.fresh:
            row_of, rules = self.additions.row_of, self.model.item_vocabulary_.rules
            for at, item in enumerate(items):
                row = row_of.get(by_rules(item, rules))
                if row is not None:
                    rows[at] = row
        return rows

    def _rows_of_model(self, items: Sequence[str]) -> NDArray[np.int32]:
        vocabulary = self.model.item_vocabulary_
        if vocabulary.rules:
            items = [by_rules(item, vocabulary.rules) for item in items]
        if vocabulary.kind == "text" and self.n_items >= _MANY_ITEMS:
            return np.fromiter((vocabulary.find(item) for item in items), np.int32, len(items))
        if vocabulary.kind == "text":
            find = self._rows_by_id.get
            return np.fromiter((find(item, -1) for item in items), np.int32, len(items))
        numbers = [canonical_integer(item) for item in items]
        rows = vocabulary.encode(np.array([number or 0 for number in numbers], np.int64))
        rows[[number is None for number in numbers]] = -1
        return rows

    def card(self, row: int) -> tuple[bytes, bytes]:
        """JSON of `messages.RankedItem` before and after its numbers, kept for the next list."""
        if self.additions.of_row(row) is not None:
            return self._card(row)
        card = self._cards.get(row)
        if card is None:
            card = self._card(row)
            if len(self._cards) < _MOST_CARDS:
                self._cards[row] = card
        return card

    def _card(self, row: int) -> tuple[bytes, bytes]:
        item = RankedItem(
            self.item_id(row), self.title(row), 0.0, None, self.categories(row), self.is_new(row)
        )
        before, _, after = msgspec.json.encode(item).partition(_NUMBERS)  # in a text they are escaped
        return before + SCORE, after

    def item_row(self, item: str) -> int:
        """Raises NotFound where the model does not know the item."""
        row = int(self.item_rows([item])[0])
        if row < 0:
            raise NotFound(
                f"no item {item!r} in the model; search titles or see the items' ids", code="unknown_item"
            )
        return row

    def user_row(self, user: str) -> int:
        """-1 where the model does not know the user."""
        return self.model.user_vocabulary_.find(user)

    def canonical_id(self, side: Side, id_: str) -> str:
        """An id as the model's are; raises Conflict for one that cannot be among them."""
        model = self.model
        vocabulary = model.item_vocabulary_ if side == "item" else model.user_vocabulary_
        found = by_rules(id_, vocabulary.rules)
        if vocabulary.kind != "text" and canonical_integer(found) is None:
            raise Conflict(
                f"{side} {id_!r} is not an integer, as the {side}s of the model are; correct the id, or "
                "train with ids as text",
                code="bad_id",
            )
        if not found:
            raise Conflict(f"{side} {id_!r} is empty by the model's rules of ids", code="bad_id")
        return found

    def rows_of_category(self, name: str) -> Rows:
        """Items of a category, ascending; raises NotFound where there is none."""
        found, additions = self.rows_by_category.get(name), self.additions
        put = [row for row, _ in additions.puts() if name in self.categories(row)]
        if found is None and not put:
            raise NotFound(f"no category {name!r}; see the list of categories", code="unknown_category")
        kept = NO_ITEMS if found is None else found
        if not additions.touched and not put:
            return kept
        touched = np.array(sorted(additions.touched), np.int32)
        return np.union1d(np.setdiff1d(kept, touched, assume_unique=True), np.array(put, np.int32))

    def category_counts(self) -> dict[str, int]:
        """How many items each category has, by name."""
        counts = {name: len(rows) for name, rows in self.rows_by_category.items()}
        texts = self.model.item_texts_.get("genres")
        for row in self.additions.touched if texts is not None else ():
            for name in self._categories_of_model(row):
                counts[name] -= 1
        for row, _ in self.additions.puts():
            for name in self.categories(row):
                counts[name] = counts.get(name, 0) + 1
        return {name: counts[name] for name in sorted(counts) if counts[name]}

    def described_columns(self) -> Columns:
        """Columns that can be put, and those of items that can be filtered by."""
        put = self.reader.columns
        names = dict.fromkeys([*put["item"], *self.columns.names])
        return Columns(
            [
                Column(
                    name,
                    self.reader.kind("item", name),
                    name in put["item"],
                    self.columns.values(name)[:_MOST_VALUES] if name in self.columns.names else [],
                )
                for name in names
                if name != "title"
            ],
            [Column(name, self.reader.kind("user", name), True, []) for name in put["user"]],
        )

    def only(
        self,
        categories: Sequence[str],
        candidates: Iterable[str] | None,
        filters: Mapping[str, Sequence[str]] = MappingProxyType({}),
        new: NewItems = "mixed",
    ) -> tuple[Rows | None, list[str]]:
        """Rows that may be listed, None for all, and the candidates that the model does not know."""
        rows: Rows | None = None
        unknown: list[str] = []
        if candidates is not None:
            asked = list(candidates)
            found = self.item_rows(asked)
            unknown = [str(item) for item, row in zip(asked, found.tolist(), strict=True) if row < 0]
            rows = np.unique(found[found >= 0])
        if categories:
            parts = [self.rows_of_category(name) for name in categories]
            several = parts[0] if len(parts) == 1 else np.unique(np.concatenate(parts))
            rows = several if rows is None else np.intersect1d(rows, several, assume_unique=True)
        for name, values in filters.items():
            wanted = self.columns.rows(name, values, self.additions, self.reader)
            rows = wanted if rows is None else np.intersect1d(rows, wanted, assume_unique=True)
        if new != "mixed":
            trained = np.flatnonzero(self.item_counts).astype(np.int32)
            if new == "none":
                rows = trained if rows is None else np.intersect1d(rows, trained, assume_unique=True)
            else:
                every = np.arange(self.n_items + len(self.additions), dtype=np.int32)
                rows = np.setdiff1d(every if rows is None else rows, trained, assume_unique=True)
        return rows, unknown

    # People

    def user_state(self, user: str, changes: Sequence[tuple[str, float | None, float]]) -> UserState:
        """A user by the training ratings overlaid with feedback: (item, rating, time), None for a deletion.

        One of whom features were put is pulled to what these say, unless the model was trained on all that
        is known of their ratings.
        """
        row, put = self.user_row(user), self.put_user(user)
        if not changes:
            return self._without_changes(row, put)
        history = self.history(row)
        before, clock = dict(history), self._clock(row)
        for item_row, (_, rating, moment) in zip(
            self.item_rows([item for item, *_ in changes]).tolist(), changes, strict=True
        ):
            if item_row < 0:
                continue
            if rating is None:
                history.pop(item_row, None)
            else:
                history[item_row] = float(np.float32(rating))
                clock[item_row] = moment
        if history == before:
            return self._without_changes(row, put)
        return self._folded("feedback", row, history, clock, put)

    def put_user(self, user: str) -> Put | None:
        """What was put of a user."""
        users = self.additions.users
        return users.get(by_rules(user, self.model.user_vocabulary_.rules)) if users else None

    def session(self, ratings: Sequence[tuple[str, float]]) -> tuple[UserState, list[str]]:
        """The state of a user known only by these ratings; the last rating of an item counts.

        Models that use times take the items in their order, the latest last.
        """
        rows = self.item_rows([item for item, _ in ratings]).tolist()
        unknown = [str(item) for (item, _), row in zip(ratings, rows, strict=True) if row < 0]
        history = {row: value for row, (_, value) in zip(rows, ratings, strict=True) if row >= 0}
        clock = {row: float(at) for at, row in enumerate(rows) if row >= 0}
        return self._folded("session", -1, history, clock), unknown

    def check_rating(self, rating: float) -> None:
        """Raises Conflict where the model could not learn from such a rating."""
        low, high = self.model.rating_bounds()
        if low <= rating <= high:
            return
        if self.model.predicts_ratings:
            message = f"rating {rating:g} lies outside the model's range [{low:g}, {high:g}]"
        else:
            message = f"rating {rating:g}: this model takes it as a count or a weight, which is positive"
        raise Conflict(message, code="rating_out_of_range")

    def history(self, row: int) -> dict[int, float]:
        if row < 0:
            return {}
        begin, end = self.model.seen_.indptr[row : row + 2].tolist()
        seen = self.model.seen_
        return dict(zip(seen.indices[begin:end].tolist(), seen.ratings[begin:end].tolist(), strict=True))

    def _clock(self, row: int) -> dict[int, float]:
        """Times of a user's training ratings by item, of models that use them."""
        times = self.model.seen_times_
        if row < 0 or times is None:
            return {}
        begin, end = self.model.seen_.indptr[row : row + 2].tolist()
        return dict(zip(self.model.seen_.indices[begin:end].tolist(), times[begin:end].tolist(), strict=True))

    def _without_changes(self, row: int, put: Put | None) -> UserState:
        begin, end = (0, 0) if row < 0 else self.model.seen_.indptr[row : row + 2].tolist()
        if begin == end and put is not None:
            weights = self.model.fold_in_weights(NO_ITEMS, NO_RATINGS, put.row)
            return UserState("features", row, NO_ITEMS, NO_RATINGS, weights)
        if row < 0:
            return self._unknown_user
        seen, weights = self.model.seen_, None
        if begin == end and not self.model.feature_rows("users", np.array([row]))[0]:
            return self._without_ratings(row)
        if self.retrieval is not None:
            parameters = self.retrieval.parameters
            offset = parameters.global_mean + float(parameters.user_biases[row])
            weights = UserWeights(parameters.user_factors[row], offset)
        own, clock = slice(begin, end), self.model.seen_times_
        times = None if clock is None else clock[own]
        return UserState("training", row, seen.indices[own], seen.ratings[own], weights, times)

    def _without_ratings(self, row: int) -> UserState:
        return UserState("non-personal", row, NO_ITEMS, NO_RATINGS, self._no_weights)

    def _folded(
        self,
        basis: Basis,
        row: int,
        history: dict[int, float],
        clock: dict[int, float],
        put: Put | None = None,
    ) -> UserState:
        if not history and put is None:
            return self._without_ratings(row)
        rated = np.fromiter(sorted(history), np.int32, len(history))
        ratings = np.array([history[item] for item in rated.tolist()], np.float32)
        items, values = self.usable(rated, ratings)
        if not len(items) and put is None:
            return UserState("non-personal", row, rated, ratings, self._no_weights)
        weights = None
        if self.retrieval is not None:
            weights = self.model.fold_in_weights(items, values, None if put is None else put.row)
        basis = basis if len(items) else "features"
        times = np.array([clock[item] for item in rated.tolist()]) if self.model.uses_times else None
        return UserState(basis, row, rated, ratings, weights, times)

    def usable(self, rated: Rows, ratings: NDArray[np.float32]) -> tuple[Rows, NDArray[np.float32]]:
        """The ratings that the model can fold in: of items that it was trained on, or at least knows."""
        values = self.model.usable_ratings(ratings)
        kept = self._are_usable(rated, values)
        return rated[kept], values[kept]

    def _are_usable(self, rated: Rows, values: NDArray[np.float32]) -> NDArray[np.bool_]:
        kept: NDArray[np.bool_] = ~np.isnan(values) & (rated >= 0) & (rated < self.n_items)
        return kept

    # Answers

    def rank(self, asked: Sequence[tuple[UserState, int, bool, Rows | None]]) -> list[Ranked]:
        """Rows and scores of a list for each (user_state, n, exclude_seen, only), best first.

        A list that is not personal has the items with enough support first, see `Recommender.recommend`.
        """
        wanted = []
        for user_state, n, exclude_seen, only in asked:
            if self._not_personal(user_state):
                only = _within(only, self._supported)
            wanted.append((user_state, n, exclude_seen, only))
        made = self._ranked(wanted)
        short = [
            at
            for at, (state, n, *_) in enumerate(asked)
            if self._not_personal(state) and len(made[at][0]) < n
        ]
        if short:
            rest = self._ranked([(*asked[at][:3], _within(asked[at][3], self._unsupported)) for at in short])
            for at, (rows, scores) in zip(short, rest, strict=True):
                n = asked[at][1]
                made[at] = np.append(made[at][0], rows)[:n], np.append(made[at][1], scores)[:n]
        return made

    def _not_personal(self, user_state: UserState) -> bool:
        return user_state.basis == "non-personal" and len(self._unsupported) > 0

    def _ranked(self, asked: Sequence[tuple[UserState, int, bool, Rows | None]]) -> list[Ranked]:
        """`rank`, whatever the support."""
        if self.retrieval is not None:
            queries = []
            for user_state, n, exclude_seen, only in asked:
                assert user_state.weights is not None
                hidden = self._hidden(user_state, exclude_seen)
                queries.append(
                    TopKQuery(user_state.weights.vector, user_state.weights.offset, hidden, n, only)
                )
            return self._lists(self.retrieval, queries, self.additions.factors, self.additions.biases)
        made = []
        for user_state, n, exclude_seen, only in asked:
            allowed = _mask(self.n_items, only)
            allowed[self._hidden(user_state, exclude_seen)] = False
            made.append(best_rows(self.scores(user_state)[None], n, allowed))
        return made

    def _hidden(self, user_state: UserState, exclude_seen: bool) -> Rows:
        """Items that are not listed: what the user has rated, or what they dislike alone."""
        if exclude_seen:
            return user_state.rated
        return user_state.rated[user_state.ratings <= 0] if self.model.weighted_ else NO_ITEMS

    def _lists(
        self, retrieval: DotRetrieval, queries: list[TopKQuery], factors: Array, biases: Array
    ) -> list[Ranked]:
        """Lists over the items of the model and those beside it, which have these factors and biases."""
        additions, first = self.additions, self.n_items
        if not additions.fresh:
            return retrieval.lists(queries)
        inside = [
            replace(
                query,
                hidden=np.union1d(query.hidden[query.hidden < first], additions.superseded),
                only=None if query.only is None else query.only[query.only < first],
            )
            for query in queries
        ]
        lists = []
        for query, (rows, scores) in zip(queries, retrieval.lists(inside), strict=True):
            beside = None if query.only is None else query.only[query.only >= first] - first
            allowed = _mask(len(additions), beside)
            allowed[query.hidden[query.hidden >= first] - first] = False
            scored = factors @ query.vector + biases + query.offset
            fresh, theirs = best_rows(scored[None], query.n, allowed)
            all_rows, all_scores = np.append(rows, fresh + first), np.append(scores, theirs)
            best = np.argsort(-all_scores, kind="stable")[: query.n]
            lists.append((all_rows[best].astype(np.int32), all_scores[best]))
        return lists

    def scores(self, user_state: UserState) -> Array:
        """(n_items,) float32 scores of all items for a user, of a model without weights."""
        if user_state.basis in ("training", "non-personal"):
            row = user_state.row if user_state.basis == "training" else -1
            scores = self.model.score_block(np.array([row], np.int32))
        else:
            items, values = self.usable(user_state.rated, user_state.ratings)
            history, times = one_history(items, values), self._usable_times(user_state)
            scores = (
                self.model.score_histories(history)
                if times is None
                else self.model.score_timed_histories(history, times)
            )
        first: Array = scores[0]
        return first

    def _usable_times(self, user_state: UserState) -> NDArray[np.float64] | None:
        """The times of the ratings that `usable` takes, of models that use times."""
        if user_state.times is None:
            return None
        kept = self._are_usable(user_state.rated, self.model.usable_ratings(user_state.ratings))
        return user_state.times[kept]

    def fading(self, user_state: UserState) -> NDArray[Any] | float:
        """What each usable rating of a user is multiplied by for its age."""
        times = self._usable_times(user_state)
        return 1.0 if times is None else self.model.fading(times)

    def score(self, user_state: UserState, item_rows: NDArray[Any]) -> NDArray[np.float64]:
        """(n,) scores of some items; -1 is an item the model does not know, with no weights of its own."""
        known = item_rows >= 0
        beside = item_rows >= self.n_items
        inside = np.where(known & ~beside, item_rows, 0)
        if self.retrieval is None or user_state.weights is None:
            return np.where(known, self.scores(user_state)[inside], 0.0).astype(np.float64)
        parameters = self.retrieval.parameters
        vector = user_state.weights.vector.astype(np.float64)
        own = parameters.item_factors[inside] @ vector + parameters.item_biases[inside]
        if beside.any():
            weights = self.additions.weights[item_rows[beside] - self.n_items].astype(np.float64)
            own[beside] = weights[:, 1:] @ vector + weights[:, 0]
        return user_state.weights.offset + np.where(known, own, 0.0)

    def predictions(self, scores: Array) -> list[float] | list[None]:
        """In rating units; None for models that only rank."""
        found = self.model.predictions(np.asarray(scores, np.float64))
        return [None] * len(scores) if found is None else found.tolist()

    def similar(self, row: int, n: int, only: Rows | None) -> tuple[Rows, Array]:
        """Raises Conflict where this model, or this item, has nothing to compare."""
        known_by_features = self.is_new(row) or self.model.feature_rows("items", np.array([row]))[0]
        if not self.n_ratings(row) and not known_by_features:
            raise Conflict(
                f"item {self.item_id(row)!r} has no training ratings, so nothing is known to be like it",
                code="no_ratings",
            )
        if self._directions is not None:
            units = _units(self.additions.factors)
            unit = (
                units[row - self.n_items]
                if self.is_new(row)
                else self._directions.parameters.item_factors[row]
            )
            query = TopKQuery(unit, 0.0, np.array([row], np.int32), n, only)
            return self._lists(self._directions, [query], units, np.zeros(len(units), np.float32))[0]
        if self.is_new(row):
            raise Conflict(
                f"this {type(self.model).__name__} cannot say which items are like one without ratings",
                code="not_supported",
            )
        try:
            return self.model._alike(row, n, _mask(self.n_items, only))
        except ParameterValueError as error:
            raise Conflict(str(error), code="not_supported") from None

    def item_weights(self, row: int) -> int | ItemWeights:
        """The row of the model, or the weights of an item beside it."""
        if not self.is_new(row):
            return row
        at = row - self.n_items
        return ItemWeights(self.additions.factors[at], float(self.additions.biases[at]))

    def item_bias(self, row: int) -> float | None:
        if self.is_new(row):
            return float(self.additions.biases[row - self.n_items])
        return None if self.retrieval is None else float(self.retrieval.parameters.item_biases[row])

    @cached_property
    def _rows_by_id(self) -> dict[str, int]:
        return {str(item): row for row, item in enumerate(self.model.item_vocabulary_)}

    @cached_property
    def _directions(self) -> DotRetrieval | None:
        """Items by the direction of their factors, where that is what makes them alike.

        Items without factors have no direction, and are in no list.
        """
        if self.retrieval is None or not self.retrieval.parameters.n_factors or self.n_items >= _MANY_ITEMS:
            return None
        factors = self.retrieval.parameters.item_factors
        unit = _units(factors)
        no_users = np.zeros((0, unit.shape[1]), np.float32)
        parameters = Parameters(0.0, no_users[:, 0], np.zeros(len(unit), np.float32), no_users, unit)
        has_direction: NDArray[np.bool_] = np.asarray(np.any(unit != 0, axis=1))
        return DotRetrieval(parameters, has_direction)

    def mean_rating(self, row: int) -> float | None:
        """Of the training ratings of an item; None without any."""
        counts, sums = self.model.item_totals()
        return float(sums[row] / counts[row]) if counts[row] else None

    def search(self, words: str, n: int, keep: Callable[[int], bool] | None) -> tuple[list[int], bool]:
        """As `TitleIndex.search`, with the titles of items that were put; these come first."""
        touched = self.additions.touched
        keep_all = keep or (lambda _: True)
        if not touched and not self.additions.fresh:
            return self.titles.search(words, n, keep)
        rows, more = self.titles.search(words, n, lambda row: row not in touched and keep_all(row))
        put, titles = self.additions.titles
        found, more_of_these = titles.search(words, n, lambda at: keep_all(int(put[at])))
        together = [*(int(put[at]) for at in found), *rows]
        return together[:n], more or more_of_these or len(together) > n


def _units(factors: Array) -> Array:
    """Rows of length one; zeros stay."""
    lengths = np.linalg.norm(factors, axis=1)
    found: Array = (factors / np.where(lengths > 0, lengths, 1)[:, None]).astype(np.float32)
    return found


def _mask(n: int, only: Rows | None) -> NDArray[np.bool_]:
    """(n,) which rows may be listed: all, or these."""
    mask = np.full(n, only is None)
    if only is not None:
        mask[only] = True
    return mask


def _within(only: Rows | None, rows: Rows | None) -> Rows | None:
    if rows is None:
        return only
    return rows if only is None else np.intersect1d(only, rows, assume_unique=True)


def _have_same_items(one: Recommender, other: Recommender) -> bool:
    """Whether ids, titles and categories are equal, row by row."""
    mine, theirs = one.item_texts_, other.item_texts_
    return (
        mine.keys() == theirs.keys()
        and one.item_vocabulary_ == other.item_vocabulary_
        and all(
            np.array_equal(mine[name].offsets, theirs[name].offsets)
            and np.array_equal(mine[name].blob, theirs[name].blob)
            for name in mine
        )
    )
