"""Whichever process compiled a kernel, with any number of threads: the same bits."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import fitted_bits

COMPILED_AGAIN = "implicit"  # which shares kernels with `als`, compiled before it or not


def in_a_child(*names: str, **environment: str) -> dict[str, str]:
    lines = subprocess.run(
        [sys.executable, fitted_bits.__file__, *names],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    return dict(line.split() for line in lines)  # type: ignore[misc]


def test_the_bits_do_not_depend_on_the_process_that_compiled_or_on_threads(tmp_path: Path) -> None:
    """Nor on what it compiled before.

    In a clean clone this process compiles and the first child loads, for all models and at no cost beyond the
    compiling that the run needs anyway. The second child always compiles, and nothing but its own kernels.
    """
    here = fitted_bits.fitted_bits()
    assert in_a_child(NUMBA_NUM_THREADS="1", OPENBLAS_NUM_THREADS="2", PYTHONHASHSEED="1") == here
    again = in_a_child(COMPILED_AGAIN, NUMBA_CACHE_DIR=str(tmp_path))
    assert any(tmp_path.rglob("*.nbc"))
    assert again == {COMPILED_AGAIN: here[COMPILED_AGAIN]}
