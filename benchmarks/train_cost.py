"""What `bilinear train` and `import bilinear` cost: wall time first and cached, peak memory.

Every run is a process of its own on ml-latest-small with fixed hyper-parameters, so that no search
is timed. "First" has an empty folder for compiled kernels, as after an installation.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import common

TRAIN = ["--set", "n_factors=64", "--set", "l2=0.5", "--set", "l2_biases=0.5", "--quiet"]
BYTE_CODE = {"PYTHONDONTWRITEBYTECODE": ""}  # set to nothing is not set: the first run leaves .pyc files


def train(ratings: Path, scratch: Path, kernels: Path, name: str) -> common.Measured:
    program = Path(sys.executable).with_name("bilinear")
    command = [str(program), "train", str(ratings), "--out", str(scratch / name), *TRAIN]
    return common.measure_child(command, {**BYTE_CODE, "NUMBA_CACHE_DIR": str(kernels)})


def median_seconds(runs: Sequence[common.Measured]) -> float:
    return statistics.median(run.seconds for run in runs)


def row(what: str, runs: Sequence[common.Measured], seconds: float) -> list[str]:
    """One line of the table; CPU time and memory are of the whole process."""
    cpu = statistics.median(run.cpu_seconds for run in runs)
    peak = statistics.median(run.peak_mib for run in runs)
    return [what, f"{seconds:.3f}", f"{cpu:.3f}", f"{peak:.0f}", str(len(runs))]


def python(code: str) -> common.Measured:
    return common.measure_child([sys.executable, "-c", code], BYTE_CODE)


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--first-repeats", type=int, default=3)
    parser.add_argument("--cached-repeats", type=int, default=5)
    parser.add_argument("--import-repeats", type=int, default=10)
    options = parser.parse_args()
    ratings = common.rating_file("ml-latest-small", options.data)

    python("import bilinear")
    bare = [python("pass") for _ in range(options.import_repeats)]
    imports = [python("import bilinear") for _ in range(options.import_repeats)]
    start_up = median_seconds(bare)
    facts = common.machine_facts("scipy", "duckdb")
    runs = {"bare interpreter": bare, "import bilinear": imports}
    rows = [row("`import bilinear`", imports, median_seconds(imports) - start_up)]
    verdict = "Training skipped: the data set is absent."
    if ratings is not None:
        first = []
        for _ in range(options.first_repeats):
            with tempfile.TemporaryDirectory() as folder:
                first.append(train(ratings, Path(folder), Path(folder, "kernels"), "model"))
        with tempfile.TemporaryDirectory() as folder:
            kernels = Path(folder, "kernels")
            train(ratings, Path(folder), kernels, "to-compile")
            cached = [
                train(ratings, Path(folder), kernels, f"model-{n}") for n in range(options.cached_repeats)
            ]
        for what, trained in (("first time", first), ("compiled before", cached)):
            rows.append(row(f"`bilinear train`, {what}", trained, median_seconds(trained)))
            runs[f"train, {what}"] = trained
        ratio = median_seconds(first) / median_seconds(cached)
        verdict = f"The first time takes {ratio:.1f} times as long as the later ones: it compiles."
    markdown = (
        "# What training costs\n\n"
        f"`bilinear train` on ml-latest-small with {' '.join(TRAIN)}; medians of processes of their own. The "
        f"seconds of the import are less the bare interpreter's {start_up * 1000:.0f} ms. {verdict}\n\n"
        f"{common.facts_line(facts)}\n\n"
        + common.table_text(["what", "seconds", "CPU seconds", "peak MiB", "runs"], rows)
    )
    numbers = {"machine": facts, "options": TRAIN}
    numbers |= {what: [asdict(run) | {"output": None} for run in measured] for what, measured in runs.items()}
    common.publish("train_cost", options.out, markdown, numbers)


if __name__ == "__main__":
    main()
