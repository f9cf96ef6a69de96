"""Does the cost of a rating stay flat as tables grow, and does the second thread help?

Synthetic ratings of 1 to 100 million, users in proportion, 27,000 items, 64 factors. A time an epoch is
that of sixteen epochs less that of one, over fifteen; what is done once (the grid and the start) is told
apart. Also the seconds to compile all kernels of a first fit, and those of a fit with compiled kernels
in a new process.
"""

from __future__ import annotations

import gc
import os
import statistics
import sys
import tempfile
import time

import common

from bilinear.data.interactions import Interactions
from bilinear.data.synthetic.catalogue import synthetic_ratings
from bilinear.estimators.matrix_factorization import MatrixFactorization
from bilinear.training.sgd import SGD

MORE = 15
_FIRST_FIT = """
import time
start = time.perf_counter()
import bilinear
ratings = bilinear.synthetic_ratings(200, 200, 5000)
model = bilinear.MatrixFactorization(n_factors=8, l2=0.5, l2_biases=0.5, validation_fraction=0, rng=0)
made = time.perf_counter()
model.fit(ratings)
print(time.perf_counter() - made)
"""


def seconds(table: Interactions, threads: int, epochs: int) -> float:
    solver = SGD(n_epochs=epochs, n_threads=threads)
    model = MatrixFactorization(
        n_factors=64, l2=0.5, l2_biases=0.5, rng=0, validation_fraction=0, solver=solver
    )
    start = time.perf_counter()
    model.fit(table)
    return time.perf_counter() - start


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--millions", type=float, nargs="+", default=[1, 5, 20, 100])
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    seconds(synthetic_ratings(1000, 1000, 600_000), 2, 1)  # compiles
    rows, numbers = [], []
    for millions in options.millions:
        n = round(millions * 1e6)
        table = synthetic_ratings(round(138_000 * n / 20e6), 27_000, n)
        repeats = options.repeats if n <= 20_000_000 else max(1, options.repeats // 2)
        found: dict[int, list[tuple[float, float]]] = {1: [], 2: []}
        for _ in range(repeats):
            for threads in (1, 2):
                short = seconds(table, threads, 1)
                epoch = (seconds(table, threads, 1 + MORE) - short) / MORE
                found[threads].append((n / epoch / 1e6, (short - epoch) / n * 1e9))
        one, two = (statistics.median(rate for rate, _ in found[threads]) for threads in (1, 2))
        once = statistics.median(cost for _, cost in found[2])
        rows.append([f"{n:,}", f"{one:.1f}", f"{two:.1f}", f"{two / one:.2f}", f"{once:.0f}"])
        numbers.append({"ratings": n, "found": found})
        print(rows[-1], flush=True)
        del table
        gc.collect()
    cold, warm = [], []
    for _ in range(options.repeats):
        with tempfile.TemporaryDirectory() as folder:
            environment = {**os.environ, "NUMBA_CACHE_DIR": folder}
            for times in (cold, warm):
                done = common.measure_child([sys.executable, "-c", _FIRST_FIT], environment)
                times.append((float(done.output.split()[-1]), done.seconds))
    first, later = (statistics.median(fit for fit, _ in times) for times in (cold, warm))
    facts = common.machine_facts()
    header = ["ratings", "1 thread, M/s", "2 threads, M/s", "2 against 1", "once, ns a rating, 2 threads"]
    markdown = "\n".join(
        [
            "# Scaling",
            "",
            f"64 factors; medians of {options.repeats} (of half as many above 20 million).",
            "",
            common.facts_line(facts),
            "",
            common.table_text(header, rows),
            "",
            f"A first fit of 5,000 ratings that compiles everything takes {first:.1f} s; with compiled "
            f"kernels, in a new process, {later:.2f} s.",
            "",
        ]
    )
    everything = {"facts": facts, "cases": numbers, "cold": cold, "warm": warm}
    common.publish("scaling", options.out, markdown, everything)


if __name__ == "__main__":
    main()
