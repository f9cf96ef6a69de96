"""Alternating least squares for ratings: an iteration against cmfrec's, and its accuracy against SGD's.

Both fit mean, biases and factors by the same objective: squared error and plain L2 of 5 on all
weights, from random normal starts. An iteration takes the time of `--iterations` of them (on small
tables of more) less that of one, divided by the difference, so that what is done once does not count.
Objectives are bilinear's own, in float64, of both results after equal iterations. cmfrec's conjugate
gradients are set to three steps, as ours are; neither ends with an exact step.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import common
import numpy as np

from bilinear.data.interactions import Interactions
from bilinear.data.reading.readers import read_ratings
from bilinear.data.splits import split_random
from bilinear.data.synthetic.catalogue import synthetic_ratings
from bilinear.estimators.matrix_factorization import MatrixFactorization
from bilinear.model.link import Identity
from bilinear.model.parameters import Parameters
from bilinear.objective.losses import SquaredError
from bilinear.objective.objective import Objective
from bilinear.objective.penalties import L2
from bilinear.training.als import ALS
from bilinear.training.implicit_als import Cholesky, ConjugateGradient
from bilinear.training.initialization import Scale, random_start
from bilinear.training.schedules import Falling
from bilinear.training.sgd import SGD

PENALTY = L2(5.0, 5.0, 0.0)
FULL = (20_000_000, 138_000, 27_000)


def clocks(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """(result, wall, CPU seconds) of some work."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, time.perf_counter() - wall, time.process_time() - cpu


def ours(objective: Objective, k: int, gradients: bool, threads: int, iterations: int) -> Parameters:
    row_solver = ConjugateGradient(3) if gradients else Cholesky()
    table, rng = objective.interactions, np.random.default_rng(0)
    start = random_start(table, k, Scale.of(table, objective.link, objective.loss), 0.1, rng)
    solver = ALS(n_epochs=iterations, row_solver=row_solver, n_threads=threads)
    return solver.minimise(objective, start, rng)[0]


def cmfrec(matrix: Any, k: int, gradients: bool, threads: int, iterations: int) -> Parameters:
    from cmfrec import CMF
    from threadpoolctl import threadpool_limits

    model = CMF(
        k=k, lambda_=PENALTY.factors, method="als", use_cg=gradients, max_cg_steps=3, finalize_chol=False,
        niter=iterations, nthreads=threads, use_float=True, precompute_for_predictions=False, verbose=False,
        handle_interrupt=False, scale_lam=False, random_state=1,
    )  # fmt: skip
    with threadpool_limits(1, "blas"):  # it has threads of its own
        model.fit(matrix)
    arrays = (model.user_bias_, model.item_bias_, model.A_, model.B_)
    return Parameters(float(model.glob_mean_), *(np.asarray(array) for array in arrays))


