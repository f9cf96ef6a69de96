"""The server over HTTP: what it answers, what it refuses, and what it never does."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import re
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import bilinear
from bilinear.data.interactions import Interactions
from bilinear.errors import ParameterValueError
from bilinear.serving import create_app
from bilinear.serving.feedback.store import Feedback
from bilinear.serving.http.guard import RateLimit, Tokens, is_loopback, names_of
from bilinear.serving.http.operations import OPERATIONS

READ, WRITE = "read-token-0123456789", "write-token-0123456789"
JSON = {"content-type": "application/json"}


class Client:
    """Asks an application without a network, each request on one loop."""

    def __init__(self, app: Any) -> None:
        self.app, self.loop = app, asyncio.new_event_loop()

    def __call__(self, method: str, path: str, **how: Any) -> httpx.Response:
        return self.loop.run_until_complete(self.request(method, path, **how))

    async def request(self, method: str, path: str, **how: Any) -> httpx.Response:
        transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.request(method, path, **how)

    def together(self, requests: list[Awaitable[httpx.Response]]) -> list[httpx.Response]:
        async def wait() -> list[httpx.Response]:
            return await asyncio.gather(*requests)

        return self.loop.run_until_complete(wait())

    def close(self) -> None:
        self.loop.run_until_complete(self.app._end())
        self.loop.close()


@pytest.fixture
def ask(model_folder: Path, tmp_path: Path) -> Iterator[Client]:
    client = Client(create_app(model_folder, store=f"sqlite:///{tmp_path / 'feedback.db'}"))
    yield client
    client.close()


@pytest.fixture
def guarded(model_folder: Path, tmp_path: Path) -> Iterator[Client]:
    (tmp_path / "tokens").write_text(f"read {READ}  # the page\n\nwrite {WRITE}\n")
    app = create_app(model_folder, store=f"sqlite:///{tmp_path / 'f.db'}", token_file=tmp_path / "tokens")
    client = Client(app)
    yield client
    client.close()


def items_of(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [item["item"] for item in answer.json()["items"]]


def test_a_rating_is_in_the_very_next_list_and_can_be_taken_back(ask: Client) -> None:
    before = items_of(ask("GET", "/v1/recommendations?user=me&n=5"))
    liked = before[-1]
    pair = httpx.QueryParams({"user": "me", "item": liked})
    put = ask("PUT", f"/v1/feedback?{pair}", json={"rating": 5})
    assert (put.status_code, put.json()["stored"], put.json()["rating"]) == (200, True, 5.0)
    after = ask("GET", "/v1/recommendations?user=me&n=5")
    assert liked not in items_of(after)
    assert after.json()["personal"] is True
    assert ask("GET", f"/v1/feedback?{pair}").json() == put.json()
    assert ask("DELETE", f"/v1/feedback?{pair}").status_code == 200
    assert ask("GET", f"/v1/feedback?{pair}").status_code == 404
    assert items_of(ask("GET", "/v1/recommendations?user=me&n=5")) == before


@pytest.mark.parametrize(
    "name", ["AC/DC", "../../etc/passwd", "ü 漢字 🎬", " ", "a&b=c#d?e%2F", ".", "\t\n", "'; --"]
)
def test_ids_are_any_text(ask: Client, name: str) -> None:
    pair = httpx.QueryParams({"user": name, "item": name})
    put = ask("PUT", f"/v1/feedback?{pair}", json={"rating": 3.5})
    assert (put.json()["user"], put.json()["item"]) == (name, name)
    assert ask("GET", f"/v1/feedback/of-user?{httpx.QueryParams({'user': name})}").json()["n_feedback"] == 1
    exported = ask("GET", "/v1/feedback/export").text.splitlines()
    assert [json.loads(line)["item"] for line in exported] == [name]


def test_requests_at_once_get_the_answers_they_would_get_alone(ask: Client, table: Interactions) -> None:
    users = [str(user) for user in table.user_vocabulary]
    questions = [
        f"/v1/recommendations?{httpx.QueryParams({'user': user, 'n': n})}" for user in users for n in (1, 7)
    ]
    alone = [ask("GET", question).json() for question in questions]
    n_batches = ask.app.context.batcher.n_batches
    together = ask.together([ask.request("GET", question) for question in questions])
    assert [answer.json() for answer in together] == alone
    assert ask.app.context.batcher.n_batches - n_batches < len(questions)


def test_every_read_operation_answers(ask: Client) -> None:
    asked = {
        "recommend": "user=user+1",
        "similar": "item=item/3+ü",
        "search": "q=film",
        "item": "item=item/3+ü",
        "user": "user=user+1",
        "explain": "user=user+1&item=item/3+ü",
        "get_feedback": "user=user+1&item=item/3+ü",
        "feedback_of_user": "user=user+1",
    }
    ask("PUT", "/v1/feedback?user=user+1&item=item/3+ü", json={"rating": 3})
    for operation in OPERATIONS:
        if operation.method != "GET":
            continue
        answer = ask("GET", f"{operation.path}?{asked.get(operation.name, '')}")
        assert answer.status_code == 200, (operation.name, answer.text)
        head = ask("HEAD", f"{operation.path}?{asked.get(operation.name, '')}")
        assert (head.status_code, head.content) == (200, b"")


def test_post_operations_answer(ask: Client) -> None:
    ratings = [{"item": "item/3 ü", "rating": 4}]
    listed = ask("POST", "/v1/session/recommendations", json={"ratings": ratings, "n": 3})
    assert len(items_of(listed)) == 3
    why = ask("POST", "/v1/session/explanations", json={"ratings": ratings, "item": items_of(listed)[0]})
    assert [one["item"] for one in why.json()["contributions"]] == ["item/3 ü"]
    half = {"content": b'{"pairs": [{"user": "\\ud800", "item": "b"}]}', "headers": JSON}
    assert ask("POST", "/v1/predictions", **half).status_code == 400  # half a character
    among = {"user": "user 1", "candidates": ["item/5 ü"], "exclude_seen": False}
    assert items_of(ask("POST", "/v1/recommendations", json=among)) == ["item/5 ü"]
    pairs = [{"user": "user 1", "item": "item/3 ü"}]
    assert ask("POST", "/v1/predictions", json={"pairs": pairs}).json()["predictions"][0]["known_item"]
    assert ask("POST", "/v1/model/reload", json={}).status_code == 200
    assert ask("POST", "/v1/model/rollback", json={}).json()["error"]["code"] == "no_earlier"


def test_import_is_all_or_nothing_and_export_gives_it_back(ask: Client) -> None:
    rows = [("u", "a,b", 4.0, 1.5), ("u", 'q"\n', 3.5, 2.0), ("ü", "i", None, 3.0)]
    lines = "".join(
        json.dumps(dict(zip(("user", "item", "rating", "time"), row, strict=True))) + "\n" for row in rows
    )
    ndjson, as_csv = {"content-type": "application/x-ndjson"}, {"content-type": "text/csv; charset=utf-8"}
    wrong = lines + '{"user": "u", "item": "c", "rating": 99}\n'
    refused = ask("POST", "/v1/feedback/import", content=wrong, headers=ndjson)
    assert refused.status_code == 409
    assert "line 4" in refused.json()["error"]["message"]
    assert ask("GET", "/v1/feedback/export?deleted=true").text == ""
    assert ask("POST", "/v1/feedback/import", content=lines, headers=ndjson).json() == {"n_rows": 3}
    assert ask("POST", "/v1/feedback/import", content=lines, headers=ndjson).json() == {"n_rows": 3}
    text = ask("GET", "/v1/feedback/export?format=csv&deleted=true").text
    assert [tuple(row) for row in csv.reader(io.StringIO(text))][1:] == [
        ("u", "a,b", "4.0", "1.5"), ("u", 'q"\n', "3.5", "2.0"), ("ü", "i", "", "3.0"),
    ]  # fmt: skip
    assert ask("POST", "/v1/feedback/import", content=text, headers=as_csv).json() == {"n_rows": 3}
    assert len(ask("GET", "/v1/feedback/export").text.splitlines()) == 2
    for content, where in [
        ("user,item\n", "line 1"),
        ("user,item,rating,rating\n", "line 1"),
        ("user,item,rating\nu,i\n", "line 2"),
        ("user,item,rating\nu,i,4\nu,j,x\n", "line 3"),
        ("user,item,rating\nu,i,nan\n", "line 2"),
        ('user,item,rating\nu,"i,4\n', "line 2"),
    ]:
        refused = ask("POST", "/v1/feedback/import", content=content, headers=as_csv)
        assert refused.status_code == 400
        assert where in refused.json()["error"]["message"]
    assert ask("POST", "/v1/feedback/import", content=b"\xff", headers=ndjson).status_code == 400


@pytest.mark.parametrize(
    ("method", "path", "how", "status", "code"),
    [
        ("GET", "/v1/recommendations", {}, 400, "bad_query"),
        ("GET", "/v1/recommendations?user=a&user=b", {}, 400, "bad_query"),
        ("GET", "/v1/recommendations?user=a&typo=1", {}, 404, "unknown_column"),
        ("GET", "/v1/recommendations?user=a&n=0", {}, 400, "bad_query"),
        ("GET", "/v1/recommendations?user=a&n=501", {}, 400, "bad_query"),
        ("GET", "/v1/recommendations?user=%ff", {}, 400, "bad_query"),
        ("GET", "/v1/recommendations?user=%00", {}, 400, "bad_query"),
        ("GET", "/v1/recommendations?user=", {}, 400, "bad_query"),
        ("GET", f"/v1/recommendations?user={'x' * 257}", {}, 400, "bad_query"),
        ("GET", f"/v1/recommendations?user=a{'&candidate=x' * 1001}", {}, 400, "bad_query"),
        ("GET", "/v1/recommendations?user=a&category=None", {}, 404, "unknown_category"),
        ("GET", "/v1/similar?item=x", {}, 404, "unknown_item"),
        ("GET", "/v1/user?user=x", {}, 404, "unknown_user"),
        ("GET", "/v1/nothing", {}, 404, "no_path"),
        ("GET", "/..%2f..%2fetc/passwd", {}, 404, "no_path"),
        ("GET", "/assets/../../app.py", {}, 404, "no_path"),
        ("POST", "/v1/similar", {}, 405, "no_method"),
        ("OPTIONS", "/v1/feedback", {}, 405, "no_method"),
        ("POST", "/", {}, 405, "no_method"),
        ("PUT", "/v1/feedback?user=a&item=b", {"json": {"rating": 99}}, 409, "rating_out_of_range"),
        ("PUT", "/v1/feedback?user=a&item=b", {"json": {"rating": "4"}}, 400, "bad_body"),
        ("PUT", "/v1/feedback?user=a&item=b", {"json": {"rating": 4, "x": 1}}, 400, "bad_body"),
        ("PUT", "/v1/feedback?user=a&item=b", {"json": {"rating": 4, "time": 9e10}}, 409, "time_in_future"),
        ("PUT", "/v1/feedback?user=a&item=b", {"content": b"{"}, 415, "bad_media_type"),
        ("PUT", "/v1/feedback?user=a&item=b", {"json": {"rating": 4, "time": -1}}, 400, "bad_body"),
        ("POST", "/v1/feedback/import", {"json": {}}, 415, "bad_media_type"),
    ],
)  # fmt: skip
def test_refusals(ask: Client, method: str, path: str, how: dict[str, Any], status: int, code: str) -> None:
    answer = ask(method, path, **how)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.json()["error"]["message"]


def test_long_bodies_are_cut_off(model_folder: Path, tmp_path: Path) -> None:
    app = create_app(model_folder, store=f"sqlite:///{tmp_path / 'f.db'}", most_json=1000, most_import=2000)
    ask = Client(app)
    sent = []

    async def endless() -> AsyncIterator[bytes]:
        while True:
            sent.append(1)
            yield b" " * 100

    kind = {"content-type": "application/json"}
    for content in (b" " * 1001, endless()):
        answer = ask("POST", "/v1/predictions", content=content, headers=kind)
        assert answer.status_code == 413
    assert len(sent) == 11
    lines = {"content-type": "text/csv"}
    assert ask("POST", "/v1/feedback/import", content=b" " * 2001, headers=lines).status_code == 413
    ask.close()


def test_tokens_say_who_may_read_and_write(guarded: Client) -> None:
    def status(method: str, path: str, token: str | None, **how: Any) -> int:
        headers = {} if token is None else {"authorization": token}
        return guarded(method, path, headers=headers, **how).status_code

    for token in (
        None,
        READ,
        f"Basic {READ}",
        "Bearer",
        f"Bearer {READ}x",
        f"Bearer {READ[:-1]}",
        "Bearer \x7f",
    ):
        assert status("GET", "/v1/model", token) == 401
    assert status("GET", "/v1/model", f"Bearer {READ}") == 200
    assert status("GET", "/v1/model", f"bearer {WRITE}") == 200
    body = {"json": {"rating": 3}}
    assert status("PUT", "/v1/feedback?user=a&item=b", f"Bearer {READ}", **body) == 403
    assert status("PUT", "/v1/feedback?user=a&item=b", f"Bearer {WRITE}", **body) == 200
    assert status("GET", "/metrics", None) == 401
    for path in ("/", "/docs", "/openapi.json", "/health/live", "/health/ready"):
        assert status("GET", path, None) == 200
    for operation in OPERATIONS:  # nothing that changes something asks for less than writing
        changes_model = operation.path.startswith("/v1/model/") and operation.method == "POST"
        if operation.method in ("PUT", "DELETE") or changes_model or operation.name == "import_feedback":
            assert operation.access == "write"
            assert status(operation.method, operation.path, f"Bearer {READ}") == 403


def test_pages_of_other_sites_cannot_speak_to_a_server_without_tokens(ask: Client) -> None:
    put = "/v1/feedback?user=a&item=b"
    for headers, status in [
        ({"host": "evil.example"}, 421),
        ({"host": "localhost.evil.example"}, 421),
        ({"host": "localhost:8000", "origin": "http://evil.example"}, 403),
        ({"host": "localhost:8000", "origin": "http://localhost:9999"}, 403),
        ({"host": "localhost:8000", "origin": "null"}, 403),
        ({"host": "localhost:8000", "sec-fetch-site": "cross-site"}, 403),
        ({"host": "localhost:8000", "origin": "http://localhost:8000", "sec-fetch-site": "same-origin"}, 200),
        ({"host": "[::1]:8000"}, 200),
        ({"host": "127.0.0.1"}, 200),
    ]:
        assert ask("PUT", put, json={"rating": 3}, headers=headers).status_code == status, headers
    assert ask("GET", "/v1/model", headers=[("host", "localhost"), ("host", "evil")]).status_code == 400


def test_every_answer_has_the_headers(ask: Client) -> None:
    for path in ("/", "/docs", "/v1/model", "/v1/nothing", "/v1/similar?item=x"):
        headers = ask("GET", path).headers
        policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
        assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
        assert policy["script-src"] == "'self'"
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "access-control-allow-origin" not in headers
    assert ask("GET", "/v1/model").headers["cache-control"] == "no-store"


def test_pages_fetch_nothing_from_elsewhere_and_come_packed(ask: Client) -> None:
    for path in ("/", "/docs"):
        page = ask("GET", path).text
        assert not re.findall(r"""(?:src|href)=["']?(?:[a-z]+:)?//""", page)
        assert not re.findall(
            r"<script(?![^>]* src=)|<style| style=| on[a-z]+=", page
        )  # nor what the policy stops
    document = ask("GET", "/openapi.json")
    assert document.headers["content-encoding"] == "gzip"
    again = ask("GET", "/openapi.json", headers={"if-none-match": document.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_rate_limit(model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("bilinear.serving.http.guard.monotonic", lambda: now[0])
    ask = Client(create_app(model_folder, store=f"sqlite:///{tmp_path / 'f.db'}", rate_limit=2.0))
    assert [ask("GET", "/health/live").status_code for _ in range(5)] == [200] * 4 + [429]
    assert ask("GET", "/v1/model").headers["retry-after"] == "1"
    now[0] = 0.5
    assert [ask("GET", "/health/live").status_code for _ in range(2)] == [200, 429]
    limit = RateLimit(1.0)
    assert [limit.take("a"), limit.take("b")] == [0.0, 0.0]
    ask.close()


def test_logs_are_json_and_carry_no_token_and_no_ids(
    guarded: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    guarded("GET", "/v1/user?user=secret-user", headers={"authorization": f"Bearer {READ}x"})
    guarded("GET", "/%0a%7b%22forged%22", headers={"authorization": f"Bearer {READ}"})
    guarded("GET", "/v1/model", headers={"host": "evil", "authorization": f"Bearer {WRITE}"})
    err = capsys.readouterr().err
    entries = [json.loads(line) for line in err.splitlines()]
    assert [entry["status"] for entry in entries] == [401, 421]
    for word in (READ, WRITE, "secret-user"):
        assert word not in err


def test_metrics_count_what_was_asked(ask: Client) -> None:
    for _ in range(3):
        ask("GET", "/v1/recommendations?user=a")
    ask("GET", "/v1/similar?item=unknown")
    text = ask("GET", "/metrics").text
    assert 'bilinear_requests_total{operation="recommend",status="200"} 3' in text
    assert 'bilinear_requests_total{operation="similar",status="404"} 1' in text
    assert 'bilinear_request_seconds_bucket{operation="recommend",le="+Inf"} 3' in text


def test_swaps_under_load_lose_no_request_and_mix_no_answer(
    ask: Client, model_folder: Path, rating_model: bilinear.MatrixFactorization, table: Interactions
) -> None:
    other = bilinear.BiasModel(l2_biases=1.0).fit(table)
    first = ask.app.context.service.serving_model.version
    question = "/v1/recommendations?user=user+1&n=30"

    async def swapping() -> set[str]:
        versions = set()
        for model in (other, rating_model) * 3:
            await asyncio.to_thread(model.save, model_folder)
            answer = await ask.request("POST", "/v1/model/reload", json={})
            assert answer.status_code == 200, answer.text
            versions.add(answer.json()["model"])
        return versions

    async def asking() -> list[dict[str, Any]]:
        swaps = asyncio.create_task(swapping())
        answers = []
        while not swaps.done():
            answer = await ask.request("GET", question)
            assert answer.status_code == 200
            answers.append(answer.json())
            await asyncio.sleep(0)  # one that was kept comes without a pause in which others could go on
        versions.update(await swaps)
        return answers

    versions: set[str] = set()
    answers = ask.loop.run_until_complete(asking())
    assert len(versions) == 2
    assert first in versions
    expected = {answer["model"]: answer["items"] for answer in answers}
    assert set(expected) == versions
    assert all(answer["items"] == expected[answer["model"]] for answer in answers)


def test_a_store_that_is_away_says_so_and_comes_back(ask: Client, tmp_path: Path) -> None:
    path = tmp_path / "feedback.db"
    put = "/v1/feedback?user=a&item=b"
    assert ask("PUT", put, json={"rating": 3}).status_code == 200
    for file in tmp_path.glob("feedback.db*"):
        file.rename(tmp_path / f"moved {file.name}")
    path.mkdir()
    for method, question, how in [
        ("GET", "/v1/recommendations?user=a", {}),
        ("PUT", put, {"json": {"rating": 3}}),
        ("GET", "/v1/feedback/export", {}),
        ("GET", "/health/ready", {}),
    ]:
        answer = ask(method, question, **how)
        assert answer.status_code == 503, question
    assert ask("GET", "/health/live").status_code == 200
    assert ask("GET", "/v1/similar?item=item/3+ü").status_code == 200
    path.rmdir()
    for file in tmp_path.glob("moved feedback.db*"):
        file.rename(tmp_path / file.name.removeprefix("moved "))
    assert ask("GET", "/health/ready").status_code == 200
    assert ask("GET", put).json()["rating"] == 3.0


def test_readiness_tells_strangers_a_code_and_the_log_the_rest(
    guarded: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in tmp_path.glob("f.db*"):
        file.unlink()
    (tmp_path / "f.db").mkdir()
    for _ in range(3):
        answer = guarded("GET", "/health/ready")
        assert (answer.status_code, answer.json()["store"]) == (503, "store_unavailable")
        assert str(tmp_path) not in answer.text
    entries = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    told = [entry for entry in entries if entry["event"] == "store"]
    assert len(told) == 1  # the same again brings nothing
    assert str(tmp_path) in told[0]["message"]
    known = guarded("GET", "/v1/feedback/export", headers={"authorization": f"Bearer {READ}"})
    assert str(tmp_path) in known.json()["error"]["message"]


def test_a_rating_after_a_clients_clock_that_is_ahead_counts(ask: Client) -> None:
    pair = "/v1/feedback?user=u&item=i"
    ahead = ask("PUT", pair, json={"rating": 1, "time": time.time() + 280}).json()
    after = ask("PUT", pair, json={"rating": 2}).json()
    assert (ahead["stored"], after["stored"]) == (True, True)
    assert after["time"] > ahead["time"]
    assert ask("GET", pair).json() == after
    assert ask("DELETE", pair).json()["stored"] is True
    assert ask("GET", pair).status_code == 404


def test_a_user_with_very_many_ratings_is_no_work_for_the_loop(
    ask: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, threads = ask.app.context.service.store, set()
    store.write([Feedback("many", f"item {n}", 3.0, 1.0) for n in range(5000)])
    store.write([Feedback("many", "item/3 ü", 5.0, 1.0), Feedback("few", "item/3 ü", 5.0, 1.0)])
    user_state = ask.app.context.service.user_state

    def seen(serving_model: Any, user: str, changes: Any) -> Any:
        threads.add((user, threading.current_thread() is threading.main_thread()))
        return user_state(serving_model, user, changes)

    monkeypatch.setattr(ask.app.context.service, "user_state", seen)
    lists = [items_of(ask("GET", f"/v1/recommendations?user={user}")) for user in ("many", "few")]
    assert lists[0] == lists[1]
    assert threads == {("many", False), ("few", True)}


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t", "\r", "\n", "'=", "''@", "＝"])
def test_no_cell_of_an_export_is_a_formula_and_an_import_gives_it_back(ask: Client, sign: str) -> None:
    name = f"{sign}cmd|' /C calc'!A0"
    for user, item in ((name, "plain"), ("'plain", name)):
        pair = httpx.QueryParams({"user": user, "item": item})
        assert ask("PUT", f"/v1/feedback?{pair}", json={"rating": 3, "time": 5}).status_code == 200
    before = ask("GET", "/v1/feedback/export").text
    text = ask("GET", "/v1/feedback/export?format=csv").text
    cells = [cell for row in csv.reader(io.StringIO(text, newline="")) for cell in row]
    assert not [cell for cell in cells if re.match("[=+@\\t\\r\\n-]", cell)]
    assert "'plain" in cells
    kind = {"content-type": "text/csv"}
    assert ask("POST", "/v1/feedback/import", content=text.encode(), headers=kind).json() == {"n_rows": 2}
    assert ask("GET", "/v1/feedback/export").text == before


def test_a_fault_of_the_server_is_told_without_its_inside(
    ask: Client, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError("inside")

    monkeypatch.setattr(ask.app.context.service.serving_model.__class__, "rank", broken)
    answer = ask("GET", "/v1/recommendations?user=a")
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal")
    assert "inside" not in answer.text
    assert "ZeroDivisionError" in capsys.readouterr().err
    monkeypatch.undo()
    assert ask("GET", "/v1/recommendations?user=a").status_code == 200


@pytest.mark.parametrize(
    "lines",
    [
        "",
        "# nothing\n",
        "write short",
        "both 0123456789abcdef",
        "read 0123456789abcdef more",
        "read 0123456789abcdé",
    ],
)
def test_token_files_that_are_wrong(tmp_path: Path, lines: str) -> None:
    (tmp_path / "tokens").write_text(lines)
    with pytest.raises(ParameterValueError) as refused:
        Tokens.of(tmp_path / "tokens")
    assert "0123456789" not in str(refused.value)


def test_loopback_addresses() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.1.2.3", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.0.1", "example.com", "")))
    assert names_of("0.0.0.0") == frozenset()


hostile = st.text(max_size=30) | st.sampled_from(
    ["../", "%s%n", "\x00", "\ud800", "{{7*7}}", "<script>", "\r\nx: y"]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | hostile,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(hostile, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([operation for operation in OPERATIONS if operation.name != "retrain"]),
    st.dictionaries(hostile, hostile, max_size=2),
    st.lists(hostile, min_size=4, max_size=4),
    st.booleans(),
    values.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=40),
)
def test_hostile_questions_are_answered_as_documented(
    ask: Client, operation: Any, more: dict[str, str], ours: list[str], only_ours: bool, content: bytes
) -> None:
    names = operation.query.__struct_fields__
    query = ({} if only_ours else more) | dict(zip(names, ours, strict=False))
    kind = operation.bodies[0] if operation.body else "application/json"
    url = f"{operation.path}?" + "&".join(
        f"{_quoted(name)}={_quoted(value)}" for name, value in query.items()
    )
    answer = ask(operation.method, url, content=content, headers={"content-type": kind})
    documented = {200, 400, 401, 403, 408, 413, 415, 421, 429, *operation.can_fail} - {503}
    assert answer.status_code in documented, (answer.status_code, answer.text)


def _quoted(value: str) -> str:
    return "".join(f"%{byte:02x}" for byte in value.encode(errors="surrogatepass"))


def test_retraining_runs_in_a_process_of_its_own_and_goes_live(ask: Client) -> None:
    before = ask("GET", "/v1/model").json()["model"]
    assert ask("GET", "/v1/model/retrain").json()["state"] == "never"
    for item in range(8):
        pair = httpx.QueryParams({"user": "new", "item": f"item/{item} ü"})
        assert ask("PUT", f"/v1/feedback?{pair}", json={"rating": 4}).status_code == 200
    assert ask("POST", "/v1/model/retrain", json={"bound": 4.0}).json()["state"] == "running"
    assert ask("POST", "/v1/model/retrain", json={}).status_code == 409
    ask.loop.run_until_complete(ask.app.context.retraining._task)
    state = ask("GET", "/v1/model/retrain").json()
    assert (state["state"], state["bound"]) == ("live", 4.0), state["message"]
    assert ask("GET", "/v1/model").json()["model"] == state["model"] != before
    assert ask("GET", "/v1/recommendations?user=new").json()["basis"] == "training"
    assert "bilinear_swaps_total 1" in ask("GET", "/metrics").text
    assert ask("POST", "/v1/model/rollback", json={}).json()["model"] == before
    assert ask("GET", "/v1/recommendations?user=new").json()["basis"] == "feedback"


def test_a_training_that_fails_says_why_and_changes_nothing(ask: Client, model_folder: Path) -> None:
    before = ask("GET", "/v1/recommendations?user=user+1").json()
    (model_folder / "model.json").unlink()
    ask("POST", "/v1/model/retrain", json={})
    ask.loop.run_until_complete(ask.app.context.retraining._task)
    state = ask("GET", "/v1/model/retrain").json()
    assert state["state"] == "failed"
    assert "model.json" in state["message"]
    assert ask("GET", "/v1/recommendations?user=user+1").json() == before


def test_the_schedule_trains_only_after_new_feedback(ask: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    retraining, trainings, sleeps = ask.app.context.retraining, [], 0

    async def start() -> None:
        trainings.append(sleeps)

    async def sleep(seconds: float) -> None:
        nonlocal sleeps
        sleeps += 1
        assert seconds == 7.0
        if sleeps == 2:
            await ask.request("PUT", "/v1/feedback?user=a&item=b", json={"rating": 3})
        if sleeps == 4:
            raise asyncio.CancelledError

    monkeypatch.setattr(retraining, "start", start)
    monkeypatch.setattr("bilinear.serving.lifecycle.retraining.asyncio.sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        ask.loop.run_until_complete(retraining.every(7.0))
    assert trainings == [2]
