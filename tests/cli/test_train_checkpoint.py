"""`bilinear train --checkpoint`: terminated, refused, gone on with to the same bits."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import Run
from problems import same_bits

import bilinear
from bilinear.training.checkpoint import checkpointing
from bilinear.training.checkpoint_journal import FILE

FIXED = [
    *("--set", "n_factors=4", "--set", "l2=0.2", "--set", "l2_biases=0.2"),
    *("--set", "solver__n_epochs=300", "--quiet"),
]
SCRIPT = "import sys; from bilinear.cli import main; sys.argv[0] = 'bilinear'; main()"


def wait_for_a_new_file(path: Path, child: subprocess.Popen[bytes], before: set[int]) -> None:
    """Until `path` is another file than those, as a writer puts a new one in place of the old."""
    while child.poll() is None:
        if path.exists() and path.stat().st_mtime_ns not in before:
            before.add(path.stat().st_mtime_ns)
            return
        time.sleep(0.005)


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM")
def test_a_terminated_training_goes_on_to_the_same_bits(run: Run, tmp_path: Path) -> None:
    assert run("data", "synthetic", tmp_path / "s", "--n-ratings", 4_000).code == 0
    ratings, folder = tmp_path / "s" / "ratings.csv", tmp_path / "c"
    arguments = ["train", ratings, "--out", tmp_path / "m", *FIXED, "--checkpoint", folder]
    command = [sys.executable, "-c", SCRIPT, *map(str, arguments), "--checkpoint-every", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        seen: set[int] = set()
        for _ in range(8):
            wait_for_a_new_file(folder / FILE, child, seen)
        child.send_signal(signal.SIGTERM)
        _, err = child.communicate()
    assert child.returncode == 143, err
    assert b"--resume" in err
    assert b"Traceback" not in err
    assert not (tmp_path / "m").exists()

    refused = run(*arguments)
    assert refused.code == 2
    assert "unfinished training" in refused.err
    other = run(*arguments, "--resume", "--seed", 5)
    assert other.code == 2
    assert "another training" in other.err

    resumed = run(*arguments, "--resume")
    assert resumed.code == 0, resumed.err
    assert not folder.exists()
    whole = run("train", ratings, "--out", tmp_path / "whole", *FIXED)
    assert whole.code == 0
    parameters = [bilinear.load(tmp_path / name).parameters_ for name in ("m", "whole")]
    assert same_bits(*parameters)


def test_what_cannot_be_kept_is_refused(run: Run, ratings_file: Path, tmp_path: Path) -> None:
    lonely = run("train", ratings_file, "--out", tmp_path / "m", *FIXED, "--resume")
    assert lonely.code == 2
    assert "--checkpoint" in lonely.err
    biases = run(
        "train", ratings_file, "--out", tmp_path / "m", "--model", "biases", "--checkpoint", tmp_path / "c"
    )
    assert biases.code == 2
    assert "--model mf" in biases.err
    (tmp_path / "file").write_text("mine")
    on_file = run("train", ratings_file, "--out", tmp_path / "m", *FIXED, "--checkpoint", tmp_path / "file")
    assert on_file.code == 2
    assert "is a file" in on_file.err


@pytest.mark.parametrize("model", ["implicit-als", "ranking-factorization"])
def test_models_of_rankings_keep_a_checkpoint_too(
    run: Run, ratings_file: Path, tmp_path: Path, model: str
) -> None:
    """One of another command is there: it is refused, so it was read."""
    folder = tmp_path / "c"
    chosen = ["--task", "ranking", "--model", model, "--set", "n_factors=4", "--quiet"]
    arguments = ["train", ratings_file, *chosen, "--checkpoint", folder]
    with checkpointing(bilinear.Checkpoint(folder, minutes=0), lambda: {"command": "other"}) as kept:
        kept.interrupt()
    refused = run(*arguments, "--out", tmp_path / "m")
    assert (refused.code, "unfinished training" in refused.err) == (2, True)
    other = run(*arguments, "--out", tmp_path / "m", "--resume")
    assert (other.code, "another training" in other.err) == (2, True)
    (folder / FILE).unlink()
    done = run(*arguments, "--out", tmp_path / "m")
    assert done.code == 0, done.err
    assert not folder.exists()
