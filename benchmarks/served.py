"""What the benchmarks of the server share: a model of the size asked for, a server process, requests."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

import numpy as np

import bilinear
from bilinear.data.interactions import Interactions
from bilinear.data.packed_text import PackedText
from bilinear.data.vocabulary import Vocabulary
from bilinear.model.parameters import Parameters

JSON = {"content-type": "application/json"}


def random_model(
    n_users: int, n_items: int, n_factors: int, *, seed: int = 0, n_rated: int = 50
) -> bilinear.MatrixFactorization:
    """A saved-and-served model with factors drawn at random: nothing can be left out as out of reach."""
    rng = np.random.default_rng(seed)
    steps = rng.integers(1, n_items // n_rated, (n_users, n_rated)).cumsum(axis=1) - 1
    users = np.repeat(np.arange(n_users, dtype=np.int32), n_rated)
    ratings = rng.integers(1, 11, n_users * n_rated) / 2
    vocabularies = Vocabulary.from_sorted(np.arange(n_users)), Vocabulary.from_sorted(np.arange(n_items))
    table = Interactions.from_rows(users, steps.astype(np.int32).ravel(), ratings, None, *vocabularies)
    model = bilinear.MatrixFactorization(
        n_factors=1, l2=0.1, l2_biases=0.1, validation_fraction=0, solver=bilinear.SGD(n_epochs=1), rng=0
    ).fit(table)

    def drawn(*shape: int) -> Any:
        return (rng.normal(size=shape) / n_factors**0.5).astype(np.float32)

    biases = model.parameters_.user_biases, drawn(n_items)
    model.parameters_ = Parameters(3.0, *biases, drawn(n_users, n_factors), drawn(n_items, n_factors))
    titles = PackedText.of(f"Invented film {n:,} ({1900 + n % 120})" for n in range(n_items))
    genres = PackedText.of(("Drama|War", "Comedy", "Drama")[n % 3] for n in range(n_items))
    model.item_texts_ = {"title": titles, "genres": genres}
    return model


class ServerProcess:
    """`bilinear serve` on a free port, in a process of its own."""

    def __init__(self, model: Path, store: str, log: Path, *more: str) -> None:
        command = [sys.executable, "-c", "from bilinear.cli import main; main()", "serve", str(model)]
        self._start([*command, "--store", store, "--port", "0", *more], log)

    def _start(self, command: list[str], log: Path) -> None:
        with log.open("a") as errors:
            before = log.stat().st_size
            self.process = subprocess.Popen(command, stderr=errors, env=os.environ.copy())
        self.log = log
        self.port = self._port(before)

    def _port(self, before: int) -> int:
        while True:
            text = self.log.read_text(errors="replace")[before:]
            if '"event": "start"' in text:
                return int(text.split("/", 3)[2].rpartition(":")[2])
            if self.process.poll() is not None:
                raise SystemExit(f"the server ended:\n{text}")
            try:
                self.process.wait(0.02)
            except subprocess.TimeoutExpired:
                continue

    def ask(self, method: str, path: str, body: Any = None, timeout: float = 30) -> tuple[int, Any]:
        """(status, JSON) of one request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            return ask(connection, method, path, body)
        finally:
            connection.close()

    def connect(self, timeout: float = 30) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    @property
    def resident_mb(self) -> float:
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise SystemExit("the server has no memory to measure")

    @property
    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def kill(self) -> None:
        """As a power cut would: signal 9."""
        self.process.kill()
        self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()


class ConstantServer(ServerProcess):
    """The same protocol, event loop and process layout with an application that answers one constant."""

    def __init__(self, body: bytes, log: Path) -> None:
        file = log.with_suffix(".body")
        file.write_bytes(body)
        self._start([sys.executable, str(Path(__file__).resolve()), str(file)], log)


def serve_constant(body: bytes) -> None:
    """Answers every request with the same body and headers of the real server's number and length."""
    from bilinear.serving.http.server import _FRESH, _SECURITY
    from bilinear.serving.http.uvicorn_protocol import Limits, say_early, uvicorn_server

    length = (b"content-length", str(len(body)).encode())
    headers = [(b"content-type", b"application/json"), *_SECURITY, _FRESH, length]

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                await send({"type": message["type"] + ".complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    with socket.socket() as listening:
        say_early(listening)
        listening.bind(("127.0.0.1", 0))
        listening.listen(2048)
        port = listening.getsockname()[1]
        print(f'http://127.0.0.1:{port}/\n{{"event": "start"}}', file=sys.stderr, flush=True)
        uvicorn_server(application, Limits()).run([listening])


def ask(connection: http.client.HTTPConnection, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """(status, JSON or text) of one request."""
    content = None if body is None else json.dumps(body)
    connection.request(method, path, content, JSON if content is not None else {})
    answer = connection.getresponse()
    text = answer.read()
    is_json = answer.headers.get_content_type() == "application/json"
    return answer.status, json.loads(text) if is_json else text.decode()


if __name__ == "__main__":
    serve_constant(Path(sys.argv[1]).read_bytes())
