"""Limits in every state of a connection, on a listening server; waits are for events, with generous ends."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from bilinear.serving import create_app
from bilinear.serving.feedback import exports as exports_module
from bilinear.serving.feedback.exports import Exports
from bilinear.serving.feedback.store import Feedback
from bilinear.serving.http import asgi as http_module
from bilinear.serving.http.asgi import Budget
from bilinear.serving.http.proxies import Proxies
from bilinear.serving.http.uvicorn_protocol import Limits, uvicorn_server
from bilinear.serving.problems import Refused

PATIENCE = 30.0
CHUNKED = b"transfer-encoding: chunked\r\ncontent-type: application/json\r\n\r\n"


@contextmanager
def listening(app: Any, limits: Limits | None = None, *, proxies: Proxies | None = None) -> Iterator[int]:
    """The port of a server in a thread."""
    server = uvicorn_server(app, limits, proxies, port=0, timeout_graceful_shutdown=1)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def real(model_folder: Path, tmp_path: Path) -> Any:
    return create_app(model_folder, store=f"sqlite:///{tmp_path / 'f.db'}", most_json=1000, most_import=5000)


class Echo:
    """An application that notes the headers it finds after the body, and answers when it may."""

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.go = threading.Event()
        self.go.set()
        self.begun = self.ended = 0
        self.endless = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while (await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        self.begun += 1
        while (message := await receive())["type"] == "http.request" and message.get("more_body"):
            pass
        self.headers = list(scope["headers"])
        while not self.go.is_set() and not scope["path"].startswith("/health"):
            await asyncio.sleep(0.01)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while self.endless:
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
            await asyncio.sleep(0)
            if await _left(receive):
                break
        await send({"type": "http.response.body", "body": scope["path"].encode()})
        self.ended += 1


async def _left(receive: Any) -> bool:
    try:
        async with asyncio.timeout(0.001):
            return bool((await receive())["type"] == "http.disconnect")
    except TimeoutError:
        return False


def connect(port: int, sent: bytes = b"") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    connection.sendall(sent)
    return connection


def is_closed(connection: socket.socket) -> bool:
    """Whether the server ended it, after whatever it had to say."""
    try:
        while connection.recv(65536):
            pass
    except ConnectionError:
        pass
    connection.close()
    return True


def ask(port: int, path: str = "/", method: str = "GET", **how: Any) -> tuple[int, bytes]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
        connection.request(method, path, **how)
        with connection.getresponse() as answer:
            return answer.status, answer.read()


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_trailers_are_no_headers() -> None:
    app = Echo()
    with listening(app) as port:
        trailers = b"2\r\n{}\r\n0\r\nauthorization: Bearer x\r\nhost: evil\r\n\r\n"
        connection = connect(port, b"POST / HTTP/1.1\r\nhost: here\r\n" + CHUNKED + trailers)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        assert [value for name, value in app.headers if name == b"host"] == [b"here"]
        assert b"authorization" not in dict(app.headers)
        connection.sendall(b"GET /next HTTP/1.1\r\nhost: again\r\n\r\n")  # the connection is good for more
        wait_until(lambda: app.ended == 2)
        assert dict(app.headers)[b"host"] == b"again"
        connection.close()


@pytest.mark.parametrize(
    ("head", "more"),
    [
        (b"GET /", b"a" * 1000),
        (b"GET / HTTP/1.1\r\n", b"x: y\r\n" * 100),
        (b"GET / HTTP/1.1\r\nx: ", b"y" * 1000),
        (b"\r\n", b"\r\n" * 500),
        (b"POST / HTTP/1.1\r\n" + CHUNKED + b"2\r\n{}\r\n0\r\n", b"x: y\r\n" * 100),
        (b"POST / HTTP/1.1\r\n" + CHUNKED + b"2\r\n{}\r\n0\r\nx: ", b"y" * 1000),
        (b"POST / HTTP/1.1\r\n" + CHUNKED + b"2;", b"extension" * 100),
    ],
    ids=["path", "headers", "a header", "empty lines", "trailers", "a trailer", "chunk extension"],
)
def test_what_has_no_end_is_cut_off(head: bytes, more: bytes) -> None:
    with listening(Echo()) as port:
        connection = connect(port, head)
        n_bytes = 0
        try:
            while n_bytes < 64 << 20:
                connection.sendall(more)
                n_bytes += len(more)
        except ConnectionError:
            pass
        assert n_bytes < 32 << 20  # what the system's buffers hold, and 64 kB
        connection.close()


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"\r\n", b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"])
def test_a_client_that_says_nothing_more_is_left(sent: bytes) -> None:
    limits = Limits(first_byte=0.2, head=0.2, idle=0.2)
    with listening(Echo(), limits) as port:
        assert is_closed(connect(port, sent))


def test_idle_connections_keep_nobody_out() -> None:
    app = Echo()
    with listening(app, Limits(connections=40, per_address=20)) as port:
        held = [connect(port) for _ in range(100)]
        assert [ask(port)[0] for _ in range(30)] == [200] * 30
        closed = [connection for connection in held if _was_closed(connection)]
        assert len(closed) >= 80
        assert closed == held[: len(closed)]  # those that had waited longest
        for connection in held:
            connection.close()


def test_a_trusted_proxy_is_counted_in_all_only() -> None:
    with listening(Echo(), Limits(connections=40, per_address=5), proxies=Proxies(["127.0.0.0/8"])) as port:
        held = [connect(port) for _ in range(30)]
        assert ask(port)[0] == 200
        assert not any(_was_closed(connection) for connection in held)
        for connection in held:
            connection.close()


def _was_closed(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False


@pytest.mark.parametrize("limits", [Limits(connections=3), Limits(per_address=3)])
def test_where_all_places_are_worked_for_health_is_answered_still(limits: Limits) -> None:
    app = Echo()
    app.go.clear()
    with listening(app, limits) as port:
        busy = [connect(port, b"GET /work HTTP/1.1\r\nhost: a\r\n\r\n") for _ in range(3)]
        wait_until(lambda: app.begun == 3)
        status, content = ask(port)
        assert (status, json.loads(content)["error"]["code"]) == (503, "too_many_connections")
        status, content = ask(port, "/other", "POST", body=b"x" * (1 << 20))
        assert status == 503  # which arrives although nobody reads the body
        assert ask(port, "/health/live") == (200, b"/health/live")
        app.go.set()
        assert all(connection.recv(4096).startswith(b"HTTP/1.1 200") for connection in busy)
        for connection in busy:
            connection.close()
        wait_until(lambda: ask(port)[0] == 200)


def test_a_reader_that_stalls_is_left() -> None:
    app = Echo()
    app.endless = True
    with listening(app, Limits(stalled=0.3)) as port:
        connection = connect(port, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        wait_until(lambda: app.ended == 1)
        connection.close()


def test_pipelined_requests_are_answered_in_order_up_to_a_limit() -> None:
    app = Echo()
    with listening(app, Limits(pipelined=8)) as port:
        connection = connect(port, b"".join(_get(n) for n in range(8)))
        said = b""
        while b"/7\r\n" not in said:
            said += connection.recv(65536)
        assert [said.index(b"/%d\r\n" % n) for n in range(8)] == sorted(
            said.index(b"/%d\r\n" % n) for n in range(8)
        )
        connection.close()
        assert is_closed(connect(port, b"".join(_get(n) for n in range(100))))
        assert app.begun < 20


def _get(n: int) -> bytes:
    return b"GET /%d HTTP/1.1\r\nhost: a\r\n\r\n" % n


@pytest.mark.parametrize("how", [{}, {"connection": "close"}, {"transfer-encoding": "chunked"}])
def test_413_reaches_a_client_that_sends_everything_first(real: Any, how: dict[str, str]) -> None:
    with listening(real) as port:
        body: Any = b" " * (20 << 20)
        if "transfer-encoding" in how:
            how, body = {}, iter([b" " * (1 << 20)] * 20)
        headers = {"content-type": "application/json"} | how
        for _ in range(3):
            status, content = ask(port, "/v1/predictions", "POST", body=body, headers=headers)
            assert (status, json.loads(content)["error"]["code"]) == (413, "too_long")
            if not isinstance(body, bytes):
                break


def test_a_body_without_end_after_its_answer_is_left(real: Any) -> None:
    with listening(real, Limits(unread=(PATIENCE, 1 << 20))) as port:
        head = b"POST /v1/predictions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 999999999\r\n"
        connection = connect(port, head + b"content-type: application/json\r\n\r\n")
        n_bytes = 0
        try:
            while n_bytes < 64 << 20:
                connection.sendall(b" " * 65536)
                n_bytes += 65536
        except ConnectionError:
            pass
        assert n_bytes < 32 << 20
        connection.close()


def test_a_body_that_stops_is_left(real: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_module, "_BODY_PAUSE", 0.2)
    with listening(real) as port:
        head = b"POST /v1/predictions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99\r\n"
        connection = connect(port, head + b"content-type: application/json\r\n\r\n{")
        assert connection.recv(65536).startswith(b"HTTP/1.1 408")
        assert is_closed(connection)


def test_long_bodies_share_a_budget_and_short_ones_need_none() -> None:
    budget = Budget(1 << 20)
    with budget.share() as first, budget.share() as second, budget.share() as short:
        first(600_000)
        first(900_000)
        with pytest.raises(Refused, match="too many long bodies") as refused:
            second(900_000)
        assert (refused.value.status, refused.value.code) == (503, "busy")
        second(200_000)
        short(64 << 10)
    assert budget.used == 0


def endless(ended: list[str], name: str) -> Any:
    def everything() -> Iterator[list[Feedback]]:
        try:
            while True:
                yield [Feedback("user", f"item {n}", 1.0, 1.0) for n in range(500)]
        finally:
            ended.append(name)

    return everything


def test_an_export_ends_when_its_client_left(real: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[str] = []
    monkeypatch.setattr(real.context.service.store, "everything", endless(ended, "it"))
    with listening(real) as port:
        connection = connect(port, b"GET /v1/feedback/export HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert connection.recv(1000)
        connection.close()
        wait_until(lambda: ended == ["it"])
        assert ask(port, "/v1/feedback/export", "HEAD")[0] == 200
        wait_until(lambda: ended == ["it", "it"])


def test_a_stalled_export_makes_room_for_the_next(real: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports_module, "_STALLED", 0.1)
    real.context.exports = Exports(real.context.in_bulk_thread, 1)
    ended: list[str] = []
    store = real.context.service.store
    monkeypatch.setattr(store, "everything", endless(ended, "stalled"))
    with listening(real) as port:
        connection = connect(port, b"GET /v1/feedback/export HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert connection.recv(1000)
        monkeypatch.undo()
        monkeypatch.setattr(exports_module, "_STALLED", 0.1)
        store.write([Feedback("a", "b", 1.0, 1.0)])
        status, content = ask(port, "/v1/feedback/export")
        assert (status, len(content.splitlines())) == (200, 1)
        assert ended == ["stalled"]
        assert is_closed(connection)


def test_exports_beyond_the_limit_are_refused(real: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports_module, "_PATIENCE", 0.1)
    real.context.exports = Exports(real.context.in_bulk_thread, 0)
    with listening(real) as port:
        status, content = ask(port, "/v1/feedback/export")
        assert (status, json.loads(content)["error"]["code"]) == (503, "busy")


def test_a_store_that_fails_within_an_export_cuts_it(
    real: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from bilinear.serving.problems import StoreUnavailable

    def everything() -> Iterator[list[Feedback]]:
        yield [Feedback("a", "b", 1.0, 1.0)]
        raise StoreUnavailable("the disk is gone")

    monkeypatch.setattr(real.context.service.store, "everything", everything)
    with listening(real) as port, pytest.raises((http.client.IncompleteRead, ConnectionError)):
        ask(port, "/v1/feedback/export")
    entries = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [entry["event"] for entry in entries] == ["start", "store", "cut", "stop"]
