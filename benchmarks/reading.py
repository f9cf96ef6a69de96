"""Reading 20 million ratings: `read_ratings` under a memory limit against pandas, in one run.

Every repeat is a process of its own; the files stay in the page cache for both. pandas reads the
same columns and turns the ids into rows (`factorize`); `read_ratings` also checks each value, sorts
by user and item and looks for repeated pairs.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from pathlib import Path

import common
import numpy as np

OURS = """
import json, sys, time
from bilinear.data.reading.readers import read_ratings
start = time.perf_counter()
table = read_ratings(sys.argv[1], memory_limit=sys.argv[2])
print(json.dumps({"seconds": time.perf_counter() - start, "rows": table.n_rows_read,
                  "users": table.n_users, "items": table.n_items}))
"""

PANDAS = """
import json, sys, time
import pandas as pd
start = time.perf_counter()
read = pd.read_parquet if sys.argv[1].endswith(".parquet") else pd.read_csv
frame = read(sys.argv[1])
users, user_ids = pd.factorize(frame["userId"], sort=True)
items, item_ids = pd.factorize(frame["movieId"], sort=True)
ratings = frame["rating"].to_numpy("float32")
print(json.dumps({"seconds": time.perf_counter() - start, "rows": len(frame),
                  "users": len(user_ids), "items": len(item_ids)}))
"""

READERS = {"bilinear": OURS, "pandas": PANDAS}


def write_files(folder: Path, n_ratings: int) -> dict[str, Path]:
    """The same synthetic ratings as CSV and Parquet, user by user with the items in random order."""
    import pyarrow as pa
    from pyarrow import csv, parquet

    from bilinear.data.synthetic.catalogue import synthetic_ratings

    scale = n_ratings / 20_000_000  # the shape of MovieLens 20M, so that the density stays
    table = synthetic_ratings(max(100, int(138_000 * scale)), 27_000, n_ratings, rng=0)
    rng = np.random.default_rng(0)
    order = np.lexsort((rng.random(len(table)), table.users))
    times = 1_000_000_000 + rng.integers(0, 700_000_000, len(table))
    columns = {
        "userId": table.users[order].astype(np.int64) + 1,
        "movieId": table.items[order].astype(np.int64) * 7 + 1,
        "rating": table.ratings[order].astype(np.float64),
        "timestamp": times,
    }
    frame = pa.table(columns)
    paths = {"CSV": folder / "ratings.csv", "Parquet": folder / "ratings.parquet"}
    csv.write_csv(frame, paths["CSV"], csv.WriteOptions(quoting_style="none"))
    parquet.write_table(frame, paths["Parquet"])
    return paths


def write_in_child(folder: Path, n_ratings: int) -> dict[str, Path]:
    """`write_files` in a process that gives its memory back when it ends."""
    code = "import sys, pathlib, reading; reading.write_files(pathlib.Path(sys.argv[1]), int(sys.argv[2]))"
    home = str(Path(__file__).parent)
    common.measure_child([sys.executable, "-c", code, str(folder), str(n_ratings)], {"PYTHONPATH": home})
    return {"CSV": folder / "ratings.csv", "Parquet": folder / "ratings.parquet"}


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--memory-limit", default="1GB", help="of the reading engine, as read_ratings takes it"
    )
    options = parser.parse_args()

    rows, runs = [], []
    with tempfile.TemporaryDirectory() as folder:
        for kind, path in write_in_child(Path(folder), options.rows).items():
            measured: dict[str, list[tuple[float, ...]]] = {reader: [] for reader in READERS}
            for _ in range(options.repeats):
                counts = set()
                for reader, code in READERS.items():  # in turn, so that both meet the same machine
                    command = [sys.executable, "-c", code, str(path), options.memory_limit]
                    child = common.measure_child(command)
                    result = json.loads(child.output.splitlines()[-1])
                    counts.add((result["rows"], result["users"], result["items"]))
                    figures = {"cpu_seconds": child.cpu_seconds, "peak_mib": child.peak_mib}
                    measured[reader].append((result["seconds"], *figures.values()))
                    runs.append({"kind": kind, "reader": reader, **result, **figures})
                if len(counts) != 1:
                    raise SystemExit(f"{kind}: the readers disagree on rows, users, items: {counts}")
            medians = {
                reader: [statistics.median(column) for column in zip(*values, strict=True)]
                for reader, values in measured.items()
            }
            for reader, (seconds, cpu, peak) in medians.items():
                ratios = [f"{seconds / medians['pandas'][0]:.2f}", f"{peak / medians['pandas'][2]:.2f}"]
                speed = f"{options.rows / seconds / 1e6:.1f}"
                size = f"{path.stat().st_size / 1e6:.0f} MB"
                rows.append(
                    [
                        f"{kind} ({size}), {reader}",
                        *ratios,
                        f"{seconds:.1f}",
                        f"{cpu:.1f}",
                        speed,
                        f"{peak:.0f}",
                    ]
                )
    facts = common.machine_facts("duckdb", "pandas", "pyarrow")
    header = ["file and reader", "time / pandas", "memory / pandas"]
    header += ["seconds", "CPU seconds", "million rows/s", "peak MiB"]
    markdown = (
        "# Reading ratings\n\n"
        f"{options.rows:,} synthetic ratings; medians of {options.repeats} processes each; "
        f"`read_ratings(path, memory_limit={options.memory_limit!r})`, pandas without a limit. Peak memory "
        "is of the whole process. bilinear's time includes checks, sorting and the search for repeated "
        "pairs; pandas reads and factorizes only.\n\n"
        f"{common.facts_line(facts)}\n\n" + common.table_text(header, rows)
    )
    numbers = {"machine": facts, "rows": options.rows, "memory_limit": options.memory_limit, "runs": runs}
    common.publish("reading", options.out, markdown, numbers)


if __name__ == "__main__":
    main()
