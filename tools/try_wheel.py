"""Installs the built wheel into a bare environment and uses it: import, command line, train, save, recommend.

    python tools/try_wheel.py dist [--constraint constraints.txt]

The environment has what the wheel itself asks for and no extra. Nothing is imported from the checkout.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

IN_PYTHON = """
import bilinear
assert "site-packages" in bilinear.__file__, bilinear.__file__
ratings = bilinear.read_ratings("data/ratings.csv")
bilinear.BiasModel().fit(ratings).save("biases")
lists = bilinear.load("biases").recommend(1, n=3)
assert len(lists.items) == 3, lists
print(bilinear.__version__, end="")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dist", type=Path)
    parser.add_argument("--constraint", type=Path)
    given = parser.parse_args()
    wheels = sorted(given.dist.glob("*.whl"))
    if len(wheels) != 1:
        sys.exit(f"{given.dist} has {len(wheels)} wheels instead of one; remove the old ones and build again")
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        room = Path(folder)
        run(room, sys.executable, "-m", "venv", "--without-pip", "environment")
        bin_folder = room / "environment" / ("Scripts" if os.name == "nt" else "bin")
        python, command = str(bin_folder / "python"), str(bin_folder / "bilinear")
        locked = ["--constraint", str(given.constraint.resolve())] if given.constraint else []
        pip = [sys.executable, "-m", "pip", "--python", python, "--quiet", "--disable-pip-version-check"]
        run(room, *pip, "install", "--no-compile", *locked, str(wheels[0].resolve()))
        run(room, command, "data", "synthetic", "data", "--n-ratings", "5000")
        version = run(room, python, "-c", IN_PYTHON)
        said = run(room, command, "--version").strip()
        if said.split()[-1] != version:
            sys.exit(f"`bilinear --version` says {said!r}, bilinear.__version__ is {version!r}")
        run(room, command, "train", "data/ratings.csv", "--model", "biases", "--out", "model")
        if "rank" not in run(room, command, "recommend", "model", "--user", "1", "-n", "3"):
            sys.exit("`bilinear recommend` printed no table")
    print(f"{wheels[0].name}: installed and used in a bare environment ({time.perf_counter() - start:.0f} s)")


def run(room: Path, *command: str) -> str:
    """Standard output of a command; ends with its output where it fails."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, cwd=room, env=clean, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\nexit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
