"""What the benchmarks share: data, splits, intervals, machine facts, tables, measured children."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from bilinear.data.interactions import Interactions

REPOSITORY = Path(__file__).resolve().parents[1]
RESULTS = REPOSITORY / "benchmarks" / "results"

RATING_FILES = {
    "ml-latest-small": Path("ml-latest-small", "ratings.csv"),
    "movietweetings-100k": Path("movietweetings-100k", "ratings.dat"),
}


def arguments(description: str | None) -> argparse.ArgumentParser:
    """A parser with the options that every benchmark takes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", type=Path, help="folder of data sets; else $BILINEAR_DATA, ../shared/data")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where NAME.md and NAME.json are written")
    return parser


def rating_file(name: str, given: Path | None) -> Path | None:
    """The ratings of a data set, or None after a line on stderr that says what is missing."""
    default = os.environ.get("BILINEAR_DATA") or REPOSITORY.parent / "shared" / "data"
    path = (given or Path(default)) / RATING_FILES[name]
    if path.is_file():
        return path
    print(f"SKIPPED {name}: no file {path}; name its folder with --data or BILINEAR_DATA", file=sys.stderr)
    return None


def random_split(table: Interactions, seed: int, test_share: float) -> tuple[Interactions, Interactions]:
    """(train, test): `test_share` of the ratings, drawn without regard to user or item, are the test."""
    n_test = round(test_share * len(table))
    order = np.random.default_rng(seed).permutation(len(table))
    return table.take(order[n_test:]), table.take(order[:n_test])


@dataclass(frozen=True)
class Interval:
    """A mean over repeats and the half width of its 95 % interval."""

    mean: float
    half_width: float

    @classmethod
    def of(cls, values: Sequence[float], test_to_train: float = 0.0) -> Interval:
        """Student's t over repeats.

        Training parts of random splits overlap, so their results are not independent and the
        plain interval is too narrow; `test_to_train` > 0 widens it as Nadeau and Bengio do
        ("Inference for the generalization error", Machine Learning 52, 2003).
        """
        n = len(values)
        if n < 2:
            return cls(float(values[0]), float("nan"))
        spread = statistics.stdev(values) * (1 / n + test_to_train) ** 0.5
        return cls(statistics.fmean(values), float(stats.t.ppf(0.975, n - 1)) * spread)

    @property
    def excludes_zero(self) -> bool:
        return abs(self.mean) > self.half_width

    def text(self, digits: int = 4, sign: bool = False) -> str:
        return f"{self.mean:{'+' if sign else ''}.{digits}f} ± {self.half_width:.{digits}f}"


@dataclass(frozen=True)
class Measured:
    """What one child process cost."""

    seconds: float
    cpu_seconds: float
    """On all cores together; on a busy machine it moves less than `seconds`."""
    peak_mib: float
    """Largest resident set of the child itself (not of its children)."""
    output: str


# A child's peak counts what its parent held when it started it, so the parent is this small process.
_LAUNCHER = """
import json, os, sys, time
output = os.open(sys.argv[1], os.O_WRONLY)
actions = [(os.POSIX_SPAWN_DUP2, output, 1), (os.POSIX_SPAWN_DUP2, output, 2)]
start = time.perf_counter()
child = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ, file_actions=actions)
_, status, usage = os.wait4(child, 0)
seconds = time.perf_counter() - start
cpu = usage.ru_utime + usage.ru_stime
print(json.dumps([seconds, cpu, usage.ru_maxrss, os.waitstatus_to_exitcode(status)]))
"""


def measure_child(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Measured:
    """Runs a command to its end; wall seconds and peak memory by `wait4`.

    Raises:
        SystemExit: the command failed; the end of its output is shown.
    """
    with tempfile.NamedTemporaryFile() as output:
        launched = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _LAUNCHER, output.name, *command],
            env={**os.environ, **(environment or {})},
            stdout=subprocess.PIPE,
            check=True,
        )
        text = Path(output.name).read_text(encoding="utf-8", errors="replace")
    seconds, cpu_seconds, peak, code = json.loads(launched.stdout)
    if code:
        raise SystemExit(f"{' '.join(command)}\nended with code {code}:\n{text[-4000:]}")
    unit = 1024.0**2 if sys.platform == "darwin" else 1024.0  # bytes there, KiB here
    return Measured(seconds, cpu_seconds, peak / unit, text)


def machine_facts(*packages: str) -> dict[str, str]:
    """Cores, class of processor and versions, to stand beside every figure."""
    facts = {
        "processor": f"{_processor()}, {os.cpu_count()} cores visible",
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
    }
    for package in ("bilinear", "numpy", "numba", *packages):
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            facts[package] = "absent"
    return facts


def _processor() -> str:
    cpu_info = Path("/proc/cpuinfo")
    if cpu_info.is_file():
        for line in cpu_info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def facts_line(facts: Mapping[str, str]) -> str:
    versions = [f"{name} {value}" for name, value in facts.items() if name not in ("processor", "system")]
    return f"{facts['processor']}; {facts['system']}; {', '.join(versions)}."


def table_text(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, columns padded so that the source reads too; all but the first to the right."""
    widths = [max(len(row[n]) for row in (header, *rows)) for n in range(len(header))]
    rule = ["-" * width if n == 0 else "-" * (width - 1) + ":" for n, width in enumerate(widths)]
    lines = [
        "| "
        + " | ".join(
            cell.ljust(width) if n == 0 else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        + " |"
        for row in (header, rule, *rows)
    ]
    return "\n".join(lines)


def publish(name: str, folder: Path, markdown: str, numbers: Mapping[str, Any]) -> None:
    """Prints the Markdown and writes NAME.md and NAME.json."""
    print(markdown)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(markdown.rstrip() + "\n", encoding="utf-8")
    (folder / f"{name}.json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    print(f"\nwritten: {folder / name}.md and .json", file=sys.stderr)


def rmse(predictions: NDArray[Any], ratings: NDArray[Any]) -> float:
    return float(np.sqrt(np.mean((predictions.astype(np.float64) - ratings) ** 2)))


def mae(predictions: NDArray[Any], ratings: NDArray[Any]) -> float:
    return float(np.mean(np.abs(predictions.astype(np.float64) - ratings)))
