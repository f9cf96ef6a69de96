"""Work on shards: the same bits on every engine, however shards are cut, shuffled, repeated and lost."""

from __future__ import annotations

import hashlib
import pickle
import sys

import duckdb
import numpy as np
import pytest
from problems import planted_table, same_bits, with_strangers

import bilinear
from bilinear.cli import main
from bilinear.engines.engine import ENGINES, Engine, Local, chosen_engine
from bilinear.errors import EngineError, MissingDependencyError, ParameterValueError
from bilinear.estimators.ease import EASE
from bilinear.estimators.matrix_factorization import MatrixFactorization
from bilinear.evaluation.ranking import evaluate_ranking
from bilinear.recommend import everyone
from bilinear.recommend.everyone import recommend_everyone, similar_everyone
from bilinear.recommend.parquet import write_everyone


class Death(Exception):
    """Of a process that works."""


class Chaotic(Engine):
    """Works as a cluster does: on copies, in any order, twice, and again after deaths."""

    def __init__(self, seed=0, n_threads=1, dies_after=None):
        self.chance, self.n_threads, self.dies_after = np.random.default_rng(seed), n_threads, dies_after
        self.n_done = 0

    def map(self, prepare, shared, shards):
        sent = pickle.dumps((prepare, shared), 5)
        before = hashlib.sha256(pickle.dumps(shared, 5)).hexdigest()
        processes = [self.process(sent) for _ in range(2)]
        shards, results = list(shards), {}
        for at in self.chance.permutation(len(shards)):
            process = int(self.chance.integers(2))
            for _ in range(1 + int(self.chance.integers(2))):  # at times once more, as after a death
                done = processes[process](pickle.loads(pickle.dumps(shards[at])))
                results[at] = pickle.dumps(done, 5)
            if self.chance.random() < 0.3:
                processes[process] = self.process(sent)
        assert hashlib.sha256(pickle.dumps(shared, 5)).hexdigest() == before
        for at in range(len(shards)):
            if at == self.dies_after:
                raise Death
            self.n_done += 1
            yield pickle.loads(results[at])

    def process(self, sent):
        prepare, shared = pickle.loads(sent)
        return prepare(shared, self.n_threads)


@pytest.fixture(scope="module")
def model():
    table = with_strangers(planted_table())
    return MatrixFactorization(n_factors=3, l2=0.1, l2_biases=0.1, rng=0).fit(table)


