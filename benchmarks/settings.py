"""The same benchmark under two settings of the compiler and of BLAS, in child processes of its own.

A setting makes code for an older processor than the machine's: narrower vectors, fewer registers. Caches and
memory stay those of the machine, so a column says what the code loses, not how fast such a machine is.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import common
from llvmlite import binding

# NUMBA_CPU_NAME: (NUMBA_CPU_FEATURES, OPENBLAS_CORETYPE). Without features Numba adds this machine's.
SETTINGS = {
    "generic": ("-avx", "Prescott"),
    "haswell": ("-avx512f", "Haswell"),
    "znver3": ("-avx512f", "Zen"),
    "skylake-avx512": ("+avx512f", "SkylakeX"),
}


def add_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cpu",
        choices=SETTINGS,
        help="run under the default setting and under that of this processor, and print both columns",
    )


def environment(cpu: str) -> dict[str, str]:
    """What a child process needs to run as on that processor.

    Raises:
        SystemExit: this machine cannot run its code.
    """
    features, core = SETTINGS[cpu]
    if features == "+avx512f" and not binding.get_host_cpu_features().get("avx512f"):
        raise SystemExit(f"--cpu {cpu}: this processor has no AVX-512; name an older one")
    return {"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": features, "OPENBLAS_CORETYPE": core}


def ran_both(options: argparse.Namespace, name: str) -> bool:
    """Runs this script under both settings and publishes one table, if --cpu was given; else False.

    Args:
        name: that the script publishes under.
    """
    if not options.cpu:
        return False
    arguments = _without(sys.argv[1:], "--cpu", "--out")
    texts, numbers = [], {}
    for setting, extra in (("default", {}), (options.cpu, environment(options.cpu))):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, sys.argv[0], *arguments, "--out", folder]
            subprocess.run(command, check=True, env={**os.environ, **extra}, stdout=sys.stderr)
            texts.append(Path(folder, f"{name}.md").read_text(encoding="utf-8"))
            numbers[setting] = json.loads(Path(folder, f"{name}.json").read_text(encoding="utf-8"))
    common.publish(name, options.out, side_by_side(*texts, options.cpu), numbers)
    return True


def side_by_side(text: str, other: str, cpu: str) -> str:
    """`text` with a second column, from `other`, beside each column of its tables that differs."""
    lines, others = text.splitlines(), iter([row for row in map(_cells, other.splitlines()) if row])
    out: list[str] = []
    n = 0
    while n < len(lines):
        table = []
        while n < len(lines) and (cells := _cells(lines[n])):
            table.append((cells, next(others)))
            n += 1
        if table:
            (header, _), _, *rows = table
            differ = [any(row[c] != beside[c] for row, beside in rows) for c in range(len(header))]
            out.append(
                common.table_text(
                    _widened(header, [f"{title} ({cpu})" for title in header], differ),
                    [_widened(row, beside, differ) for row, beside in rows],
                )
            )
        else:
            out.append(lines[n])
            n += 1
    out += ["", f"Columns marked ({cpu}): the same machine under {_told(cpu)}."]
    return "\n".join(out)


def _told(cpu: str) -> str:
    return " ".join(f"{key}={value}" for key, value in environment(cpu).items())


def _widened(row: list[str], beside: list[str], differ: list[bool]) -> list[str]:
    return [
        cell
        for one, two, both in zip(row, beside, differ, strict=True)
        for cell in ((one, two) if both else (one,))
    ]


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []


def _without(arguments: list[str], *options: str) -> list[str]:
    """Arguments less those options and their values, as `--cpu NAME` or `--cpu=NAME`."""
    kept: list[str] = []
    skip = False
    for argument in arguments:
        if skip:
            skip = False
        elif argument in options:
            skip = True
        elif not argument.startswith(tuple(f"{option}=" for option in options)):
            kept.append(argument)
    return kept
