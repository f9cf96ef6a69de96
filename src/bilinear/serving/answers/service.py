"""The answers of the server as plain calls, without HTTP: one serving model, one feedback store."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from time import time
from typing import Any, NamedTuple

import msgspec
import numpy as np

import bilinear.serving.messages as m
from bilinear.errors import ParameterValueError
from bilinear.estimators.recommender import Recommender
from bilinear.inspection.model_charts import score_charts, training_charts
from bilinear.recommend.screening import Ranked, Rows
from bilinear.serving.answers.additions import Additions
from bilinear.serving.answers.explanations import explained, user_bias
from bilinear.serving.answers.pauses import Pauses
from bilinear.serving.answers.serving_model import PREDICTION, ServingModel, UserState
from bilinear.serving.feedback.properties import Put, read_content
from bilinear.serving.feedback.store import (
    Feedback,
    FeedbackStore,
    Mark,
    Properties,
    Side,
    Stamped,
    StampedProperties,
)
from bilinear.serving.lifecycle.learning import updated_at
from bilinear.serving.lifecycle.model_folder import ModelFolder, held_out
from bilinear.serving.problems import Conflict, NotFound, Refused, StoreUnavailable

Change = tuple[str, float | None, float]
_MOST_FOLDED = 10_000
_MANY = 10_000
_CLOCK_SKEW = 300.0
_NO_ITEMS = b"[]}"
_encode = msgspec.json.Encoder().encode


class _Fold(NamedTuple):
    """A user folded in, with all that it was made from.

    Attributes:
        beside: The items that were put, where the user rated some of these; else None.
    """

    changes: Sequence[Change]
    put: Put | None
    beside: Additions | None
    user_state: UserState


@dataclass(frozen=True, eq=False, slots=True)
class Plan:
    """A list that one serving model is to make: everything but the ranking itself."""

    serving_model: ServingModel
    user_state: UserState
    user: str | None
    n: int
    exclude_seen: bool
    only: Rows | None
    unknown: list[str]

    @property
    def query(self) -> tuple[UserState, int, bool, Rows | None]:
        return self.user_state, self.n, self.exclude_seen, self.only


class Service:
    """Answers from a model folder and a feedback store. Every method may be called by any thread.

    A request takes `serving_model` once and answers from it alone, so that no answer mixes two models.

    Raises (all methods): Refused and its kinds, see `problems`.

    Examples:
        >>> from pathlib import Path
        >>> from bilinear import Interactions, Popularity
        >>> from bilinear.serving import ModelFolder, Service, messages, open_store
        >>> users, items = "ann ann bob bob cat".split(), "tea jam tea salt tea".split()
        >>> Popularity().fit(Interactions.from_columns(users, items)).save("model")
        >>> folder, store = ModelFolder(Path("model")), open_store("sqlite:///feedback.db")
        >>> service = Service(folder, store)
        >>> [place.item for place in service.recommend(messages.RecommendBody("cat", n=2)).items]
        ['jam', 'salt']
        >>> folder.close()
        >>> store.close()
    """

    def __init__(self, models: ModelFolder, store: FeedbackStore) -> None:
        self.models, self.store = models, store
        self._putting = threading.Lock()
        self._mark: Mark | None = None
        self._put: dict[tuple[Side, str], Properties] = {}
        self._put_beside = self._put
        self.serving_model = ServingModel(*models.load())
        self.refresh()
        models.remember(self.serving_model.model, self.serving_model.version)
        self._folded: tuple[object, dict[str, _Fold]] = (self.serving_model.identity, {})
        self._swapping = threading.Lock()
        self._clock = threading.Lock()
        self.n_swaps = 0
        self._last_time = 0.0

    # Recommending

    def recommend(self, query: m.RecommendBody) -> m.Recommended:
        """The best items for a user, after everything they rated until now."""
        plan = self.plan(query, self.store.of_user(query.user))
        return self.recommended(plan, plan.serving_model.rank([plan.query])[0])

    def recommend_session(self, body: m.SessionBody) -> m.Recommended:
        """The best items for a user known only by these ratings."""
        serving_model = self.serving_model
        for rating in body.ratings:
            serving_model.check_rating(rating.rating)
        user_state, unknown = serving_model.session([(rating.item, rating.rating) for rating in body.ratings])
        only, unknown_candidates = serving_model.only(
            body.categories, body.candidates or None, body.filters, body.new
        )
        plan = Plan(
            serving_model,
            user_state,
            None,
            int(body.n),
            body.exclude_seen,
            only,
            unknown + unknown_candidates,
        )
        return self.recommended(plan, serving_model.rank([plan.query])[0])

    def plan(self, query: m.RecommendBody, changes: Sequence[Change]) -> Plan:
        """The ranking to make for a user with this feedback; `recommended` answers with its result."""
        serving_model = self.serving_model
        if query.categories or query.candidates or query.filters or query.new != "mixed":
            only, unknown = serving_model.only(
                query.categories, query.candidates or None, query.filters, query.new
            )
        else:
            only, unknown = None, []
        user_state = self.user_state(serving_model, query.user, changes)
        return Plan(serving_model, user_state, query.user, int(query.n), query.exclude_seen, only, unknown)

    def recommended(self, plan: Plan, ranked: Ranked) -> m.Recommended:
        rows, scores = ranked
        named, predictions = plan.serving_model, plan.serving_model.predictions(scores)
        items = [
            m.RankedItem(
                named.item_id(row),
                named.title(row),
                score,
                prediction,
                named.categories(row),
                named.is_new(row),
            )
            for row, score, prediction in zip(rows.tolist(), scores.tolist(), predictions, strict=True)
        ]
        return self._answer(plan, items)

    def recommended_json(self, plan: Plan, ranked: Ranked) -> bytes:
        """JSON of `recommended`, byte for byte, from what is kept of each item."""
        rows, scores = ranked
        serving_model = plan.serving_model
        numbers = _numbers(scores.tolist()), _numbers(serving_model.predictions(scores))
        items = [
            b"".join((before, score, PREDICTION, prediction, after))
            for (before, after), score, prediction in zip(
                map(serving_model.card, rows.tolist()), *numbers, strict=True
            )
        ]
        head = _encode(self._answer(plan, []))
        assert head.endswith(_NO_ITEMS)
        return head[: -len(_NO_ITEMS)] + b"[" + b",".join(items) + b"]}"

    def _answer(self, plan: Plan, items: list[m.RankedItem]) -> m.Recommended:
        serving_model, user_state = plan.serving_model, plan.user_state
        return m.Recommended(
            plan.user,
            user_state.basis != "non-personal",
            user_state.basis,
            len(user_state.rated),
            serving_model.version,
            plan.unknown,
            items,
        )

    def user_state(self, serving_model: ServingModel, user: str, changes: Sequence[Change]) -> UserState:
        """A user with this feedback; a fold-in is kept until the feedback or the model changes."""
        if not changes:
            return serving_model.user_state(user, ())
        folded_by, folded = self._folded
        if folded_by is not serving_model.identity:
            folded = {}
            self._folded = (serving_model.identity, folded)
        known, put = folded.get(user), serving_model.put_user(user)
        besides = None, serving_model.additions
        if known is not None and known.changes == changes and known.put is put and known.beside in besides:
            return known.user_state
        user_state = serving_model.user_state(user, changes)
        rows = serving_model.item_rows([change[0] for change in changes])
        beside = ((rows < 0) | (rows >= serving_model.n_items)).any()
        if len(folded) >= _MOST_FOLDED:
            with suppress(KeyError, RuntimeError, StopIteration):  # another thread may have been quicker
                del folded[next(iter(folded))]
        if len(changes) <= _MANY:
            folded[user] = _Fold(changes, put, serving_model.additions if beside else None, user_state)
        return user_state

    def folds_quickly(self, user: str, changes: Sequence[Change]) -> bool:
        """Whether `user_state` with a few changes takes about a millisecond: not with a very long history."""
        if not changes:
            return True
        serving_model = self.serving_model
        folded_by, folded = self._folded
        if folded_by is serving_model.identity and user in folded:
            return True
        row = serving_model.user_row(user)
        return row < 0 or serving_model.n_trained(row) <= _MANY

    # Items

    def similar(self, query: m.SimilarQuery) -> m.Similar:
        serving_model = self.serving_model
        row = serving_model.item_row(query.item)
        only, _ = serving_model.only(query.category, None)
        rows, scores = serving_model.similar(row, query.n, only)
        items = [
            m.SimilarItem(
                serving_model.item_id(at),
                serving_model.title(at),
                score,
                serving_model.categories(at),
                serving_model.is_new(at),
            )
            for at, score in zip(rows.tolist(), scores.tolist(), strict=True)
        ]
        return m.Similar(serving_model.item_id(row), serving_model.title(row), serving_model.version, items)

    def search(self, query: m.SearchQuery) -> m.Found:
        serving_model = self.serving_model
        only, _ = serving_model.only(query.category, None)
        kept = None if only is None else set(only.tolist()).__contains__
        rows, more = serving_model.search(query.q, query.n, kept)
        items = [
            m.FoundItem(
                serving_model.item_id(row),
                serving_model.title(row),
                serving_model.categories(row),
                serving_model.n_ratings(row),
                serving_model.is_new(row),
            )
            for row in rows
        ]
        return m.Found(query.q, more, items)

    def item(self, query: m.ItemQuery) -> m.ItemRecord:
        serving_model = self.serving_model
        row = serving_model.item_row(query.item)
        new, put = serving_model.is_new(row), serving_model.additions.of_row(row)
        mean = None if new else serving_model.mean_rating(row)
        return m.ItemRecord(
            serving_model.item_id(row),
            serving_model.title(row),
            serving_model.categories(row),
            serving_model.texts(row),
            serving_model.n_ratings(row),
            mean,
            serving_model.item_bias(row),
            serving_model.version,
            new,
            None if put is None else dict(put.features),
        )

    def categories(self, _: m.Nothing) -> m.CategoryList:
        counts = self.serving_model.category_counts()
        return m.CategoryList([m.Category(name, n) for name, n in counts.items()])

    def columns(self, _: m.Nothing) -> m.Columns:
        """Columns that can be put, and those of items that can be filtered by."""
        return self.serving_model.described_columns()

    # Users

    def user(self, query: m.UserQuery) -> m.UserRecord:
        """Everything known of a user; 404 where that is nothing."""
        serving_model, changes = self.serving_model, self.store.of_user(query.user)
        user_state = self.user_state(serving_model, query.user, changes)
        n_feedback = sum(rating is not None for _, rating, _ in changes)
        put = serving_model.put_user(query.user)
        if user_state.row < 0 and not changes and put is None:
            raise NotFound(f"no user {query.user!r} in the model or the feedback", code="unknown_user")
        known = {
            serving_model.item_id(row): m.KnownRating(
                serving_model.item_id(row), serving_model.title(row), value, "training", None
            )
            for row, value in serving_model.history(user_state.row).items()
        }
        for item, rating, moment in changes:
            row = int(serving_model.item_rows([item])[0])
            name = item if row < 0 else serving_model.item_id(row)
            known.pop(name, None)
            if rating is not None:
                title = item if row < 0 else serving_model.title(row)
                known[name] = m.KnownRating(name, title, rating, "feedback", moment)
        ratings = sorted(known.values(), key=lambda one: (-(one.time or 0.0), -one.rating, one.item))
        mean = float(np.mean([one.rating for one in ratings])) if ratings else None
        return m.UserRecord(
            query.user,
            user_state.row >= 0,
            user_state.basis,
            user_bias(serving_model, user_state),
            len(ratings),
            len(serving_model.history(user_state.row)),
            n_feedback,
            mean,
            ratings[query.offset : query.offset + query.limit],
            serving_model.version,
            None if put is None else dict(put.features),
        )

    def users(self, query: m.UsersQuery) -> m.Users:
        """Users that the model was trained on, in the order of their ids."""
        serving_model = self.serving_model
        names = serving_model.model.user_vocabulary_
        runs = names.with_prefix(query.prefix)
        page: list[int] = []
        before = 0
        for run in runs:
            start = max(0, query.offset - before)
            page += run[start : start + query.limit - len(page)]
            before += len(run)
        return m.Users(before, [m.UserRow(str(names[row]), serving_model.n_trained(row)) for row in page])

    # Predictions

    def predict(self, body: m.PredictBody) -> m.PredictedPairs:
        serving_model = self.serving_model
        of_user: dict[str, list[int]] = {}
        for at, pair in enumerate(body.pairs):
            of_user.setdefault(pair.user, []).append(at)
        item_rows = serving_model.item_rows([pair.item for pair in body.pairs])
        predicted: list[Any] = [None] * len(body.pairs)
        for user, places in of_user.items():
            user_state = self.user_state(serving_model, user, self.store.of_user(user))
            rows = item_rows[places]
            scores = serving_model.score(user_state, rows)
            for at, score, prediction, row in zip(
                places, scores.tolist(), serving_model.predictions(scores), rows.tolist(), strict=True
            ):
                item = body.pairs[at].item
                predicted[at] = m.Predicted(user, item, score, prediction, user_state.basis, row >= 0)
        return m.PredictedPairs(serving_model.version, predicted)

    def explain(self, query: m.ExplainQuery) -> m.Explained:
        """Explanation of an item for a user: contributions to the score."""
        serving_model = self.serving_model
        user_state = self.user_state(serving_model, query.user, self.store.of_user(query.user))
        return explained(serving_model, user_state, query.user, query.item, query.n)

    def explain_session(self, body: m.ExplainSessionBody) -> m.Explained:
        serving_model = self.serving_model
        for rating in body.ratings:
            serving_model.check_rating(rating.rating)
        user_state, _ = serving_model.session([(rating.item, rating.rating) for rating in body.ratings])
        return explained(serving_model, user_state, None, body.item, int(body.n))

    # Feedback

    def feedback_row(self, user: str, item: str, rating: float | None, moment: float | None) -> Feedback:
        """A row to be written, checked and with a time: the client's, or the server's own."""
        if rating is not None:
            self.serving_model.check_rating(rating)
        kind = Stamped if moment is None else Feedback
        return kind(user, item, rating, self.moment(moment))

    def moment(self, given: float | None) -> float:
        """The time of a write: the client's, or now, later than any now before."""
        now = time()
        if given is not None:
            if given > now + _CLOCK_SKEW:
                raise Conflict(
                    f"time {given:.0f} lies more than five minutes ahead of the server's clock "
                    f"({now:.0f}); give seconds since 1970",
                    code="time_in_future",
                )
            return given
        with self._clock:
            self._last_time = max(now, self._last_time + 1e-6)
            return self._last_time

    def feedback(self, query: m.Pair) -> m.FeedbackRecord:
        found = self.store.get(query.user, query.item)
        if found is None or found.rating is None:
            raise NotFound(f"no feedback of user {query.user!r} on item {query.item!r}", code="no_feedback")
        return m.FeedbackRecord(*found, True)

    def feedback_of(self, query: m.UserQuery) -> m.FeedbackPage:
        rows = [row for row in self.store.of_user(query.user) if row[1] is not None]
        page = rows[query.offset : query.offset + query.limit]
        return m.FeedbackPage(
            query.user,
            len(rows),
            [m.FeedbackRecord(query.user, item, rating, moment, True) for item, rating, moment in page],
        )

    # Properties

    def properties_row(
        self, side: Side, id_: str, content: m.Content | None, moment: float | None = None
    ) -> Properties:
        """A row to be written, checked against the served model and with a time; content None deletes.

        Raises:
            Conflict: the model has no features of this side, the id cannot be among its own, or too many
                are stored.
            Refused: a column that the model does not know, or too long.
        """
        serving_model = self.serving_model
        kind = StampedProperties if moment is None else Properties
        if content is None:
            return kind(side, serving_model.canonical_id(side, id_), None, self.moment(moment))
        if not serving_model.reader.knows(side):
            raise Conflict(
                f"the model was trained without features of {side}s, so that it cannot place one; train with "
                f"--{side}s and --{side}-features",
                code="no_features",
            )
        id_ = serving_model.canonical_id(side, id_)
        if (side, id_) not in self._put and len(self._put) >= m.MOST_PUT and self._n_put() >= m.MOST_PUT:
            raise Conflict(
                f"{m.MOST_PUT:,} items and users are stored already; train with them in the tables of items "
                "and users, and delete them here",
                code="too_many",
            )
        try:
            put = serving_model.reader.put(side, id_, content, strict=True)
        except ParameterValueError as error:
            raise Refused(f"{side} {id_!r}: {error}", code="unknown_column", status=422) from None
        text = msgspec.json.encode(m.Content(content.title, dict(put.features))).decode()
        if len(text) > m.LONGEST_PROPERTIES:
            raise Refused(
                f"{side} {id_!r}: {len(text):,} characters of properties, more than "
                f"{m.LONGEST_PROPERTIES:,}; leave out what is not a feature",
                code="too_long",
                status=413,
            )
        return kind(side, id_, text, self.moment(moment))

    def _n_put(self) -> int:
        return sum(row.content is not None for row in list(self._put.values()))

    def apply(self, rows: Sequence[Properties]) -> None:
        """Makes stored properties live: what began before does not see them, all that begins now does."""
        with self._putting:
            newer = {}
            for row in rows:
                known = self._put.get(row[:2])
                if known is None or row.time >= known.time:
                    newer[row[:2]] = self._put[row[:2]] = row
            self.serving_model = _with_put(self.serving_model, newer.values())

    def refresh(self) -> None:
        """Reads the properties again where another server has written some."""
        mark = self.store.properties_mark()
        if mark == self._mark:
            return
        rows = [row for batch in self.store.properties() for row in batch]
        self.apply([row for row in rows if self._put.get(row[:2]) != row])
        self._mark = mark

    def properties_record(self, row: Properties, *, stored: bool) -> m.PropertiesRecord:
        """What is stored, and how the served model takes it."""
        serving_model, content, put = self.serving_model, None, None
        if row.content is not None:
            content = read_content(row.content)
            if serving_model.reader.knows(row.side):
                put = serving_model.reader.put(row.side, row.id, content, strict=False)
        if row.side == "item":
            at = int(serving_model.item_rows([row.id])[0])
            trained = at >= 0 and serving_model.n_ratings(at) > 0
        else:
            trained = bool(serving_model.model.has_ratings(np.array([serving_model.user_row(row.id)]))[0])
        return m.PropertiesRecord(
            row.side,
            row.id,
            None if content is None else content.title,
            None if content is None else dict(content.features),
            row.time,
            stored,
            [] if put is None else list(put.missing),
            {} if put is None else {name: list(values) for name, values in put.ignored.items()},
            trained,
            serving_model.version,
        )

    # The model

    def info(self, _: m.Nothing) -> m.ModelInfo:
        serving_model = self.serving_model
        model = serving_model.model
        parameters = model.dot_product()
        bounds = list(model.rating_bounds()) if model.predicts_ratings else None
        return m.ModelInfo(
            serving_model.version,
            type(model).__name__,
            {field.name: repr(getattr(model, field.name)) for field in fields(model)},  # type: ignore[arg-type]
            serving_model.n_users,
            serving_model.n_items,
            len(model.seen_.ratings),
            None if parameters is None else parameters.n_factors,
            len(serving_model.additions),
            len(serving_model.additions.users),
            bounds,
            model.has_ratings_,
            model.source_,
            held_out(model),
            serving_model.loaded_at,
            model.updates,
            updated_at(model),
            len(self.models.earlier(serving_model.version)),
            bounds is not None,
            model.can_compare_items,
            serving_model.reader.knows("item"),
            serving_model.reader.knows("user"),
            "title" in model.item_texts_,
            bool(serving_model.category_counts()),
            self.store.address,
        )

    def live(self) -> tuple[str, Recommender]:
        """Version of the model that answers, and the model."""
        serving_model = self.serving_model
        return serving_model.version, serving_model.model

    def report(self, _: m.Nothing) -> m.Report:
        serving_model = self.serving_model
        history, search = (getattr(serving_model.model, name, None) for name in ("history_", "search_"))
        return m.Report(
            serving_model.version,
            serving_model.model.report_,
            None if history is None else history.to_dict(),
            None if search is None else search.to_dict(),
            {"scores": score_charts(serving_model.model.report_), "training": training_charts(history)},
        )

    def reload(self, _: m.Nothing) -> m.Swapped:
        """Opens the model folder again; what cannot be opened is refused and the old one stays."""
        with self._swap():
            serving_model, old = self._beside(*self.models.load()), self.serving_model
            if serving_model.version != old.version:
                self.models.keep(old.model, old.version)
            self.models.remember(serving_model.model, serving_model.version)
            return self._go_live(serving_model)

    def rollback(self, _: m.Nothing) -> m.Swapped:
        """Goes back to the model that was live before; the live one leaves the history.

        A model of the history that does not open is passed over.
        """
        with self._swap(), self.models.changing():
            refused: list[str] = []
            for earlier in self.models.earlier(self.serving_model.version):
                try:
                    serving_model = self._beside(*self.models.load_from(earlier))
                except Conflict as error:
                    refused.append(str(error))
                    continue
                self.models.publish(earlier)
                self.models.forget_after(earlier)
                return self._go_live(serving_model)
            message = "no earlier model is kept, so there is nothing to roll back to"
            raise Conflict("; ".join([message, *refused]), code="no_earlier")

    def adopt(self, folder: Path, content: str = "", instead_of: str = "") -> m.Swapped:
        """Makes the model of another folder live, and the model folder's own; waits for another change.

        Args:
            content: the beginning of the content hash that the model has to have.
            instead_of: the version of the model of which it is an update, which has to be live. In the
                history it takes the place of an earlier update, so that a rollback leads to what was trained.

        Examples:
            >>> from pathlib import Path
            >>> from bilinear import Interactions, Popularity
            >>> from bilinear.serving import ModelFolder, Service, open_store
            >>> clicks = Interactions.from_columns(["ann", "bob"], ["tea", "jam"])
            >>> Popularity().fit(clicks).save("model")
            >>> Popularity(confidence="log").fit(clicks).save("other")
            >>> folder, store = ModelFolder(Path("model")), open_store("sqlite:///feedback.db")
            >>> service = Service(folder, store)
            >>> swapped = service.adopt(Path("other"))
            >>> folder.load()[0]
            Popularity(confidence='log')
            >>> folder.close()
            >>> store.close()
        """
        with self._swap(wait=True), self.models.changing():
            old = self.serving_model
            if instead_of not in ("", old.version):
                raise Conflict("another model went live while this one was being updated", code="other_model")
            serving_model = self._beside(*self.models.load_from(folder, content))
            self.models.keep(old.model, old.version)
            self.models.publish(folder)
            self.models.remember(serving_model.model, serving_model.version)
            if instead_of and updated_at(old.model) is not None:
                self.models.forget(old.version)
            return self._go_live(serving_model)

    def _beside(self, model: Recommender, version: str) -> ServingModel:
        """A model made ready, down to compiled kernels and pages in memory, while another one answers."""
        with suppress(StoreUnavailable):
            self.refresh()
        made = ServingModel(model, version, self.serving_model, Pauses())
        with self._putting:
            self._put_beside = dict(self._put)
        return _with_put(made, self._put_beside.values())

    def _go_live(self, serving_model: ServingModel) -> m.Swapped:
        """The swap: requests that began keep the model that they took, later ones take this one."""
        with self._putting:  # with what was put since `serving_model` was made
            before = self.serving_model.version
            since = [row for key, row in self._put.items() if self._put_beside.get(key) is not row]
            self.serving_model = _with_put(serving_model, since)
        _, folded = self._folded
        self._folded = (serving_model.identity, {})
        pause = Pauses()
        while folded:  # freed here, not by the next request
            with suppress(KeyError):
                folded.popitem()
            pause()
        self.n_swaps += 1
        return m.Swapped(serving_model.version, before)

    @contextmanager
    def _swap(self, *, wait: bool = False) -> Iterator[None]:
        """One change of the model at a time; a second is refused, or waits."""
        if not self._swapping.acquire(blocking=wait):
            raise Conflict("the model is being changed by another request; try again", code="busy")
        try:
            yield
        finally:
            self._swapping.release()


def _with_put(serving_model: ServingModel, rows: Iterable[Properties]) -> ServingModel:
    """With stored properties, as far as the model has features of their side."""
    reader = serving_model.reader
    puts: dict[Side, dict[str, Put | None]] = {"item": {}, "user": {}}
    for side, id_, content, _ in rows:
        if reader.knows(side):
            known = None if content is None else reader.put(side, id_, read_content(content), strict=False)
            puts[side][id_] = known
    for side, of_side in puts.items():
        if of_side:
            serving_model = serving_model.with_put(side, of_side)
    return serving_model


def _numbers(values: list[float] | list[None]) -> list[bytes]:
    """Each of them as JSON."""
    return _encode(values)[1:-1].split(b",") if values else []
