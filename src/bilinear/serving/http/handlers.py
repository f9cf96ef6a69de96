"""What each operation does between the request and the service."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import bilinear.serving.messages as m
from bilinear.serving.feedback.imports import read_lines
from bilinear.serving.feedback.store import Feedback
from bilinear.serving.http.asgi import Answer, json_answer
from bilinear.serving.http.metrics import KIND
from bilinear.serving.problems import StoreUnavailable

if TYPE_CHECKING:
    from bilinear.serving.http.server import Server

_MANY = 1000

Handler = Callable[["Server", Any, Any], Awaitable[Answer]]


def in_thread(method: str) -> Handler:
    """The service's method of that name, called with the body, or the query where there is none."""

    async def handler(server: Server, query: Any, body: Any) -> Answer:
        call = getattr(server.service, method)
        return json_answer(await server.in_thread(call, query if body is None else body))

    return handler


async def recommend(server: Server, query: m.RecommendQuery, _: None) -> Answer:
    asked = m.RecommendBody(query.user, query.n, query.exclude_seen, query.category, query.candidate)
    return await recommend_among(server, None, asked)


async def recommend_among(server: Server, _: None, body: m.RecommendBody) -> Answer:
    """The hot path: a read of the store, then a place in the next batch.

    What takes its time, thousands of candidates or of ratings, is a thread's.
    """
    service = server.service
    store = service.store
    if len(body.candidates) <= _MANY:
        most = body.user, _MANY + 1
        changes = store.of_user(*most) if store.is_local else await server.in_thread(store.of_user, *most)
        if len(changes) <= _MANY and service.folds_quickly(body.user, changes):
            plan = service.plan(body, changes)
            return json_answer(service.recommended(plan, await server.batcher.rank(plan)))
    return json_answer(await server.in_thread(service.recommend, body))


async def item_map(server: Server, _: m.Nothing, __: None) -> Answer:
    return Answer(200, await server.in_thread(server.map_of, server.service.serving_model))


async def put_feedback(server: Server, query: m.Pair, body: m.RatingBody) -> Answer:
    row = server.service.feedback_row(query.user, query.item, body.rating, body.time)
    return await _written(server, row)


async def delete_feedback(server: Server, query: m.DeleteQuery, _: None) -> Answer:
    row = server.service.feedback_row(query.user, query.item, None, None if query.time < 0 else query.time)
    return await _written(server, row)


async def _written(server: Server, row: Feedback) -> Answer:
    (stored,) = await asyncio.wrap_future(server.writer.write([row]))
    moment = row.time if stored is None else stored
    return json_answer(m.FeedbackRecord(row.user, row.item, row.rating, moment, stored is not None))


async def import_feedback(server: Server, _: m.Nothing, body: tuple[bytes, str]) -> Answer:
    async with server.importing:  # one at a time: its rows take several times the memory of its lines
        rows = await server.in_bulk_thread(_checked_rows, server, *body)
        if rows:
            await asyncio.wrap_future(server.writer.write(rows))
    return json_answer(m.Imported(len(rows)))


def _checked_rows(server: Server, body: bytes, kind: str) -> list[Feedback]:
    from bilinear.serving.problems import Refused

    service, rows = server.service, []
    for number, line in read_lines(body, kind):
        try:
            rows.append(service.feedback_row(line.user, line.item, line.rating, line.time))
        except Refused as error:
            raise Refused(
                f"line {number}: {error}; nothing was stored", code=error.code, status=error.status
            ) from None
    return rows


async def export_feedback(server: Server, query: m.ExportQuery, _: None) -> Answer:
    pieces = await server.exports.start(server.service.store, query.format, query.deleted)
    kind = b"text/csv; charset=utf-8" if query.format == "csv" else b"application/x-ndjson"
    return Answer(200, pieces, kind)


def swap(method: str) -> Handler:
    """As `in_thread`, of a method that changes the model, with a line in the log."""

    async def handler(server: Server, _: Any, body: Any) -> Answer:
        swapped: m.Swapped = await server.in_thread(getattr(server.service, method), body)
        server.log.write("swap", by=method, model=swapped.model, before=swapped.before)
        return json_answer(swapped)

    return handler


async def retrain(server: Server, _: None, body: m.RetrainBody) -> Answer:
    return json_answer(await server.retraining.start(body.max_worse, body.bound))


async def retrain_state(server: Server, _: m.Nothing, __: None) -> Answer:
    return json_answer(server.retraining.state)


async def live(server: Server, _: m.Nothing, __: None) -> Answer:
    return json_answer(m.Health("ok", server.service.serving_model.version, "not asked"))


async def ready(server: Server, _: m.Nothing, __: None) -> Answer:
    serving_model = server.service.serving_model
    try:
        await server.in_thread(server.service.store.get, "-", "-")
    except StoreUnavailable as error:
        server.log_store(error)  # with its details, which are nothing for a stranger
        return json_answer(m.Health("unavailable", serving_model.version, error.code), 503)
    condition = await server.in_thread(server.service.models.condition, serving_model.version)
    return json_answer(m.Health("ok", serving_model.version, "ok", condition))


async def metrics(server: Server, _: m.Nothing, __: None) -> Answer:
    return Answer(200, server.metrics.text(server.gauges()), KIND)
