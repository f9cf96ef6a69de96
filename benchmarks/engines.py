"""Lists for everyone by `Ray` on two nodes of one machine against `Local`: overhead, and what a kill costs.

A model of planted taste is trained for one epoch, and lists of 10 for all users go into a folder of Parquet
files, four times: by `Local` with two threads; by Ray on a cluster of two nodes with one core each, when its
processes are new and again when they are warm; and with a worker process and then a node killed (SIGKILL) on
the way. CPU seconds are those of all processes that work, those of Ray included, and unknown where some were
killed. The files of all runs are compared, byte by byte.

The nodes are started here, on 127.0.0.2 and 127.0.0.3, with a token of their own, and ended.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import common
import numpy as np

import bilinear
from bilinear.files import TEMPORARY_NAME
from bilinear.recommend.parquet import write_everyone

HOSTS = ("127.0.0.2", "127.0.0.3")
_PORT = 26300
_TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--factors", type=int, default=64)
    parser.add_argument("--each", type=int, default=20, help="interactions of a user")
    options = parser.parse_args()
    model = trained(options.users, options.items, options.factors, options.each)
    runs: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as scratch, cluster():
        place = Path(scratch)
        runs["Local, 2 threads"] = measured(model, place / "local", bilinear.Local(2))
        with bilinear.Ray(f"{HOSTS[0]}:{_PORT}") as engine:
            runs["Ray, new processes"] = measured(model, place / "new", engine)
            runs["Ray, warm"] = measured(model, place / "warm", engine)
            work = place / ".killed.bilinear-tmp"
            killer = threading.Thread(target=kill_on_the_way, args=(work, runs), daemon=True)
            killer.start()
            runs["Ray, a worker and a node killed"] = measured(model, place / "killed", engine)
            killer.join()
        files = {file.name: file.read_bytes() for file in (place / "local").iterdir()}
        for name in ("new", "warm", "killed"):
            assert {file.name: file.read_bytes() for file in (place / name).iterdir()} == files, name
    kill = runs.pop("kill")
    del runs["Ray, a worker and a node killed"]["cpu"]  # gone with the processes
    local = runs["Local, 2 threads"]["cpu"]
    rows = [
        [name, f"{run['seconds']:.0f}"]
        + ([f"{run['cpu']:.1f}", f"{run['cpu'] / local:.2f}"] if "cpu" in run else ["", ""])
        for name, run in runs.items()
    ]
    facts = common.machine_facts("ray", "duckdb")
    markdown = (
        f"# Engines\n\n{__doc__.split(chr(10), 2)[2].strip()}\n\n"
        f"{options.users:,} users, {options.items:,} items, {options.factors} factors, "
        f"{options.users * options.each:,} interactions; {len(files)} files, the same bytes in all runs. "
        f"After the worker was killed the next file was there in {kill['worker']:.1f} s, after the node in "
        f"{kill['node']:.1f} s.\n\n{common.facts_line(facts)}\n\n"
        + common.table_text(["engine", "seconds", "CPU seconds", "times Local"], rows)
    )
    common.publish("engines", options.out, markdown, {**runs, "kill": kill, "machine": facts})


def trained(n_users: int, n_items: int, n_factors: int, each: int) -> Any:
    """A model of one epoch on clicks of planted taste: each user has a favourite part of the catalogue."""
    chance = np.random.default_rng(0)
    users = np.repeat(np.arange(n_users), each)
    popular = (n_items * chance.random(len(users)) ** 3).astype(np.int64)
    taste = chance.integers(50, size=n_users)[users]
    items = np.where(chance.random(len(users)) < 0.7, popular // 50 * 50 + taste, popular) % n_items
    table = bilinear.Interactions.from_columns(users, items)
    return bilinear.ImplicitALS(n_factors=n_factors, n_epochs=1, rng=0).fit(table)


def measured(model: Any, folder: Path, engine: Any) -> dict[str, float]:
    """Wall and CPU seconds of the lists in a folder."""
    begun, cpu = time.perf_counter(), cpu_seconds()
    write_everyone(model, folder, engine=engine, parts=True)
    return {"seconds": time.perf_counter() - begun, "cpu": cpu_seconds() - cpu}


def cpu_seconds() -> float:
    """Of this process and of all of Ray's, those that have ended included."""
    total = time.process_time()
    for process in ray_processes():
        # user, system, and both of children that were waited for
        try:
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2].split()
        except OSError:
            continue
        total += sum(map(int, fields[11:15])) / _TICKS
    return total


def ray_processes(*parts: str) -> Iterator[int]:
    """Processes of this benchmark's cluster, with these parts in their commands: they have its token."""
    mark = f"RAY_AUTH_TOKEN={os.environ['RAY_AUTH_TOKEN']}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if (
                all(part in command for part in ("ray", *parts))
                and int(folder.name) != os.getpid()
                and mark in (folder / "environ").read_bytes()
            ):
                yield int(folder.name)
        except OSError:
            continue


def kill_on_the_way(folder: Path, runs: dict[str, Any]) -> None:
    """Kills a process that works when there are two files, and the second node when there are four."""
    waits = {}
    victims = {"worker": ("ray::",), "node": ("raylet/raylet", f"--node_ip_address={HOSTS[1]} ")}
    for n, (name, parts) in enumerate(victims.items(), 1):
        while n_files(folder) < 2 * n:
            time.sleep(0.05)
        os.kill(next(ray_processes(*parts)), signal.SIGKILL)
        before, begun = n_files(folder), time.perf_counter()
        while n_files(folder) == before:
            time.sleep(0.05)
        waits[name] = time.perf_counter() - begun
    runs["kill"] = waits


def n_files(folder: Path) -> int:
    """Whole files in a folder, none while it is not there."""
    try:
        return sum(not TEMPORARY_NAME.fullmatch(file.name) for file in folder.iterdir())
    except OSError:
        return 0


@contextmanager
def cluster() -> Iterator[None]:
    """Two nodes of one core."""
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_raylet_start_wait_time_s": "300"}
    os.environ |= {"RAY_worker_niceness": "0"}  # else all else on the machine comes first
    start = [sys.executable, "-c", "from ray.scripts.scripts import main; main()", "start", "--num-cpus=1"]
    start += ["--object-store-memory=1000000000"]
    try:
        for n, host in enumerate(HOSTS):
            joined = ["--head", f"--port={_PORT}", "--include-dashboard=false"] if n == 0 else []
            joined += [f"--address={HOSTS[0]}:{_PORT}"] if n else []
            ports = ("node-manager", "object-manager", "dashboard-agent-grpc", "dashboard-agent-listen")
            ports += ("runtime-env-agent", "metrics-export")
            given = [f"--{name}-port={_PORT + 100 * n + 1 + at}" for at, name in enumerate(ports)]
            workers = [
                f"--min-worker-port={_PORT + 100 * n + 10}",
                f"--max-worker-port={_PORT + 100 * n + 90}",
            ]
            subprocess.run(
                [*start, *joined, f"--node-ip-address={host}", *given, *workers],
                check=True,
                stdout=subprocess.DEVNULL,
                timeout=400,
            )
        yield
    finally:
        for process in ray_processes():
            os.kill(process, signal.SIGKILL)


if __name__ == "__main__":
    main()
