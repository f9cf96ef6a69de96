"""The API as one table: it routes requests and it makes the OpenAPI document, so they cannot differ.

Paths are fixed words. Ids travel in the query string or in the body, never in the path: any text can
be an id there (slashes, dots, spaces), and nothing on the way rewrites it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import msgspec

import bilinear.serving.http.handlers as h
import bilinear.serving.messages as m
from bilinear.serving.feedback.store import Side
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


def _operation(
    method: str,
    path: str,
    name: str,
    words: str,
    answer: type | None,
    *,
    access: Access = "read",
    handler: h.Handler | None = None,
    **more: Any,
) -> Operation:
    """An operation that calls the service's method of its name, or `handler`."""
    return Operation(method, path, name, words, access, handler or h.in_thread(name), answer, **more)


_get, _put, _post, _delete = (partial(_operation, method) for method in ("GET", "PUT", "POST", "DELETE"))


def _put_and_delete(
    side: Side, query: type[msgspec.Struct], stored: str, left: str = ""
) -> tuple[Operation, Operation]:
    """The operations on the properties of items or users."""
    path, once = f"/v1/{side}", "Repetitions have the effect of one."
    handler, one = h.put_properties(side), f"an {side}" if side == "item" else f"a {side}"
    more: dict[str, Any] = {"handler": handler, "access": "write", "query": query}
    return (
        _put(
            path,
            f"put_{side}",
            f"Stores {stored} of {one}; on disk, and in lists, when answered. {once}",
            m.PropertiesRecord,
            body=m.Content,
            can_fail=(409, 422, 503),
            **more,
        ),
        _delete(
            path,
            f"delete_{side}",
            f"Takes back what was put of {one}{left}. {once}",
            m.PropertiesRecord,
            can_fail=(409, 503),
            **more,
        ),
    )


