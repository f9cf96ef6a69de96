"""Ray itself, where it is installed: `pip install 'bilinear[ray]'`; CI does without.

A cluster is started for the tests, or that of RAY_ADDRESS used.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from problems import planted_table, same_bits, with_strangers

import bilinear
from bilinear.engines import ray_engine
from bilinear.errors import EngineError, ParameterValueError
from bilinear.estimators.matrix_factorization import MatrixFactorization
from bilinear.recommend import everyone
from bilinear.recommend.everyone import recommend_everyone
from bilinear.recommend.parquet import write_everyone

pytestmark = pytest.mark.filterwarnings("ignore")  # of Ray's own


@pytest.fixture(scope="module")
def engine():
    ray = pytest.importorskip("ray")
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # which the cluster does not have
    os.environ.setdefault("RAY_raylet_start_wait_time_s", "300")  # for a busy machine
    with bilinear.Ray() as engine:
        yield engine


@pytest.fixture(scope="module")
def model():
    table = with_strangers(planted_table())
    return MatrixFactorization(n_factors=3, l2=0.1, l2_biases=0.1, rng=0).fit(table)


def dying(shared, n_threads):
    """Has the first process that comes to shard 3 killed, or each."""

    def work(shard):
        marks, always = shared
        if shard == 3 and (always or not Path(marks).exists()):
            Path(marks).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return shard**2

    return work


def failing(shared, n_threads):
    def work(shard):
        raise ParameterValueError(f"shard {shard}")

    return work


@pytest.mark.parametrize("n_shards", [1, 2, 3, 5])
def test_lists_have_the_bits_of_this_process(engine, model, n_shards, monkeypatch):
    expected = recommend_everyone(model)
    monkeypatch.setattr(everyone, "_ROWS_AT_ONCE", 7)
    monkeypatch.setattr(everyone, "_PLACES_A_SHARD", 10 * -(-len(expected) // n_shards))
    found = recommend_everyone(model, engine=engine)
    assert all(same_bits(vars(found)[name], vars(expected)[name]) for name in vars(expected))


def test_files_have_the_bytes_of_this_process(engine, model, tmp_path, monkeypatch):
    monkeypatch.setattr(everyone, "_ROWS_AT_ONCE", 7)
    monkeypatch.setattr(everyone, "_PLACES_A_SHARD", 200)
    write_everyone(model, tmp_path / "ours", parts=True)
    write_everyone(model, tmp_path / "theirs", engine=engine, parts=True)
    for file in (tmp_path / "ours").iterdir():
        assert file.read_bytes() == (tmp_path / "theirs" / file.name).read_bytes()


def test_the_work_of_a_killed_process_is_done_again(engine, tmp_path):
    assert list(engine.map(dying, (str(tmp_path / "killed"), False), range(8))) == [n**2 for n in range(8)]
    assert (tmp_path / "killed").exists()


def test_a_task_that_kills_every_process_ends_the_work(engine, tmp_path):
    with pytest.raises(EngineError, match="gave up a task, whose process died 3 times"):
        list(engine.map(dying, (str(tmp_path / "killed"), True), range(8)))


def test_errors_of_the_work_are_raised_as_they_are(engine, monkeypatch):
    with pytest.raises(ParameterValueError, match=r"^shard 0$"):
        list(engine.map(failing, None, range(2)))
    with pytest.raises(EngineError, match="n_threads=4096 asks for so many cores on one machine"):
        list(bilinear.Ray(n_threads=4096).map(failing, None, range(2)))
    monkeypatch.setattr(ray_engine, "__version__", "9.9")
    with pytest.raises(EngineError, match=r"the work comes from bilinear 9\.9"):
        list(engine.map(failing, None, range(2)))
