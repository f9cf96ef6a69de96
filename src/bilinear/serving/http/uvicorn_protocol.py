"""HTTP as uvicorn speaks it, with a limit in every state of a connection.

A connection that waits for its client is worth less than one that the server works for: where places run
out, the connection that has kept the server waiting longest makes room. So open connections, however many,
do not shut out a client that asks.
"""

from __future__ import annotations

import asyncio
import heapq
import socket
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, cast

import uvicorn
from httptools import HttpParserError
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from bilinear.serving.http.asgi import ABORT, Receive, Scope, Send, problem
from bilinear.serving.http.proxies import Proxies, group_of

HEALTH = ("/health/live", "/health/ready")
_RESERVE = 50
_OTHER_FILES = 64
_STEP = 16 << 10


@dataclass(frozen=True)
class Limits:
    """Seconds, bytes and counts of a connection; docs/guide/service.md lists them.

    Attributes:
        connections, per_address: open connections in all and from one address (IPv6: one /64; trusted
            proxies are not counted by address). Beyond them the longest waiting connection is closed; if
            all are being worked for, only the health operations are answered.
        first_byte, head: until a request begins, and until its address and headers are complete.
        idle: between two requests.
        stalled: without the client taking any of an answer that is ready for it.
        head_bytes: of address and headers; also of what follows the last byte of a body (trailers), and
            between two of its bytes.
        unread: how long, and how many bytes, of a body are read and thrown away after the answer.
        pipelined: requests that wait behind one another on a connection.
    """

    connections: int = 1000
    per_address: int = 200
    first_byte: float = 10.0
    head: float = 10.0
    idle: float = 30.0
    stalled: float = 30.0
    head_bytes: int = 64 << 10
    unread: tuple[float, int] = (30.0, 128 << 20)
    pipelined: int = 16


class State(IntEnum):
    """Of a connection, by what it waits for; ANSWERING is the server's own work."""

    NEW = 0
    HEAD = 1
    ANSWERING = 2
    UNREAD = 3
    IDLE = 4


def uvicorn_server(
    app: Any, limits: Limits | None = None, proxies: Proxies | None = None, **more: Any
) -> uvicorn.Server:
    """A uvicorn server whose connections have limits."""
    gate = Gate(limits or Limits(), proxies or Proxies())
    protocol = type("Protocol", (LimitedProtocol,), {"gate": gate})
    defaults: dict[str, Any] = {
        "access_log": False,
        "log_level": "critical",  # the application has its own log; strangers cannot fill this one
        "server_header": False,
        "proxy_headers": False,
        "limit_concurrency": None,
        "timeout_keep_alive": gate.limits.idle,
        "timeout_graceful_shutdown": 10,
        "ws": "none",
    }
    return uvicorn.Server(uvicorn.Config(app, http=protocol, **(defaults | more)))


def files_for(connections: int) -> int:
    """Raises this process's limit of open files for so many connections; how many it allows."""
    try:
        import resource
    except ImportError:  # not a Unix
        return connections
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _RESERVE + _OTHER_FILES
    if now != resource.RLIM_INFINITY and now < wanted:
        if most != resource.RLIM_INFINITY:
            wanted = min(wanted, most)
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
        now = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        connections = min(connections, max(1, now - _RESERVE - _OTHER_FILES))
    return connections


def say_early(listening: socket.socket) -> None:
    """Lets a connection take the next piece of an answer as soon as little of the last is left to send.

    So a slow client is seen to take something in time, and a stalled one holds little of the system's memory.
    """
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):  # inherited by the connections
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, 2 * _STEP)


