"""Shared fixtures. Real data is read from a folder beside the project, or the test is skipped."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Workers share the cores, where threads of BLAS and OpenMP would mostly wait for one another, at full power.
for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(name, "1")

# Files that take longest: begun first, so that no worker is left alone with one of them at the end.
LONGEST = (
    "training/test_checkpoint.py",
    "docs/test_code_blocks.py",
    "serving/test_swap_faults.py",
    "docs/test_examples.py",
    "test_extending.py",
    "cli/test_clicks_commands.py",
    "cli/test_ctrl_c.py",
    "kernels/test_kernels_on_disk.py",
    "training/test_gibbs.py",
    "serving/test_page.py",
    "cli/test_train_command.py",
    "cli/test_using_commands.py",
    "data/test_rows_never_vanish.py",
    "estimators/test_auto.py",
    "docs/test_thread_page.py",
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {Path(__file__).parent / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of public data sets: $BILINEAR_DATA, else ../shared/data."""
    folder = Path(os.environ.get("BILINEAR_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"the folder of public data sets {folder} is absent (set BILINEAR_DATA to it)")
    return folder
