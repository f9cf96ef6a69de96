"""Benchmark of anonymous sessions: milliseconds from an ordered list of items to the next ones.

Synthetic clicks on 60,000 items; sessions of 10 items in order, one at a time on one thread. "Python" is
`fold_in(session).recommend(20)`, "server" what `POST /v1/session/recommendations` does with its ratings,
without HTTP.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import common
import numpy as np
from threadpoolctl import threadpool_limits

import bilinear
from bilinear.data.interactions import Interactions
from bilinear.serving.answers.serving_model import ServingModel

N_ITEMS = 60_000
MODELS = {
    "Transitions": bilinear.Transitions(),
    "RandomWalk, half-life": bilinear.RandomWalk(half_life=10.0),
    "Blend of both": bilinear.Blend(
        (bilinear.RandomWalk(half_life=10.0), bilinear.Transitions()), weights=(1, 1)
    ),
}


def clicks() -> Interactions:
    """A million of 50,000 users, every item among them; each user stays near one place of the catalogue."""
    chance = np.random.default_rng(0)
    users = np.repeat(np.arange(50_000), 20)
    near = chance.integers(0, N_ITEMS, 50_000)[users] + np.rint(chance.normal(0, 200, len(users)))
    items = np.where(np.arange(len(users)) < N_ITEMS, np.arange(len(users)), near.astype(int) % N_ITEMS)
    return Interactions.from_columns(users, items, times=chance.uniform(0, 90 * 86_400, len(users)))


def percentiles(answer: Callable[[list[int]], Any], sessions: list[list[int]]) -> list[float]:
    """Milliseconds of one answer: the median and the 99th percentile, and the latter of the thread's CPU "
    "time."""
    answer(sessions[0])  # compiles
    clocks = time.perf_counter, time.thread_time
    found = np.empty((len(sessions), len(clocks)))
    for at, session in enumerate(sessions):
        began = [clock() for clock in clocks]
        answer(session)
        found[at] = [1e3 * (clock() - start) for clock, start in zip(clocks, began, strict=True)]
    return [*np.percentile(found[:, 0], [50, 99]).tolist(), float(np.percentile(found[:, 1], 99))]


def main() -> None:
    options = common.arguments(__doc__).parse_args()
    table = clicks()
    chance = np.random.default_rng(1)
    starts = chance.integers(0, N_ITEMS, 2000)
    sessions = [((at + chance.integers(0, 400, 10)) % N_ITEMS).tolist() for at in starts]
    rows = []
    for name, model in MODELS.items():
        model.fit(table)
        served = ServingModel(model, "benchmark")

        def in_python(session: list[int], model: Any = model) -> Any:
            return model.fold_in(session).recommend(20)

        def in_server(session: list[int], served: ServingModel = served) -> Any:
            state, _ = served.session([(str(item), 1.0) for item in session])
            return served.rank([(state, 20, True, None)])

        with threadpool_limits(1):  # as in the server
            times = [value for way in (in_python, in_server) for value in percentiles(way, sessions)]
        rows.append([name, *(f"{value:.2f}" for value in times)])
    columns = ("median ms", "p99", "p99 of CPU time")
    header = ["model", *(f"{way}, {column}" for way in ("Python", "server") for column in columns)]
    facts = common.machine_facts("bilinear")
    markdown = f"{common.table_text(header, rows)}\n\n{common.facts_line(facts)}"
    common.publish(
        "session_latency", options.out, markdown, {"header": header, "rows": rows, "machine": facts}
    )


if __name__ == "__main__":
    main()
