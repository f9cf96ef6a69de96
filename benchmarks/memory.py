"""Peak memory of reading and of training on 20 million ratings with 64 factors, each in its own process.

The bound is three times the input's 12 bytes a rating (user, item and rating of 4 bytes each) plus the
factors once. What a process holds before it touches any rating (Python, NumPy, compiled kernels) is
measured by the same work on 2,000 ratings, and given beside.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import common
import numpy as np
import reading

SETTINGS = "n_factors=64, l2=0.5, l2_biases=0.5, rng=0, solver=SGD(n_epochs=3)"
HEAD = """
import sys
import numpy as np
from pathlib import Path
from bilinear.data.interactions import Interactions
from bilinear.data.reading.readers import read_ratings
from bilinear.estimators.matrix_factorization import MatrixFactorization
from bilinear.training.minibatch import MiniBatch
from bilinear.training.sgd import SGD
folder = Path(sys.argv[1])
def arrays():
    return [np.load(folder / f"{name}.npy") for name in ("users", "items", "ratings")]
def table():
    columns = arrays()
    found = Interactions.from_columns(*columns)
    columns.clear()
    return found
def given():  # the table as it is after reading, without what reading took
    found = [np.load(folder / f"sorted-{name}.npy") for name in ("users", "items", "ratings")]
    from bilinear.data.vocabulary import Vocabulary
    ids = [Vocabulary.from_sorted(np.arange(int(rows.max()) + 1)) for rows in found[:2]]
    return Interactions(*found, None, *ids)
"""
CASES = {
    "arrays to a table, arrays kept": "columns = arrays(); t = Interactions.from_columns(*columns)",
    "CSV to a table": "read_ratings(folder / 'ratings.csv', time=False)",
    "Parquet to a table": "read_ratings(folder / 'ratings.parquet', time=False)",
    "CSV to a table, with times": "read_ratings(folder / 'ratings.csv')",
    "training": f"MatrixFactorization({SETTINGS}, validation_fraction=0).fit(given())",
    "training, validation and again on all": f"MatrixFactorization({SETTINGS}).fit(given())",
    "search of both penalties": (
        "MatrixFactorization(n_factors=64, rng=0, solver=SGD(n_epochs=2)).fit(given())"
    ),
    "training with momentum": (
        "MatrixFactorization(n_factors=64, l2=0.5, l2_biases=0.5, rng=0, "
        "solver=SGD(n_epochs=1, momentum=0.5)).fit(given())"
    ),
}


def write(folder: Path, n_ratings: int) -> None:
    """The files that the cases read."""
    from bilinear.data.reading.readers import read_ratings

    paths = reading.write_files(folder, n_ratings)
    table = read_ratings(paths["Parquet"], time=False)
    order = np.random.default_rng(0).permutation(len(table))
    for name in ("users", "items", "ratings"):
        column = getattr(table, name)
        np.save(folder / f"sorted-{name}.npy", column)
        np.save(folder / f"{name}.npy", column[order])


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--ratings", type=int, default=20_000_000)
    parser.add_argument("--only", help="a part of the names of the cases to run")
    options = parser.parse_args()
    n = options.ratings
    rows, numbers = [], {}
    home = str(Path(__file__).parent)
    code = "import memory, pathlib, sys; memory.write(pathlib.Path(sys.argv[1]), int(sys.argv[2]))"
    with tempfile.TemporaryDirectory() as small, tempfile.TemporaryDirectory() as large:
        for folder, size in ((small, 2000), (large, n)):
            common.measure_child([sys.executable, "-c", code, folder, str(size)], {"PYTHONPATH": home})
        factors = (max(100, int(138_000 * n / 20e6)) + 27_000) * 66 * 4 / 2**20
        bound = 3 * 12 * n / 2**20 + factors
        for name, work in CASES.items():
            if options.only and options.only not in name:
                continue
            floor, found = (
                common.measure_child([sys.executable, "-c", HEAD + work, folder]) for folder in (small, large)
            )
            own = found.peak_mib - floor.peak_mib
            rows.append(
                [name, f"{own:.0f}", f"{own / bound:.2f}", f"{found.peak_mib:.0f}", f"{floor.peak_mib:.0f}",
                 f"{found.seconds:.1f}"]
            )  # fmt: skip
            numbers[name] = {"own": own, "peak": found.peak_mib, "floor": floor.peak_mib, "bound": bound}
            print(rows[-1], file=sys.stderr, flush=True)
    header = ["case", "MiB for the ratings", "of the bound", "peak MiB", "with 2,000 ratings", "seconds"]
    facts = common.machine_facts("bilinear", "numpy", "numba", "duckdb")
    markdown = "\n".join(
        [
            "# Memory",
            "",
            f"{n:,} ratings, 64 factors. The bound is {bound:.0f} MiB: three times 12 bytes a rating, and "
            f"the factors once ({factors:.0f} MiB).",
            "",
            common.facts_line(facts),
            "",
            common.table_text(header, rows),
            "",
        ]
    )
    common.publish("memory", options.out, markdown, {"facts": facts, "cases": numbers})


if __name__ == "__main__":
    main()
