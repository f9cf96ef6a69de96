"""Millions of ratings a second in an epoch of SGD: bilinear's grid against LIBMF, in one run.

Synthetic ratings (138,000 users x 27,000 items, popularity skewed, low rank plus noise). bilinear
fits mean, biases and factors; LIBMF factors alone. LIBMF's time an epoch is that of four epochs less
that of one, over three, so that its preprocessing does not count; bilinear's likewise of sixteen and one, as
its epochs are shorter. Also: a limit of the machine, the rate of random read-modify-writes of factor rows
from a table as large as the item rows of a cell, two rows a rating.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import common
import numpy as np
import settings
from numba import njit
from peers import _libmf

from bilinear.data.synthetic.catalogue import synthetic_ratings
from bilinear.estimators.matrix_factorization import MatrixFactorization
from bilinear.kernels.lanes import broadcast, columns_of, load, prefetch, shape_of, store
from bilinear.training.rating_grid import _CACHE
from bilinear.training.sgd import SGD
from bilinear.training.thread_pool import aligned

EPOCHS, OWN_EPOCHS = 4, 16
AHEAD = 16


@njit(cache=True, nogil=True, fastmath=True)
def touch(rows, table, shape):  # type: ignore[no-untyped-def]
    """Adds one to each listed row of a table, asking for rows ahead of their turn as `sgd_cells` does."""
    registers, more = shape
    last = len(rows) - 1
    for n in range(len(rows)):
        prefetch(table, rows[min(n + AHEAD, last)], shape)
        for piece in range(1 + len(more)):
            added = load(table, rows[n], piece, shape) + broadcast(table.dtype.type(1), registers)
            store(table, rows[n], piece, shape, added)


@njit(cache=True, nogil=True, fastmath=True)
def touch_plainly(rows, table, shape):  # type: ignore[no-untyped-def]
    """The same as a plain loop."""
    for n in range(len(rows)):
        row = table[rows[n]]
        for f in range(len(row)):
            row[f] += 1


def clocks(work: Callable[[], Any]) -> tuple[float, float]:
    """(wall, CPU) seconds of some work."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def row_limit(kernel: Callable[..., Any], n_factors: int) -> float:
    """Ratings a second, two row touches each, on one core."""
    table = aligned(max(1, _CACHE // (4 * n_factors)), columns_of(n_factors, 4))
    table[:] = 0
    rows = np.random.default_rng(0).integers(len(table), size=4_000_000).astype(np.int32)
    kernel(rows[:10], table, shape_of(table))
    times = [clocks(lambda: kernel(rows, table, shape_of(table)))[1] for _ in range(5)]
    return len(rows) / 2 / min(times)


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--ratings", type=int, default=20_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--factors", type=int, nargs="+", default=[32, 64, 128])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    settings.add_option(parser)
    options = parser.parse_args()
    if settings.ran_both(options, "epoch_speed"):
        return

    table = synthetic_ratings(n_ratings=options.ratings)
    n = table.n_ratings
    dense = np.column_stack([table.users, table.items, table.ratings]).astype(np.float32)
    mf = _libmf()

    def libmf(k: int, threads: int, iterations: int) -> tuple[float, float]:
        model = mf.MF(
            k=k, nr_threads=threads, nr_bins=20, nr_iters=iterations, eta=0.05, quiet=True,
            lambda_p1=0.0, lambda_q1=0.0, lambda_p2=0.05, lambda_q2=0.05,
        )  # fmt: skip
        return clocks(lambda: model.fit(dense))

    def ours(k: int, threads: int) -> tuple[float, float]:
        def model(epochs: int) -> MatrixFactorization:
            solver = SGD(n_epochs=epochs, n_threads=threads)
            return MatrixFactorization(
                n_factors=k, l2=0.5, l2_biases=0.5, rng=0, validation_fraction=0, solver=solver
            )

        long, short = (clocks(lambda e=e: model(e).fit(table)) for e in (OWN_EPOCHS, 1))
        return tuple((a - b) / (OWN_EPOCHS - 1) for a, b in zip(long, short, strict=True))  # type: ignore[return-value]

    MatrixFactorization(  # compiles
        n_factors=4, l2=0.5, l2_biases=0.5, validation_fraction=0, solver=SGD(n_epochs=1)
    ).fit(synthetic_ratings(1000, 1000, 500_000))
    rows, numbers = [], []
    for k in options.factors:
        limit, plain_limit = (row_limit(kernel, k) / 1e6 for kernel in (touch, touch_plainly))
        for threads in options.threads:
            mine, theirs = [], []
            for _ in range(options.repeats):
                mine.append(ours(k, threads))
                long, one = libmf(k, threads, EPOCHS), libmf(k, threads, 1)
                theirs.append(tuple((a - b) / (EPOCHS - 1) for a, b in zip(long, one, strict=True)))
            (wall, cpu), (peer_wall, peer_cpu) = (
                [statistics.median(n / 1e6 / run[c] for run in runs) for c in (0, 1)]
                for runs in (mine, theirs)
            )
            rows.append(
                [
                    f"{k} factors, {threads} thread{'s' if threads > 1 else ''}",
                    f"{wall / peer_wall:.2f}",
                    f"{cpu / peer_cpu:.2f}",
                    f"{wall:.1f}",
                    f"{peer_wall:.1f}",
                    f"{cpu:.1f}",
                    f"{peer_cpu:.1f}",
                    f"{cpu / limit:.0%}",
                    f"{cpu / plain_limit:.0%}",
                ]
            )
            numbers.append(
                {
                    "factors": k,
                    "threads": threads,
                    "ours": mine,
                    "libmf": theirs,
                    "row_limits": [limit, plain_limit],
                }
            )
            print(rows[-1], flush=True)
    header = [
        "case", "ratio, wall", "ratio, CPU", "ours, M/s", "LIBMF, M/s", "ours, M/CPU s", "LIBMF, M/CPU s",
        "of the row limit", "of a plain loop's",
    ]  # fmt: skip
    facts = common.machine_facts("bilinear", "numpy", "numba", "libmf")
    markdown = "\n".join(
        [
            "# Speed of an epoch",
            "",
            f"{n:,} synthetic ratings; medians of {options.repeats}; a ratio above 1 means bilinear is "
            "faster. Where other work shares the machine, CPU seconds are fairer. The last columns: "
            "ours per CPU second against the machine's own rate of random row updates, two rows a rating, "
            f"from a table of {_CACHE // 1024} KiB: asked for ahead of their turn, and in a plain loop.",
            "",
            common.facts_line(facts),
            "",
            common.table_text(header, rows),
            "",
        ]
    )
    common.publish("epoch_speed", options.out, markdown, {"facts": facts, "cases": numbers})


if __name__ == "__main__":
    main()
