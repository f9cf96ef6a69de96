"""What a hurried user does to the commands: tiny tables, odd numbers, odd files."""

from __future__ import annotations

import io
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Run
from listeners import CtrlC

from bilinear.cli import main
from bilinear.cli.output import print_json
from bilinear.estimators.matrix_factorization import MatrixFactorization


@pytest.mark.parametrize(
    ("rows", "split"),
    [
        ("1,1,3,1\n1,2,4,2\n2,1,5,3\n", "temporal"),  # the other user is the one held out
        ("1,1,3,1\n1,2,4,2\n2,1,5,3\n2,2,1,4\n", "leave-last-out"),  # and here the other item
    ],
)
def test_a_table_that_its_split_uses_up_is_refused_in_words_about_the_split(
    run: Run, tmp_path: Path, rows: str, split: str
) -> None:
    file = tmp_path / "tiny.csv"
    file.write_text("user,item,rating,time\n" + rows)
    ran = run("train", file, "--split", split, "--out", tmp_path / "m", "-q")
    assert ran.code == 2
    assert "is held out" in ran.err
    assert "--test" in ran.err
    assert "column the right one" not in ran.err
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("test", ["nan", "inf", "-inf", "1.5", "0"])
def test_how_many_to_leave_out_is_a_whole_number(
    run: Run, ratings_file: Path, tmp_path: Path, test: str
) -> None:
    ran = run("train", ratings_file, "--split", "leave-last-out", f"--test={test}", "--out", tmp_path / "m")
    assert ran.code == 2
    assert "whole number" in ran.err or "one or more" in ran.err
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("suffix", ["csv", "json"])
def test_with_a_file_to_write_the_json_says_what_was_written(
    run: Run, model: Path, ratings_file: Path, tmp_path: Path, suffix: str
) -> None:
    out = tmp_path / f"out.{suffix}"
    told = json.loads(run("predict", model, ratings_file, "--out", out, "--json").out)
    assert told == {"path": str(out), "n_pairs": 900, "n_unknown_users": 0, "n_unknown_items": 0}
    told = json.loads(run("recommend", model, "--all", "-n", 3, "--out", out, "--json").out)
    assert told["path"] == str(out)
    assert (told["n_lists"], told["n_places"]) == (60, 180)
    if suffix == "csv":
        told = json.loads(run("similar", model, "--all", "-n", 3, "--out", out, "--json").out)
        assert (told["path"], told["n_lists"], told["n_places"]) == (str(out), 40, 120)


@pytest.mark.parametrize("suffix", ["csv", "json", "parquet"])
def test_lists_of_a_ranking_model_are_written_with_their_scores(
    run: Run, ratings_file: Path, tmp_path: Path, suffix: str
) -> None:
    folder, out = tmp_path / "m", tmp_path / f"lists.{suffix}"
    assert run("train", ratings_file, "--task", "ranking", "--model", "popularity", "--out", folder).code == 0
    assert run("recommend", folder, "--users", "000,001", "-n", 2, "--out", out).code == 0
    if suffix == "csv":
        header, *rows = out.read_text().splitlines()
        assert header == "user,rank,item,score,known_user,title"
        assert [row.split(",")[:2] for row in rows] == [
            ["000", "1"],
            ["000", "2"],
            ["001", "1"],
            ["001", "2"],
        ]
        assert all(float(row.split(",")[3]) > 0 for row in rows)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"\xff\xfe\x00", "not valid UTF-8"), (None, "ids.txt: No such file")],
    ids=["binary", "absent"],
)
def test_a_list_of_ids_that_cannot_be_read_is_named(
    run: Run, model: Path, tmp_path: Path, content: bytes | None, message: str
) -> None:
    ids = tmp_path / "ids.txt"
    if content is not None:
        ids.write_bytes(content)
    ran = run("recommend", model, "--users", f"@{ids}")
    assert ran.code == 2
    assert message in ran.err
    assert "ids.txt" in ran.err
    assert "Errno" not in ran.err


def test_feedback_is_never_read_from_a_store_that_is_not_there(
    run: Run, ratings_file: Path, tmp_path: Path
) -> None:
    store = tmp_path / "mistyped.db"
    ran = run("train", ratings_file, "--store", f"sqlite:///{store}", "--out", tmp_path / "m", "-q")
    assert ran.code == 2
    assert "mistyped.db: no such file" in ran.err
    assert list(tmp_path.iterdir()) == []


