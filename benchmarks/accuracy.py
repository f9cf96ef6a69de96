"""How well unseen ratings are predicted: bilinear's defaults against tuned peers, in one run.

On each of five random 80/20 splits a peer is tuned over its grid on a tenth of the training part,
refitted with the best setting on the whole training part, and judged once on the test part.
bilinear is fitted with its defaults and judged on the same test part. Needs the extra `bench`.
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import common
import numpy as np
from numpy.typing import NDArray
from peers import PEERS, Peer, settings

from bilinear.data.interactions import Interactions
from bilinear.data.reading.readers import read_ratings
from bilinear.estimators.baselines import BiasModel, GlobalMean
from bilinear.estimators.matrix_factorization import MatrixFactorization

TEST_SHARE = 0.2
VALIDATION_SHARE = 0.1
OURS = "bilinear MatrixFactorization, defaults"


@dataclass(frozen=True)
class Outcome:
    """One method on one split."""

    method: str
    data: str
    seed: int
    rmse: float
    mae: float
    cpu_seconds: float
    """Of tuning, fit and predictions, on all cores together: waiting for a busy machine is not in it."""
    setting: dict[str, Any] = field(default_factory=dict)


def errors_of(predictions: NDArray[Any], test: Interactions) -> tuple[float, float]:
    return common.rmse(predictions, test.ratings), common.mae(predictions, test.ratings)


def judge_peer(peer: Peer, path: Path, data: str, seed: int, shorten: bool) -> Outcome:
    """Runs in a process of its own: tunes, refits, judges once."""
    train, test = common.random_split(read_ratings(path), seed, TEST_SHARE)
    start = time.process_time()
    inner, validation = common.random_split(train, seed, VALIDATION_SHARE)
    grid = list(settings(peer.grid))[:: 9 if shorten else 1]
    errors = [common.rmse(peer.predict(setting, inner, validation), validation.ratings) for setting in grid]
    best = grid[int(np.argmin(errors))]
    predictions = peer.predict(best, train, test)
    seconds = time.process_time() - start
    return Outcome(peer.name, data, seed, *errors_of(predictions, test), seconds, best)


def judge_ours(path: Path, data: str, seed: int) -> list[Outcome]:
    """The two bias baselines and the default model."""
    train, test = common.random_split(read_ratings(path), seed, TEST_SHARE)
    outcomes = []
    for name, model in (
        ("bilinear GlobalMean", GlobalMean()),
        ("bilinear BiasModel", BiasModel()),
        (OURS, MatrixFactorization(rng=seed)),
    ):
        start = time.process_time()
        predictions = model.fit(train).predict_rows(test.users, test.items)
        seconds = time.process_time() - start
        setting = chosen(model) if isinstance(model, MatrixFactorization) else {}
        outcomes.append(Outcome(name, data, seed, *errors_of(predictions, test), seconds, setting))
    return outcomes


def chosen(model: MatrixFactorization) -> dict[str, Any]:
    """What the defaults settled on from the training part alone."""
    return {
        "n_factors": model.parameters_.n_factors,
        "l2": round(model.penalty_.factors, 4),
        "l2_biases": round(model.penalty_.biases, 4),
        "n_epochs": model.history_.best_epoch,
    }


def report(data: str, table: Interactions, outcomes: list[Outcome]) -> str:
    """One data set: the methods in order of test RMSE, ours minus each of the others, what tuning chose."""
    by_method: dict[str, list[Outcome]] = {}
    for outcome in sorted(outcomes, key=lambda outcome: outcome.seed):
        by_method.setdefault(outcome.method, []).append(outcome)
    ours = by_method.get(OURS)
    rows = []
    for method, runs in sorted(by_method.items(), key=lambda entry: np.mean([run.rmse for run in entry[1]])):
        row = [method]
        row += [common.Interval.of([getattr(run, what) for run in runs]).text() for what in ("rmse", "mae")]
        if ours is None or method == OURS:
            row += ["", "", ""]
        else:
            differences = [mine.rmse - run.rmse for mine, run in zip(ours, runs, strict=True)]
            wider = common.Interval.of(differences, TEST_SHARE / (1 - TEST_SHARE))
            row += [common.Interval.of(differences).text(sign=True), f"± {wider.half_width:.4f}"]
            row += ["not clear" if not wider.excludes_zero else "better" if wider.mean < 0 else "worse"]
        row.append(f"{np.median([run.cpu_seconds for run in runs]):.1f}")
        rows.append(row)
    header = [
        "method",
        "test RMSE",
        "test MAE",
        "ours - it, RMSE",
        "wider interval",
        "ours is",
        "CPU seconds",
    ]
    lines = [f"## {data}: {len(table):,} ratings", "", common.table_text(header, rows), ""]
    for method, runs in by_method.items():
        if runs[0].setting:
            listed = "; ".join(", ".join(f"{k} {v}" for k, v in run.setting.items()) for run in runs)
            lines.append(f"{method}, split by split: {listed}.\n")
    return "\n".join(lines)


def tell(outcome: Outcome) -> None:
    print(
        f"{outcome.data}, split {outcome.seed}, {outcome.method}: RMSE {outcome.rmse:.4f}, "
        f"{outcome.cpu_seconds:.1f} s of CPU, {outcome.setting}",
        file=sys.stderr,
    )


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--splits", type=int, default=5, help="how many random splits (seeds 0, 1, ...)")
    parser.add_argument("--workers", type=int, default=2, help="processes that tune the peers")
    parser.add_argument("--shorten", action="store_true", help="a ninth of each grid: to try the script")
    parser.add_argument("--only-peers", action="store_true", help="leave bilinear out")
    options = parser.parse_args()

    paths = {name: common.rating_file(name, options.data) for name in common.RATING_FILES}
    jobs = [
        (peer, path, data, seed, options.shorten)
        for data, path in paths.items()
        if path
        for seed in range(options.splits)
        for peer in PEERS
    ]
    start = time.perf_counter()
    outcomes: list[Outcome] = []
    for data, path in paths.items():
        if path and not options.only_peers:
            judge_ours(path, data, 0)  # compiles, so that no split below pays for it
            for seed in range(options.splits):
                outcomes += judge_ours(path, data, seed)
                tell(outcomes[-1])
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        for outcome in pool.map(judge_peer, *zip(*jobs, strict=True)) if jobs else ():
            tell(outcome)
            outcomes.append(outcome)
    parts = []
    for data, path in paths.items():
        if path is None:
            parts.append(f"## {data}\n\nSkipped: the data set is absent.\n")
            continue
        parts.append(
            report(data, read_ratings(path), [outcome for outcome in outcomes if outcome.data == data])
        )

    facts = common.machine_facts("scikit-surprise", "libmf", "scipy", "pandas")
    grids = "\n".join(
        f"- {peer.name}, {len(list(settings(peer.grid)))} settings: "
        + ", ".join(f"{name} {values}" for name, values in peer.grid.items())
        for peer in PEERS
    )
    intro = (
        "# Accuracy on unseen ratings\n\n"
        f"{options.splits} random splits, {TEST_SHARE:.0%} of the ratings are the test part. Peers: best of "
        f"a grid on {VALIDATION_SHARE:.0%} of the training part, then refitted on all of it; bilinear: its "
        "defaults. Predictions are clipped to the range of the training ratings. Intervals: 95 %, Student's "
        "t over the splits; the wider one corrects for training parts that overlap (Nadeau and Bengio 2003) "
        "and decides the word under 'ours is'. CPU seconds: median over the splits, tuning "
        "included.\n\n"
        f"{common.facts_line(facts)} Whole run: {time.perf_counter() - start:.0f} s.\n\n"
        f"Grids{', of which only every ninth setting was tried' if options.shorten else ''}:\n{grids}\n\n"
    )
    numbers = {
        "machine": facts,
        "grids": {peer.name: peer.grid for peer in PEERS},
        "shortened": options.shorten,
        "outcomes": [asdict(outcome) for outcome in outcomes],
    }
    common.publish("accuracy", options.out, intro + "\n".join(parts), numbers)


if __name__ == "__main__":
    main()
