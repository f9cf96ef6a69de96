"""Benchmark of recency and of what follows what, by splits in time.

Ratings are read as interactions. Per table two splits: the latest tenth of all rows ("temporal"), and the
latest row of each user ("last"). Half-lives and arguments of `Transitions` are chosen on the same split of
the training part; the test part is used once for each model, at the end. `AutoRanker` is the default command.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import common

import bilinear
from bilinear.data.interactions import Interactions
from bilinear.data.splits import Split, split_leave_last_out, split_temporal
from bilinear.estimators.recent_history import HALF_LIVES
from bilinear.evaluation.ranking import RankingProtocol

METRIC = "ndcg@20"
PROTOCOL = RankingProtocol(cutoffs=(20,))
SPLITS: dict[str, Callable[[Interactions], Split]] = {
    "temporal": lambda table: split_temporal(table, 0.1),
    "last": lambda table: split_leave_last_out(table, 1, 0),
}
STEPS = {"window": (3, 10, 30), "history_decay": (0.5, 0.8, 0.95), "item_exponent": (0.2, 0.5)}


def candidates() -> dict[str, list[Any]]:
    """By name, the models among which one is chosen."""
    steps = [dict(zip(STEPS, values, strict=True)) for values in itertools.product(*STEPS.values())]
    return {
        "Popularity": [bilinear.Popularity()],
        "Popularity, half-life": [bilinear.Popularity(half_life=days) for days in HALF_LIVES],
        "RandomWalk": [bilinear.RandomWalk()],
        "RandomWalk, half-life": [bilinear.RandomWalk(half_life=days) for days in HALF_LIVES],
        "Transitions": [bilinear.Transitions(**arguments) for arguments in steps],
        "AutoRanker": [bilinear.AutoRanker(rng=0)],
    }


def best(models: list[Any], split: Split) -> Any:
    """The model that ranks the test part best."""
    if len(models) == 1:
        return models[0]
    return max(models, key=lambda model: model.fit(split.train).evaluate(split.test, PROTOCOL)[METRIC])


def measured(name: str, how: str, table: Interactions) -> list[list[str]]:
    outer = SPLITS[how](table)
    inner = SPLITS[how](outer.train)
    chosen = {kind: best(models, inner) for kind, models in candidates().items()}
    parts = [chosen[kind] for kind in ("Popularity, half-life", "RandomWalk, half-life", "Transitions")]
    chosen["blend of three kinds"] = bilinear.Blend(tuple(parts), rng=0)
    found = bilinear.measure(chosen, outer, protocol=PROTOCOL, baseline="RandomWalk")
    rows = []
    for kind, model in chosen.items():
        less = found.differences.get(kind, {}).get(METRIC)
        shown = "" if less is None else f"{less.value:+.4f} [{less.low:+.4f}, {less.high:+.4f}]"
        settings = f"`{model!r}`" if kind in ("Transitions",) or "half-life" in kind else ""
        rows.append([name, how, kind, settings, str(found.scores[kind].means[METRIC]), shown])
    return rows


def main() -> None:
    options = common.arguments(__doc__).parse_args()
    rows: list[list[str]] = []
    for name in ("movietweetings-100k", "ml-latest-small"):
        file = common.rating_file(name, options.data)
        if file is None:
            continue
        columns = {} if name.startswith("ml") else {"user": 1, "item": 2, "time": 4, "count": False}
        table = bilinear.read_interactions(file, **columns)
        for how in SPLITS:
            rows += measured(name, how, table)
    header = ["table", "split", "model", "chosen on the inner split", "NDCG@20", "less RandomWalk"]
    common.publish(
        "time_in_clicks", options.out, common.table_text(header, rows), {"header": header, "rows": rows}
    )


if __name__ == "__main__":
    main()