class Gate:
    """The open connections of one server, and what they may do together."""

    def __init__(self, limits: Limits, proxies: Proxies) -> None:
        self.limits, self._proxies = limits, proxies
        self._open: dict[LimitedProtocol, None] = {}  # in the order of their coming
        self._by_address: dict[str, dict[LimitedProtocol, None]] = {}
        shortest = min(limits.first_byte, limits.head, limits.idle, limits.stalled, limits.unread[0])
        self._every = min(1.0, shortest / 4)
        self._timer: asyncio.TimerHandle | None = None

    def enter(self, connection: LimitedProtocol, host: str) -> bool:
        """Counts a connection; False where not a single place is left, not even to ask for the health."""
        connection.address = "" if host in self._proxies else group_of(host)
        mine = self._by_address.setdefault(connection.address, {})
        mine[connection] = self._open[connection] = None
        if connection.address and len(mine) > self.limits.per_address:
            _make_room(mine, connection)
        if len(self._open) > self.limits.connections:
            _make_room(self._open, connection)
        if self._timer is None:
            self._timer = connection.loop.call_later(self._every, self._look, connection.loop)
        return self._excess(connection) <= _RESERVE

    def leave(self, connection: LimitedProtocol) -> None:
        self._open.pop(connection, None)
        mine = self._by_address.get(connection.address)
        if mine is not None:
            mine.pop(connection, None)
            if not mine:
                del self._by_address[connection.address]

    def is_full(self, connection: LimitedProtocol) -> bool:
        """Whether more connections are open than may ask for more than the health."""
        return self._excess(connection) > 0

    def _excess(self, connection: LimitedProtocol) -> int:
        excess = len(self._open) - self.limits.connections
        if connection.address:
            mine = self._by_address.get(connection.address, ())
            excess = max(excess, len(mine) - self.limits.per_address)
        return excess

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Ends what has waited too long: one timer for all connections."""
        now = loop.time()
        for connection in list(self._open):
            connection.check(now)
        self._timer = loop.call_later(self._every, self._look, loop) if self._open else None


def _make_room(among: Collection[LimitedProtocol], newest: LimitedProtocol) -> None:
    """Closes the connections that have waited longest for their client: one in a hundred, at least one."""
    waiting = [one for one in among if one is not newest and one.waits_for_client]
    for connection in heapq.nsmallest(max(1, len(among) // 100), waiting, key=lambda one: one.since):
        connection.evict()


class LimitedProtocol(HttpToolsProtocol):
    """A connection under `Limits`; subclasses have a `gate`.

    httptools gathers headers and trailers without a limit of its own. Trailers are dropped: nothing here
    asks for one, and behind the guard they would be headers that it never saw.
    """

    gate: Gate
    address = ""
    state = State.NEW
    since = 0.0
    _is_surplus = False
    _in_head = False
    _has_more_body = False
    _is_last = False
    _unused_bytes = 0
    _pending = 0
    _took_at = 0.0

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._extensions = {ABORT: {"abort": transport.abort}}
        self.since = self.loop.time()
        if not self.gate.enter(self, self.client[0] if self.client else "unknown"):
            transport.abort()
        self._is_surplus = self.gate.is_full(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.gate.leave(self)
        super().connection_lost(exc)

    @property
    def waits_for_client(self) -> bool:
        """Whether nothing would happen here for as long as the client does nothing."""
        if self.state is State.ANSWERING:
            return self.flow.write_paused or self._has_more_body
        return True

    def evict(self) -> None:
        self.gate.leave(self)
        self._close()

    def check(self, now: float) -> None:
        """Ends the connection if its client has let a deadline pass."""
        pending = self.transport.get_write_buffer_size()
        if not pending or pending <= self._pending - _STEP or pending > self._pending:
            self._pending, self._took_at = pending, now
        limits = self.gate.limits
        if pending and now - self._took_at > limits.stalled:
            self.transport.abort()
        elif self.state is not State.ANSWERING and not self.transport.is_closing():
            patience = {
                State.NEW: limits.first_byte,
                State.HEAD: limits.head,
                State.UNREAD: limits.unread[0],
                State.IDLE: limits.idle,
            }[self.state]
            if now - self.since > patience:
                self._close()

    def resume_writing(self) -> None:
        self._took_at = self.loop.time()
        super().resume_writing()

    def _close(self) -> None:
        """At once where the client would have to take something first."""
        if self.state is State.ANSWERING or self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    # What comes in

    def data_received(self, data: bytes) -> None:
        if self.state is State.NEW or self.state is State.IDLE:
            self.state, self.since = State.HEAD, self.loop.time()
        self._unused_bytes += len(data)
        super().data_received(data)
        limits = self.gate.limits
        if self._unused_bytes <= limits.head_bytes or self.transport.is_closing():
            return
        if self.state is not State.UNREAD:
            self.send_400_response("The head of the request, or what follows its body, is too long.")
        elif self._unused_bytes > limits.unread[1]:
            self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        cycle = self.cycle
        if self.transport.is_closing():
            return
        if cycle is None or cycle.response_complete or not (self._in_head or cycle.response_started):
            super().send_400_response(msg)
        else:  # it would be taken for the answer, or a part of the answer, to the request before
            self.transport.abort()

    def on_message_begin(self) -> None:
        self._in_head = True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # else it is a trailer
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self.state, self.since = State.ANSWERING, self.loop.time()
        self._unused_bytes, self._has_more_body = 0, True
        super().on_headers_complete()
        self._in_head = False
        if not self.cycle.keep_alive and _has_body(self.headers):
            # Closed by us when the body was read: data that is not read would take the answer with it.
            self.cycle.keep_alive, self._is_last = True, True
        if len(self.pipeline) > self.gate.limits.pipelined:
            self.transport.abort()
            raise HttpParserError("too many requests at once")

    def on_body(self, body: bytes) -> None:
        if self.state is not State.UNREAD:
            self._unused_bytes, self.since = 0, self.loop.time()
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unused_bytes, self._has_more_body = 0, False
        super().on_message_complete()
        if self.state is State.UNREAD:
            self._next_request()

    # What goes out

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        if self._is_surplus and cycle.scope["path"] not in HEALTH:
            self._is_surplus = self.gate.is_full(self)
            if self._is_surplus:
                app, self._is_last = _no_place, True
        cycle.scope["extensions"] = self._extensions
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.cycle.response_complete or self.transport.is_closing():
            return
        if not self._has_more_body:
            self._next_request()
            return
        self.state, self.since, self._unused_bytes = State.UNREAD, self.loop.time(), 0
        if self._is_last and self.transport.can_write_eof():
            self.transport.write_eof()

    def _next_request(self) -> None:
        if self._is_last:
            self.transport.close()
            return
        self.state, self.since = State.HEAD if self._in_head else State.IDLE, self.loop.time()


def _has_body(headers: list[tuple[bytes, bytes]]) -> bool:
    return any(name in (b"content-length", b"transfer-encoding") for name, _ in headers)


async def _no_place(scope: Scope, receive: Receive, send: Send) -> None:
    answer = problem(503, "too_many_connections", "too many connections are open; try again in a moment")
    headers = [
        (b"content-type", answer.kind),
        (b"content-length", str(len(cast(bytes, answer.body))).encode()),
        (b"retry-after", b"1"),
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
