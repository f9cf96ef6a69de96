"""The server under everything at once: floods of trailers, idle connections, stalled and aborted exports.

All of it on loopback, bounded in time and in connections, while honest clients ask from the same address.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import multiprocessing
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import common
import numpy as np
from served import ServerProcess, random_model

from bilinear.serving.feedback.store import Feedback, open_store
from bilinear.serving.http.uvicorn_protocol import files_for

N_USERS = 2_000
_EXPORT = b"GET /v1/feedback/export HTTP/1.1\r\nhost: localhost\r\n\r\n"
_BODY = (
    b"POST /v1/predictions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    b'transfer-encoding: chunked\r\n\r\nd\r\n{"pairs": []}\r\n0\r\n'
)
_QUIET = 20.0
_AGAIN = 5.0
_FOR_EVER = 10_000.0


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--seconds", type=float, default=30.0, help="of attack")
    parser.add_argument("--idle", type=int, default=1100, help="idle connections")
    parser.add_argument("--stalled", type=int, default=100, help="exports that nobody reads")
    parser.add_argument("--aborted", type=int, default=5, help="exports whose client leaves")
    parser.add_argument("--flood", type=int, default=100, help="MB of trailers a connection")
    parser.add_argument("--rows", type=int, default=300_000, help="of feedback in the store")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        measure(given, Path(name))


def measure(given: Any, folder: Path) -> None:
    random_model(N_USERS, 5_000, 32, n_rated=20).save(folder / "model")
    url = f"sqlite:///{folder}/feedback.db"
    fill(url, given.rows)
    with ServerProcess(folder / "model", url, folder / "log") as server:
        rest = Honest(server)
        rest.run(5.0)
        server_mb = server.resident_mb
        plan = Plan(server.port, given.seconds, given.idle, given.stalled, given.aborted, given.flood << 20)
        context = multiprocessing.get_context("spawn")
        said: Any = context.Queue()
        attacker = context.Process(target=attack, args=(plan, said))
        honest, peak = Honest(server), [server_mb]
        attacker.start()
        said.get()  # it is ready
        watching = threading.Event()
        watcher = threading.Thread(target=watch, args=(server, watching, peak))
        watcher.start()
        honest.run(given.seconds)
        sent = said.get()
        attacker.join()
        watching.set()
        watcher.join()
        time.sleep(2)  # the aborted exports end with their connections
        before = server.cpu_seconds
        time.sleep(_QUIET)
        idle_cpu, after_mb = server.cpu_seconds - before, server.resident_mb
        alive = server.ask("GET", "/health/live")[0]
    live = sorted(honest.seconds["live"])
    numbers = {
        "live_p50_ms": 1000 * statistics.median(live),
        "live_p99_ms": 1000 * float(np.quantile(live, 0.99)),
        "live_max_ms": 1000 * live[-1],
        "live_at_rest_p50_ms": 1000 * statistics.median(rest.seconds["live"]),
        "answered": dict(honest.answered),
        "refused": {str(key): count for key, count in honest.refused.items()},
        "slowest_s": {name: max(values) for name, values in honest.seconds.items()},
        "mb_before": server_mb,
        "mb_peak": max(peak),
        "mb_after": after_mb,
        "idle_cpu_s": idle_cpu,
        "attack": sent,
    }
    good = (
        numbers["live_p50_ms"] < 100
        and numbers["live_p99_ms"] < 1000
        and after_mb - server_mb < 64
        and not honest.refused
        and alive == 200
    )
    rows = [
        ["/health/live, median and p99 in ms", f"{numbers['live_p50_ms']:.1f}, {numbers['live_p99_ms']:.1f}"],
        ["/health/live, longest in ms", f"{numbers['live_max_ms']:.0f}"],
        ["/health/live before, median in ms", f"{numbers['live_at_rest_p50_ms']:.1f}"],
        *(
            [f"{name}: answered, slowest", f"{count:,}, {max(honest.seconds[name]):.2f} s"]
            for name, count in honest.answered.items()
        ),
        ["honest requests not answered with 200", f"{sum(honest.refused.values())} {dict(honest.refused)}"],
        ["resident MB before, at most, after", f"{server_mb:.0f}, {max(peak):.0f}, {after_mb:.0f}"],
        [f"CPU seconds in the {_QUIET:.0f} s after", f"{idle_cpu:.2f}"],
        *([f"attack: {what}", f"{count:,}"] for what, count in sent.items()),
        ["verdict", "held" if good else "NOT held"],
    ]
    facts = common.machine_facts("uvicorn", "httptools")
    text = (
        f"# Serving under attack, {given.seconds:.0f} s\n\nServer, attacker and honest clients share the "
        f"machine. {common.facts_line(facts)}\n\n{common.table_text(['what', 'measured'], rows)}\n"
    )
    common.publish("serve_soak", given.out, text, {"facts": facts, **numbers})
    if not good:
        sys.exit(1)


def fill(url: str, n_rows: int) -> None:
    store = open_store(url)
    store.write([Feedback(f"user {n // 50}", f"{n % 5_000}", 0.5 + n % 9 / 2, 1.0) for n in range(n_rows)])
    store.close()


def watch(server: ServerProcess, end: threading.Event, peak: list[float]) -> None:
    while not end.wait(0.2):
        peak.append(server.resident_mb)


@dataclass
class Honest:
    """Clients that ask and wait for the answer: each in a thread, on new connections and on kept ones."""

    server: ServerProcess
    seconds: dict[str, list[float]] = field(default_factory=dict)
    answered: Counter[str] = field(default_factory=Counter)
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)

    def run(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        lines = "\n".join(json.dumps({"user": "me", "item": f"{n}", "rating": 4.5}) for n in range(1000))
        asked: list[tuple[str, str, str, Any, float]] = [
            ("live", "GET", "/health/live", None, 0.02),
            ("ready", "GET", "/health/ready", None, 0.5),
            ("list", "GET", "/v1/recommendations?user=7", None, 0.02),
            ("rating", "PUT", "/v1/feedback?user=me&item=7", {"rating": 4}, 0.05),
            ("import", "POST", "/v1/feedback/import", lines, 2.0),
            ("export", "GET", "/v1/feedback/export", None, 5.0),
        ]
        threads = [threading.Thread(target=self._ask, args=(until, *one)) for one in asked]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _ask(self, until: float, name: str, method: str, path: str, body: Any, pause: float) -> None:
        self.seconds[name] = []
        headers = {"content-type": "application/x-ndjson" if isinstance(body, str) else "application/json"}
        content = body if isinstance(body, str | None) else json.dumps(body)
        while time.monotonic() < until:
            began = time.monotonic()
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
                connection.request(method, path, content, headers)
                answer = connection.getresponse()
                answer.read()
                status = str(answer.status)
                connection.close()
            except (OSError, http.client.HTTPException) as error:
                status = type(error).__name__
            self.seconds[name].append(time.monotonic() - began)
            if status == "200":
                self.answered[name] += 1
            else:
                self.refused[name, status] += 1
            time.sleep(pause)


@dataclass(frozen=True)
class Plan:
    """What is done to the server."""

    port: int
    seconds: float
    idle: int
    stalled: int
    aborted: int
    flood_bytes: int


def attack(plan: Plan, said: Any) -> None:
    """In a process of its own, so that its work is not the honest clients' wait."""
    files_for(plan.idle + plan.stalled + 100)
    said.put("ready")
    said.put(asyncio.run(_attack(plan)))


