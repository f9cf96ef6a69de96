"""Seconds until unseen ratings are predicted as well as LIBMF ever predicts them, in one run.

A part of the ratings is held out. LIBMF (no biases, ratings less their mean) runs over a grid of
steps, penalties and numbers of passes; its best held-out RMSE is the target, and its time is that
of the quickest of all its runs that come within a thousandth of the target. bilinear runs with growing
numbers of passes, the schedule of each spanning all of them, and two penalties; its time is that of the
quickest run that reaches the target itself. Times are of `fit` from arrays in memory to the end,
preprocessing included.
"""

from __future__ import annotations

import ctypes
import statistics
import time
from collections.abc import Sequence
from itertools import product
from typing import Any

import common
import numpy as np
from peers import _libmf

from bilinear.data.interactions import Interactions
from bilinear.data.reading.readers import read_ratings
from bilinear.data.synthetic.catalogue import synthetic_ratings
from bilinear.estimators.matrix_factorization import MatrixFactorization
from bilinear.training.sgd import SGD

WITHIN = 1.001

Penalty = tuple[float, float]
"""L2 and its exponent: 1 is by the number of ratings, as LIBMF's; 0.5 is the default of bilinear."""


def libmf_run(
    train: Interactions, test: Interactions, k: int, threads: int, eta: float, l2: float, passes: int
) -> tuple[float, float, float]:
    """(held-out RMSE, wall seconds, CPU seconds)."""
    mf = _libmf()
    mean = np.float32(train.ratings.mean(dtype=np.float64))
    rows = np.column_stack([train.users, train.items, train.ratings - mean]).astype(np.float32)
    pairs = np.asfortranarray(np.column_stack([test.users, test.items]), np.float32)
    model = mf.MF(
        k=k, nr_threads=threads, nr_bins=20, nr_iters=passes, eta=eta, quiet=True,
        lambda_p1=0.0, lambda_q1=0.0, lambda_p2=l2, lambda_q2=l2,
    )  # fmt: skip
    wall, cpu = time.perf_counter(), time.process_time()
    model.fit(rows)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    found = np.clip(model.predict(pairs) + mean, train.ratings.min(), train.ratings.max())
    mf.mf.mf_destroy_model(ctypes.byref(ctypes.pointer(model.model)))
    return common.rmse(found, test.ratings), wall, cpu


def our_run(
    train: Interactions, test: Interactions, k: int, threads: int, penalty: Penalty, passes: int
) -> tuple[float, float, float]:
    l2, exponent = penalty
    model = MatrixFactorization(
        n_factors=k, l2=l2, l2_biases=l2, l2_exponent=exponent, validation_fraction=0, rng=0,
        solver=SGD(n_epochs=passes, n_threads=threads),
    )  # fmt: skip
    wall, cpu = time.perf_counter(), time.process_time()
    model.fit(train)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return common.rmse(model.predict_rows(test.users, test.items), test.ratings), wall, cpu


def race(
    name: str, table: Interactions, options: Any, penalties: Sequence[Penalty]
) -> tuple[list[str], dict[str, Any]]:
    train, test = common.random_split(table, 0, 0.05)
    k, threads = options.factors, options.threads
    theirs = []
    for eta, penalty, passes in product((0.05, 0.1), (0.01, 0.02, 0.05, 0.1), options.passes):
        theirs.append((*libmf_run(train, test, k, threads, eta, penalty, passes), eta, penalty, passes))
        print(f"LIBMF eta {eta} l2 {penalty} passes {passes}: {theirs[-1][0]:.4f}", flush=True)
    target = min(run[0] for run in theirs)
    peer = min((run for run in theirs if run[0] <= target * WITHIN), key=lambda run: run[1])
    mine: tuple[Any, ...] | None = None
    for passes, penalty in product((2, 3, 4, 5, 6, 7, 8, 10, 13, 16, 20), penalties):
        found = our_run(train, test, k, threads, penalty, passes)
        print(f"ours, {passes} passes, penalty {penalty}: {found[0]:.4f}", flush=True)
        if found[0] <= target:
            mine = (*found, passes, penalty)
            break
    if mine is None:
        return [name, f"{target:.4f}", "not reached", "", "", ""], {"data": name, "target": target}
    again = [our_run(train, test, k, threads, mine[4], mine[3]) for _ in range(options.repeats)]
    peers = [libmf_run(train, test, k, threads, *peer[3:]) for _ in range(options.repeats)]
    (wall, cpu), (peer_wall, peer_cpu) = (
        [statistics.median(run[c] for run in runs) for c in (1, 2)] for runs in (again, peers)
    )
    row = [
        name,
        f"{target:.4f}",
        f"{peer[5]} passes, {peer_wall:.2f} s",
        f"{mine[3]} passes, {wall:.2f} s",
        f"{wall / peer_wall:.2f}",
        f"{cpu / peer_cpu:.2f}",
    ]
    print(row, flush=True)
    return row, {"data": name, "target": target, "libmf": theirs, "ours": again, "again": peers}


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--ratings", type=int, default=20_000_000)
    parser.add_argument("--factors", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--passes", type=int, nargs="+", default=[5, 10, 20, 40])
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    rows, numbers = [], []
    path = common.rating_file("ml-latest-small", options.data)
    cases = [] if path is None else [("ml-latest-small", read_ratings(path), ((0.3, 0.5), (0.6, 0.5)))]
    big = synthetic_ratings(
        int(138_000 * (options.ratings / 20e6) ** 0.5), int(27_000 * (options.ratings / 20e6) ** 0.5),
        options.ratings,
    )  # fmt: skip
    for name, table, penalties in [
        *cases,
        (f"{options.ratings:,} synthetic", big, ((0.01, 1.0), (0.02, 1.0))),
    ]:
        row, number = race(name, table, options, penalties)
        rows.append(row)
        numbers.append(number)
    header = ["data", "LIBMF's best RMSE", "LIBMF", "bilinear", "time / LIBMF's, wall", "CPU"]
    facts = common.machine_facts("libmf")
    markdown = "\n".join(
        [
            "# Time to LIBMF's best held-out RMSE",
            "",
            f"{options.factors} factors, {options.threads} threads; 5 % of the ratings held out; medians of "
            f"{options.repeats}; a ratio below 1 means bilinear is there sooner.",
            "",
            common.facts_line(facts),
            "",
            common.table_text(header, rows),
            "",
        ]
    )
    common.publish("time_to_rmse", options.out, markdown, {"facts": facts, "cases": numbers})


if __name__ == "__main__":
    main()
