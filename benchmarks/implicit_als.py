"""Implicit ALS on Gowalla against `implicit` and irspack: seconds an iteration, and to a held-out Recall@20.

All minimise one objective with the same weights: irspack exactly ours; `implicit` with confidence
1 + 1 / alpha on observed pairs, which makes the same systems with right-hand sides 1 + alpha times ours. It
has no penalty by frequency, so none is compared. Each contender runs in a process of its own, in turns,
after an untimed iteration. Factors after every iteration are judged by one and the same code: our
objective, and Recall@20 of 3,000 users on the last fifth of the lines of train.txt. BLAS has one thread for
all, as `implicit` recommends. Peers may live in another environment: --peer-python names its
interpreter. `buffalo` is left out: it pins an old NumPy that the others cannot use.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np

ALPHA, L2 = 0.01, 1.0
CASES = (("cg", 64), ("cg", 128), ("cg", 256), ("cholesky", 64), ("cholesky", 128), ("cholesky", 256))
CASES += (("blocks", 128), ("blocks", 256))
PEERS = {"cg": ("implicit", "irspack"), "cholesky": ("implicit", "irspack"), "blocks": ("irspack",)}
_JUDGES = 3000


def main() -> None:
    import common
    import settings

    parser = common.arguments(__doc__)
    parser.add_argument("--peer-python", default=sys.executable, help="an interpreter that has the peers")
    parser.add_argument("--cases", nargs="+", help="such as cg-64 blocks-256; else all")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=3)
    settings.add_option(parser)
    options = parser.parse_args()
    if settings.ran_both(options, "implicit_als"):
        return
    default = os.environ.get("BILINEAR_DATA") or common.REPOSITORY.parent / "shared" / "data"
    clicks = (options.data or Path(default)) / "gowalla" / "train.txt"
    if not clicks.is_file():
        raise SystemExit(f"SKIPPED: no file {clicks}; name its folder with --data or BILINEAR_DATA")
    judge = Judge(clicks)
    rows, numbers = [], {}
    with tempfile.TemporaryDirectory() as scratch:
        table = Path(scratch, "table.npz")
        np.savez(
            table, starts=judge.train.by_user.indptr, items=judge.train.by_user.indices, n=judge.train.n_items
        )
        for solver, n_factors in CASES:
            if options.cases and f"{solver}-{n_factors}" not in options.cases:
                continue
            for n_threads in options.threads:
                found = race(options, judge, table, solver, n_factors, n_threads, Path(scratch))
                numbers[f"{solver}, {n_factors} factors, {n_threads} threads"] = found
                rows += rows_of(found, f"{solver}, {n_factors}", n_threads)
                for row in rows[-len(found) :]:
                    print(*row, sep="  ", file=sys.stderr, flush=True)
    facts = common.machine_facts("scipy")
    for peer in ("implicit", "irspack"):
        facts[peer] = peer_version(options.peer_python, peer)
    numbers["machine"] = facts
    header = ["solver, factors", "threads", "contender", "s an iteration", "CPU s", "times ours", "objective"]
    header += ["Recall@20", "s to the recall", "times ours"]
    markdown = (
        f"# Implicit ALS\n\n{judge.train.n_ratings:,} interactions of {judge.train.n_users:,} users with "
        f"{judge.train.n_items:,} items, weight on all pairs {ALPHA}, l2 {L2}; medians of {options.repeats} "
        f"processes of {options.epochs} iterations. Objective (ours, per interaction) and Recall@20 after "
        "the last iteration; seconds to the recall: to 98 % of the lowest of the contenders' best Recall@20."
        f"\n\n{common.facts_line(facts)}\n\n{common.table_text(header, rows)}"
    )
    common.publish("implicit_als", options.out, markdown, numbers)


class Judge:
    """One objective and one Recall@20 for the factors of all."""

    def __init__(self, clicks: Path) -> None:
        import gowalla

        from bilinear.estimators.blend_weights import ValidationUsers, inner_split
        from bilinear.training.implicit_als import ImplicitObjective

        split = inner_split(gowalla.read(clicks), 0.2, 0)
        self.train, self.test = split.train, ValidationUsers.of(split, None, 0, _JUDGES).test
        self.objective = ImplicitObjective(self.train.by_user, self.train.by_item, ALPHA, L2, 0.0)

    def value(self, users: Any, items: Any) -> float:
        return self.objective.value(users, items) / self.train.n_ratings

    def recall(self, users: Any, items: Any) -> float:
        from bilinear.evaluation.ranking import RankingProtocol, evaluate_ranking
        from bilinear.model.blocks import score_block
        from bilinear.model.parameters import Parameters

        zeros = Parameters.zeros((len(users), len(items)))
        parameters = Parameters(0.0, zeros.user_biases, zeros.item_biases, users, items)
        train = self.train

        class Model:
            user_vocabulary_, item_vocabulary_ = train.user_vocabulary, train.item_vocabulary
            seen_ = train.by_user

            def score_block(self, rows: Any) -> Any:
                return score_block(parameters, rows)

        model: Any = Model()
        return evaluate_ranking(model, self.test, RankingProtocol((20,)))["recall@20"]


def race(
    options: argparse.Namespace,
    judge: Judge,
    table: Path,
    solver: str,
    n_factors: int,
    n_threads: int,
    scratch: Path,
) -> dict[str, Any]:
    """By contender: seconds and CPU seconds an iteration, objective and recall by iteration."""
    names = ("bilinear", *PEERS[solver])
    found: dict[str, Any] = {name: {"seconds": [], "cpu": []} for name in names}
    for _ in range(options.repeats):
        for name in names:
            out = scratch / f"{name}.npz"
            program = sys.executable if name == "bilinear" else options.peer_python
            arguments = [name, str(table), solver, n_factors, n_threads, options.epochs, out]
            done = subprocess.run(
                [program, __file__, "work", *map(str, arguments)],
                capture_output=True,
                text=True,
                env={**os.environ, **dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")},
                check=False,
            )
            if done.returncode:
                print(f"{name} left out: {done.stderr.strip()[-500:]}", file=sys.stderr)
                continue
            times = json.loads(done.stdout.splitlines()[-1])
            found[name]["seconds"].append(statistics.median(times["seconds"]))
            found[name]["cpu"].append(statistics.median(times["cpu"]))
            if "recall" not in found[name]:
                arrays = np.load(out)
                pairs = [(arrays[f"users{e}"], arrays[f"items{e}"]) for e in range(options.epochs)]
                found[name]["objective"] = [judge.value(*pair) for pair in pairs]
                found[name]["recall"] = [judge.recall(*pair) for pair in pairs]
    return {name: values for name, values in found.items() if values["seconds"]}


def rows_of(found: dict[str, Any], case: str, n_threads: int) -> list[list[str]]:
    goal = 0.98 * min(max(values["recall"]) for values in found.values())
    seconds = {name: statistics.median(values["seconds"]) for name, values in found.items()}
    until = {
        name: seconds[name] * (1 + next(n for n, recall in enumerate(values["recall"]) if recall >= goal))
        for name, values in found.items()
    }
    return [
        [
            case,
            str(n_threads),
            name,
            f"{seconds[name]:.3f}",
            f"{statistics.median(values['cpu']):.3f}",
            f"{seconds[name] / seconds['bilinear']:.2f}",
            f"{values['objective'][-1]:.5f}",
            f"{values['recall'][-1]:.4f}",
            f"{until[name]:.2f}",
            f"{until[name] / until['bilinear']:.2f}",
        ]
        for name, values in found.items()
    ]


def work(name: str, path: str, solver: str, n_factors: str, n_threads: str, n_epochs: str, out: str) -> None:
    """One contender; prints {"seconds": [...], "cpu": [...]} and leaves the factors after each iteration."""
    arrays = np.load(path)
    start = {"bilinear": _bilinear, "implicit": _implicit, "irspack": _irspack}[name]
    given = arrays["starts"], arrays["items"], int(arrays["n"])
    start(*given, solver, int(n_factors), int(n_threads))(1, lambda: ({}))  # compiles, warms up
    epoch = start(*given, solver, int(n_factors), int(n_threads))
    kept: dict[str, Any] = {}
    times: dict[str, list[float]] = {"seconds": [], "cpu": []}

    def keep(users: Any = None, items: Any = None) -> None:
        n = len(times["seconds"]) - 1
        kept[f"users{n}"], kept[f"items{n}"] = np.array(users, np.float32), np.array(items, np.float32)

    epoch(int(n_epochs), keep, times)
    np.savez(out, **kept)
    print(json.dumps(times))


Epochs = Callable[..., None]


def _matrix(starts: Any, items: Any, n_items: int, value: float) -> Any:
    from scipy.sparse import csr_matrix

    values = np.full(len(items), value, np.float32)
    return csr_matrix((values, items, starts), shape=(len(starts) - 1, n_items))


def _timed(step: Callable[[], None], times: dict[str, list[float]] | None) -> None:
    began, cpu = perf_counter(), process_time()
    step()
    if times is not None:
        times["seconds"].append(perf_counter() - began)
        times["cpu"].append(process_time() - cpu)


def _bilinear(starts: Any, items: Any, n_items: int, solver: str, n_factors: int, n_threads: int) -> Epochs:
    from bilinear.data.interactions import Grouped
    from bilinear.training.implicit_als import (
        AlternatingLeastSquares,
        BlockCoordinateDescent,
        Cholesky,
        ConjugateGradient,
        ImplicitObjective,
    )
    from bilinear.training.neighbours import grouped_the_other_way
    from bilinear.training.thread_pool import workers

    by_user = Grouped(starts.astype(np.int64), items.astype(np.int32), np.ones(len(items), np.float32))
    objective = ImplicitObjective(by_user, grouped_the_other_way(by_user, n_items), ALPHA, L2, 0.0)
    how = {"cg": ConjugateGradient(3), "cholesky": Cholesky(), "blocks": BlockCoordinateDescent(32)}[solver]

    def epochs(n: int, keep: Callable[..., Any], times: dict[str, list[float]] | None = None) -> None:
        with workers(n_threads) as pool:
            rng = np.random.default_rng(0)
            als = AlternatingLeastSquares.start(objective, n_factors, 0.1, rng, pool)

            def step() -> None:
                als.update_users(how)
                als.update_items(how)

            for _ in range(n):
                _timed(step, times)
                if times is not None:
                    keep(als.user_factors[:, :n_factors], als.item_factors[:, :n_factors])

    return epochs


def _implicit(starts: Any, items: Any, n_items: int, solver: str, n_factors: int, n_threads: int) -> Epochs:
    from implicit.cpu.als import AlternatingLeastSquares

    table = _matrix(starts, items, n_items, 1 + 1 / ALPHA)

    def epochs(n: int, keep: Callable[..., Any], times: dict[str, list[float]] | None = None) -> None:
        model = AlternatingLeastSquares(
            n_factors, regularization=L2 / ALPHA, use_cg=solver == "cg", num_threads=n_threads, random_state=0
        )
        model.alpha, model.iterations, model.cg_steps = 1.0, 1, 3
        rng = np.random.default_rng(0)
        size = 0.1 / np.sqrt(n_factors)
        model.user_factors = (size * rng.standard_normal((table.shape[0], n_factors))).astype(np.float32)
        model.item_factors = (size * rng.standard_normal((n_items, n_factors))).astype(np.float32)
        seconds: list[float] = []
        for _ in range(n):  # its fit goes on from the factors that are there
            cpu = process_time()
            model.fit(table, show_progress=False, callback=lambda _, elapsed, *__: seconds.append(elapsed))
            if times is not None:
                times["seconds"].append(seconds[-1])  # of the iteration itself, without preparing the table
                times["cpu"].append(process_time() - cpu)
                keep(model.user_factors, model.item_factors)

    return epochs


def _irspack(starts: Any, items: Any, n_items: int, solver: str, n_factors: int, n_threads: int) -> Epochs:
    from irspack.recommenders import IALSRecommender

    table = _matrix(starts, items, n_items, 1.0)

    def epochs(n: int, keep: Callable[..., Any], times: dict[str, list[float]] | None = None) -> None:
        model = IALSRecommender(
            table,
            n_components=n_factors,
            alpha0=ALPHA,
            reg=L2,
            nu=0.0,
            init_std=0.1,
            solver_type={"cg": "CG", "cholesky": "CHOLESKY", "blocks": "IALSPP"}[solver],
            max_cg_steps=3,
            ialspp_subspace_dimension=32,
            loss_type="IALSPP",
            n_threads=n_threads,
            random_seed=0,
        )
        model.start_learning()
        for _ in range(n):
            _timed(model.run_epoch, times)
            if times is not None:
                keep(model.get_user_embedding(), model.get_item_embedding())

    return epochs


def peer_version(program: str, package: str) -> str:
    code = f"from importlib.metadata import version; print(version({package!r}))"
    done = subprocess.run([program, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "absent"


if __name__ == "__main__":
    if sys.argv[1:2] == ["work"]:
        work(*sys.argv[2:])
    else:
        main()
