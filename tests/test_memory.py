"""Work that would not fit into memory is refused before it begins, with the numbers."""

from __future__ import annotations

import re
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from problems import planted_table
from pyarrow import csv, parquet

from bilinear import memory
from bilinear.data.reading import duckdb_reader
from bilinear.data.reading.database import connected, lower_limit
from bilinear.data.reading.readers import read_ratings
from bilinear.data.synthetic.catalogue import synthetic_ratings
from bilinear.errors import MemoryLimitError, ParameterValueError
from bilinear.estimators.auto.auto_ranker import AutoRanker
from bilinear.estimators.auto.search_space import KINDS, Sizes
from bilinear.estimators.baselines import BiasModel, GlobalMean
from bilinear.estimators.blend import Blend
from bilinear.estimators.ease import EASE, SparseEASE
from bilinear.estimators.graph_filter import GraphFilter
from bilinear.estimators.implicit_als import ImplicitALS
from bilinear.estimators.item_knn import ItemKNN
from bilinear.estimators.matrix_factorization import MatrixFactorization
from bilinear.estimators.nested_models import copied
from bilinear.estimators.popularity import Popularity
from bilinear.estimators.random_walk import RandomWalk
from bilinear.estimators.ranking_factorization import RankingFactorization
from bilinear.estimators.recommender import Recommender
from bilinear.memory import LIMIT, available, parsed_size, require
from bilinear.registry import CLASSES
from bilinear.training.minibatch import MiniBatch
from bilinear.training.optimizers import Adam, Momentum
from bilinear.training.sgd import SGD

TABLE = planted_table()
GIB = 2**30


def system(root: Path, groups: dict[str, tuple[str, int, int]], free_kb: int = 8 * 2**20) -> Path:
    """A root with /proc/meminfo, a process in the group a/b, and (limit, taken, cached) of groups."""
    (root / "proc" / "self").mkdir(parents=True)
    (root / "proc" / "meminfo").write_text(f"MemTotal: 99 kB\nMemAvailable:   {free_kb} kB\nSwapFree: 0 kB\n")
    (root / "proc" / "self" / "cgroup").write_text("1:name=systemd:/x\n0::/a/b\n")
    for name, (most, taken, cached) in groups.items():
        folder = root / "sys" / "fs" / "cgroup" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "memory.max").write_text(f"{most}\n")
        (folder / "memory.current").write_text(f"{taken}\n")
        (folder / "memory.stat").write_text(f"anon 5\ninactive_file {cached}\nactive_file 7\n")
    return root


@pytest.fixture(autouse=True)
def no_limit(monkeypatch):
    monkeypatch.delenv(LIMIT, raising=False)


def test_without_limits_it_is_what_the_system_has_available(tmp_path):
    assert available(system(tmp_path, {})) == 8 * GIB


