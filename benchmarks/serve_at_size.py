"""Serving of a large model from its mapped file: start, memory, latency, exactness, other searches beside.

Factors are drawn at random: "alike" items have directions without structure and equal lengths, the worst case
of every bound; "varied" ones have falling spectra and log-normal lengths. Columns that may be larger than
memory are written through temporary files beside the model: the disk must hold it twice. With
`--peer-python`, FAISS and hnswlib search the same vectors in that Python (`pip install faiss-cpu hnswlib`).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import common
import numpy as np
from serve_load import Load
from served import ServerProcess, ask, random_model

import bilinear
from bilinear.data.interactions import Grouped
from bilinear.data.vocabulary import Vocabulary
from bilinear.model.parameters import Parameters
from bilinear.recommend.screening import ScreenedItems
from bilinear.serving.answers.serving_model import ServingModel

_ROWS = 1 << 20


def drawn(file: Path, n: int, n_factors: int, kind: str, seed: int) -> Any:
    """(n, n_factors) float32, mapped."""
    chance = np.random.default_rng(seed)
    found = np.lib.format.open_memmap(file, "w+", np.float32, (n, n_factors))
    spectrum = np.ones(n_factors) if kind == "alike" else np.arange(1, n_factors + 1) ** -0.5
    spectrum = (spectrum / np.linalg.norm(spectrum)).astype(np.float32)
    for start in range(0, n, _ROWS):
        part = chance.standard_normal((min(_ROWS, n - start), n_factors), np.float32) * spectrum
        if kind == "alike":
            part /= np.linalg.norm(part, axis=1, keepdims=True)
        else:
            part *= np.exp(0.5 * chance.standard_normal((len(part), 1), np.float32))
        found[start : start + len(part)] = part
    return found


def write_model(
    folder: Path, n_users: int, n_items: int, n_factors: int, kind: str, n_rated: int = 2
) -> float:
    """Writes a model; returns the CPU seconds of its `save`."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        apart = Path(name)
        chance = np.random.default_rng(0)
        model = random_model(100, 100, 2, n_rated=5)
        model.item_texts_, model.report_ = {}, {}
        model.user_vocabulary_ = Vocabulary(integers=np.arange(n_users, dtype=np.int64))
        model.item_vocabulary_ = Vocabulary(integers=np.arange(n_items, dtype=np.int64))
        indices = np.lib.format.open_memmap(apart / "seen.npy", "w+", np.int32, (n_users * n_rated,))
        for start in range(0, n_users, _ROWS):
            n = min(_ROWS, n_users - start)
            steps = chance.integers(1, n_items // n_rated, (n, n_rated), np.int32)
            indices[start * n_rated : (start + n) * n_rated] = (steps.cumsum(axis=1) - 1).ravel()
        indptr = np.arange(n_users + 1, dtype=np.int64) * n_rated
        model.seen_ = Grouped(indptr, indices, np.full(len(indices), 4, np.float32))
        model.min_support_ = 3
        model.parameters_ = Parameters(
            3.0,
            np.zeros(n_users, np.float32),
            (0.1 * chance.standard_normal(n_items)).astype(np.float32),
            drawn(apart / "users.npy", n_users, n_factors, kind, 1),
            drawn(apart / "items.npy", n_items, n_factors, kind, 2),
        )
        began = time.process_time()
        model.save(folder)
        return time.process_time() - began


def memory(server: ServerProcess) -> dict[str, float]:
    """MB of the server: resident, its share of what is shared, and what is not of files."""
    found = {}
    for line in Path(f"/proc/{server.process.pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, value = line.split()[:2]
        found[name.rstrip(":")] = int(value) / 1024
    return {"RSS": found["Rss"], "PSS": found["Pss"], "of no file": found["Anonymous"]}


def wait_for_checks(server: ServerProcess) -> None:
    """Until the server has compared the checksum of its model, which it does beside its work."""
    before = -1.0
    while server.cpu_seconds > before + 0.02:
        before = server.cpu_seconds
        time.sleep(1)


def small_start(folder: Path) -> tuple[float, float]:
    """Seconds and CPU seconds that a server of a very small model takes to start."""
    random_model(100, 500, 8, n_rated=5).save(folder / "small")
    began = time.perf_counter()
    with ServerProcess(folder / "small", f"sqlite:///{folder}/small.db", folder / "log") as server:
        return time.perf_counter() - began, server.cpu_seconds


def in_process(folder: Path, n_users: int, n: int) -> list[float]:
    """[p50, p99] in ms of the CPU time of lists made one after the other without HTTP."""
    model = bilinear.load(folder, verify=False, scan=False)
    served, seconds = ServingModel(model, "benchmark"), []
    for user in np.random.default_rng(5).integers(0, n_users, n).tolist():
        began = time.thread_time()
        served.rank([(served.user_state(str(user), ()), 10, True, None)])
        seconds.append(time.thread_time() - began)
    return (1e3 * np.percentile(seconds, [50, 99])).tolist()  # type: ignore[no-any-return]


def one_by_one(server: ServerProcess, n_users: int, n: int) -> list[float]:
    """[p50, p99, CPU] in ms of lists asked for one after the other, for users drawn at random."""
    chance = np.random.default_rng(5)
    connection = server.connect()
    seconds, before = [], server.cpu_seconds
    for user in chance.integers(0, n_users, n).tolist():
        began = time.perf_counter()
        status, _ = ask(connection, "GET", f"/v1/recommendations?n=10&user={user}")
        seconds.append(time.perf_counter() - began)
        assert status == 200, status
    cpu = (server.cpu_seconds - before) / n
    return [*(1e3 * np.percentile(seconds, [50, 99])).tolist(), 1e3 * cpu]


def check(server: ServerProcess, folder: Path, n_users: int, n: int) -> None:
    """Ends the run unless lists of the server are those of a full scan, item by item and bit by bit."""
    model = bilinear.load(folder, verify=False, scan=False)
    screened = model.screened_of(model.parameters_) or ScreenedItems.of(model.parameters_)
    parameters, every = model.parameters_, np.arange(len(model.item_vocabulary_), dtype=np.int32)
    for user in np.random.default_rng(6).integers(0, n_users, n).tolist():
        offset = np.float32(parameters.global_mean + float(parameters.user_biases[user]))
        scores = screened.scores(parameters.user_factors[user], offset, every)
        scores[model.seen_.indices[slice(*model.seen_.indptr[user : user + 2])]] = -np.inf
        best = np.argsort(-scores, kind="stable")[:10]
        _, found = server.ask("GET", f"/v1/recommendations?n=10&user={user}")
        assert [int(item["item"]) for item in found["items"]] == best.tolist(), user
        assert [np.float32(item["score"]) for item in found["items"]] == scores[best].tolist(), user
        assert model.recommend(user, n=10).items.tolist() == best.tolist(), user


def forget(folder: Path) -> None:
    """Takes the model's pages out of the page cache."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def peers(folder: Path, python: str, n_queries: int = 200) -> list[list[str]]:
    """Rows of FAISS and hnswlib on the same vectors, one thread; recall against the exact lists."""
    model = bilinear.load(folder, verify=False, scan=False)
    parameters = model.parameters_
    items = np.hstack([parameters.item_factors, parameters.item_biases[:, None]]).astype(np.float32)
    rows = np.random.default_rng(7).integers(0, parameters.n_users, n_queries)
    users = np.hstack([parameters.user_factors[rows], np.ones((n_queries, 1), np.float32)])
    with tempfile.TemporaryDirectory() as name:
        np.save(f"{name}/items.npy", items)
        np.save(f"{name}/users.npy", users)
        search = Path(__file__).with_name("search_peers.py")
        out = subprocess.run([python, search, name], capture_output=True, text=True, check=True)
    return [json.loads(line) for line in out.stdout.splitlines()]


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--factors", type=int, default=64)
    parser.add_argument("--kinds", nargs="+", default=["varied", "alike"])
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--checks", type=int, default=30)
    parser.add_argument("--folder", type=Path, help="where the model is written; else a temporary one")
    parser.add_argument("--peer-python", help="a Python with faiss and hnswlib")
    given = parser.parse_args()
    rows: list[list[str]] = []
    beside: list[list[str]] = []
    numbers: dict[str, Any] = {}
    small = 0.0, 0.0
    for kind in given.kinds:
        with tempfile.TemporaryDirectory(dir=given.folder) as name:
            folder = Path(name) / "model"
            saved = write_model(folder, given.users, given.items, given.factors, kind)
            size = sum(path.stat().st_size for path in folder.iterdir()) / 1e9
            store = f"sqlite:///{name}/feedback.db"
            small = small_start(Path(name))
            forget(folder)
            for start in ("cold", "warm"):
                began = time.perf_counter()
                with ServerProcess(folder, store, Path(name) / "log") as server:
                    seconds, cpu = time.perf_counter() - began, server.cpu_seconds
                    first = memory(server)
                    wait_for_checks(server)
                    times = one_by_one(server, given.users, given.requests)
                    after = memory(server)
                    load = Load.run(server, Path(name), 10, 32, given.users) if shutil.which("wrk") else None
                    if start == "warm":
                        check(server, folder, given.users, given.checks)
                alone = in_process(folder, given.users, given.requests)
                numbers[f"{kind}, {start}"] = {
                    "save_seconds": saved, "gigabytes": size, "start_seconds": seconds, "start_cpu": cpu,
                    "memory_at_start": first, "memory_after": after, "ms": times, "cpu_ms_of_list": alone,
                }  # fmt: skip
                loaded = ["", ""] if load is None else [f"{load.rate:,.0f}", f"{load.p99_ms:.1f}"]
                rows.append(
                    [f"{kind}, {start}", f"{size:.1f}", f"{saved:.0f}", f"{seconds:.2f}", f"{cpu:.2f}"]
                    + [f"{part[key]:,.0f}" for part in (first, after) for key in ("RSS", "PSS", "of no file")]
                    + [f"{value:.2f}" for value in [*times, *alone]]
                    + loaded
                )
            if given.peer_python:
                beside += [[kind, *row] for row in peers(folder, given.peer_python)]
    header = ["items, file", "GB", "saved in, CPU s", "started in, s", "CPU s"]
    header += [f"{key} {when}, MB" for when in ("at start", "after") for key in ("RSS", "PSS", "of no file")]
    header += [
        "p50 ms",
        "p99 ms",
        "CPU ms",
        "CPU ms of a list, median",
        "p99",
        "32 connections, a second",
        "p99 ms",
    ]
    facts = common.machine_facts("numpy", "numba")
    text = (
        f"{given.items:,} items and {given.users:,} users x {given.factors} factors, n = 10, "
        f"{given.requests:,} requests one by one; {given.checks} lists of each equal to a full scan, bit "
        f"by bit. A server of 500 items started in {small[0]:.2f} s, {small[1]:.2f} of CPU.\n\n"
        f"{common.table_text(header, rows)}\n\n"
    )
    if beside:
        columns = [
            "items",
            "search",
            "built in, CPU s",
            "median CPU ms",
            "p99 CPU ms",
            "of the ten best found",
        ]
        text += f"{common.table_text(columns, beside)}\n\n"
    common.publish("serve_at_size", given.out, text + common.facts_line(facts), {"facts": facts, **numbers})


if __name__ == "__main__":
    main()
