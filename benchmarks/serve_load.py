"""Recommendations a second, latency, swaps under load and memory of `bilinear serve`, by wrk on loopback.

Beside it a server of the same kind that answers a constant, by the same road and in the same run: the two
take turns, and the ratio of their rates, and of their CPU time a request, holds on other machines too.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any
from urllib.request import urlopen

import common
import numpy as np
import settings
from served import ConstantServer, ServerProcess, random_model
from threadpoolctl import threadpool_limits

from bilinear.serving.answers.serving_model import ServingModel

N_USERS = 20_000
_FEW_USERS = 500
_LUA = """
local users, n, seed = {users}, {n}, {seed}
math.randomseed(seed)
request = function() return wrk.format("GET", "/v1/recommendations?n=" .. n .. "&user=" .. math.random(0, users - 1)) end
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('JSON {{"requests": %d, "us": %d, "p50": %d, "p99": %d, "max": %d, "connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d}}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency.max,
    e.connect, e.read, e.write, e.status, e.timeout))
end
"""  # noqa: E501


@dataclass(frozen=True)
class Load:
    """What one run of wrk measured."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    failed: int
    cpu_us: float
    """CPU time of the server process a request."""

    @property
    def rate(self) -> float:
        return self.requests / self.seconds

    @classmethod
    def run(
        cls, server: ServerProcess, folder: Path, seconds: int, connections: int, users: int = N_USERS
    ) -> Load:
        script = folder / "users.lua"
        script.write_text(_LUA.format(users=users, n=10, seed=time.time_ns() % 2**31))
        address = f"http://127.0.0.1:{server.port}"
        command = [
            "wrk",
            "-t1",
            f"-c{connections}",
            f"-d{seconds}s",
            "--timeout",
            "10s",
            "-s",
            script,
            address,
        ]
        before = server.cpu_seconds
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        used = server.cpu_seconds - before
        said = json.loads(next(line for line in out.splitlines() if line.startswith("JSON"))[5:])
        failed = sum(said[name] for name in ("connect", "read", "write", "status", "timeout"))
        times = (said[name] / 1000 for name in ("p50", "p99", "max"))
        requests = max(1, said["requests"])
        return cls(said["requests"], said["us"] / 1e6, *times, failed, 1e6 * used / requests)


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--items", type=int, default=60_000)
    parser.add_argument("--factors", type=int, default=64)
    parser.add_argument("--swaps", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=5, help="turns of the server and the constant one")
    parser.add_argument("--requests", type=int, default=200_000, help="for memory")
    parser.add_argument("--ratios", action="store_true", help="compare with the constant, nothing else")
    parser.add_argument("--shorten", action="store_true", help="try it in a minute")
    settings.add_option(parser)
    given = parser.parse_args()
    if settings.ran_both(given, "serve_load"):
        return
    if shutil.which("wrk") is None:
        sys.exit("wrk is not installed (apt-get install wrk)")
    if given.shorten:
        given.seconds, given.swaps, given.requests, given.repeats = 5, 5, 10_000, 2
    with tempfile.TemporaryDirectory() as name:
        measure(given, Path(name))