_TAGGED = {
    "Lists": (
        _get(
            "/v1/recommendations",
            "recommend",
            "The best items for a user, after everything they rated until now.",
            m.Recommended,
            handler=h.recommend,
            query=m.RecommendQuery,
            can_fail=(404, 503),
        ),
        _post(
            "/v1/recommendations",
            "recommend_among",
            "The same with the question in the body, for long lists of candidates.",
            m.Recommended,
            handler=h.recommend_among,
            body=m.RecommendBody,
            can_fail=(404, 503),
        ),
        _post(
            "/v1/session/recommendations",
            "recommend_session",
            "The best items for a user known only by these ratings; nothing is stored.",
            m.Recommended,
            body=m.SessionBody,
            can_fail=(404, 409),
        ),
        _get(
            "/v1/similar",
            "similar",
            "Items most like an item.",
            m.Similar,
            query=m.SimilarQuery,
            can_fail=(404, 409),
        ),
        _post(
            "/v1/predictions",
            "predict",
            "Scores and predicted ratings of pairs, in their order.",
            m.PredictedPairs,
            body=m.PredictBody,
            can_fail=(503,),
        ),
        _get(
            "/v1/explanations",
            "explain",
            "Why an item for a user: mean, biases and the user's own ratings, which add up to the score.",
            m.Explained,
            query=m.ExplainQuery,
            can_fail=(404, 503),
        ),
        _post(
            "/v1/session/explanations",
            "explain_session",
            "Why an item for a user known only by these ratings.",
            m.Explained,
            body=m.ExplainSessionBody,
            can_fail=(404, 409),
        ),
    ),
    "Items and users": (
        _get(
            "/v1/search",
            "search",
            "Items by part of their title; case and accents do not matter.",
            m.Found,
            query=m.SearchQuery,
            can_fail=(404,),
        ),
        _get(
            "/v1/item",
            "item",
            "An item: title, categories, counts, bias.",
            m.ItemRecord,
            query=m.ItemQuery,
            can_fail=(404,),
        ),
        *_put_and_delete("item", m.ItemQuery, "title and features"),
        _get("/v1/categories", "categories", "All categories.", m.CategoryList),
        _get(
            "/v1/columns",
            "columns",
            "Columns that can be put, and those of items that lists can be filtered by.",
            m.Columns,
        ),
        _get(
            "/v1/user",
            "user",
            "A user, with their ratings from training and feedback, latest first.",
            m.UserRecord,
            query=m.UserQuery,
            can_fail=(404, 503),
        ),
        *_put_and_delete("user", m.UserIdQuery, "features", "; their ratings stay"),
        _post(
            "/v1/properties/import",
            "import_properties",
            "Stores title and features of many items and users, all or none, as JSON lines.",
            m.Imported,
            handler=h.import_properties,
            body=m.PropertiesLine,
            bodies=("application/x-ndjson",),
            access="write",
            can_fail=(409, 422, 503),
        ),
        _get(
            "/v1/properties/export",
            "export_properties",
            "What was put of items and users, as of one moment, as JSON lines.",
            m.PropertiesLine,
            handler=h.export_properties,
            query=m.ExportPropertiesQuery,
            answers=("application/x-ndjson",),
            can_fail=(503,),
        ),
        _get("/v1/users", "users", "Users that the model was trained on.", m.Users, query=m.UsersQuery),
        _get(
            "/v1/map",
            "map",
            "All items as points of a plane, for a picture of tastes.",
            m.ItemMap,
            handler=h.item_map,
            can_fail=(409,),
        ),
    ),
    "Feedback": (
        _put(
            "/v1/feedback",
            "put_feedback",
            "Stores a rating; synced to disk when answered. Any number of repetitions has the effect of one.",
            m.FeedbackRecord,
            handler=h.put_feedback,
            access="write",
            query=m.Pair,
            body=m.RatingBody,
            can_fail=(409, 503),
        ),
        _get(
            "/v1/feedback",
            "get_feedback",
            "The stored rating of a pair.",
            m.FeedbackRecord,
            handler=h.in_thread("feedback"),
            query=m.Pair,
            can_fail=(404, 503),
        ),
        _delete(
            "/v1/feedback",
            "delete_feedback",
            "Takes a rating back, also one from training. Repetitions have the effect of one.",
            m.FeedbackRecord,
            handler=h.delete_feedback,
            access="write",
            query=m.DeleteQuery,
            can_fail=(409, 503),
        ),
        _get(
            "/v1/feedback/of-user",
            "feedback_of_user",
            "All stored ratings of a user, by item.",
            m.FeedbackPage,
            handler=h.in_thread("feedback_of"),
            query=m.UserQuery,
            can_fail=(503,),
        ),
        _post(
            "/v1/feedback/import",
            "import_feedback",
            "Stores many ratings, all or none: JSON lines or CSV with user, item, rating and, if any, time.",
            m.Imported,
            handler=h.import_feedback,
            body=m.FeedbackLine,
            bodies=_LINES,
            access="write",
            can_fail=(409, 503),
        ),
        _get(
            "/v1/feedback/export",
            "export_feedback",
            "All stored ratings as of one moment, by user and item, as JSON lines or CSV.",
            m.FeedbackLine,
            handler=h.export_feedback,
            query=m.ExportQuery,
            answers=_LINES,
            can_fail=(503,),
        ),
    ),
    "Model": (
        _get("/v1/model", "model", "The served model.", m.ModelInfo, handler=h.in_thread("info")),
        _get(
            "/v1/model/report",
            "report",
            "Measurement and training of the model: held-out scores, training curves, search, verdicts.",
            m.Report,
        ),
        _post(
            "/v1/model/reload",
            "reload",
            "Opens the model folder again. A damaged model is refused and the old one stays.",
            m.Swapped,
            handler=h.swap("reload"),
            body=m.Nothing,
            access="write",
            can_fail=(409,),
        ),
        _post(
            "/v1/model/rollback",
            "rollback",
            "Goes back to the model that was live before.",
            m.Swapped,
            handler=h.swap("rollback"),
            body=m.Nothing,
            access="write",
            can_fail=(409,),
        ),
        _post(
            "/v1/model/retrain",
            "retrain",
            "Trains a new model from all ratings and feedback, in a process of its own; it goes live "
            "only if its held-out score is good enough.",
            m.RetrainState,
            handler=h.retrain,
            body=m.RetrainBody,
            access="write",
            can_fail=(409,),
        ),
        _get(
            "/v1/model/retrain",
            "retrain_state",
            "State of the last training.",
            m.RetrainState,
            handler=h.retrain_state,
        ),
    ),
    "Health": (
        _get("/health/live", "live", "Whether the process answers.", m.Health, handler=h.live, access="open"),
        _get(
            "/health/ready",
            "ready",
            "Whether model and feedback store can be used.",
            m.Health,
            handler=h.ready,
            access="open",
            can_fail=(503,),
        ),
        _get(
            "/metrics",
            "metrics",
            "Counters for Prometheus.",
            None,
            handler=h.metrics,
            answers=("text/plain",),
        ),
    ),
}

OPERATIONS = tuple(replace(each, tag=tag) for tag, operations in _TAGGED.items() for each in operations)
