"""Handlers: what each operation does between the request and the service."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import bilinear.serving.messages as m
from bilinear.serving.feedback.exports import FeedbackLines, PropertiesLines
from bilinear.serving.feedback.imports import read_lines, read_properties
from bilinear.serving.feedback.store import Feedback, Properties, Side
from bilinear.serving.http.asgi import Answer, json_answer
from bilinear.serving.http.context import Context
from bilinear.serving.http.metrics import KIND
from bilinear.serving.problems import Refused, StoreUnavailable

_MANY = 1000

Handler = Callable[[Context, Any, Any], Awaitable[Answer]]


def in_thread(method: str) -> Handler:
    """The service's method of that name, called with the body, or the query where there is none."""

    async def handler(context: Context, query: Any, body: Any) -> Answer:
        call = getattr(context.service, method)
        return json_answer(await context.in_thread(call, query if body is None else body))

    return handler


async def recommend(context: Context, query: m.RecommendQuery, _: None) -> Answer:
    asked = m.RecommendBody(
        query.user, query.n, query.exclude_seen, query.category, query.candidate, query.new, query.filters
    )
    return await recommend_among(context, None, asked)


async def recommend_among(context: Context, _: None, body: m.RecommendBody) -> Answer:
    """The hot path: a read of the store, then the answer before, or a place in the next batch.

    What takes its time, filters, thousands of candidates or of ratings, is a thread's.
    """
    service = context.service
    store = service.store
    if len(body.candidates) <= _MANY and not body.filters and body.new == "mixed":
        most = body.user, _MANY + 1
        changes = store.of_user(*most) if store.is_local else await context.in_thread(store.of_user, *most)
        if len(changes) <= _MANY and service.folds_quickly(body.user, changes):
            known = context.answers.get(service.serving_model, body, changes)
            if known is not None:
                return Answer(200, known)
            plan = service.plan(body, changes)
            made = service.recommended_json(plan, await context.batcher.rank(plan))
            context.answers.put(plan.serving_model, body, changes, made)
            return Answer(200, made)
    return json_answer(await context.in_thread(service.recommend, body))


async def item_map(context: Context, _: m.Nothing, __: None) -> Answer:
    return Answer(200, await context.in_thread(context.map_of, context.service.serving_model))


async def put_feedback(context: Context, query: m.Pair, body: m.RatingBody) -> Answer:
    row = context.service.feedback_row(query.user, query.item, body.rating, body.time)
    return await _written(context, row)


async def delete_feedback(context: Context, query: m.DeleteQuery, _: None) -> Answer:
    row = context.service.feedback_row(query.user, query.item, None, None if query.time < 0 else query.time)
    return await _written(context, row)


async def _written(context: Context, row: Feedback) -> Answer:
    (stored,) = await asyncio.wrap_future(context.writer.write([row]))
    moment = row.time if stored is None else stored
    return json_answer(m.FeedbackRecord(row.user, row.item, row.rating, moment, stored is not None))


async def import_feedback(context: Context, _: m.Nothing, body: tuple[bytes, str]) -> Answer:
    async with context.importing:  # one at a time: its rows take several times the memory of its lines
        rows = await context.in_bulk_thread(_checked_rows, context, *body)
        if rows:
            await asyncio.wrap_future(context.writer.write(rows))
    return json_answer(m.Imported(len(rows)))


def _checked_rows(context: Context, body: bytes, kind: str) -> list[Feedback]:
    service, rows = context.service, []
    for number, line in read_lines(body, kind):
        with _naming(number):
            rows.append(service.feedback_row(line.user, line.item, line.rating, line.time))
    return rows


@contextmanager
def _naming(number: int) -> Iterator[None]:
    """Refusals with the number of the line."""
    try:
        yield
    except Refused as error:
        raise Refused(
            f"line {number}: {error}; nothing was stored", code=error.code, status=error.status
        ) from None


async def export_feedback(context: Context, query: m.ExportQuery, _: None) -> Answer:
    pieces = await context.exports.start(FeedbackLines(context.service.store, query.format, query.deleted))
    kind = b"text/csv; charset=utf-8" if query.format == "csv" else b"application/x-ndjson"
    return Answer(200, pieces, kind)


def put_properties(side: Side) -> Handler:
    """Of an item or a user, or takes them away where there is no body.

    On disk first, then live, then acknowledged.
    """

    async def handle(context: Context, query: Any, content: m.Content | None) -> Answer:
        service = context.service
        row = await context.in_thread(service.properties_row, side, getattr(query, side), content)
        (moment,) = await asyncio.wrap_future(context.writer.write([row]))
        if moment is not None:
            row = row._replace(time=moment)
            await context.in_thread(service.apply, [row])
        return json_answer(service.properties_record(row, stored=moment is not None))

    return handle


async def import_properties(context: Context, _: m.Nothing, body: tuple[bytes, str]) -> Answer:
    async with context.importing:
        rows = await context.in_bulk_thread(_checked_properties, context, *body)
        if rows:
            moments = await asyncio.wrap_future(context.writer.write(rows))
            stored = [row._replace(time=at) for row, at in zip(rows, moments, strict=True) if at is not None]
            await context.in_bulk_thread(context.service.apply, stored)
    return json_answer(m.Imported(len(rows)))


def _checked_properties(context: Context, body: bytes, _: str) -> list[Properties]:
    rows = []
    for number, line in read_properties(body):
        content = None if line.features is None else m.Content(line.title, line.features)
        with _naming(number):
            rows.append(context.service.properties_row(line.side, line.id, content, line.time))
    return rows


async def export_properties(context: Context, query: m.ExportPropertiesQuery, _: None) -> Answer:
    pieces = await context.exports.start(PropertiesLines(context.service.store, query.deleted))
    return Answer(200, pieces, b"application/x-ndjson")


def swap(method: str) -> Handler:
    """As `in_thread`, of a method that changes the model, with a line in the log."""

    async def handler(context: Context, _: Any, body: Any) -> Answer:
        swapped: m.Swapped = await context.in_thread(getattr(context.service, method), body)
        context.log.write("swap", by=method, model=swapped.model, before=swapped.before)
        return json_answer(swapped)

    return handler


async def retrain(context: Context, _: None, body: m.RetrainBody) -> Answer:
    return json_answer(await context.retraining.start(body.max_worse, body.bound))


async def retrain_state(context: Context, _: m.Nothing, __: None) -> Answer:
    return json_answer(context.retraining.state)


async def live(context: Context, _: m.Nothing, __: None) -> Answer:
    return json_answer(m.Health("ok", context.service.serving_model.version, "not asked"))


async def ready(context: Context, _: m.Nothing, __: None) -> Answer:
    serving_model = context.service.serving_model
    try:
        await context.in_thread(context.service.store.get, "-", "-")
    except StoreUnavailable as error:
        context.log_store(error)  # with its details, which are nothing for a stranger
        return json_answer(m.Health("unavailable", serving_model.version, error.code), 503)
    condition = await context.in_thread(context.service.models.condition, serving_model.version)
    return json_answer(m.Health("ok", serving_model.version, "ok", condition))


async def metrics(context: Context, _: m.Nothing, __: None) -> Answer:
    return Answer(200, context.metrics.text(context.gauges()), KIND)
