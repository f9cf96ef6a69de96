"""EASE against the bare LAPACK calls that it cannot do without: a Cholesky factor and the inverse from it.

Interactions are random, popularity falling as 1 / rank, as many items as asked for; time depends on the
number of items alone. "Bare" is `spotrf` and `spotri` of SciPy, in place, on a matrix that is there
already; EASE makes that matrix from the interactions, calls the same, and turns the inverse into
weights. Other libraries call `inv`.
"""

from __future__ import annotations

import statistics
import sys
from time import perf_counter, process_time

import common
import numpy as np

_PAIRS_PER_ITEM = 50


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--items", type=int, nargs="+", default=[3_700, 20_000], help="numbers of items")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="threads of BLAS")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--work", type=int, nargs=2, help="items and repeats: one measurement, in this process"
    )
    options = parser.parse_args()
    if options.work:
        work(*options.work)
        return
    rows, numbers = [], {}
    for n_items in options.items:
        for n_threads in options.threads:
            environment = {"OPENBLAS_NUM_THREADS": str(n_threads)}
            command = [sys.executable, __file__, "--work", str(n_items), str(options.repeats)]
            output = common.measure_child(command, environment)
            found = dict(line.split("=") for line in output.output.split() if "=" in line)
            seconds = {name: float(value) for name, value in found.items()}
            numbers[f"{n_items} items, {n_threads} threads"] = seconds | {"peak_mib": output.peak_mib}
            ratio, cpu_ratio = seconds["ease"] / seconds["bare"], seconds["ease_cpu"] / seconds["bare_cpu"]
            times = [seconds[name] for name in ("ease", "bare", "inverse")]
            rows.append([f"{n_items:,}", str(n_threads), *(f"{value:.2f}" for value in times)])
            rows[-1] += [f"{ratio:.2f}", f"{cpu_ratio:.2f}", f"{output.peak_mib:,.0f}"]
            print(*rows[-1], sep="  ", file=sys.stderr, flush=True)
    facts = common.machine_facts("scipy")
    numbers["machine"] = facts
    header = [
        "items",
        "threads",
        "EASE s",
        "potrf + potri s",
        "NumPy inv s",
        "ratio",
        "ratio of CPU",
        "peak MiB",
    ]
    markdown = (
        f"# EASE against bare LAPACK\n\nMedians of {options.repeats} repeats in float32, fit from "
        f"interactions to weights; ratio: EASE to bare. Peak memory is of the whole process, `inv` "
        f"and its copies included.\n\n{common.facts_line(facts)}\n\n{common.table_text(header, rows)}"
    )
    common.publish("ease", options.out, markdown, numbers)


def work(n_items: int, repeats: int) -> None:
    """Prints name=seconds."""
    from scipy.linalg.lapack import spotrf, spotri

    from bilinear.data.interactions import Interactions
    from bilinear.estimators.ease import EASE

    rng = np.random.default_rng(0)
    chances = 1.0 / np.arange(10, n_items + 10)
    n_pairs = n_items * _PAIRS_PER_ITEM
    items = np.concatenate([rng.choice(n_items, n_pairs, p=chances / chances.sum()), np.arange(n_items)])
    users = rng.integers(n_items, size=len(items))
    _, first = np.unique(users * n_items + items, return_index=True)
    table = Interactions.from_columns(users[first], items[first], np.ones(len(first)))
    dense = table.to_csr().astype(np.float32)
    products = np.asarray((dense.T @ dense).todense(), np.float32, order="F")
    np.fill_diagonal(products, products.diagonal() + 100)
    times: dict[str, list[float]] = {}

    def timed(name: str, began: float, cpu: float) -> None:
        times.setdefault(name, []).append(perf_counter() - began)
        times.setdefault(f"{name}_cpu", []).append(process_time() - cpu)

    EASE().fit(table.take(np.arange(1000)))  # compiles
    for _ in range(repeats):  # in turns, so that other load on the machine hits all alike
        matrix = products.copy(order="F")
        began, cpu = perf_counter(), process_time()
        matrix, failed = spotrf(matrix, lower=0, overwrite_a=1, clean=0)
        matrix, also_failed = spotri(matrix, lower=0, overwrite_c=1)
        timed("bare", began, cpu)
        assert not failed
        assert not also_failed
        del matrix
        began, cpu = perf_counter(), process_time()
        EASE().fit(table)
        timed("ease", began, cpu)
    began, cpu = perf_counter(), process_time()
    np.linalg.inv(products)
    timed("inverse", began, cpu)
    for name, seconds in times.items():
        print(f"{name}={statistics.median(seconds)}")


if __name__ == "__main__":
    main()
