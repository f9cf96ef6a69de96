"""What the compiler targets, and the shapes that follow from it."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from bilinear.kernels.target import REGISTER_BYTES, WIDE, register_bytes

x86 = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names of x86 processors")


@x86
@pytest.mark.parametrize(
    ("cpu", "features", "expected"),
    [
        ("x86-64", "", 16),
        ("nehalem", "", 16),
        ("haswell", "", 32),
        ("znver3", "", 32),
        ("skylake-avx512", "", 64),
        ("znver5", "", 64),
        ("haswell", "+avx512f", 64),
        ("skylake-avx512", "-avx512f", 32),
    ],
)
def test_registers_are_those_that_llvm_uses_for_that_processor(cpu, features, expected):
    assert register_bytes(cpu, features) == expected


def test_this_process_has_one_of_the_three_widths():
    assert REGISTER_BYTES in (16, 32, 64)
    assert (REGISTER_BYTES == 64) == WIDE


@x86
@pytest.mark.parametrize(
    ("cpu", "features", "expected"),
    [
        ("haswell", "-avx512f", "32 ((0,), (0, 0, 0)) 4 (6, 16)"),
        ("skylake-avx512", "+avx512f", "64 ((0, 0, 0, 0), ()) 1 (12, 32)"),
    ],
)
def test_shapes_follow_the_settings_of_numba(cpu, features, expected):
    code = (
        "import numpy as np; from bilinear.kernels import lanes, sgd, target, tile;"
        "rows = np.zeros((2, lanes.columns_of(64, 4)), np.float32);"
        "tiles = tile.TILE_USERS, tile.TILE_ITEMS;"
        "print(target.REGISTER_BYTES, lanes.shape_of(rows), sgd._TOGETHER, tiles)"
    )
    environment = {**os.environ, "NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": features}
    found = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == expected
