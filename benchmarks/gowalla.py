"""Ranking models on Gowalla's public split: Recall@20 and NDCG@20 of full ranking.

Settings were chosen on validation parts carved from train.txt alone. Its lines are in the order of the
visits (neighbours in a line are far more alike than items of one user apart), and the published order of
models (EASE below graph filters and random walks) is found again only if the end of each line is held
out, not if a random part is. So the default here holds out the last fifth of each line, and `AutoRanker` is
given the place in the line as the time. --random holds out at random. --test trains on all of train.txt
and scores test.txt: once, at the end.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import common
import numpy as np

from bilinear.data.interactions import Interactions
from bilinear.data.splits import Split, split_file, split_per_user
from bilinear.estimators.auto.auto_ranker import AutoRanker
from bilinear.estimators.blend import Blend
from bilinear.estimators.blend_weights import inner_split
from bilinear.estimators.ease import EASE, SparseEASE
from bilinear.estimators.graph_filter import GraphFilter
from bilinear.estimators.implicit_als import ImplicitALS
from bilinear.estimators.item_knn import ItemKNN
from bilinear.estimators.popularity import Popularity
from bilinear.estimators.random_walk import RandomWalk
from bilinear.estimators.ranking_model import RankingModel
from bilinear.evaluation.ranking import RankingProtocol, RankingScores

BLEND = (
    (1.0, lambda: GraphFilter(n_neighbours=300)),
    (0.5, lambda: RandomWalk(item_exponent=0.4, normalization=1.0)),
    (1.0, lambda: ImplicitALS(512, l2=0.003, unobserved_weight=0.01, rng=0)),
)
MODELS: dict[str, Callable[[], RankingModel]] = {
    "Popularity": Popularity,
    "ItemKNN": ItemKNN,
    "SparseEASE": lambda: SparseEASE(60),
    "EASE": EASE,
    "ImplicitALS": lambda: ImplicitALS(rng=0),
    "ImplicitALS, 256": lambda: ImplicitALS(256, rng=0),
    "ImplicitALS, 512": lambda: ImplicitALS(512, rng=0),
    "RandomWalk": RandomWalk,
    "GraphFilter": GraphFilter,
    "GF-CF": lambda: GraphFilter(256, 0.3, 0.5, 1.0, 0.5, None),
    "Blend": lambda: Blend(tuple(make() for _, make in BLEND), tuple(weight for weight, _ in BLEND), rng=0),
    "AutoRanker, 60 s, no times": lambda: AutoRanker(time_budget=60, rng=0),
    "AutoRanker, 300 s": lambda: AutoRanker(time_budget=300, rng=0),
}
LEFT_OUT = ("EASE",)  # 6.7 GB and many minutes: named with --models
PUBLISHED = (
    ("ItemKNN", 0.136, 0.114),
    ("iALS, tuned, 128 factors", 0.164, 0.138),
    ("iALS, tuned, 512 factors", 0.179, 0.149),
    ("EASE", 0.1765, 0.1467),
    ("P3alpha", 0.1789, 0.1479),
    ("LightGCN", 0.1820, 0.1547),
    ("Matrix factorisation, cosine contrastive loss", 0.1837, 0.1493),
    ("Graph filter in closed form (GF-CF)", 0.1849, 0.1518),
    ("UltraGCN", 0.1862, 0.1580),
    ("SimpleX", 0.1872, 0.1557),
    ("NESCL", 0.1917, 0.1617),
    ("BSPM-EM", 0.1920, 0.1597),
)


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--test", action="store_true", help="score test.txt; else a part of train.txt")
    parser.add_argument("--random", action="store_true", help="hold out at random, not the end of lines")
    parser.add_argument("--models", nargs="+", choices=MODELS, help="else all but those that take long")
    options = parser.parse_args()
    default = os.environ.get("BILINEAR_DATA") or common.REPOSITORY.parent / "shared" / "data"
    folder = (options.data or Path(default)) / "gowalla"
    if not (folder / "train.txt").is_file():
        raise SystemExit(
            f"SKIPPED: no file {folder / 'train.txt'}; name its folder with --data or BILINEAR_DATA"
        )
    split = parts(folder, options)
    rows, numbers = [], {}
    for name in options.models or [name for name in MODELS if name not in LEFT_OUT]:
        began, cpu = perf_counter(), process_time()
        train = replace(split.train, times=None) if name.endswith("no times") else split.train
        model = MODELS[name]().fit(train)
        fitted, fit_cpu = perf_counter() - began, process_time() - cpu
        began = perf_counter()
        scores = model.evaluate(split.test, RankingProtocol((20,)))
        seconds = {"fit": fitted, "fit_cpu": fit_cpu, "evaluate": perf_counter() - began}
        numbers[name] = scores.to_dict() | {"seconds": seconds, "model": repr(model)}
        if isinstance(model, AutoRanker):
            numbers[name]["search"] = model.search_.to_dict()
            print(model.search_)
        rows.append(row(name, scores, seconds))
        print(*rows[-1], sep="  ", flush=True)
    facts = common.machine_facts("scipy")
    numbers["machine"] = facts
    header = ["model", "Recall@20 [95 % interval]", "NDCG@20 [95 % interval]", "fit s", "CPU s", "evaluate s"]
    title = "test.txt" if options.test else split.how
    markdown = (
        f"# Gowalla, {title}\n\n{split.train.n_ratings:,} interactions to train, {split.test.n_ratings:,} "
        "held out; full ranking of 40,981 items less those seen in training; 95 % bootstrap intervals. "
        "Seconds on a machine that others used too may be too long; CPU seconds count all threads.\n\n"
        f"{common.facts_line(facts)}\n\n{common.table_text(header, rows)}"
    )
    if options.test:
        published = [[name, f"{recall:.4f}", f"{ndcg:.4f}"] for name, recall, ndcg in PUBLISHED]
        markdown += "\n\nPublished on the same split (several of these were chosen on the test part):\n\n"
        markdown += common.table_text(["model", "Recall@20", "NDCG@20"], published)
    kind = "test" if options.test else "random" if options.random else "validation"
    common.publish(f"gowalla_{kind}", options.out, markdown, numbers)


def parts(folder: Path, options: argparse.Namespace) -> Split:
    """What is trained on and what is scored; only --test opens test.txt."""
    table = read(folder / "train.txt")
    if options.test:
        return split_file(table, read(folder / "test.txt"))
    if options.random:
        return split_per_user(table, 0.2, 1)
    return inner_split(table, 0.2, 0)


def read(path: Path) -> Interactions:
    """Lines of a user and its items; the place in the line is the time."""
    users, items, places = [], [], []
    for line in path.read_text().splitlines():
        user, *taken = map(int, line.split())
        users += [user] * len(taken)
        items += taken
        places += range(len(taken))
    ones = np.ones(len(users), np.float32)
    return Interactions.from_columns(users, items, ones, np.array(places, float), source=path.name)


def row(name: str, scores: RankingScores, seconds: dict[str, Any]) -> list[str]:
    means = [scores.means[metric] for metric in ("recall@20", "ndcg@20")]
    return [name, *map(str, means), *(f"{seconds[part]:.1f}" for part in ("fit", "fit_cpu", "evaluate"))]


if __name__ == "__main__":
    main()
