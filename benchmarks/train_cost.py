"""What `bilinear train` and `import bilinear` cost: wall time first and cached, peak memory.

Every run is a process of its own on ml-latest-small with fixed hyper-parameters, so that no search
is timed. "First" has an empty folder for compiled kernels, as after an installation.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

import common

TRAIN = ["--n-factors", "64", "--l2", "0.5", "--l2-biases", "0.5", "--quiet"]
BYTE_CODE = {"PYTHONDONTWRITEBYTECODE": ""}  # set to nothing is not set: the first run leaves .pyc files


def train(ratings: Path, scratch: Path, kernels: Path, name: str) -> common.Measured:
    program = Path(sys.executable).with_name("bilinear")
    command = [str(program), "train", str(ratings), "--out", str(scratch / name), *TRAIN]
    return common.measure_child(command, {**BYTE_CODE, "NUMBA_CACHE_DIR": str(kernels)})


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--first-repeats", type=int, default=3)
    parser.add_argument("--cached-repeats", type=int, default=5)
    parser.add_argument("--import-repeats", type=int, default=10)
    options = parser.parse_args()
    ratings = common.rating_file("ml-latest-small", options.data)

    def python(code: str) -> common.Measured:
        return common.measure_child([sys.executable, "-c", code], BYTE_CODE)

    python("import bilinear")
    bare = [python("pass") for _ in range(options.import_repeats)]
    imports = [python("import bilinear") for _ in range(options.import_repeats)]
    start_up = statistics.median(run.seconds for run in bare)
    importing = statistics.median(run.seconds for run in imports) - start_up
    rows = [
        ["`import bilinear`", f"{importing:.3f} s", f"{imports[-1].peak_mib:.0f} MiB", "", str(len(imports))]
    ]
    numbers = {
        "machine": common.machine_facts("scipy", "duckdb"),
        "interpreter_seconds": [run.seconds for run in bare],
        "import_seconds": [run.seconds for run in imports],
    }
    if ratings is not None:
        first = []
        for _ in range(options.first_repeats):
            with tempfile.TemporaryDirectory() as folder:
                first.append(train(ratings, Path(folder), Path(folder, "kernels"), "model"))
        with tempfile.TemporaryDirectory() as folder:
            runs = [
                train(ratings, Path(folder), Path(folder, "kernels"), f"model-{n}")
                for n in range(options.cached_repeats + 1)
            ]
            cached = runs[1:]  # the first one fills the cache
        for what, runs in (("first time", first), ("compiled before", cached)):
            seconds = statistics.median(run.seconds for run in runs)
            rows.append(
                [
                    f"`bilinear train`, {what}",
                    f"{seconds:.2f} s",
                    f"{statistics.median(run.peak_mib for run in runs):.0f} MiB",
                    f"{seconds / start_up:.0f}",
                    str(len(runs)),
                ]
            )
            numbers[what] = [{"seconds": run.seconds, "peak_mib": run.peak_mib} for run in runs]
    markdown = (
        "# What training costs\n\n"
        f"`bilinear train` on ml-latest-small with {' '.join(TRAIN)}; medians. The import is the process "
        f"less the bare interpreter ({start_up * 1000:.0f} ms).\n\n"
        f"{common.facts_line(numbers['machine'])}\n\n"
        + common.table_text(["what", "wall time", "peak memory", "times the bare interpreter", "runs"], rows)
        + ("" if ratings else "\n\nTraining skipped: the data set is absent.")
    )
    common.publish("train_cost", options.out, markdown, numbers)


if __name__ == "__main__":
    main()