def speed(
    name: str, table: Interactions, factors: Sequence[int], threads: Sequence[int], options: Any
) -> tuple[list[list[str]], list[dict[str, Any]]]:
    """A line and the raw numbers for every case of a table."""
    from scipy.sparse import coo_array

    low, high = float(table.ratings.min()), float(table.ratings.max())
    objective = Objective(SquaredError(), Identity(low, high), PENALTY, table)
    matrix = coo_array((table.ratings, (table.users, table.items)), shape=table.shape)
    table.by_user, table.by_item, objective.user_counts, objective.item_counts  # noqa: B018  # kept
    iterations = max(options.iterations, 2_000_000 // table.n_ratings)  # enough for the clock
    lines, numbers = [], []
    for k in factors:
        for gradients in (False, True):
            for n_threads in threads:
                found: dict[str, list[tuple[float, float]]] = {"ours": [], "cmfrec": []}
                values = {}
                for _ in range(options.repeats):
                    for who, fit, data in (("ours", ours, objective), ("cmfrec", cmfrec, matrix)):
                        one, more = (
                            clocks(lambda n=n: fit(data, k, gradients, n_threads, n))  # noqa: B023
                            for n in (1, iterations)
                        )
                        over = iterations - 1
                        found[who].append(((more[1] - one[1]) / over, (more[2] - one[2]) / over))
                        values[who] = objective.value(more[0].astype(np.float64))
                (wall, cpu), (peer_wall, peer_cpu) = (
                    [statistics.median(run[clock] for run in runs) for clock in (0, 1)]
                    for runs in found.values()
                )
                way = "conjugate gradients" if gradients else "Cholesky"
                lines.append(
                    [
                        f"{name}, {k} factors, {way}, {n_threads} thread{'s' if n_threads > 1 else ''}",
                        f"{peer_wall / wall:.1f}",
                        f"{peer_cpu / cpu:.1f}",
                        f"{wall:.3g}",
                        f"{peer_wall:.3g}",
                        f"{cpu:.3g}",
                        f"{peer_cpu:.3g}",
                        f"{values['ours'] / values['cmfrec']:.3f}",
                    ]
                )
                print(lines[-1], flush=True)
                case = {"data": name, "factors": k, "way": way, "threads": n_threads}
                numbers.append(case | {"seconds": found, "objectives": values})
    return lines, numbers


def accuracy(table: Interactions, seeds: int) -> tuple[list[list[str]], list[dict[str, Any]]]:
    """RMSE on inner validation parts of a training part, all penalties searched; no test row is used."""
    train = split_random(table, 0.2, rng=0).train
    solvers = {
        "SGD()": SGD(),
        "ALS()": ALS(),
        "ALS(row_solver=ConjugateGradient())": ALS(row_solver=ConjugateGradient()),
        "ALS(l2_schedule=Falling())": ALS(l2_schedule=Falling()),
    }
    lines, numbers = [], []
    for name, solver in solvers.items():
        found, took = [], []
        for seed in range(seeds):
            model = MatrixFactorization(solver=solver, rng=seed, refit=False)
            model, _, cpu = clocks(lambda model=model: model.fit(train))
            found.append(model.history_.best_validation_rmse)
            took.append(cpu)
        lines.append([f"`{name}`", f"{statistics.fmean(found):.4f}", f"{statistics.median(took):.1f}"])
        numbers.append({"solver": name, "validation_rmse": found, "cpu_seconds": took})
    return lines, numbers


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--ratings", type=int, nargs="*", default=[1_000_000, 20_000_000])
    parser.add_argument("--factors", type=int, nargs="+", default=[32, 64, 128])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--iterations", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    if options.iterations < 2:
        parser.error("--iterations: two or more, as the time of one is taken off")

    # compiles every kernel
    MatrixFactorization(solver=ALS(), n_factors=64, l2=1.0, l2_biases=1.0).fit(
        synthetic_ratings(200, 100, 5000)
    )
    lines, numbers, judged, judged_numbers = [], [], [], []
    path = common.rating_file("ml-latest-small", options.data)
    if path is not None:
        table = read_ratings(path)
        judged, judged_numbers = accuracy(table, options.seeds)
        lines, numbers = speed("ml-latest-small", table, options.factors, options.threads, options)
    for n_ratings in options.ratings:
        share = n_ratings / FULL[0]
        shape = (max(1000, round(FULL[1] * share)), max(500, round(FULL[2] * share)))
        table = synthetic_ratings(*shape, n_ratings)
        name = f"{n_ratings / 1e6:g} million"
        more, more_numbers = speed(name, table, options.factors, options.threads, options)
        lines, numbers = lines + more, numbers + more_numbers

    header = [
        "case", "ratio, wall", "ratio, CPU", "ours, s", "cmfrec, s", "ours, CPU s", "cmfrec, CPU s",
        "objective, ours / cmfrec",
    ]  # fmt: skip
    facts = common.machine_facts("cmfrec", "scipy")
    parts = [
        "# Alternating least squares for ratings",
        "",
        f"Seconds an iteration (both sides once); medians of {options.repeats}; a ratio above 1 means "
        "bilinear is faster. Where other work shares the machine, CPU seconds are the fairer clock. "
        f"Objectives after {options.iterations} iterations (small tables: more) from random starts; below 1: "
        "bilinear's is lower.",
        "",
        common.facts_line(facts),
        "",
        common.table_text(header, lines),
        "",
    ]
    if judged:
        parts += [
            f"RMSE on inner validation parts of ml-latest-small, mean of {options.seeds} seeds, everything "
            "searched by `MatrixFactorization(solver=...)`; test ratings are not looked at.",
            "",
            common.table_text(["solver", "validation RMSE", "CPU seconds, search included"], judged),
            "",
        ]
    common.publish(
        "explicit_als",
        options.out,
        "\n".join(parts),
        {"facts": facts, "cases": numbers, "accuracy": judged_numbers},
    )


if __name__ == "__main__":
    main()
