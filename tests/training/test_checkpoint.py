"""Training that is killed and started again ends with the bits of one that was not."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import long_training
import numpy as np
import pytest
from problems import planted_table, same_bits

from bilinear.data.interactions import Interactions
from bilinear.data.vocabulary import Vocabulary
from bilinear.errors import CheckpointError, DivergenceError, ParameterValueError
from bilinear.estimators.implicit_als import ImplicitALS
from bilinear.estimators.matrix_factorization import MatrixFactorization
from bilinear.estimators.ranking_factorization import RankingFactorization
from bilinear.persistence.tensors import read_tensors, write_tensors
from bilinear.training import checkpoint_journal as module
from bilinear.training import rating_grid, sgd
from bilinear.training.als import ALS
from bilinear.training.checkpoint import Checkpoint, checkpointing, journal, record_once
from bilinear.training.checkpoint_journal import FILE, Journal
from bilinear.training.implicit_als import Cholesky, ConjugateGradient
from bilinear.training.initialization import NormalStart
from bilinear.training.minibatch import MiniBatch
from bilinear.training.optimizers import (
    LAMB,
    LARS,
    AdaGrad,
    Adam,
    AdamW,
    ExponentialMovingAverage,
    GradientDescent,
    Lookahead,
    Momentum,
    Nesterov,
    RAdam,
    RMSProp,
    RowAdaGrad,
    StochasticWeightAverage,
)
from bilinear.training.schedules import OneCycle, ReduceOnPlateau
from bilinear.training.sgd import SGD

TABLE = planted_table(80, 50, seed=3)
NUMBERS = {"n_factors": 4, "l2": 0.2, "l2_biases": 0.2, "rng": 0}
KILLS = int(os.environ.get("BILINEAR_KILLS", "2"))
# Every model is killed at every step within a process; that the process dies is one more fault of one writer.
KILLED = ["grid", *(["search", "minibatch", "ranking", "ials"] if "BILINEAR_KILLS" in os.environ else [])]


class Killed(BaseException):
    """As abrupt as a test within one process can be."""


def killed_at_every_look(monkeypatch, model, table, folder, *, most=1000):
    """Fits `model`; each time a step further it is written, killed and started again."""
    looks = 0
    seen = {"looks": 0}

    def look(self):
        saved = self._saved if self._snapshot is None else self._snapshot()
        if saved is None and self._snapshot is not None:
            return  # within an epoch that is saved at its end
        seen["looks"] += 1
        self._write(saved)
        if seen["looks"] > 1:  # one step a life
            raise Killed

    monkeypatch.setattr(Journal, "look", look)
    while looks < most:
        looks, seen["looks"] = looks + 1, 0
        try:
            return model.fit(table, checkpoint=folder), looks
        except Killed:
            assert (folder / FILE).exists()
    raise AssertionError(f"not done after {most} lives")


def assert_same(left, right):
    assert same_bits(left.parameters_, right.parameters_)
    for a, b in zip(left.history_.epochs, right.history_.epochs, strict=True):
        assert replace(a, seconds=0, ratings_per_second=0) == replace(b, seconds=0, ratings_per_second=0)
    assert left.history_.summary() == right.history_.summary()
    trials = [
        model.search_ and [replace(trial, seconds=0) for trial in model.search_.trials]
        for model in (left, right)
    ]
    assert trials[0] == trials[1]
    assert (left.seed_, left.penalty_) == (right.seed_, right.penalty_)


RARE = Interactions.from_columns(
    TABLE.users, TABLE.items, np.where(np.arange(TABLE.n_ratings) == 7, 5.0, 3.0)
)  # one rating 40 deviations away: training diverges at the first automatic rate


def test_attempts_at_lower_rates_are_gone_on_with_as_well(monkeypatch, tmp_path):
    penalties = {"n_factors": 4, "l2": 1e-4, "l2_biases": 1e-4}
    settings = penalties | {"solver": SGD(n_epochs=100), "validation_fraction": 0.0, "rng": 0}
    whole = MatrixFactorization(**settings).fit(RARE)
    with_the_first_rate = SGD().rate * OneCycle()(0.5 / 100)
    assert whole.history_.epochs[0].learning_rate == pytest.approx(with_the_first_rate / 4)
    found, lives = killed_at_every_look(monkeypatch, MatrixFactorization(**settings), RARE, tmp_path / "c")
    assert lives > 100
    assert_same(found, whole)


OPTIMIZERS = [
    GradientDescent(),
    Momentum(),
    Nesterov(),
    AdaGrad(),
    RowAdaGrad(),
    RMSProp(),
    Adam(),
    AdamW(),
    RAdam(),
]
OPTIMIZERS += [LAMB(), LARS(), Lookahead(Adam(), every=3)]
SOLVERS = {type(part).__name__: MiniBatch(part, n_epochs=3) for part in OPTIMIZERS}
SOLVERS |= {
    "StochasticWeightAverage": MiniBatch(n_epochs=5, average=StochasticWeightAverage(0.3)),
    "ExponentialMovingAverage": MiniBatch(n_epochs=3, average=ExponentialMovingAverage(0.9)),
    "dense, clipped": MiniBatch(n_epochs=3, dense=True, clip_norm=1.0, batch_size=32),
    "plateau": MiniBatch(n_epochs=6, schedule=ReduceOnPlateau(patience=0, threshold=0.5)),
    "SGD": SGD(n_epochs=6),
    "SGD, momentum": SGD(n_epochs=6, momentum=0.5),
    "SGD, stopped early": SGD(n_epochs=40, learning_rate=0.1, patience=1),
}


@pytest.fixture
def small_blocks(monkeypatch):
    """Several looks at the clock an epoch, so that training is saved within epochs as well."""
    monkeypatch.setattr(sgd, "_BLOCK", 600)
    monkeypatch.setattr("bilinear.training.minibatch._BLOCK", 600)


@pytest.mark.parametrize("name", SOLVERS)
def test_a_training_killed_at_every_step_ends_with_the_same_bits(name, monkeypatch, small_blocks, tmp_path):
    model = MatrixFactorization(**NUMBERS, solver=SOLVERS[name])
    whole = replace(model).fit(TABLE)
    pieces, lives = killed_at_every_look(monkeypatch, model, TABLE, tmp_path / "c")
    assert_same(pieces, whole)
    assert lives > 2 * len(whole.history_.epochs)  # within epochs too
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("row_solver", [Cholesky(), ConjugateGradient(2)])
def test_so_do_alternating_least_squares(row_solver, monkeypatch, tmp_path):
    """They are saved between epochs."""
    model = MatrixFactorization(**NUMBERS, solver=ALS(n_epochs=4, row_solver=row_solver, n_threads=1))
    whole = replace(model).fit(TABLE)
    pieces, lives = killed_at_every_look(monkeypatch, model, TABLE, tmp_path / "c")
    assert_same(pieces, whole)
    assert lives >= len(whole.history_.epochs)


@pytest.mark.parametrize("threads", [1, 3])
def test_so_does_one_on_the_grid(threads, monkeypatch, tmp_path):
    monkeypatch.setattr(sgd, "_SHARED", 0)
    monkeypatch.setattr(rating_grid, "_CACHE", 300)
    model = MatrixFactorization(**NUMBERS, solver=SGD(n_epochs=8, n_threads=threads))
    whole = replace(model, solver=SGD(n_epochs=8, n_threads=2)).fit(TABLE)
    pieces, lives = killed_at_every_look(monkeypatch, model, TABLE, tmp_path / "c")
    assert_same(pieces, whole)
    assert lives > 2 * len(whole.history_.epochs)


def test_so_does_a_search(monkeypatch, tmp_path):
    """A seed of its own included: it is drawn once."""
    monkeypatch.setattr(Journal, "_due", 0, raising=False)
    model = MatrixFactorization(solver=SGD(n_epochs=12))
    pieces, lives = killed_at_every_look(monkeypatch, model, TABLE, tmp_path / "c")
    monkeypatch.undo()
    assert_same(pieces, MatrixFactorization(solver=SGD(n_epochs=12), rng=pieces.seed_).fit(TABLE))
    assert lives > 50


def test_one_without_validation_and_another_start(monkeypatch, small_blocks, tmp_path):
    model = MatrixFactorization(
        **NUMBERS, validation_fraction=0, start=NormalStart(0.1), solver=SGD(n_epochs=5)
    )
    whole = replace(model).fit(TABLE)
    pieces, _ = killed_at_every_look(monkeypatch, model, TABLE, tmp_path / "c")
    assert_same(pieces, whole)


RANKERS = {
    "pairs": RankingFactorization(
        4, solver=MiniBatch(Adam(), batch_size=64, n_epochs=7, average=ExponentialMovingAverage(0.9)),
        n_negatives=9, validate_every=3, rng=0, n_threads=1,
    ),
    "users": RankingFactorization(
        4, order="users", solver=MiniBatch(Lookahead(Adam(), every=3), batch_size=64, n_epochs=5, patience=1),
        n_negatives=9, validate_every=1, metric="ndcg@5", rng=0, n_threads=2,
    ),
    "no validation": RankingFactorization(4, validation_fraction=0, n_negatives=9, rng=0, n_threads=1),
    "ials": ImplicitALS(4, n_epochs=5, rng=0),
    "ials, blocks": ImplicitALS(4, n_epochs=5, solver=ConjugateGradient(1), rng=0),
    "ials, converged": ImplicitALS(4, n_epochs=50, tolerance=0.01, rng=0),
}  # fmt: skip


@pytest.mark.parametrize("name", RANKERS)
def test_so_do_models_of_rankings(name, monkeypatch, tmp_path):
    monkeypatch.setattr("bilinear.training.sampled_descent._WORK_AT_ONCE", 20_000)  # several looks an epoch
    model = replace(RANKERS[name])
    if isinstance(model, RankingFactorization):
        model.solver = replace(model.solver, n_epochs=min(model.solver.n_epochs, 7))
    whole = replace(model).fit(TABLE)
    pieces, lives = killed_at_every_look(monkeypatch, model, TABLE, tmp_path / "c")
    assert same_bits(pieces.parameters_, whole.parameters_)
    assert same_bits(pieces.mean_user_, whole.mean_user_)
    for a, b in zip(pieces.history_.epochs, whole.history_.epochs, strict=True):
        assert replace(a, seconds=0, ratings_per_second=0) == replace(b, seconds=0, ratings_per_second=0)
    assert pieces.history_.summary() == whole.history_.summary()
    assert lives > len(whole.history_.epochs) // 2  # ended at every second look at least
    assert (whole.history_.ended == "converged") == (name == "ials, converged")
    assert not (tmp_path / "c").exists()


def test_so_does_one_by_a_metric_of_lists(monkeypatch, small_blocks, tmp_path):
    model = MatrixFactorization(**NUMBERS, solver=SGD(n_epochs=6), metric="ndcg@5")
    whole = replace(model).fit(TABLE)
    pieces, _ = killed_at_every_look(monkeypatch, model, TABLE, tmp_path / "c")
    assert_same(pieces, whole)
    assert whole.history_.metric == "ndcg@5"


def run(folder: Path, case: str) -> subprocess.Popen[str]:
    command = [sys.executable, long_training.__file__, str(folder), case]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)


def read_lines(child: subprocess.Popen[str], n: int) -> list[str]:
    """So many lines, or fewer if the child is done before."""
    return [line for line, _ in zip(child.stdout, range(n), strict=False)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What the trainings print that nobody kills, by case."""
    found: dict[str, str] = {}

    def of(case: str) -> tuple[str, int]:
        if case not in found:
            with run(tmp_path_factory.mktemp("c") / "c", case) as child:
                out, err = child.communicate()
            assert child.returncode == 0, err
            found[case] = out
        *lines, digest = found[case].split()
        return digest, len(lines)

    return of


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
@pytest.mark.parametrize("case", KILLED)
def test_kill_9_at_random_moments(case, undisturbed, tmp_path):
    """BILINEAR_KILLS sets how often, and takes all models."""
    digest, n_lines = undisturbed(case)
    chance = random.Random(case)
    for _ in range(KILLS):
        with run(tmp_path / "c", case) as child:
            read_lines(child, chance.randrange(1, max(2, n_lines // 3)))
            child.kill()
    assert any((tmp_path / "c").iterdir())
    with run(tmp_path / "c", case) as child:
        out, err = child.communicate()
    assert child.returncode == 0, err
    assert out.split()[-1] == digest
    assert len(out.split()) - 1 < n_lines or KILLS < 2  # it went on, it did not begin again
    assert not (tmp_path / "c").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM")
def test_sigterm_saves_and_says_how_to_go_on(undisturbed, tmp_path):
    digest, n_lines = undisturbed("grid")
    with run(tmp_path / "c", "grid") as child:
        read_lines(child, n_lines // 2)
        child.send_signal(signal.SIGTERM)
        _, err = child.communicate()
    assert child.returncode == 128 + signal.SIGTERM
    assert str(tmp_path / "c") in err
    assert "--resume" in err
    assert "Traceback" not in err
    with run(tmp_path / "c", "grid") as child:
        out, _ = child.communicate()
    assert out.split()[-1] == digest
    assert len(out.split()) - 1 <= n_lines - n_lines // 2 + 1  # nothing that was done is done again


def interrupted(folder, model=None, table=TABLE, epochs=3):
    """A checkpoint of a training that was cut off after some epochs."""

    class Cut:
        def __init__(self):
            self.n = 0

        def stage(self, name, n_ratings): ...
        def advance(self, n_ratings, loss): ...
        def note(self, text): ...

        def epoch(self, epoch):
            self.n += 1
            if self.n > epochs:
                raise Killed

    model = model or MatrixFactorization(**NUMBERS, solver=SGD(n_epochs=20))
    with pytest.raises(Killed):
        model.fit(table, checkpoint=Checkpoint(folder, minutes=0), progress=Cut())
    return folder / FILE


def test_a_half_written_checkpoint_leaves_the_older_one(monkeypatch, tmp_path):
    file = interrupted(tmp_path / "c")
    before = file.read_bytes()
    whole = module.encode_tensors

    def half(tensors):
        yield next(iter(whole(tensors)))
        raise Killed

    monkeypatch.setattr(module, "encode_tensors", half)
    model = MatrixFactorization(**NUMBERS, solver=SGD(n_epochs=20))
    with pytest.raises(Killed):
        model.fit(TABLE, checkpoint=Checkpoint(tmp_path / "c", minutes=0))
    assert file.read_bytes() == before
    monkeypatch.undo()
    assert_same(model.fit(TABLE, checkpoint=tmp_path / "c"), replace(model).fit(TABLE))


def test_what_a_killed_writer_left_is_swept(tmp_path):
    interrupted(tmp_path / "c")
    left = tmp_path / "c" / ".0123456789abcdef.bilinear-tmp"
    left.write_bytes(b"half a checkpoint")
    MatrixFactorization(**NUMBERS, solver=SGD(n_epochs=20)).fit(TABLE, checkpoint=tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_every_changed_byte_is_found(tmp_path):
    file = interrupted(tmp_path / "c", epochs=1)
    content = file.read_bytes()
    model = MatrixFactorization(**NUMBERS, solver=SGD(n_epochs=20))
    rng = np.random.default_rng(0)
    places = [0, 7, 8, 20, len(content) - 1, *rng.integers(len(content), size=40).tolist()]
    for place in places:
        changed = bytearray(content)
        changed[place] ^= 1 << int(rng.integers(8))
        file.write_bytes(changed)
        try:
            model.fit(TABLE, checkpoint=tmp_path / "c")
        except CheckpointError as error:
            assert str(tmp_path) in str(error)  # noqa: PT017
        else:  # a name of the header's padding or metadata changes nothing that counts
            raise AssertionError(f"byte {place} of {len(content)} went unseen")
    for size in (0, 5, 100, len(content) - 1):
        file.write_bytes(content[:size])
        with pytest.raises(CheckpointError, match="damaged"):
            model.fit(TABLE, checkpoint=tmp_path / "c")
    assert file.exists()  # refusing destroys nothing


def other_ids() -> Interactions:
    renamed = Vocabulary.from_sorted(np.arange(TABLE.n_users))
    return replace(TABLE, user_vocabulary=renamed)


def other_rating() -> Interactions:
    ratings = TABLE.ratings.copy()
    ratings[17] += 0.25
    return replace(TABLE, ratings=ratings)


@pytest.mark.parametrize(
    ("changes", "table", "said"),
    [
        ({"l2": 0.3}, TABLE, r"arguments.l2 was 0.2, now 0.3"),
        ({"rng": 1}, TABLE, r"arguments.rng was 0, now 1"),
        ({"solver": SGD(n_epochs=21)}, TABLE, r"solver.n_epochs was 20, now 21"),
        ({"solver": MiniBatch(n_epochs=20)}, TABLE, r"arguments.solver"),
        ({}, other_rating(), r"data.sha256"),
        ({}, other_ids(), r"data.sha256"),
        ({}, TABLE.take(np.arange(100, TABLE.n_ratings)), r"data.n_ratings"),
    ],
)
def test_a_checkpoint_of_another_training_is_refused_by_what_differs(changes, table, said, tmp_path):
    file = interrupted(tmp_path / "c")
    before = file.read_bytes()
    model = MatrixFactorization(**{**NUMBERS, "solver": SGD(n_epochs=20)} | changes)
    with pytest.raises(CheckpointError, match=said):
        model.fit(table, checkpoint=tmp_path / "c")
    assert file.read_bytes() == before


def rewritten(file: Path, change) -> None:
    tensors = {name: np.array(array) for name, array in read_tensors(file).items()}
    state = json.loads(tensors["state"].tobytes())
    change(state)
    tensors["state"] = np.frombuffer(json.dumps(state).encode(), np.uint8)
    del tensors["sha256"]
    tensors["sha256"] = np.frombuffer(module._digest(tensors), np.uint8)
    write_tensors(file, tensors)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda state: state["identity"]["libraries"].update(bilinear="0.0.1"),
            r"libraries.bilinear was 0.0.1",
        ),
        (lambda state: state["identity"]["libraries"].update(numpy="1.0"), r"libraries.numpy was 1.0"),
        (lambda state: state.update(format_version=99), "format 99"),
        (lambda state: state.update(format="bilinear-model"), "format is not"),
        (lambda state: state["under_way"].update(stage="another"), "other steps"),
    ],
)
def test_another_version_is_refused(change, said, tmp_path):
    rewritten(interrupted(tmp_path / "c"), change)
    with pytest.raises(CheckpointError, match=said):
        MatrixFactorization(**NUMBERS, solver=SGD(n_epochs=20)).fit(TABLE, checkpoint=tmp_path / "c")


def test_another_number_of_threads_is_no_other_training(tmp_path):
    interrupted(tmp_path / "c")
    model = MatrixFactorization(**NUMBERS, solver=SGD(n_epochs=20, n_threads=1))
    assert_same(model.fit(TABLE, checkpoint=tmp_path / "c"), replace(model).fit(TABLE))


def test_resume_false_touches_no_unfinished_training(tmp_path):
    file = interrupted(tmp_path / "c")
    before = file.read_bytes()
    model = MatrixFactorization(**NUMBERS, solver=SGD(n_epochs=20))
    with pytest.raises(CheckpointError, match="unfinished training"):
        model.fit(TABLE, checkpoint=Checkpoint(tmp_path / "c", resume=False))
    assert file.read_bytes() == before


def test_ctrl_c_leaves_the_checkpoint_for_another_day(tmp_path):
    class Interrupt(long_training.NullProgress):
        def epoch(self, epoch):
            if epoch.number == 7:
                raise KeyboardInterrupt

    model = MatrixFactorization(**NUMBERS, solver=SGD(n_epochs=20))
    model.fit(TABLE, checkpoint=Checkpoint(tmp_path / "c", minutes=0), progress=Interrupt())
    assert model.history_.ended == "interrupted"
    assert (tmp_path / "c" / FILE).exists()
    assert_same(model.fit(TABLE, checkpoint=tmp_path / "c"), replace(model).fit(TABLE))


def test_divergence_leaves_no_handler_and_no_journal(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    model = MatrixFactorization(**NUMBERS, solver=SGD(n_epochs=20, learning_rate=1e9))
    with pytest.raises(DivergenceError):
        model.fit(TABLE, checkpoint=tmp_path / "c")
    assert signal.getsignal(signal.SIGTERM) == before
    assert journal() is None


def test_a_folder_that_cannot_be_used_is_refused_before_training(tmp_path):
    model = MatrixFactorization(**NUMBERS, solver=SGD(n_epochs=20))
    (tmp_path / "file").write_text("mine")
    with pytest.raises(CheckpointError, match="is a file"):
        model.fit(TABLE, checkpoint=tmp_path / "file")
    for wrong in ({"path": 5}, {"path": "c", "minutes": -1}, {"path": "c", "minutes": "five"}):
        with pytest.raises(ParameterValueError, match="Checkpoint"):
            Checkpoint(**wrong)


def test_other_files_of_the_folder_stay(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    MatrixFactorization(**NUMBERS, solver=SGD(n_epochs=2)).fit(TABLE, checkpoint=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_value_is_drawn_once_even_across_lives(tmp_path):
    drawn = iter(range(100))

    def life():
        with checkpointing(Checkpoint(tmp_path / "c", minutes=0), dict) as kept:
            values = [record_once(lambda: next(drawn)) for _ in range(3)]
            kept.look()
            raise Killed(values)

    values = []
    for _ in range(3):
        with pytest.raises(Killed) as raised:
            life()
        values.append(raised.value.args[0])
    assert values == [[0, 1, 2]] * 3
