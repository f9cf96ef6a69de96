"""The dot-product model trained on sampled negatives, on Gowalla's public split: accuracy, time, speed.

Settings were chosen on validation parts carved from train.txt: the last fifth of each line, as its lines
are in the order of the visits (see gowalla.py). --test trains on all of train.txt and scores test.txt:
once, at the end. Speed is (pairs of a positive and a negative) a CPU second of an epoch: all negatives
of a user's set count for each of its positives, as every positive is compared with every one.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time

import common
import numpy as np
from gowalla import parts

from bilinear.data.interactions import Interactions
from bilinear.estimators.popularity import Popularity
from bilinear.estimators.random_walk import RandomWalk
from bilinear.estimators.ranking_factorization import RankingFactorization
from bilinear.estimators.ranking_model import RankingModel
from bilinear.evaluation.ranking import RankingProtocol
from bilinear.model.parameters import Parameters
from bilinear.objective.penalties import L2
from bilinear.objective.ranking_losses import BPR, WARP, CosineContrastive, RankingLoss, SampledSoftmax
from bilinear.training.minibatch import MiniBatch
from bilinear.training.optimizers import Adam
from bilinear.training.progress import NullProgress
from bilinear.training.sampled_descent import SampledObjective, SampledRun
from bilinear.training.schedules import Cosine
from bilinear.training.thread_pool import Workers

MODELS: dict[str, Callable[[], RankingModel]] = {
    "Popularity": Popularity,
    "RandomWalk": RandomWalk,
    "RankingFactorization, defaults": lambda: RankingFactorization(rng=0),
    "softmax, 256 factors, whole users": lambda: by_users(256, SampledSoftmax(0.1), 60),
    "cosine contrastive, 64 factors, whole users": lambda: by_users(64, CosineContrastive(), 60),
    "cosine contrastive, 64 factors": lambda: RankingFactorization(64, CosineContrastive(), rng=0),
}
SPEED: dict[str, tuple[RankingLoss, int]] = {
    "cosine contrastive": (CosineContrastive(), 1024),
    "softmax": (SampledSoftmax(0.1), 1024),
    "BPR": (BPR(), 64),
    "WARP": (WARP(), 256),
}


def by_users(n_factors: int, loss: RankingLoss, n_epochs: int) -> RankingFactorization:
    """Whole users as batches: cheap epochs, more of them."""
    solver = MiniBatch(Adam(), batch_size=8192, n_epochs=n_epochs, learning_rate=0.01, schedule=Cosine())
    return RankingFactorization(n_factors, loss, solver, n_negatives=256, order="users", rng=0)


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--test", action="store_true", help="score test.txt; else a part of train.txt")
    parser.add_argument("--random", action="store_true", help="hold out at random, not the end of lines")
    parser.add_argument("--models", nargs="+", choices=MODELS, help="else all")
    parser.add_argument("--speed-only", action="store_true", help="no accuracy, only the speed of an epoch")
    options = parser.parse_args()
    default = os.environ.get("BILINEAR_DATA") or common.REPOSITORY.parent / "shared" / "data"
    folder = (options.data or Path(default)) / "gowalla"
    if not (folder / "train.txt").is_file():
        raise SystemExit(
            f"SKIPPED: no file {folder / 'train.txt'}; name its folder with --data or BILINEAR_DATA"
        )
    split = parts(folder, options)
    rows, numbers = [], {}
    for name in [] if options.speed_only else options.models or list(MODELS):
        began, cpu = perf_counter(), process_time()
        model = MODELS[name]().fit(split.train)
        seconds = {"fit": perf_counter() - began, "fit_cpu": process_time() - cpu}
        scores = model.evaluate(split.test, RankingProtocol((20,)))
        numbers[name] = scores.to_dict() | {"seconds": seconds, "model": repr(model)}
        if isinstance(model, RankingFactorization):
            numbers[name]["history"] = model.history_.to_dict()
            print(model.history_)
        means = [str(scores.means[metric]) for metric in ("recall@20", "ndcg@20")]
        rows.append([name, *means, f"{seconds['fit']:.1f}", f"{seconds['fit_cpu']:.1f}"])
        print(*rows[-1], sep="  ", flush=True)
    speeds = []
    for name, (loss, n_negatives) in SPEED.items():
        cpu = seconds_of_an_epoch(split.train, loss, n_negatives)
        pairs = split.train.n_ratings * n_negatives / cpu
        numbers[f"speed, {name}"] = {"negatives": n_negatives, "cpu": cpu, "pairs_per_cpu_second": pairs}
        speeds.append([name, f"{n_negatives}", f"{cpu:.2f}", f"{pairs / 1e6:,.0f} M"])
    facts = common.machine_facts("scipy")
    numbers["machine"] = facts
    title = "test.txt" if options.test else split.how
    header = ["model", "Recall@20 [95 % interval]", "NDCG@20 [95 % interval]", "fit s", "CPU s"]
    markdown = (
        f"# Factors trained on sampled negatives, Gowalla, {title}\n\n{split.train.n_ratings:,} interactions "
        f"to train, {split.test.n_ratings:,} held out; full ranking; 95 % bootstrap intervals. Published for "
        "matrix factorisation with the cosine contrastive loss, 64 factors, on test.txt: 0.1837 / 0.1493 "
        "(Mao et al. 2021), chosen on the test part.\n\n"
        f"{common.facts_line(facts)}\n\n{common.table_text(header, rows)}\n\n"
        "Speed, 64 factors, one thread, batches of 8,192 positives of whole users:\n\n"
        + common.table_text(["loss", "negatives", "CPU s an epoch", "pairs a CPU second"], speeds)
    )
    kind = "test" if options.test else "random" if options.random else "validation"
    common.publish(f"sampled_ranking_{kind}", options.out, markdown, numbers)


def seconds_of_an_epoch(table: Interactions, loss: RankingLoss, n_negatives: int) -> float:
    """The faster of two epochs after a first that compiles and warms up."""
    rng = np.random.default_rng(0)
    cosine = isinstance(loss, (CosineContrastive, SampledSoftmax))
    factors = [rng.normal(0, 0.01, (n, 64)).astype(np.float32) for n in table.shape]
    start = Parameters(0.0, *(np.zeros(n, np.float32) for n in table.shape), *factors)
    objective = SampledObjective(loss, cosine, False, L2(), table, n_negatives, 0.0)
    solver = MiniBatch(Adam(), batch_size=8192, n_epochs=3, learning_rate=0.01).resolved(table.n_ratings)
    run = SampledRun(solver, objective, start, "users", 0, Workers(1))
    seconds = []
    for number in (1, 2, 3):
        began = process_time()
        run.epoch(number, rng, NullProgress())
        seconds.append(process_time() - began)
    return min(seconds[1:])


if __name__ == "__main__":
    main()
