"""The record of a training run, its figure, and the bar that goes to standard error."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from bilinear.training.history import Epoch, History
from bilinear.training.progress import Bar, NullProgress

EPOCHS = tuple(
    Epoch(n, 1 / n, 0.9 + abs(n - 3) / 10, 0.02 / n, 0.5 + n / 100, 0.5, 2e6, 3.0 + n, 4.0 + n, 5.0 / n)
    for n in range(1, 6)
)
HISTORY = History(EPOCHS, 3, "stopped early")


def test_it_survives_json():
    assert History.from_dict(json.loads(json.dumps(HISTORY.to_dict()))) == HISTORY
    closed = History((), 0, "closed form")
    assert History.from_dict(closed.to_dict()) == closed


def test_it_survives_as_a_table_of_numbers():
    closed = History((), 0, "closed form")
    unvalidated = replace(HISTORY, epochs=tuple(replace(epoch, validation=None) for epoch in EPOCHS))
    for history in (HISTORY, closed, unvalidated):
        assert History.from_table(history.table(), **history.summary()) == history
    for wrong in (HISTORY.table()[1:], HISTORY.table()[:, 1:]):
        with pytest.raises(ValueError, match=r"epoch 2 in place 1|columns"):
            History.from_table(wrong, **HISTORY.summary())


def test_a_long_history_prints_some_lines_with_the_kept_and_the_last():
    epochs = tuple(replace(EPOCHS[0], number=n) for n in range(1, 20_001))
    lines = str(History(epochs, 777, "all epochs done")).splitlines()
    assert len(lines) < 70
    assert [line.split()[0] for line in lines if "kept" in line] == ["777"]
    assert lines[-2].split()[0] == "20000"


def test_the_best_rmse_is_that_of_the_best_epoch():
    assert HISTORY.best_validation_rmse == 0.9
    assert History((), 0, "closed form").best_validation_rmse is None


def test_it_prints_a_line_an_epoch_and_marks_the_kept_one():
    lines = str(HISTORY).splitlines()
    assert len(lines) == 1 + len(EPOCHS) + 1
    assert [line.endswith("<- kept") for line in lines] == [n == 3 for n in range(7)]
    assert lines[-1] == "stopped early"
    assert str(History((), 0, "closed form")) == "History(closed form)"


@pytest.mark.parametrize("validated", [True, False])
def test_the_figure_holds_the_numbers_and_is_written(tmp_path, validated):
    epochs = EPOCHS if validated else tuple(replace(epoch, validation=None) for epoch in EPOCHS)
    figure = replace(HISTORY, epochs=epochs).plot(tmp_path / "history.png")
    assert (tmp_path / "history.png").read_bytes().startswith(b"\x89PNG")
    lines = [line for axes in figure.axes for line in axes.get_lines()]
    drawn = [list(line.get_ydata()) for line in lines]
    for name in ("loss", "learning_rate", "momentum", "user_norm", "item_norm", "update_norm"):
        assert [getattr(epoch, name) for epoch in EPOCHS] in drawn, name
    assert ([epoch.validation for epoch in EPOCHS] in drawn) == validated
    assert ([0.9] in drawn) == validated  # the kept epoch


def drive(progress):
    progress.advance(1, 0.5)  # before any stage: nothing to advance
    for name in ("search l2, 32 factors", "training, 32 factors"):
        progress.stage(name, 100)
        for n in range(2):
            progress.advance(50, 0.25)
            progress.epoch(EPOCHS[n])
    progress.note("a [note] stays as it is")


def test_the_bar_writes_to_standard_error_only(capsys):
    with Bar() as bar:
        drive(bar)
    shown = capsys.readouterr()
    assert shown.out == ""
    for text in ("training, 32 factors", "loss 0.2500", "validation 1.0000", "a [note] stays as it is"):
        assert text in shown.err


def test_quiet_says_nothing(capsys):
    drive(NullProgress())
    assert capsys.readouterr() == ("", "")