def test_an_address_of_the_web_is_told_from_a_database(run: Run, tmp_path: Path) -> None:
    ran = run("train", "https://example.org/ratings.csv", "--out", tmp_path / "m")
    assert ran.code == 2
    assert "fetch it first" in ran.err


def test_the_demo_is_not_written_into_a_file(run: Run, ratings_file: Path) -> None:
    ran = run("demo", "--out", ratings_file)
    assert ran.code == 2
    assert "is a file; --out names a folder" in ran.err


@pytest.mark.parametrize("where", ["bilinear.cli.table_options.TableOptions.read", "bilinear.cli.app.app"])
def test_ctrl_c_says_so_and_ends_with_130(
    run: Run, ratings_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(where, stopped)
    ran = run("train", ratings_file, "--out", tmp_path / "m")
    assert ran.code == 130
    assert ran.err == "bilinear: stopped before it was done; no file was left half written\n"
    assert not (tmp_path / "m").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of a file's size there")
@pytest.mark.parametrize("name", ["all.csv", "all.parquet", "one.parquet"])
def test_a_full_disk_is_named_and_leaves_nothing(run: Run, model: Path, tmp_path: Path, name: str) -> None:
    import resource

    whom = ["--all"] if name.startswith("all") else ["--users", "000,001,002,003,004"]
    arguments = ["recommend", model, *whom, "-n", 40, "--include-seen", "--out", tmp_path / name]
    assert run(*arguments).code == 0  # compiles what there is to compile
    (tmp_path / name).unlink()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        ran = run(*arguments)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert ran.code == 2
    # Lists of everyone are made in the system's folder for temporary files, and moved when they are whole.
    *_, where, why = ran.err.splitlines()[-1].split(": ")
    assert why == "File too large"
    assert where == str((tmp_path / name).resolve()) or where.startswith(f"{tempfile.gettempdir()}/bilinear-")
    assert list(tmp_path.iterdir()) == []


def on_an_old_terminal(monkeypatch: pytest.MonkeyPatch, work: Callable[[], object]) -> bytes:
    """What `work` prints where standard output knows no letters but ASCII."""
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, "ascii", write_through=True)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        work()
    stream.detach()
    return written.getvalue()


def test_a_terminal_without_the_letters_gets_question_marks(
    ratings_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def describe() -> None:
        with pytest.raises(SystemExit) as stop:
            main()
        assert not stop.value.code

    monkeypatch.setattr(sys, "argv", ["bilinear", "data", "describe", str(ratings_file)])
    written = on_an_old_terminal(monkeypatch, describe)
    assert b"900 ratings" in written
    assert b"???" in written  # the bars of the histogram


def test_json_is_whole_without_the_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    written = on_an_old_terminal(monkeypatch, lambda: print_json({"title": "Amélie"}))
    assert json.loads(written) == {"title": "Amélie"}


def test_a_folder_that_may_not_be_written_is_refused_before_the_work(
    run: Run, ratings_file: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    ran = run("train", ratings_file, "--out", tmp_path / "m")
    assert ran.code == 2
    assert ran.err == f"bilinear: {tmp_path / 'm'}: you may not write into {tmp_path}; choose another --out\n"
    ran = run("lab", model, ratings_file, "--html", tmp_path / "lab.html")
    assert ran.code == 2
    assert "--html: expected a place where a file can be written" in ran.err


def test_ctrl_c_in_training_is_told_beside_the_comparison_and_ends_the_lab(
    run: Run, ratings_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = MatrixFactorization.fit
    monkeypatch.setattr(
        MatrixFactorization, "fit", lambda model, table, **_: fit(model, table, progress=CtrlC("epoch", 3))
    )
    ran = run("compare", ratings_file, "--model", "mf", "--model", "mean", "-q")
    assert ran.code == 0
    assert ran.err.startswith("stopped by you: mf measured with the best weights so far")
    ran = run("lab", "certify", ratings_file, "--out", tmp_path / "best", "-q")
    assert ran.code == 130
    assert list(tmp_path.iterdir()) == []
