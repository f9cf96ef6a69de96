"""Compiling of kernels: told once, not counted into seconds, and done ahead."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from time import perf_counter

import numba
import numpy as np
import pytest

from bilinear import compiling
from bilinear.kernels.cache import njit

AHEAD = """
import sys
from numba.core.dispatcher import Dispatcher
import gc
from bilinear.cli import main
from bilinear.estimators import compile_ahead

def signatures():
    kernels = [one for one in gc.get_objects() if isinstance(one, Dispatcher)]
    kernels = [one for one in kernels if one.py_func.__module__.startswith("bilinear.kernels")]
    return {(one.py_func.__module__, one.py_func.__name__, sig) for one in kernels for sig in one.overloads}

compile_ahead._ratings()
before = signatures()
ratings, out = sys.argv[1:]
for command in (["train", ratings, "--out", out, "-q"], ["recommend", out, "--user", "1"]):
    sys.argv[1:] = command
    try:
        main()
    except SystemExit as stop:
        assert not stop.code, stop.code
for name in sorted(str(new) for new in signatures() - before):
    print("compiled later:", name)
"""


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(compiling, "_announced", False)

    @njit(cache=True)
    def add_one(x):
        return x + 1

    return add_one


def test_it_is_announced_once_and_only_when_something_is_compiled(kernel, monkeypatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr(compiling, "announce", lines.append)
    before = compiling.count()
    assert kernel(1) == 2
    assert kernel(2) == 3
    assert (lines, compiling.count()) == ([compiling.NOTICE], before + 1)
    assert kernel(1.5) == 2.5
    assert (lines, compiling.count()) == ([compiling.NOTICE], before + 2)


def test_the_clock_stands_still_meanwhile(kernel, monkeypatch) -> None:
    monkeypatch.setattr(compiling, "announce", None)
    real, spent, shown = perf_counter(), compiling.seconds(), compiling.clock()
    kernel(1)
    shown, spent, real = compiling.clock() - shown, compiling.seconds() - spent, perf_counter() - real
    assert spent > 0
    assert 0 <= shown <= real - spent
    compiling.begin()
    assert compiling.clock() == compiling.clock()
    compiling.end()


def test_a_compilation_that_fails_ends_too(kernel, monkeypatch) -> None:
    monkeypatch.setattr(compiling, "announce", None)
    with pytest.raises(numba.TypingError):
        kernel("text")
    assert compiling.clock() < compiling.clock()


def test_what_was_compiled_ahead_is_all_that_training_on_ratings_uses(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pairs = rng.choice(80 * 50, 1500, replace=False)
    rows = zip(pairs // 50, pairs % 50, rng.integers(1, 6, 1500), strict=True)
    lines = [",".join(map(str, row)) for row in rows]
    (tmp_path / "ratings.csv").write_text("\n".join(["user,item,rating", *lines]) + "\n")
    done = subprocess.run(
        [sys.executable, "-c", AHEAD, tmp_path / "ratings.csv", tmp_path / "model"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "compiled later" not in done.stdout
