"""Shared fixtures. Real data is read from a folder beside the project, or the test is skipped."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of public data sets: $BILINEAR_DATA, else ../shared/data."""
    folder = Path(os.environ.get("BILINEAR_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"the folder of public data sets {folder} is absent (set BILINEAR_DATA to it)")
    return folder
