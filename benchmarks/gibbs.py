"""Gibbs sampling beside myFM: held-out RMSE and CPU seconds a sweep, same factors, sweeps and draws.

A factorization machine of user and item is the model of `Gibbs(noise_per_user=False)`, with the same kind
of priors. myFM draws one factor of a row at a time, bilinear a row with all its factors. Both average all
draws after the burn-in and are cut to the range of the training ratings; one thread. myFM is from PyPI:
`pip install myfm 'setuptools<81'`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from time import process_time
from typing import Any

import common
import numpy as np
from numpy.typing import NDArray

from bilinear.data.interactions import Interactions
from bilinear.data.reading.readers import read_ratings
from bilinear.data.synthetic.catalogue import synthetic_ratings
from bilinear.estimators.matrix_factorization import MatrixFactorization
from bilinear.training.gibbs import Gibbs

TEST_SHARE = 0.2
Predictor = Callable[[Interactions, Interactions, int, int, int], NDArray[Any]]


def of_bilinear(**arguments: Any) -> Predictor:
    def predict(
        train: Interactions, test: Interactions, n_factors: int, n_sweeps: int, seed: int
    ) -> NDArray[Any]:
        burn_in = n_sweeps // 4
        solver = Gibbs(
            n_epochs=n_sweeps, burn_in=burn_in, n_draws=n_sweeps - burn_in, n_threads=1, **arguments
        )
        model = MatrixFactorization(n_factors=n_factors, solver=solver, rng=seed).fit(train)
        return model.predict_rows(test.users, test.items)

    return predict


def of_myfm(
    train: Interactions, test: Interactions, n_factors: int, n_sweeps: int, seed: int
) -> NDArray[Any]:
    import myfm
    from scipy.sparse import csr_array, csr_matrix

    n_columns = train.n_users + train.n_items

    def one_hot(table: Interactions) -> csr_matrix:
        columns = np.column_stack([table.users, table.items + train.n_users]).ravel()
        ends = np.arange(0, len(columns) + 1, 2)
        return csr_matrix(csr_array((np.ones(len(columns)), columns, ends), (len(table), n_columns)))

    model = myfm.MyFMRegressor(rank=n_factors, random_seed=seed)
    model.fit(
        one_hot(train),
        train.ratings.astype(float),
        n_iter=n_sweeps,
        n_kept_samples=n_sweeps - n_sweeps // 4,
        group_shapes=[train.n_users, train.n_items],
    )
    return np.clip(model.predict(one_hot(test)), train.ratings.min(), train.ratings.max())


METHODS: Mapping[str, Predictor] = {
    "myFM": of_myfm,
    "`Gibbs(noise_per_user=False)`": of_bilinear(noise_per_user=False),
    "`Gibbs()`": of_bilinear(),
    '`Gibbs(history="both")`': of_bilinear(history="both"),
}
PEER = "myFM"


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--factors", type=int, nargs="+", default=[10, 32])
    parser.add_argument("--sweeps", type=int, default=160, help="a quarter of them burn-in")
    parser.add_argument("--splits", type=int, default=3)
    options = parser.parse_args()
    path = common.rating_file("ml-latest-small", options.data)
    if path is None:
        return
    methods = dict(METHODS)
    if find_spec("myfm") is None:
        print("SKIPPED myFM: pip install myfm 'setuptools<81'", file=sys.stderr)
        del methods[PEER]
    table, warm = read_ratings(path), synthetic_ratings(60, 40, 900, rng=0)
    rows, numbers = [], []
    for k in options.factors:
        errors: dict[str, list[float]] = {name: [] for name in methods}
        seconds: dict[str, list[float]] = {name: [] for name in methods}
        for name, predict in methods.items():
            predict(warm, warm, k, 8, 0)  # kernels are compiled or loaded
            for seed in range(options.splits):
                train, test = common.random_split(table, seed, TEST_SHARE)
                began = process_time()
                predicted = predict(train, test, k, options.sweeps, seed)
                seconds[name].append(process_time() - began)
                errors[name].append(common.rmse(predicted, test.ratings))
                print(k, name, seed, errors[name][-1], seconds[name][-1], file=sys.stderr, flush=True)
        for name in methods:
            cost = float(np.median(seconds[name])) / options.sweeps
            row = [f"{k}, {name}", common.Interval.of(errors[name]).text(), "", f"{1e3 * cost:.1f}", ""]
            if PEER in methods and name != PEER:
                less = [a - b for a, b in zip(errors[name], errors[PEER], strict=True)]
                widened = common.Interval.of(less, TEST_SHARE / (1 - TEST_SHARE))
                ratio = float(np.median(seconds[PEER])) / options.sweeps / cost
                row[2], row[4] = widened.text(sign=True), f"{ratio:.2f}"
            rows.append(row)
            numbers.append({"factors": k, "method": name, "rmse": errors[name], "cpu_seconds": seconds[name]})
    facts = common.machine_facts("myfm", "scipy")
    header = ["factors, method", "test RMSE", "less myFM", "CPU ms a sweep", "myFM's over it"]
    markdown = (
        f"# Gibbs sampling beside myFM\n\nml-latest-small, {options.splits} random 80/20 splits, "
        f"{options.sweeps} sweeps, the mean of all draws after the first quarter. CPU time is of fit, "
        f"compiling the draws and prediction together, over the sweeps; medians.\n\n"
        f"{common.table_text(header, rows)}\n\n{common.facts_line(facts)}\n"
    )
    common.publish("gibbs", options.out, markdown, {"machine": facts, "runs": numbers})


if __name__ == "__main__":
    main()
