"""The process that compiles a kernel and those that load it later compute the same bits."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import fitted_bits

COMPILED_AGAIN = ("sgd", "implicit")  # cheap to compile, and `implicit` shares kernels with `als`


def in_a_child(*names: str, **environment: str) -> dict[str, str]:
    lines = subprocess.run(
        [sys.executable, fitted_bits.__file__, *names],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    return dict(line.split() for line in lines)  # type: ignore[misc]


def test_the_bits_do_not_depend_on_the_process_that_compiled(tmp_path: Path) -> None:
    """Nor on what it compiled before.

    In a clean clone this process compiles and the first child loads, for all models and at no cost beyond the
    compiling that the run needs anyway. The second child always compiles, and nothing but its own kernels.
    """
    here = fitted_bits.fitted_bits()
    assert in_a_child() == here
    again = in_a_child(*COMPILED_AGAIN, NUMBA_CACHE_DIR=str(tmp_path))
    assert any(tmp_path.rglob("*.nbc"))
    assert again == {name: here[name] for name in COMPILED_AGAIN}
