"""The API as one table: it routes requests and it makes the OpenAPI document, so they cannot differ.

Paths are fixed words. Ids travel in the query string or in the body, never in the path: any text can
be an id there (slashes, dots, spaces), and nothing on the way rewrites it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

import bilinear.serving.http.handlers as h
import bilinear.serving.messages as m
from bilinear.serving.http.guard import Access

_JSON = ("application/json",)
_LINES = ("application/x-ndjson", "text/csv")


@dataclass(frozen=True)
class Operation:
    """One thing that can be asked.

    Attributes:
        name: of the operation, in metrics and OpenAPI.
        words: one sentence.
        access: what a token must allow.
        query, body, answer: the types; `bodies`, `answers` their media types.
        can_fail: the statuses beyond those that every operation may give.
        most: bytes that a body may have; 0 takes the server's limit.
    """

    method: str
    path: str
    name: str
    words: str
    access: Access
    handler: h.Handler
    answer: type | None
    query: type[msgspec.Struct] = m.Nothing
    body: type[msgspec.Struct] | None = None
    can_fail: tuple[int, ...] = ()
    bodies: tuple[str, ...] = _JSON
    answers: tuple[str, ...] = _JSON
    tag: str = "API"


def _get(path: str, name: str, words: str, handler: h.Handler, answer: type | None, **more: Any) -> Operation:
    return Operation("GET", path, name, words, more.pop("access", "read"), handler, answer, **more)


def _post(
    path: str, name: str, words: str, handler: h.Handler, answer: type | None, **more: Any
) -> Operation:
    return Operation("POST", path, name, words, more.pop("access", "read"), handler, answer, **more)


_LISTS, _ITEMS, _FEEDBACK, _MODEL = "Lists", "Items and users", "Feedback", "Model"

OPERATIONS = (
    _get(
        "/v1/recommendations",
        "recommend",
        "The best items for a user, after everything they rated until now.",
        h.recommend,
        m.Recommended,
        query=m.RecommendQuery,
        can_fail=(404, 503),
        tag=_LISTS,
    ),
    _post(
        "/v1/recommendations",
        "recommend_among",
        "The same with the question in the body, for long lists of candidates.",
        h.recommend_among,
        m.Recommended,
        body=m.RecommendBody,
        can_fail=(404, 503),
        tag=_LISTS,
    ),
    _post(
        "/v1/session/recommendations",
        "recommend_session",
        "The best items for a user known only by these ratings; nothing is stored.",
        h.in_thread("recommend_session"),
        m.Recommended,
        body=m.SessionBody,
        can_fail=(404, 409),
        tag=_LISTS,
    ),
    _get(
        "/v1/similar",
        "similar",
        "Items most like an item.",
        h.in_thread("similar"),
        m.Similar,
        query=m.SimilarQuery,
        can_fail=(404, 409),
        tag=_LISTS,
    ),
    _post(
        "/v1/predictions",
        "predict",
        "Scores and predicted ratings of pairs, in their order.",
        h.in_thread("predict"),
        m.PredictedPairs,
        body=m.PredictBody,
        can_fail=(503,),
        tag=_LISTS,
    ),
    _get(
        "/v1/explanations",
        "explain",
        "Why an item for a user: mean, biases and the user's own ratings, which add up to the score.",
        h.in_thread("explain"),
        m.Explained,
        query=m.ExplainQuery,
        can_fail=(404, 503),
        tag=_LISTS,
    ),
    _post(
        "/v1/session/explanations",
        "explain_session",
        "Why an item for a user known only by these ratings.",
        h.in_thread("explain_session"),
        m.Explained,
        body=m.ExplainSessionBody,
        can_fail=(404, 409),
        tag=_LISTS,
    ),
    _get(
        "/v1/search",
        "search",
        "Items by part of their title; case and accents do not matter.",
        h.in_thread("search"),
        m.Found,
        query=m.SearchQuery,
        can_fail=(404,),
        tag=_ITEMS,
    ),
    _get(
        "/v1/item",
        "item",
        "An item: title, categories, counts, bias.",
        h.in_thread("item"),
        m.ItemRecord,
        query=m.ItemQuery,
        can_fail=(404,),
        tag=_ITEMS,
    ),
    _get(
        "/v1/categories",
        "categories",
        "All categories.",
        h.in_thread("categories"),
        m.CategoryList,
        tag=_ITEMS,
    ),
    _get(
        "/v1/user",
        "user",
        "A user, with their ratings from training and feedback, latest first.",
        h.in_thread("user"),
        m.UserRecord,
        query=m.UserQuery,
        can_fail=(404, 503),
        tag=_ITEMS,
    ),
    _get(
        "/v1/users",
        "users",
        "Users that the model was trained on.",
        h.in_thread("users"),
        m.Users,
        query=m.UsersQuery,
        tag=_ITEMS,
    ),
    _get(
        "/v1/map",
        "map",
        "All items as points of a plane, for a picture of tastes.",
        h.item_map,
        m.ItemMap,
        can_fail=(409,),
        tag=_ITEMS,
    ),
    Operation(
        "PUT",
        "/v1/feedback",
        "put_feedback",
        "Stores a rating; synced to disk when answered. Any number of repetitions has the effect of one.",
        "write",
        h.put_feedback,
        m.FeedbackRecord,
        query=m.Pair,
        body=m.RatingBody,
        can_fail=(409, 503),
        tag=_FEEDBACK,
    ),
    _get(
        "/v1/feedback",
        "get_feedback",
        "The stored rating of a pair.",
        h.in_thread("feedback"),
        m.FeedbackRecord,
        query=m.Pair,
        can_fail=(404, 503),
        tag=_FEEDBACK,
    ),
    Operation(
        "DELETE",
        "/v1/feedback",
        "delete_feedback",
        "Takes a rating back, also one from training. Repetitions have the effect of one.",
        "write",
        h.delete_feedback,
        m.FeedbackRecord,
        query=m.DeleteQuery,
        can_fail=(409, 503),
        tag=_FEEDBACK,
    ),
    _get(
        "/v1/feedback/of-user",
        "feedback_of_user",
        "All stored ratings of a user, by item.",
        h.in_thread("feedback_of"),
        m.FeedbackPage,
        query=m.UserQuery,
        can_fail=(503,),
        tag=_FEEDBACK,
    ),
    _post(
        "/v1/feedback/import",
        "import_feedback",
        "Stores many ratings, all or none: JSON lines or CSV with user, item, rating and, if any, time.",
        h.import_feedback,
        m.Imported,
        body=m.FeedbackLine,
        bodies=_LINES,
        access="write",
        can_fail=(409, 503),
        tag=_FEEDBACK,
    ),
    _get(
        "/v1/feedback/export",
        "export_feedback",
        "All stored ratings as of one moment, by user and item, as JSON lines or CSV.",
        h.export_feedback,
        m.FeedbackLine,
        query=m.ExportQuery,
        answers=_LINES,
        can_fail=(503,),
        tag=_FEEDBACK,
    ),
    _get("/v1/model", "model", "The served model.", h.in_thread("info"), m.ModelInfo, tag=_MODEL),
    _get(
        "/v1/model/report",
        "report",
        "Measurement and training of the model: held-out scores, training curves, search, verdicts.",
        h.in_thread("report"),
        m.Report,
        tag=_MODEL,
    ),
    _post(
        "/v1/model/reload",
        "reload",
        "Opens the model folder again. A damaged model is refused and the old one stays.",
        h.swap("reload"),
        m.Swapped,
        body=m.Nothing,
        access="write",
        can_fail=(409,),
        tag=_MODEL,
    ),
    _post(
        "/v1/model/rollback",
        "rollback",
        "Goes back to the model that was live before.",
        h.swap("rollback"),
        m.Swapped,
        body=m.Nothing,
        access="write",
        can_fail=(409,),
        tag=_MODEL,
    ),
    _post(
        "/v1/model/retrain",
        "retrain",
        "Trains a new model from all ratings and feedback, in a process of its own; it goes live only if its "
        "held-out score is good enough.",
        h.retrain,
        m.RetrainState,
        body=m.RetrainBody,
        access="write",
        can_fail=(409,),
        tag=_MODEL,
    ),
    _get(
        "/v1/model/retrain",
        "retrain_state",
        "State of the last training.",
        h.retrain_state,
        m.RetrainState,
        tag=_MODEL,
    ),
    _get(
        "/health/live", "live", "Whether the process answers.", h.live, m.Health, access="open", tag="Health"
    ),
    _get(
        "/health/ready",
        "ready",
        "Whether model and feedback store can be used.",
        h.ready,
        m.Health,
        access="open",
        can_fail=(503,),
        tag="Health",
    ),
    _get(
        "/metrics",
        "metrics",
        "Counters for Prometheus.",
        h.metrics,
        None,
        answers=("text/plain",),
        tag="Health",
    ),
)
