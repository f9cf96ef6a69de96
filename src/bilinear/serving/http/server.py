"""The ASGI application: from a request to the right handler, and what can go wrong in between."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable
from contextlib import suppress
from time import monotonic, perf_counter
from typing import Any

import msgspec

from bilinear.serving.answers.service import Service
from bilinear.serving.http import openapi
from bilinear.serving.http.asgi import (
    ABORT,
    Answer,
    Budget,
    ClientGone,
    Pieces,
    Receive,
    Scope,
    Send,
    header,
    parse_body,
    parse_query,
    problem,
    read_body,
)
from bilinear.serving.http.context import Context
from bilinear.serving.http.guard import Guard
from bilinear.serving.http.logs import Log
from bilinear.serving.http.operations import OPERATIONS, Operation
from bilinear.serving.http.web_files import LICENSES, WebFile, web_files
from bilinear.serving.problems import Refused, StoreUnavailable

_SECURITY = [
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        b"font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
]
_FRESH = (b"cache-control", b"no-store")
_ASK_AGAIN = (b"cache-control", b"no-cache")


class Server:
    """See `create_app`."""

    def __init__(
        self,
        service: Service,
        store_url: str,
        guard: Guard,
        log: Log,
        *,
        version: str,
        most_json: int,
        most_import: int,
        most_unfinished: int,
        access_log: bool = False,
        retrain_every: float | None = None,
        update_every: float | None = None,
        max_worse: float,
        most_kept: int,
    ) -> None:
        self.context = Context(service, store_url, log, max_worse, most_kept)
        self.guard = guard
        self._bodies = Budget(most_unfinished)
        self._most_json, self._most_import = most_json, most_import
        self._access_log = access_log
        self._retrain_every, self._update_every = retrain_every, update_every
        self._routes: dict[str, dict[str, Operation]] = {}
        for operation in OPERATIONS:
            self._routes.setdefault(operation.path, {})[operation.method] = operation
        described = openapi.document(OPERATIONS, version)
        self._files = web_files()
        self._files |= {
            "/openapi.json": WebFile.of(msgspec.json.encode(described), b"application/json"),
            "/docs": WebFile.of(openapi.page(described), b"text/html; charset=utf-8"),
            "/licenses": WebFile.of(LICENSES.read_bytes(), b"text/plain; charset=utf-8"),
            "/docs.css": WebFile.of(openapi.STYLE, b"text/css; charset=utf-8"),
        }
        self._schedules: list[asyncio.Task[None]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self._schedules.append(asyncio.create_task(self.context.follow()))
                self._schedules.append(asyncio.create_task(self.context.check_model()))
                for making, seconds in (
                    (self.context.retraining, self._retrain_every),
                    (self.context.updating, self._update_every),
                ):
                    if seconds is not None:
                        self._schedules.append(asyncio.create_task(making.every(seconds)))
                serving_model = self.context.service.serving_model
                self.context.log.write(
                    "start",
                    model=serving_model.version,
                    items=serving_model.n_items,
                    users=serving_model.n_users,
                )
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self._end()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _end(self) -> None:
        while self._schedules:
            schedule = self._schedules.pop()
            schedule.cancel()
            with suppress(asyncio.CancelledError):
                await schedule
        await self.context.close()
        self.context.log.write("stop")

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = perf_counter()
        method, path = scope["method"], scope["path"]
        wanted = "GET" if method == "HEAD" else method
        operations = self._routes.get(path)
        operation = operations.get(wanted) if operations else None
        name = operation.name if operation else "page" if path in self._files else "unknown"
        try:
            if operation is None:
                self.guard.check(scope, "open")
                answer = self._other(scope, wanted, operations)
            elif operation.body is None:
                self.guard.check(scope, operation.access)
                query = parse_query(scope["query_string"], operation.query)
                answer = await operation.handler(self.context, query, None)
            else:
                with self._bodies.share() as grow:
                    answer = await self._answer_to_body(operation, scope, receive, grow)
        except Refused as error:
            if isinstance(error, StoreUnavailable):
                self.context.log_store(error)
            answer = _refusal(error)
        except ClientGone:
            return
        except Exception as error:
            self.context.log.write(
                "error", operation=name, kind=type(error).__name__, trace=traceback.format_exc(limit=-8)
            )
            answer = problem(500, "internal", "this is a fault of the server; its log says more")
        await self._send(answer, scope, receive, send, api=operation is not None)
        seconds = perf_counter() - began
        self.context.metrics.count(name, answer.status, seconds)
        if self._access_log or answer.status in (401, 403, 421, 429) or answer.status >= 500:
            self.context.log.write(
                "request",
                operation=name,
                method=method,
                path=path[:200],
                status=answer.status,
                ms=round(1000 * seconds, 2),
                client=self.guard.client(scope),
            )

    async def _answer_to_body(
        self, operation: Operation, scope: Scope, receive: Receive, grow: Callable[[int], None]
    ) -> Answer:
        assert operation.body is not None
        self.guard.check(scope, operation.access)
        query = parse_query(scope["query_string"], operation.query)
        kind = _media_type(scope)
        if kind not in operation.bodies:
            raise Refused(
                f"the body must be {' or '.join(operation.bodies)}", code="bad_media_type", status=415
            )
        is_import = operation.bodies != ("application/json",)
        content = await read_body(scope, receive, self._most_import if is_import else self._most_json, grow)
        body: Any = (content, kind) if is_import else parse_body(content, operation.body)
        return await operation.handler(self.context, query, body)

    async def _send(self, answer: Answer, scope: Scope, receive: Receive, send: Send, *, api: bool) -> None:
        headers = [(b"content-type", answer.kind), *_SECURITY, *answer.headers]
        if api or answer.status >= 400:
            headers.append(_FRESH)
        body, head = answer.body, scope["method"] == "HEAD"
        start = {"type": "http.response.start", "status": answer.status, "headers": headers}
        if isinstance(body, bytes):
            if answer.status != 304:
                headers.append((b"content-length", str(len(body)).encode()))
            await send(start)
            await send({"type": "http.response.body", "body": b"" if head else body})
            return
        why: str | None = None
        try:
            await send(start)
            why = None if head else await _send_pieces(body, receive, send)
        except StoreUnavailable as error:
            self.context.log_store(error)
            why = "the store became unavailable"
        finally:
            await body.aclose()
        if why is None:
            await send({"type": "http.response.body", "body": b""})
            return
        self.context.log.write("cut", path=scope["path"], why=why, client=self.guard.client(scope))
        abort = (scope.get("extensions") or {}).get(ABORT)
        if abort is not None:
            abort["abort"]()
            await asyncio.sleep(0)  # so that the server knows before this returns

    def _other(self, scope: Scope, method: str, operations: dict[str, Operation] | None) -> Answer:
        """Files, and what is not there."""
        file = self._files.get(scope["path"])
        if file is None and operations is None:
            return problem(404, "no_path", "there is nothing under this path; /docs lists what is")
        if file is None or method != "GET":
            methods = sorted(operations) if operations else ["GET"]
            if "GET" in methods:
                methods.append("HEAD")
            answer = problem(405, "no_method", f"this path takes {', '.join(methods)}")
            answer.headers.append((b"allow", ", ".join(methods).encode()))
            return answer
        headers = [(b"etag", file.tag), (b"vary", b"accept-encoding"), _ASK_AGAIN]
        if header(scope, b"if-none-match", once=False) == file.tag:
            return Answer(304, b"", file.kind, headers)
        accepted = header(scope, b"accept-encoding", once=False) or b""
        if file.packed is not None and b"gzip" in accepted:
            return Answer(200, file.packed, file.kind, [*headers, (b"content-encoding", b"gzip")])
        return Answer(200, file.content, file.kind, headers)


def _refusal(error: Refused) -> Answer:
    answer = problem(error.status, error.code, str(error))
    if error.status == 401:
        answer.headers.append((b"www-authenticate", b"Bearer"))
    if error.status in (429, 503):
        answer.headers.append((b"retry-after", b"1"))
    if error.status == 408:
        answer.headers.append((b"connection", b"close"))
    return answer


def _media_type(scope: Scope) -> str:
    """Without parameters; a charset other than UTF-8 is refused by the body's own check."""
    given = header(scope, b"content-type") or b""
    return given.partition(b";")[0].strip().lower().decode("latin-1")


async def _send_pieces(pieces: Pieces, receive: Receive, send: Send) -> str | None:
    """Sends them as the client takes them; why it ended before the last, or None."""
    gone, cut = asyncio.ensure_future(_until_gone(receive)), asyncio.ensure_future(pieces.cut.wait())
    sending: asyncio.Future[None] | None = None
    try:
        while (piece := await pieces.piece()) is not None and not gone.done():
            pieces.waits_since = monotonic()
            sending = asyncio.ensure_future(
                send({"type": "http.response.body", "body": piece, "more_body": True})
            )
            await asyncio.wait({sending, gone, cut}, return_when=asyncio.FIRST_COMPLETED)
            if not sending.done():
                break
            sending.result()
            pieces.waits_since = None
    finally:
        for future in (gone, cut, sending):
            if future is not None:
                future.cancel()
    if gone.done() and not gone.cancelled():
        return "the client left"
    if pieces.cut.is_set():
        return "the client did not take it in time"
    return None


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
