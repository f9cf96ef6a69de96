"""Ctrl-C at any moment of a real process: one line, exit code 130, and nothing half written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from time import sleep

import pytest
from command_line import FIXED

from bilinear.compiling import NOTICE

STOPPED = "bilinear: stopped before it was done; no file was left half written\n"
CHILD = Path(__file__).with_name("ctrl_c_child.py")

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")


def pressed(moment: str, folder: Path, *arguments: object) -> tuple[int, str, str]:
    ran = subprocess.run(
        [sys.executable, CHILD, moment, folder, *map(str, arguments)],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,  # a process that does not end would run for hours
    )
    return ran.returncode, ran.stdout, ran.stderr.replace(f"{NOTICE}\n", "")


MOMENTS_OF_TRAINING = (
    *("import bilinear.cli.interrupts", "import numba", "bilinear.data.reading.duckdb_reader:_load"),
    *("bilinear.training.search:search", "bilinear.training.sgd:SGDRun.of", "os:fsync"),
)


@pytest.mark.parametrize("moment", MOMENTS_OF_TRAINING)
def test_training_is_stopped_wherever_it_is(moment: str, ratings_file: Path, tmp_path: Path) -> None:
    command = ("train", ratings_file, "--model", "mf", "--out", tmp_path / "m", "-q")
    code, _, error = pressed(moment, tmp_path, *command, *(FIXED if "search" not in moment else ()))
    assert (code, error) == (130, STOPPED)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("moment", "arguments"),
    [
        ("bilinear.estimators.rating_model:ErrorSums", ["evaluate", "MODEL", "RATINGS"]),
        (
            "bilinear.recommend.parquet:_copy",
            ["recommend", "MODEL", "--all", "--out", "FOLDER/lists.parquet"],
        ),
    ],
    ids=["evaluation", "lists"],
)
def test_use_is_stopped_wherever_it_is(
    moment: str, arguments: list[str], model: Path, ratings_file: Path, tmp_path: Path
) -> None:
    given = {"MODEL": str(model), "RATINGS": str(ratings_file)}
    words = [given.get(word, word.replace("FOLDER", str(tmp_path))) for word in arguments]
    code, out, error = pressed(moment, tmp_path, *words)
    assert (code, out, error) == (130, "", STOPPED)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("work", ["query", "copy", "destructor", "converted"])
def test_what_python_alone_would_not_stop_is_stopped(work: str, tmp_path: Path) -> None:
    """Queries of years, an exception that is forgotten in a destructor, one that became another."""
    assert pressed(work, tmp_path) == (130, "", STOPPED)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("work", ["twice", "twice, threads"])
def test_a_second_one_ends_the_process_at_once_whatever_it_is_in(work: str, tmp_path: Path) -> None:
    assert pressed(work, tmp_path) == (130, "", "bilinear: ended at once\n")


def test_the_training_beside_a_server_leaves_ctrl_c_to_the_server() -> None:
    """It would otherwise end training early, and offer a model that is half trained."""
    command = [sys.executable, "-m", "bilinear.serving.lifecycle.retrain_process"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        own = os.getpriority(os.PRIO_PROCESS, 0)
        for _ in range(3000):  # until it has begun, and made itself nicer than it was
            if child.poll() is not None or os.getpriority(os.PRIO_PROCESS, child.pid) > own:
                break
            sleep(0.01)
        os.kill(child.pid, signal.SIGINT)
        _, error = child.communicate("no order")
    assert child.returncode == 1
    assert "JSONDecodeError" in error
    assert "KeyboardInterrupt" not in error
