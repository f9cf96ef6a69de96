"""The search of `MatrixFactorization` on a part of the users of a large table against that on all ratings.

One synthetic catalogue and one split for all; cost in CPU seconds and in trainings with what was chosen.
"""

from __future__ import annotations

import time

import common

from bilinear.data.splits import split_random
from bilinear.data.synthetic.catalogue import synthetic_catalogue
from bilinear.estimators.matrix_factorization import MatrixFactorization
from bilinear.training import search
from bilinear.training.sgd import SGD


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--parts", type=int, nargs="*", default=[10**9, 5_000_000, 1_500_000, 500_000])
    options = parser.parse_args()
    n_users, n_items = options.rows * 7 // 1000, 8000
    split = split_random(synthetic_catalogue(options.rows, n_users, n_items, 16, rng=1).interactions, 0.1, 0)
    rows, numbers = [], {}
    for size in options.parts:
        search.SEARCHED = size
        began = time.process_time()
        model = MatrixFactorization(rng=0).fit(split.train)
        took, found = time.process_time() - began, model.search_
        assert found is not None
        settings = {"l2": found.l2, "l2_biases": found.l2_biases, "start_size": found.start_size}
        began = time.process_time()
        alone = MatrixFactorization(found.n_factors, **settings, validation_fraction=0, solver=SGD(), rng=0)
        alone.fit(split.train)
        once = time.process_time() - began
        rmse = model.evaluate(split.test).rmse.value
        shown = "all" if found.n_searched is None else f"{found.n_searched:,}"
        rows.append(
            [shown, f"{found.n_factors}", f"{found.l2:.3f}", f"{rmse:.4f}", f"{took - once:.1f}",
             f"{(took - once) / once:.1f}"]
        )  # fmt: skip
        numbers[shown] = {"rmse": rmse, "search": took - once, "training": once}
    facts = common.machine_facts()
    header = ["searched on", "factors", "l2", "test RMSE", "CPU s of the search", "in trainings"]
    markdown = (
        "# Searching large tables\n\n"
        f"{options.rows:,} ratings of a synthetic catalogue, a tenth held out.\n\n"
        f"{common.facts_line(facts)}\n\n" + common.table_text(header, rows)
    )
    common.publish("large_search", options.out, markdown, {"facts": facts, "parts": numbers})


if __name__ == "__main__":
    main()