def measure(given: Any, folder: Path) -> None:
    models = [random_model(N_USERS, given.items, given.factors, seed=seed) for seed in (0, 1)]
    models[0].save(folder / "model")
    rows: list[list[str]] = []
    numbers: dict[str, Any] = {}

    def row(what: str, load: Load, more: str = "") -> None:
        times = f"{load.p50_ms:.1f}", f"{load.p99_ms:.1f}", f"{load.max_ms:.0f}"
        cpu = f"{load.cpu_us:.0f}"
        rows.append([what, f"{load.rate:,.0f}", *times, cpu, f"{load.requests:,}", f"{load.failed}", more])
        numbers[what] = {**load.__dict__, "rate": load.rate, "more": more}

    folded = fold_in_ms(models[0])
    numbers["fold_in_ms"] = folded
    store = f"sqlite:///{folder}/feedback.db"
    ratios = {}
    with ServerProcess(folder / "model", store, folder / "log", "--keep-answers", "0") as server:
        Load.run(server, folder, 3, given.connections)
        ratios["every list made anew"] = against_constant(given, server, folder)
    with ServerProcess(folder / "model", store, folder / "log") as server:
        Load.run(server, folder, 3, given.connections, _FEW_USERS)
        ratios["lists asked for again"] = against_constant(given, server, folder, _FEW_USERS)
        numbers["against_constant"] = ratios
        if given.ratios:
            print(json.dumps(numbers, indent=2))
            return
        for connections in sorted({1, given.connections, 4 * given.connections}):
            row(
                f"as trained, {connections} connections",
                Load.run(server, folder, given.seconds, connections),
            )
        give_feedback(server, given.items)
        Load.run(server, folder, 5, given.connections)  # folds each user in once
        load = Load.run(server, folder, given.seconds, given.connections)
        row("every second user with feedback", load, "fold-in kept until the feedback changes")
        swaps: list[float] = []
        thread = threading.Thread(target=swap, args=(server, folder, models, given.swaps, swaps))
        thread.start()
        load = Load.run(server, folder, max(10, round(1.2 * given.swaps)), given.connections)
        thread.join()
        row(
            f"{len(swaps)} model swaps meanwhile",
            load,
            f"a swap took {1000 * sum(swaps) / len(swaps):.0f} ms",
        )
        memory, n_requests = [server.resident_mb], 0
        while n_requests < given.requests:
            n_requests += Load.run(server, folder, max(2, given.seconds // 2), given.connections).requests
            memory.append(server.resident_mb)
        numbers["resident_mb"] = memory
    header = ["what", "a second", "p50 ms", "p99 ms", "max ms", "CPU us", "requests", "failed", ""]
    facts = common.machine_facts("uvicorn", "msgspec")
    text = (
        f"# Serving: {given.items:,} items x {given.factors} factors, n = 10, {N_USERS:,} users\n\n"
        f"Server (one process) and wrk share the machine. {common.facts_line(facts)}\n\n"
        + f"Against a server that answers a constant, {given.connections} connections, medians of "
        + f"{given.repeats} turns: "
        + "; ".join(f"{what}, {name} {v:.2f}" for what, of in ratios.items() for name, v in of.items())
        + " (1 is as fast as the constant; wanted 0.5)\n\n"
        + common.table_text(header, rows)
        + f"\n\nResident memory in MB during {n_requests:,} more requests: "
        + ", ".join(f"{value:.0f}" for value in memory)
        + f"\n\nFold-in of a user from 200 ratings of feedback: {folded:.2f} ms of CPU\n"
    )
    common.publish("serve_load", given.out, text, {"facts": facts, **numbers})


def against_constant(
    given: Any, server: ServerProcess, folder: Path, users: int = N_USERS
) -> dict[str, float]:
    """Rate and CPU time a request of a constant's server over those of this one, taking turns."""
    body = urlopen(f"http://127.0.0.1:{server.port}/v1/recommendations?n=10&user=7").read()
    found: dict[str, list[float]] = {"requests a second": [], "requests a CPU second": []}
    seconds = max(2, given.seconds // 3)
    with ConstantServer(body, folder / "constant.log") as constant:
        Load.run(constant, folder, 2, given.connections)
        for _ in range(given.repeats):
            ours = Load.run(server, folder, seconds, given.connections, users)
            theirs = Load.run(constant, folder, seconds, given.connections)
            found["requests a second"].append(ours.rate / theirs.rate)
            found["requests a CPU second"].append(theirs.cpu_us / ours.cpu_us)
    return {name: median(values) for name, values in found.items()}


def fold_in_ms(model: Any) -> float:
    """Milliseconds from the feedback of a user, 200 ratings, to the weights that lists are made with."""
    serving_model = ServingModel(model, "benchmark")
    chance = np.random.default_rng(0)
    rated = chance.choice(serving_model.n_items, 200, replace=False).tolist()
    feedback = [(str(item), 0.5 + 0.5 * (item % 10), 0.0) for item in rated]
    serving_model.user_state("somebody", feedback)
    with threadpool_limits(1):  # as in the server
        began = time.process_time()
        for _ in range(100):
            serving_model.user_state("somebody", feedback)
        return 10 * (time.process_time() - began)


def give_feedback(server: ServerProcess, n_items: int) -> None:
    """Five ratings of every second user."""
    lines = [
        json.dumps({"user": str(user), "item": str((user * 7919 + n * 104_729) % n_items), "rating": 4.5})
        for user in range(0, N_USERS, 2)
        for n in range(5)
    ]
    connection = server.connect()
    content = "\n".join(lines).encode()
    connection.request("POST", "/v1/feedback/import", content, {"content-type": "application/x-ndjson"})
    answer = connection.getresponse()
    if answer.status != 200:
        raise SystemExit(answer.read().decode())
    connection.close()


def swap(server: ServerProcess, folder: Path, models: list[Any], n_swaps: int, seconds: list[float]) -> None:
    """One swap a second, each a model written anew and opened by the server."""
    for n in range(n_swaps):
        models[(n + 1) % 2].save(folder / "model")
        began = time.perf_counter()
        status, answer = server.ask("POST", "/v1/model/reload", {})
        if status != 200 or answer["model"] == answer["before"]:
            raise SystemExit(f"no swap: {status} {answer}")
        seconds.append(time.perf_counter() - began)
        time.sleep(max(0.0, 1 - seconds[-1]))


if __name__ == "__main__":
    main()
