"""Packing and training on a packed table: bytes a rating, memory of the process's own, speed of an epoch.

Synthetic ratings in four Parquet files, rows in random order. Memory is what the process holds beside
mapped files, which the system drops when it needs the room: the peak of RssAnon, sampled every 5 ms, less
that of the same work on 2,000 ratings. Training is SGD on nine tenths with a validation part, once on the
packed table and once on the same table in memory; the bits of both models are compared.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import common

HEAD = """
import hashlib, json, re, statistics, sys, threading, time
from dataclasses import replace
from pathlib import Path
import numpy as np
import bilinear
from bilinear import SGD, BiasModel, MatrixFactorization, pack, read_ratings, synthetic_ratings
from bilinear.data.storage import MEMORY
folder, n = Path(sys.argv[1]), int(sys.argv[2])
packed, peak, found = folder / "packed", [0], {}
def watch():
    while True:
        text = Path("/proc/self/status").read_text()
        peak[0] = max(peak[0], int(re.search(r"RssAnon:\\s+(\\d+)", text)[1]))
        time.sleep(0.005)
def in_memory(table):
    columns = {name: np.array(getattr(table, name)) for name in ("users", "items", "ratings")}
    return replace(table, **columns, storage=MEMORY)
def train(table):
    penalties = {"l2": 0.5, "l2_biases": 0.5}
    model = MatrixFactorization(64, **penalties, rng=0, refit=False, solver=SGD(n_epochs=4)).fit(table)
    weights = b"".join(array.tobytes() for array in model.parameters_.arrays().values())
    found["epoch"] = statistics.median(epoch.seconds for epoch in model.history_.epochs)
    found["bits"] = hashlib.sha256(weights).hexdigest()
threading.Thread(target=watch, daemon=True).start()
began = time.perf_counter()
"""
TAIL = """
print(json.dumps(found | {"seconds": time.perf_counter() - began, "mib": peak[0] / 1024}))
"""
WRITE = """
import pyarrow as pa
from pyarrow import parquet
(folder / "parts").mkdir()
table = synthetic_ratings(max(100, n // 145), 27_000, n, rng=0)
order = np.random.default_rng(0).permutation(n)
for at in range(4):
    rows = order[at::4]
    columns = {"user": table.users[rows], "item": table.items[rows], "rating": table.ratings[rows]}
    parquet.write_table(pa.table(columns), folder / "parts" / f"{at}.parquet")
"""
CASES = {
    "read into memory": "read_ratings(folder / 'parts')",
    "pack, engine held to 500 MB": "pack(folder / 'parts', packed, memory_limit='500MB')",
    "biases, in memory": "BiasModel(l2_biases=1.0).fit(in_memory(read_ratings(packed)))",
    "biases, packed": "BiasModel(l2_biases=1.0).fit(read_ratings(packed))",
    "SGD, in memory": "train(in_memory(read_ratings(packed)))",
    "SGD, packed": "train(read_ratings(packed))",
    "split and evaluation, packed": (
        "split = bilinear.split_random(read_ratings(packed), rng=0); "
        "BiasModel(l2_biases=1.0).fit(split.train).evaluate(split.test)"
    ),
}


def child(work: str, folder: str, n_ratings: int) -> dict[str, Any]:
    command = [sys.executable, "-c", HEAD + work + TAIL, folder, str(n_ratings)]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--ratings", type=int, default=20_000_000)
    parser.add_argument("--folder", type=Path, help="where files are made and removed; else TMPDIR")
    options = parser.parse_args()
    n = options.ratings
    rows, numbers = [], {}
    with (
        tempfile.TemporaryDirectory(dir=options.folder) as small,
        tempfile.TemporaryDirectory(dir=options.folder) as large,
    ):
        for folder, size in ((small, 2000), (large, n)):
            child(WRITE, folder, size)
        for name, work in CASES.items():
            floor, found = child(work, small, 2000), child(work, large, n)
            own = (found["mib"] - floor["mib"]) * 2**20 / n
            rows.append([name, f"{own:.1f}", f"{found['mib']:.0f}", f"{found['seconds']:.1f}"])
            numbers[name] = found | {"own_bytes_a_rating": own}
            print(rows[-1], file=sys.stderr, flush=True)
        on_disk = sum(path.stat().st_size for path in Path(large, "packed").iterdir()) / n
    mine, theirs = numbers["SGD, packed"], numbers["SGD, in memory"]
    numbers |= {"bytes_on_disk": on_disk, "epoch_ratio": mine["epoch"] / theirs["epoch"]}
    same = "the same" if mine["bits"] == theirs["bits"] else "OTHER"
    facts = common.machine_facts("bilinear", "numpy", "numba", "duckdb")
    markdown = "\n".join(
        [
            "# Packed tables",
            "",
            f"{n:,} ratings. Packed: {on_disk:.2f} bytes a rating on disk; an epoch of SGD reads 5. An "
            f"epoch, 64 factors: {mine['epoch']:.2f} s packed, {theirs['epoch']:.2f} s in memory, a ratio of "
            f"{numbers['epoch_ratio']:.2f}; {same} bits.",
            "",
            common.facts_line(facts),
            "",
            common.table_text(["case", "bytes of memory a rating", "peak MiB", "seconds"], rows),
            "",
        ]
    )
    common.publish("packed", options.out, markdown, {"facts": facts, "cases": numbers})


if __name__ == "__main__":
    main()