def test_the_tightest_group_counts_less_what_it_has_taken_and_could_not_give_back(tmp_path):
    groups = {"a/b": ("max", 7, 0), "a": (f"{2 * GIB}", GIB, GIB // 4), "": (f"{4 * GIB}", GIB, 0)}
    assert available(system(tmp_path, groups)) == GIB + GIB // 4
    (tmp_path / "proc" / "meminfo").write_text("MemAvailable: 5 kB\n")
    assert available(tmp_path) == 5 * 1024


def test_a_group_beyond_its_limit_has_nothing_left(tmp_path):
    assert available(system(tmp_path, {"a/b": ("1000", 5000, 0)})) == 0


def test_a_system_that_says_nothing_refuses_nothing(tmp_path, monkeypatch):
    assert available(tmp_path) is None
    monkeypatch.setattr("bilinear.memory.available", lambda: None)
    require(10**30, "everything")


def test_the_environment_has_the_last_word(tmp_path, monkeypatch):
    monkeypatch.setenv(LIMIT, "3GB")
    assert available(system(tmp_path, {"a": ("1000", 0, 0)})) == 3 * 10**9


@pytest.mark.parametrize(
    ("text", "size"),
    [("5", 5), ("2KB", 2000), (" 1.5 GiB ", 3 * 2**29), ("1tb", 10**12), ("500mib", 500 * 2**20)],
)
def test_amounts_of_memory(text, size):
    assert parsed_size(text) == size


@pytest.mark.parametrize("text", ["", "much", "5 apples", "-1GB", "GB"])
def test_what_is_no_amount_is_refused(text):
    with pytest.raises(ParameterValueError, match="8GB"):
        parsed_size(text)


def test_a_table_and_a_training_that_do_not_fit_are_refused_with_the_numbers(monkeypatch):
    model = MatrixFactorization(n_factors=64, l2=0.1, l2_biases=0.1, solver=SGD(n_epochs=1))
    monkeypatch.setenv(LIMIT, "1KB")
    with pytest.raises(MemoryLimitError, match=rf"a table of .* needs about .*KB .* 1KB is free.*{LIMIT}"):
        planted_table()
    with pytest.raises(MemoryLimitError, match=rf"training on {TABLE.n_ratings:,} ratings needs about .*KB"):
        model.fit(TABLE)
    monkeypatch.setenv(LIMIT, "1GB")
    model.fit(TABLE)


WIDE = synthetic_ratings(1500, 1200, 80_000, 4, rng=0)
FEW = {"n_factors": 16, "rng": 0}
EVERY_MODEL = {
    "mean": GlobalMean(),
    "biases": BiasModel(1.0),
    "biases, searched": BiasModel(rng=0),
    "sgd": MatrixFactorization(l2=0.1, l2_biases=0.1, solver=SGD(n_epochs=1), **FEW | {"n_factors": 64}),
    "adam": MatrixFactorization(l2=0.1, l2_biases=0.1, solver=MiniBatch(n_epochs=1, batch_size=4096), **FEW),
    "popularity": Popularity(),
    "popularity, threshold": Popularity(threshold=2.0),
    "neighbours": ItemKNN(),
    "walk": RandomWalk(),
    "ease": EASE(),
    "sparse ease": SparseEASE(10),
    "graph": GraphFilter(),
    "graph, low pass": GraphFilter(low_pass=0.3, n_directions=16),
    "implicit": ImplicitALS(n_epochs=1, **FEW),
    "sampled": RankingFactorization(solver=MiniBatch(n_epochs=1, batch_size=4096), n_negatives=32, **FEW),
    "blend": Blend((Popularity(), Popularity(threshold=2.0)), rng=0),
    "auto": AutoRanker(n_trials=1, kinds=("Popularity",), rng=0),
}


def needed_by(model) -> int:
    """Bytes that `fit` asks for, by its message where there is none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(LIMIT, "1")
        with pytest.raises(MemoryLimitError, match=LIMIT) as refused:
            model.fit(WIDE)
    assert not [name for name in vars(model) if name.endswith("_")]
    return parsed_size(re.search(r"needs about (\S+) of memory", str(refused.value))[1])


def test_the_list_above_has_every_model():
    assert {type(model) for model in EVERY_MODEL.values()} == set(CLASSES.subclasses(Recommender).values())


@pytest.mark.parametrize("name", EVERY_MODEL)
def test_every_model_asks_for_what_it_then_takes(name):
    model = EVERY_MODEL[name]
    model.fit(TABLE)  # compiles, and imports
    needed = needed_by(copied(model))
    WIDE.__dict__.pop("by_item", None)  # what the table keeps for later is taken by the first model
    tracemalloc.start()
    model.fit(WIDE)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 0.7 < needed / peak < 1.4


def test_auto_leaves_out_what_the_memory_limit_does_not_allow(monkeypatch):
    monkeypatch.setenv(LIMIT, str(100 * 10**6))
    assert WIDE.n_items**2 * 4 < 60 * 10**6
    AutoRanker(n_trials=1, kinds=("EASE",), rng=0).fit(TABLE)
    kind = next(kind for kind in KINDS if kind.name == "EASE")
    sizes = Sizes.of(WIDE)
    assert not kind.memory_refusal(sizes, EASE())
    more = replace(sizes, n_items=4000)  # 64 MB of weights alone, and 60 may be taken
    assert kind.memory_refusal(more, EASE())


def test_ease_says_what_to_take_instead(monkeypatch):
    monkeypatch.setenv(LIMIT, "1MB")
    with pytest.raises(MemoryLimitError, match=r"needs about .* 1MB is free; .*SparseEASE\(\)"):
        EASE().fit(WIDE)


def test_the_reading_engine_takes_half_of_what_is_free_unless_it_is_told(monkeypatch, tmp_path):
    def limit(memory_limit: str | None = None) -> int:
        with connected(tmp_path, memory_limit) as connection:
            return parsed_size(connection.execute("SELECT current_setting('memory_limit')").fetchone()[0])

    monkeypatch.setenv(LIMIT, "2GB")
    assert limit() == pytest.approx(10**9, rel=0.01)
    assert limit("300MB") == pytest.approx(300 * 10**6, rel=0.01)
    monkeypatch.setenv(LIMIT, "1KB")
    assert limit() == pytest.approx(64 * 10**6, rel=0.01)


def test_a_process_has_no_more_than_it_was_given_less_what_it_holds(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_most", None)
    monkeypatch.setattr(memory, "resident", lambda: 3 * GIB)
    with pytest.raises(ParameterValueError, match=r"'2GB': the program itself takes 3.22GB"):
        memory.limit_process("2GB")
    with pytest.raises(ParameterValueError, match="'lots'; an amount of memory such as 8GB"):
        memory.limit_process("lots")
    root = system(tmp_path, {})
    assert available(root) == 8 * GIB
    memory.limit_process("5GiB")
    assert available(root) == 2 * GIB
    monkeypatch.setenv(LIMIT, "1GiB")
    assert available(root) == GIB
    monkeypatch.setattr(memory, "resident", lambda: 6 * GIB)
    assert available(root) == 0


def test_a_process_holds_at_least_the_arrays_it_has_written():
    before = memory.resident()
    held = np.ones(30 * 10**6, np.uint8)
    assert memory.resident() - before > 0.9 * held.nbytes


@pytest.mark.parametrize("name", ["ratings.csv", "ratings.parquet"])
def test_a_file_that_does_not_fit_is_refused_before_it_is_read(tmp_path, monkeypatch, name):
    ids = TABLE.to_columns()
    frame = pa.table({key: ids[key] for key in ("user", "item", "rating")})
    if name.endswith("csv"):
        csv.write_csv(frame, tmp_path / name)
    else:
        parquet.write_table(frame, tmp_path / name)
    monkeypatch.setattr(duckdb_reader, "_load", lambda *_: pytest.fail("it was read"))
    monkeypatch.setenv(LIMIT, "1KB")
    with pytest.raises(MemoryLimitError, match=f"reading some .* rows of .*{name} needs about") as refused:
        read_ratings(tmp_path / name)
    needed = duckdb_reader.bytes_to_read(TABLE.n_ratings, with_times=False)
    assert parsed_size(re.search(r"about (\S+)", str(refused.value))[1]) == pytest.approx(needed, rel=0.01)


def test_rows_that_are_encoded_from_disk_in_pieces_are_the_same_table(tmp_path, monkeypatch):
    ids = TABLE.to_columns()
    csv.write_csv(pa.table({key: ids[key] for key in ("user", "item", "rating")}), tmp_path / "ratings.csv")
    whole = read_ratings(tmp_path / "ratings.csv")
    lowered = []
    monkeypatch.setattr(duckdb_reader, "lower_limit", lambda _, n: lowered.append(n))
    monkeypatch.setattr(duckdb_reader, "_FETCH", 7)
    in_pieces = read_ratings(tmp_path / "ratings.csv")
    assert lowered == [128 * 10**6]
    for name in ("users", "items", "ratings"):
        assert np.array_equal(getattr(whole, name), getattr(in_pieces, name))


def test_an_engine_takes_a_lower_limit_and_never_a_higher_one(tmp_path):
    with connected(tmp_path, "300MB") as connection:
        for n_bytes, expected in ((500 * 10**6, 300), (200 * 10**6, 200), (250 * 10**6, 200)):
            lower_limit(connection, n_bytes)
            now = connection.execute("SELECT current_setting('memory_limit')").fetchone()[0]
            assert parsed_size(now) == pytest.approx(expected * 10**6, rel=0.01)


def test_the_estimate_counts_what_each_solver_keeps():
    def estimate(solver, **arguments):
        return MatrixFactorization(n_factors=64, solver=solver, **arguments)._memory(TABLE)

    weights = 4 * 65 * sum(TABLE.shape)
    assert estimate(SGD(momentum=0.5)) - estimate(SGD()) == weights
    assert estimate(MiniBatch(Adam())) - estimate(MiniBatch(Momentum())) == weights
    assert estimate(SGD()) - estimate(SGD(), validation_fraction=0) == 3 * TABLE.n_ratings
    adam = MiniBatch(Adam())
    assert estimate(adam) - estimate(adam, validation_fraction=0) == 12 * TABLE.n_ratings
