"""What the lab costs: a proved optimum on real ratings, a certificate on millions, a report.

Optimum: `bilinear lab certify` and `bilinear lab verify` on ml-latest-small, each a process of its
own. Certificate: objective, loss gradient, one spectral norm and the lower bound at a random point with
64 factors, on synthetic ratings; memory is what the process held at its peak beyond what it held with
the ratings alone. Report: `bilinear lab` with its defaults on a model of `bilinear train`.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import common

PENALTIES = (("0.594", "0.8", "0.5"), ("1", "0.8", "0.5"), ("6", "6", "0"))
"""(l2, l2_biases, exponent): what the search of `bilinear train` finds; a larger one; a plain one."""
SIZES = (250_000, 500_000, 1_000_000, 2_000_000, 4_000_000)

_CERTIFICATE = """
import json, sys, time
import numpy as np
from bilinear import Identity, Interactions, SquaredError
from bilinear.data.vocabulary import Vocabulary
from bilinear.lab import certificate_of
from bilinear.model.parameters import Parameters
from bilinear.objective.objective import Objective
from bilinear.objective.penalties import L2

def table(n, rng):
    users, items = max(n // 100, 10), max(n // 250, 10)
    cells = np.unique(rng.integers(0, users, 2 * n) * items + (items * rng.random(2 * n) ** 2).astype(int))
    cells = np.sort(rng.permutation(cells)[:n])
    return Interactions.from_rows(
        (cells // items).astype(np.int32), (cells % items).astype(np.int32),
        (rng.integers(1, 11, len(cells)) / 2).astype(np.float32), None,
        Vocabulary.from_sorted(np.arange(users)), Vocabulary.from_sorted(np.arange(items)))

def point(table, rng):
    m, n = table.shape
    return Parameters(3.0, *(0.1 * rng.standard_normal(size) for size in (m, n, (m, 64), (n, 64))))

def held(field):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(field)) / 1024

rng = np.random.default_rng(0)
small = table(2000, rng)
certificate_of(Objective(SquaredError(), Identity(0.5, 5), L2(3, 3, 0), small), point(small, rng))
ratings = table(int(sys.argv[1]), rng)
at = point(ratings, rng)
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # the peak so far, of making the ratings, is forgotten
before = held("VmRSS:")
objective = Objective(SquaredError(), Identity(0.5, 5), L2(3, 3, 0), ratings)
wall, cpu = time.perf_counter(), time.process_time()
found = certificate_of(objective, at)
print(json.dumps({
    "ratings": ratings.n_ratings, "users": ratings.n_users, "items": ratings.n_items,
    "seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu,
    "resident_mib": before, "peak_mib": held("VmHWM:"), "ratio": found.ratio}))
"""


def lab(*arguments: str | Path) -> common.Measured:
    program = Path(sys.executable).with_name("bilinear")
    return common.measure_child([str(program), *map(str, arguments)])


def optimum(ratings: Path, folder: Path, penalty: tuple[str, str, str]) -> dict[str, Any]:
    """Found and verified, by two processes."""
    l2, l2_biases, exponent = penalty
    out, proof = folder / "best", folder / "proof"
    settings = f"l2={l2}", f"l2_biases={l2_biases}", f"l2_exponent={exponent}"
    options = *(word for setting in settings for word in ("--set", setting)), "--json", "--quiet"
    found = lab("lab", "certify", ratings, "--out", out, "--proof", proof, *options)
    checked = lab("lab", "verify", proof, ratings, "--json")
    told, verified = json.loads(found.output), json.loads(checked.output)
    return {
        "penalty": penalty,
        "rank": told["rank"],
        "relative_gap": verified["relative_gap"],
        "valid": verified["valid"],
        "norm_by": verified["norm_by"],
        "certify": {name: value for name, value in asdict(found).items() if name != "output"},
        "verify": {name: value for name, value in asdict(checked).items() if name != "output"},
    }


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--shorten", action="store_true", help="try it: one penalty, two sizes")
    options = parser.parse_args()
    penalties, sizes = (PENALTIES[1:2], SIZES[:2]) if options.shorten else (PENALTIES, SIZES)
    ratings = common.rating_file("ml-latest-small", options.data)
    optima: list[dict[str, Any]] = []
    report: dict[str, float] | None = None
    if ratings is not None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            lab(
                "lab",
                "certify",
                ratings,
                "--out",
                folder / "first",
                "--set",
                "l2=30",
                "--set",
                "l2_biases=1",
                "--quiet",
            )
            optima = [optimum(ratings, folder, penalty) for penalty in penalties]
            lab("train", ratings, "--out", folder / "model", "--quiet")
            told = lab("lab", folder / "model", ratings, "--html", folder / "lab.html", "--quiet")
            report = {"seconds": told.seconds, "cpu_seconds": told.cpu_seconds, "peak_mib": told.peak_mib}
    sizes_found = [
        json.loads(common.measure_child([sys.executable, "-c", _CERTIFICATE, str(size)]).output)
        for size in sizes
    ]

    parts = ["### What the lab costs", ""]
    if optima:
        rows = [
            [
                "l2 {}, biases {}, exponent {}".format(*found["penalty"]),
                str(found["rank"]),
                f"{found['relative_gap']:.1e}",
                f"{found['certify']['seconds']:.1f}",
                f"{found['certify']['cpu_seconds']:.1f}",
                f"{found['verify']['seconds']:.1f}",
                "yes" if found["valid"] else "NO",
            ]
            for found in optima
        ]
        head = ["ml-latest-small", "rank", "gap", "find, s", "CPU s", "verify, s", "proof holds"]
        parts += [common.table_text(head, rows), ""]
    rows = [
        [
            f"{found['ratings']:,}",
            f"{found['users']:,} x {found['items']:,}",
            f"{found['seconds']:.2f}",
            f"{found['cpu_seconds']:.2f}",
            f"{found['peak_mib']:.0f}",
            f"{max(found['peak_mib'] - found['resident_mib'], 0) * 2**20 / found['ratings']:.0f}",
        ]
        for found in sizes_found
    ]
    head = ["certificate alone, ratings", "table", "s", "CPU s", "peak MiB", "extra bytes a rating"]
    parts += [common.table_text(head, rows), ""]
    if report is not None:
        parts += [
            f"The report with its page, on a model of `bilinear train`: {report['seconds']:.1f} s "
            f"({report['cpu_seconds']:.1f} CPU s, peak {report['peak_mib']:.0f} MiB).",
            "",
        ]
    facts = common.machine_facts("scipy")
    parts.append(common.facts_line(facts))
    numbers = {"machine": facts, "optima": optima, "certificates": sizes_found, "report": report}
    common.publish("lab", options.out, "\n".join(parts), numbers)


if __name__ == "__main__":
    main()