@pytest.fixture
def cut(monkeypatch):
    """Has lists cut into so many shards."""

    def cut(model, n_shards, n=10):
        size = -(-len(model.user_vocabulary_) // n_shards)
        monkeypatch.setattr(everyone, "_ROWS_AT_ONCE", 7)
        monkeypatch.setattr(everyone, "_PLACES_A_SHARD", n * size)

    return cut


def lists_in(folder):
    return duckdb.sql(f"SELECT * FROM read_parquet('{folder}/*.parquet')").fetchall()


@pytest.mark.parametrize("n_shards", [1, 2, 3, 5])
def test_lists_have_the_same_bits_on_every_engine_for_any_number_of_shards(model, cut, n_shards):
    expected = recommend_everyone(model), similar_everyone(model)
    cut(model, n_shards)
    for engine in (Local(2), Chaotic(n_shards), Chaotic(9, n_threads=2)):
        found = recommend_everyone(model, engine=engine), similar_everyone(model, engine=engine)
        for ours, theirs in zip(found, expected, strict=True):
            assert all(same_bits(vars(ours)[name], vars(theirs)[name]) for name in vars(theirs))


def test_a_ranking_is_measured_to_the_same_bits_on_every_engine(monkeypatch):
    split = bilinear.split_random(with_strangers(planted_table()), test=0.3, rng=0)
    fitted = EASE(l2=20.0).fit(split.train)
    expected = evaluate_ranking(fitted, split.test)
    for users_at_once in (3, 11, 40):
        found = evaluate_ranking(fitted, split.test, block_size=users_at_once, engine=Chaotic(users_at_once))
        assert found.to_dict() == expected.to_dict()
        assert all(same_bits(found.per_user[name], expected.per_user[name]) for name in expected.per_user)


def test_a_folder_of_lists_is_whole_or_absent_and_gone_on_with(model, cut, tmp_path):
    cut(model, 5)
    plain = tmp_path / "plain.parquet"
    expected = write_everyone(model, plain)
    folder, hidden = tmp_path / "lists", tmp_path / ".lists.bilinear-tmp"
    with pytest.raises(Death):
        write_everyone(model, folder, engine=Chaotic(dies_after=3), parts=True)
    assert not folder.exists()
    assert len(list(hidden.iterdir())) == 3
    with (hidden / "part-00001.parquet").open("r+b") as damaged:
        damaged.seek(40)
        damaged.write(bytes(400))
    (hidden / ".0123456789abcdef.bilinear-tmp").touch()  # of a writer that was killed
    engine = Chaotic(1)
    written = write_everyone(model, folder, engine=engine, parts=True)
    assert (written.n_kept, engine.n_done) == (2, 3)
    assert "2 files were there from an earlier run" in str(written)
    counted = ("n_lists", "n_places", "n_short", "n_empty")
    assert [getattr(written, of) for of in counted] == [getattr(expected, of) for of in counted]
    assert not hidden.exists()
    assert sorted(file.name for file in folder.iterdir()) == [f"part-{n:05}.parquet" for n in range(5)]
    assert lists_in(folder) == duckdb.sql(f"SELECT * FROM '{plain}'").fetchall()
    with pytest.raises(ParameterValueError, match="lists is there already"):
        write_everyone(model, folder, parts=True)
    with pytest.raises(ParameterValueError, match=r"name it without \.csv"):
        write_everyone(model, tmp_path / "lists.csv", parts=True)
    write_everyone(model, tmp_path / "again", parts=True)
    for file in folder.iterdir():
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes()


def test_files_of_other_lists_are_not_kept(model, cut, tmp_path):
    cut(model, 3, n=4)
    for n, users in ((4, None), (5, None), (4, model.user_vocabulary_.decode(np.arange(30)))):
        with pytest.raises(Death):
            write_everyone(model, tmp_path / "a", n, users=users, engine=Chaotic(dies_after=1), parts=True)
    written = write_everyone(model, tmp_path / "a", 5, parts=True)
    assert written.n_kept == 0
    assert written.n_places == len(lists_in(tmp_path / "a"))


def test_an_engine_has_its_own_threads_and_a_name():
    assert list(ENGINES) == ["local", "ray"]
    with pytest.raises(ParameterValueError, match=r"give Local\(n_threads=2\)"):
        chosen_engine(Local(), 2)
    with pytest.raises(ParameterValueError, match="engine='ray'; an Engine, such as"):
        chosen_engine("ray", None)  # type: ignore[arg-type]


def test_ray_that_is_not_installed_or_does_not_answer_is_named(model, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'bilinear\[ray\]'"):
        recommend_everyone(model, engine=bilinear.Ray())
    for address in ("head", "ray://head", ":6379"):
        with pytest.raises(EngineError, match="is host:port"):
            bilinear.engines.ray_engine._knock(address)
    for address in ("127.0.0.1:1", "ray://127.0.0.1:1"):
        with pytest.raises(EngineError, match=f"no Ray cluster answers at {address}"):
            bilinear.engines.ray_engine._knock(address)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["recommend", "model", "--user", "1", "--engine", "ray"], "--engine is for lists of everyone"),
        (["recommend", "model", "--all", "--out", "a.json", "--engine", "ray"], "--engine is for lists of"),
        (["recommend", "model", "--all", "--out", "lists", "--engine", "rey"], "did you mean 'ray'"),
        (["evaluate", "model", "ratings.csv", "--engine", "ray"], "--engine is for rankings"),
    ],
)
def test_commands_refuse_an_engine_that_they_cannot_use(
    arguments, message, model, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    model.save("model")
    monkeypatch.setattr(sys, "argv", ["bilinear", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_the_command_writes_a_folder(model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    model.save("model")
    monkeypatch.setattr(sys, "argv", ["bilinear", "recommend", "model", "--all", "--out", "lists"])
    with pytest.raises(SystemExit) as left:
        main()
    assert not left.value.code
    assert "written to lists" in " ".join(capsys.readouterr().err.split())
    write_everyone(bilinear.load("model"), "one.parquet")
    assert lists_in("lists") == duckdb.sql("SELECT * FROM 'one.parquet'").fetchall()
