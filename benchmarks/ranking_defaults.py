"""Benchmark of the defaults of ranking models: how far each is from the best of a grid, by table.

A default that depends on the table (`l2="auto"`) has to hold on tables of another size and density. For
every model and table: NDCG@20 on an inner validation part (20 % of each user's interactions, the latest
where there are times), of the default and of the best of a small grid around it. Test rows are never looked
at: of a table of ratings, 20 % at random are set aside first; of Gowalla only train.txt is read.

The best of a grid is the largest of several noisy values, so the loss of a default is stated a little too
large. Synthetic tables are of `synthetic_catalogue`; their planted tastes are stronger than those of people.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import process_time
from typing import Any

import common
import numpy as np

import bilinear
from bilinear.data.interactions import Interactions
from bilinear.data.splits import split_random
from bilinear.estimators.blend_weights import ValidationUsers, inner_split
from bilinear.evaluation.ranking import RankingProtocol, evaluate_ranking

METRIC = "ndcg@20"
MOST_ITEMS_OF_EASE = 5000
TOLERATED = 0.05  # of NDCG@20 that a default may lose
SYNTHETIC = {  # name: (interactions, users, items); every user has 20 interactions or more
    "10 %": (100_000, 1_000, 1_000),
    "2.5 %": (100_000, 1_000, 4_000),
    "0.8 %": (250_000, 10_000, 3_000),
    "0.1 %": (200_000, 10_000, 20_000),
    "0.03 %": (200_000, 10_000, 60_000),
    "0.01 %": (200_000, 10_000, 200_000),
}


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--tables", nargs="+", help="parts of names; else all")
    parser.add_argument("--models", nargs="+", choices=GRIDS, default=list(GRIDS))
    parser.add_argument("--users", type=int, default=1500, help="to evaluate on, at most")
    parser.add_argument("--every", action="store_true", help="print every setting of the grids to stderr")
    options = parser.parse_args()
    rows: list[list[str]] = []
    for name, table in tables(options.data):
        if options.tables and not any(part in name for part in options.tables):
            continue
        rows += measured(name, table, options)
    header = ["table", "density", "model", "default", "best", "default / best", "best setting"]
    late = [row for row in rows if float(row[5]) < 1 - TOLERATED]
    markdown = (
        f"{common.table_text(header, rows)}\n\nNDCG@20 on an inner validation part of at most "
        f"{options.users:,} users; {len(late)} of {len(rows)} defaults lose more than {TOLERATED:.0%}."
    )
    common.publish("ranking_defaults", options.out, markdown, {"header": header, "rows": rows})


def tables(data: Path | None) -> Iterator[tuple[str, Interactions]]:
    """Tables by name: what may be trained on; no test rows."""
    for name in common.RATING_FILES:
        path = common.rating_file(name, data)
        if path is not None:
            train = split_random(bilinear.read_ratings(path), 0.2, rng=0).train
            yield name, train
            often = np.bincount(train.items, minlength=train.n_items) >= 5
            yield f"{name}, items of 5 and more", compact(train.take(often[train.items]))
    folder = (data or common.REPOSITORY.parent / "shared" / "data") / "gowalla"
    if (folder / "train.txt").is_file():
        lines = [line.split() for line in (folder / "train.txt").read_text().splitlines()]
        users = np.repeat([int(line[0]) for line in lines if line], [len(line) - 1 for line in lines if line])
        items = np.array([int(item) for line in lines for item in line[1:]])
        yield "gowalla", Interactions.from_columns(users, items)
    for name, (n_ratings, n_users, n_items) in SYNTHETIC.items():
        yield (
            f"synthetic, {name}",
            bilinear.synthetic_catalogue(n_ratings, n_users, n_items, rng=0).interactions,
        )


def compact(table: Interactions) -> Interactions:
    """The same interactions in a table whose vocabularies have nothing else."""
    users, items = table.user_vocabulary.decode(table.users), table.item_vocabulary.decode(table.items)
    return Interactions.from_columns(users, items, table.ratings, table.times)


def measured(name: str, table: Interactions, options: Any) -> list[list[str]]:
    """A row for every model; the first is that of Popularity, which no default may fall below."""
    split = inner_split(table, 0.2, 0)
    judges = ValidationUsers.of(split, None, 0, options.users)
    density = f"{table.n_ratings / np.prod([float(n) for n in table.shape]):.3%}"
    protocol = RankingProtocol((), metrics=(METRIC,))
    floor = evaluate_ranking(bilinear.Popularity().fit(split.train), judges.test, protocol)[METRIC]
    rows = [[name, density, "Popularity", f"{floor:.4f}", f"{floor:.4f}", "1.000", ""]]
    for model_name in options.models:
        if model_name == "EASE" and table.n_items > MOST_ITEMS_OF_EASE:
            continue
        make, grid = GRIDS[model_name]
        values: dict[str, float] = {}
        for setting in [{}, *grid(split.train)]:
            began = process_time()
            model = make(**setting).fit(split.train)
            said = ", ".join(f"{key}={shown(value)}" for key, value in setting.items()) or "default"
            values[said] = evaluate_ranking(model, judges.test, protocol)[METRIC]
            if options.every:
                took = f"{process_time() - began:.1f} s"
                print(name, model_name, said, f"{values[said]:.4f}", took, sep=" | ", file=sys.stderr)
        best = max(values, key=values.__getitem__)
        default = values["default"]
        ratio = f"{default / values[best]:.3f}"
        rows.append([name, density, model_name, f"{default:.4f}", f"{values[best]:.4f}", ratio, best])
    return rows


def shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else repr(value)


def products(**axes: tuple[Any, ...]) -> list[dict[str, Any]]:
    """All combinations of the values."""
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def _mean_count(table: Interactions) -> float:
    return table.n_ratings / max(int((np.bincount(table.items) > 0).sum()), 1)


def _weight(table: Interactions) -> float:
    n_users = int((table.by_user.counts > 0).sum())
    n_items = int((np.bincount(table.items) > 0).sum())
    return 0.4 * float(np.sqrt(table.n_ratings / n_users / n_items))


def _ridges(table: Interactions) -> list[dict[str, Any]]:
    return [{"l2": share * _mean_count(table)} for share in (1.2, 2.5, 5.0, 10.0, 20.0)]


def _als(table: Interactions) -> list[dict[str, Any]]:
    weight = _weight(table)
    return [
        {"unobserved_weight": weight * a, "l2": 0.3 * weight * b}
        for a, b in ((1, 1), (0.25, 0.25), (0.25, 1), (1, 0.25), (1, 4), (4, 1), (4, 4))
    ]


def _similarities(table: Interactions) -> list[dict[str, Any]]:
    cosine, tfidf, bm25 = bilinear.CosineSimilarity, bilinear.TFIDF, bilinear.BM25
    return products(
        similarity=(cosine(3.0), cosine(10.0), cosine(100.0), tfidf(10.0), tfidf(30.0), bm25(1.2, 0.75))
    ) + products(n_neighbours=(30, 300))


def _walks(table: Interactions) -> list[dict[str, Any]]:
    return (
        products(item_exponent=(0.2, 0.7), user_exponent=(0.0, 0.4, 0.8))
        + products(popularity_exponent=(0.2, 0.4))
        + products(normalization=(0.0, 0.5))
        + products(n_neighbours=(50, 800))
    )


def _filters(table: Interactions) -> list[dict[str, Any]]:
    return (
        products(item_exponent=(0.4, 1.0), user_exponent=(0.4, 1.0))
        + products(popularity_exponent=(0.2, 0.4))
        + products(n_neighbours=(50, 100, None))
    )


def _sampled(table: Interactions) -> list[dict[str, Any]]:
    return products(loss=tuple(map(bilinear.SampledSoftmax, (0.1, 0.25, 0.4))))


GRIDS: dict[str, tuple[Callable[..., Any], Callable[[Interactions], list[dict[str, Any]]]]] = {
    "EASE": (bilinear.EASE, _ridges),
    "SparseEASE": (lambda **given: bilinear.SparseEASE(**given), _ridges),
    "ImplicitALS": (lambda **given: bilinear.ImplicitALS(64, rng=0, **given), _als),
    "ItemKNN": (bilinear.ItemKNN, _similarities),
    "RandomWalk": (bilinear.RandomWalk, _walks),
    "GraphFilter": (bilinear.GraphFilter, _filters),
    "RankingFactorization": (lambda **given: bilinear.RankingFactorization(rng=0, **given), _sampled),
}

if __name__ == "__main__":
    main()