async def _attack(plan: Plan) -> dict[str, int]:
    done: Counter[str] = Counter()
    until = time.monotonic() + plan.seconds
    kinds: list[tuple[int, Callable[[Plan, Counter[str]], Coroutine[Any, Any, None]]]] = [
        (plan.idle, _idle),
        (plan.stalled, _stalled),
        (plan.aborted, _aborted),
        (2, _trailer_lines),
        (2, _trailer_value),
    ]

    async def again(play: Callable[[Plan, Counter[str]], Coroutine[Any, Any, None]], delay: float) -> None:
        """The same until the end: a connection that the server closes is opened anew after a while."""
        await asyncio.sleep(delay)
        while time.monotonic() < until:
            with suppress(OSError, asyncio.IncompleteReadError):
                await play(plan, done)
            await asyncio.sleep(_AGAIN)

    tasks = [asyncio.create_task(again(play, 2.0 * n / count)) for count, play in kinds for n in range(count)]
    await asyncio.wait(tasks, timeout=plan.seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return dict(done)


async def _idle(plan: Plan, done: Counter[str]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", plan.port)
    done["idle connections"] += 1
    try:
        await reader.read(1)  # nothing comes before the server closes it
    finally:
        writer.close()


async def _stalled(plan: Plan, done: Counter[str]) -> None:
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.setblocking(False)
    try:
        loop = asyncio.get_running_loop()
        await loop.sock_connect(raw, ("127.0.0.1", plan.port))
        await loop.sock_sendall(raw, _EXPORT)
        done["stalled exports"] += 1
        await asyncio.sleep(min(plan.seconds, 40.0))
    finally:
        raw.close()


async def _aborted(plan: Plan, done: Counter[str]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", plan.port)
    try:
        writer.write(_EXPORT)
        await reader.readexactly(1000)
        done["aborted exports"] += 1
    finally:
        writer.transport.abort()
    await asyncio.sleep(_FOR_EVER)  # once each


async def _trailer_lines(plan: Plan, done: Counter[str]) -> None:
    await _flood(plan, done, b"", b"x: y\r\n" * 10_000)


async def _trailer_value(plan: Plan, done: Counter[str]) -> None:
    await _flood(plan, done, b"x: ", b"y" * 60_000)


async def _flood(plan: Plan, done: Counter[str], first: bytes, piece: bytes) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", plan.port)
    n_bytes = 0
    try:
        writer.write(_BODY + first)
        while n_bytes < plan.flood_bytes:
            writer.write(piece)
            await writer.drain()
            n_bytes += len(piece)
    finally:
        done["trailer floods"] += 1
        done["bytes of trailers sent"] += n_bytes
        writer.transport.abort()


if __name__ == "__main__":
    main()
