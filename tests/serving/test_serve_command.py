"""bilinear serve: what it refuses before it listens, and that it answers and ends when told."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from typer.testing import CliRunner

import bilinear
from bilinear.cli.app import app
from bilinear.errors import ParameterValueError
from bilinear.serving.feedback.store import Feedback, open_store
from bilinear.serving.problems import Conflict, StoreUnavailable


def run(*arguments: object) -> BaseException | None:
    return CliRunner().invoke(app, ["serve", *map(str, arguments)]).exception


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.1", "example.com"])
def test_other_addresses_need_tokens(model_folder: Path, host: str) -> None:
    refused = run(model_folder, "--host", host)
    assert isinstance(refused, ParameterValueError)
    assert "--token-file" in str(refused)


def test_what_cannot_be_served_is_refused(model_folder: Path, tmp_path: Path) -> None:
    assert isinstance(run(tmp_path / "nothing", "--store", f"sqlite:///{tmp_path / 'f.db'}"), Conflict)
    assert isinstance(
        run(model_folder, "--store", f"sqlite:///{tmp_path / 'none' / 'f.db'}"), StoreUnavailable
    )
    assert isinstance(run(model_folder, "--store", "mysql://x"), ParameterValueError)
    assert isinstance(run(model_folder, "--token-file", tmp_path / "none"), FileNotFoundError)


def test_a_port_that_is_taken_is_named(model_folder: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        refused = run(model_folder, "--store", f"sqlite:///{tmp_path / 'f.db'}", "--port", port)
    assert isinstance(refused, ParameterValueError)
    assert f"port {port}" in str(refused)
    assert "choose another --port" in str(refused)


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_and_ends_when_told(model_folder: Path, tmp_path: Path, stop: signal.Signals) -> None:
    command = [sys.executable, "-c", "from bilinear.cli import main; main()", "serve", str(model_folder)]
    command += ["--store", f"sqlite:///{tmp_path / 'f.db'}", "--port", "0"]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, cwd=tmp_path)
    assert process.stderr is not None
    address = process.stderr.readline().split()[0]
    assert json.loads(process.stderr.readline())["event"] == "start"
    port = int(address.rpartition(":")[2].strip("/"))
    buffered = 32 << 20  # what the system may hold for both sides
    assert sent_until_closed(port, b"GET /", b"a" * 1024) < buffered
    assert sent_until_closed(port, b"GET / HTTP/1.1\r\n", b"x: y\r\n" * 100) < buffered
    with urllib.request.urlopen(f"{address}v1/recommendations?user=nobody") as answer:
        assert json.load(answer)["personal"] is False
    process.send_signal(stop)
    rest = process.stderr.read()
    assert process.wait() in ((0,) if stop == signal.SIGINT else (0, -signal.SIGTERM))
    assert json.loads(rest.splitlines()[-1])["event"] == "stop"
    process.stderr.close()


def sent_until_closed(port: int, head: bytes, more: bytes) -> int:
    """How many bytes of an endless request the server takes."""
    n_bytes = 0
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        try:
            connection.sendall(head)
            while n_bytes < 64 << 20:
                connection.sendall(more)
                n_bytes += len(more)
                time.sleep(0)
        except OSError:
            pass
    return n_bytes


def test_train_takes_feedback_with_a_file_with_a_model_or_alone(model_folder: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'f.db'}"
    store = open_store(url)
    ratings = [
        Feedback(f"new {u}", f"item/{i} ü", 1.0 + (u * i) % 5, 1.0) for u in range(6) for i in range(6)
    ]
    store.write(ratings)
    store.close()
    for source in ([], [model_folder]):
        out = tmp_path / f"out{len(source)}"
        options = ["--store", url, "--out", out, "--model", "biases", "--quiet"]
        ran = CliRunner().invoke(app, ["train", *map(str, [*source, *options])])
        assert ran.exception is None, ran.exception
        model = bilinear.load(out)
        assert "new 3" in model.user_vocabulary_
        assert ("user 3" in model.user_vocabulary_) is bool(source)
    nothing = CliRunner().invoke(app, ["train", "--out", str(tmp_path / "none")])
    assert isinstance(nothing.exception, ParameterValueError)
