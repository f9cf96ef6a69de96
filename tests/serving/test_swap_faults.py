"""A disk that is full or broken, and kill -9, at any system call of every change of the served model.

Afterwards the old model or the new one is live, whole, and there is a way back. Of single calls that fail,
which mostly read, one in three is tried, or each with BILINEAR_KILLS set.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest
from faulty_disk import FaultyDisk, fails_at, full_from
from swaps import CHANGES, Start, check_after, check_answers, served

from bilinear.serving.problems import Conflict


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """No power is cut here, so the real disk need not be waited for."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Start:
    return Start.make(tmp_path_factory.mktemp("start"))


@pytest.mark.parametrize(
    ("fault", "codes", "step"),
    [
        (fails_at, [errno.EIO], 1 if "BILINEAR_KILLS" in os.environ else 3),
        (full_from, [errno.ENOSPC, errno.EDQUOT], 1),
    ],
    ids=["one call fails", "disk full"],
)
@pytest.mark.parametrize("change", CHANGES)
def test_a_disk_that_fails_at_any_call_leaves_a_live_model_and_a_way_back(
    start: Start, tmp_path: Path, change: str, fault: type, codes: list[int], step: int
) -> None:
    prepare, work = CHANGES[change]
    for number in count(1, step):
        here = start.copy(tmp_path / "here")
        service = served(here.folder)
        prepare(here)
        if change == "restart":
            service.models.close()
        disk = FaultyDisk(here.folder, fault(number, codes[number % len(codes)]))
        with disk.mounted(), suppress(Conflict):
            work(service, here)
        check_answers(service, here)
        service.models.close()
        check_after(change, here)
        if not disk.n_faults:
            break
    assert number > 6


def test_a_full_disk_does_not_stop_a_server_from_starting(start: Start, tmp_path: Path) -> None:
    here = start.copy(tmp_path / "here")
    with FaultyDisk(here.folder, full_from(1, errno.ENOSPC)).mounted():
        service = served(here.folder)
    check_answers(service, here)
    service.models.close()


def test_kill_9_at_any_call_leaves_a_live_model_and_a_way_back(tmp_path: Path) -> None:
    child = subprocess.run(
        [sys.executable, Path(__file__).with_name("swaps.py"), tmp_path],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )
    assert child.returncode == 0, child.stderr
    n_calls = {change: int(n) for change, n, _ in map(str.split, child.stdout.splitlines())}
    assert n_calls.keys() == CHANGES.keys()
    assert all(n > 6 for n in n_calls.values())
