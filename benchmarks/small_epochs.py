"""Seconds an epoch on ml-latest-small: bilinear against Surprise SVD and plain PyTorch, in one run.

One thread each. Surprise runs its own SGD with biases; PyTorch a plain loop over batches of 64 with
fused AdamW on dense gradients, as the course's users write it (embedding tables, sigmoid into the
range, mean squared error). Against them stand our SGD (one step a rating) and, where the peer is
PyTorch, our own AdamW with batches of 64 as well: the same method, row-sparse. A time an epoch is
that of some epochs less that of one, over their difference, so that what is done once is left out.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import common
import numpy as np

from bilinear.data.interactions import Interactions
from bilinear.data.reading.readers import read_ratings
from bilinear.data.synthetic.catalogue import synthetic_ratings
from bilinear.estimators.matrix_factorization import MatrixFactorization
from bilinear.model.link import Sigmoid
from bilinear.training.minibatch import MiniBatch
from bilinear.training.optimizers import AdamW
from bilinear.training.sgd import SGD

Epochs = Callable[[int], None]


def surprise_epochs(table: Interactions, n_factors: int) -> Epochs:
    import pandas as pd
    import surprise

    order = np.random.default_rng(0).permutation(len(table))
    columns = {"user": table.users, "item": table.items, "rating": table.ratings.astype(float)}
    frame = pd.DataFrame({name: column[order] for name, column in columns.items()})
    data = surprise.Dataset.load_from_df(frame, surprise.Reader(rating_scale=(0.5, 5.0)))
    train = data.build_full_trainset()

    def run(n_epochs: int) -> None:
        surprise.SVD(n_factors=n_factors, n_epochs=n_epochs, random_state=0).fit(train)

    return run


def torch_epochs(table: Interactions, n_factors: int) -> Epochs:
    import torch

    torch.set_num_threads(1)
    users = torch.from_numpy(table.users.astype(np.int64))
    items = torch.from_numpy(table.items.astype(np.int64))
    ratings = torch.from_numpy(table.ratings.copy())

    def run(n_epochs: int) -> None:
        sizes = [
            (table.n_users, n_factors),
            (table.n_items, n_factors),
            (table.n_users, 1),
            (table.n_items, 1),
        ]
        p, q, b, c = tables = [torch.nn.Embedding(*size) for size in sizes]
        for one in tables:
            torch.nn.init.normal_(one.weight, std=0.01)
        optimizer = torch.optim.AdamW([t.weight for t in tables], lr=5e-3, weight_decay=0.1, fused=True)
        for _ in range(n_epochs):
            order = torch.randperm(len(ratings))
            for batch in order.split(64):
                u, i = users[batch], items[batch]
                score = (p(u) * q(i)).sum(1) + b(u)[:, 0] + c(i)[:, 0]
                loss = torch.nn.functional.mse_loss(torch.sigmoid(score) * 5.5, ratings[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    return run


def our_epochs(table: Interactions, n_factors: int, batches: bool) -> Epochs:
    def run(n_epochs: int) -> None:
        solver = (
            MiniBatch(optimizer=AdamW(weight_decay=0.1), n_epochs=n_epochs, learning_rate=5e-3, batch_size=64)
            if batches
            else SGD(n_epochs=n_epochs, n_threads=1)
        )
        link = {"link": Sigmoid(), "rating_range": (0.0, 5.5)} if batches else {}
        MatrixFactorization(
            n_factors=n_factors, l2=0.0 if batches else 0.5, l2_biases=0.0 if batches else 0.5,
            validation_fraction=0, rng=0, solver=solver, **link,
        ).fit(table)  # fmt: skip

    return run


def rate(run: Epochs, n_ratings: int, more: int) -> tuple[float, float]:
    """Million ratings a second, by the wall clock and by CPU time."""
    clocks = []
    for n_epochs in (1 + more, 1):
        wall, cpu = time.perf_counter(), time.process_time()
        run(n_epochs)
        clocks.append((time.perf_counter() - wall, time.process_time() - cpu))
    return tuple(n_ratings * more / 1e6 / (a - b) for a, b in zip(*clocks, strict=True))  # type: ignore[return-value]


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--factors", type=int, default=50)
    options = parser.parse_args()
    path = common.rating_file("ml-latest-small", options.data)
    table = synthetic_ratings(600, 9000, 100_000) if path is None else read_ratings(path)
    k, n = options.factors, table.n_ratings
    runs = {
        "Surprise SVD": (surprise_epochs(table, k), 5),
        "PyTorch, AdamW, batches of 64": (torch_epochs(table, k), 1),
        "bilinear SGD": (our_epochs(table, k, False), 40),
        "bilinear AdamW, batches of 64": (our_epochs(table, k, True), 5),
    }
    for name, (run, _) in runs.items():
        run(1)  # compiles
        print(f"ready: {name}", flush=True)
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for _ in range(options.repeats):
        for name, (run, more) in runs.items():
            rates[name].append(rate(run, n, more))
    median = {
        name: [statistics.median(pair[c] for pair in pairs) for c in (0, 1)] for name, pairs in rates.items()
    }
    rows = [
        [mine, peer, f"{median[mine][0] / median[peer][0]:.1f}", f"{median[mine][1] / median[peer][1]:.1f}",
         f"{median[mine][1]:.2f}", f"{median[peer][1]:.3f}"]
        for mine, peer in (
            ("bilinear SGD", "Surprise SVD"),
            ("bilinear SGD", "PyTorch, AdamW, batches of 64"),
            ("bilinear AdamW, batches of 64", "PyTorch, AdamW, batches of 64"),
        )
    ]  # fmt: skip
    header = ["bilinear", "peer", "ratio, wall", "ratio, CPU", "ours, M/CPU s", "peer, M/CPU s"]
    facts = common.machine_facts("scikit-surprise", "torch")
    where = "synthetic ratings" if path is None else "ratings of ml-latest-small"
    markdown = "\n".join(
        [
            "# An epoch on a small table",
            "",
            f"{n:,} {where}, {k} factors, one thread; medians of {options.repeats}; a ratio above 1 means "
            "bilinear is faster.",
            "",
            common.facts_line(facts),
            "",
            common.table_text(header, rows),
            "",
        ]
    )
    common.publish("small_epochs", options.out, markdown, {"facts": facts, "rates": rates})


if __name__ == "__main__":
    main()
