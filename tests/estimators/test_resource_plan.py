"""The plan: its memory is what the calls themselves ask for, and what does not fit is said."""

from __future__ import annotations

import re

import numpy as np
import pytest

from bilinear import (
    EASE,
    AutoRanker,
    BiasModel,
    Interactions,
    MatrixFactorization,
    Popularity,
    plan,
    synthetic_ratings,
)
from bilinear.cli.models import known_models
from bilinear.data.reading.duckdb_reader import bytes_to_read
from bilinear.errors import DataError, MemoryLimitError, ParameterValueError
from bilinear.estimators.resource_plan import ResourcePlan
from bilinear.memory import LIMIT, parsed_size
from bilinear.training.choice import Auto
from bilinear.training.sgd import SGD

TABLE = synthetic_ratings(300, 90, 6000, rng=0)
SIZES = {"n_ratings": 10**6, "n_users": 10**4, "n_items": 10**4}


def stages(found: ResourcePlan) -> dict:
    return {stage.name: stage for stage in found.stages}


@pytest.mark.parametrize("model", [BiasModel(), MatrixFactorization(), EASE(), Popularity()], ids=repr)
def test_the_last_training_is_the_tables_and_what_fit_asks_for(model, monkeypatch):
    found = stages(plan(TABLE, model))["training on everything"]
    tables = 2 * 12 * TABLE.n_ratings
    assert found.memory - tables == model.bytes_to_fit(TABLE.n_ratings, *TABLE.shape)
    monkeypatch.setenv(LIMIT, "1")
    with pytest.raises(MemoryLimitError) as refused:
        model.fit(TABLE)
    asked = parsed_size(re.search(r"about (\S+) of memory", str(refused.value))[1])
    assert found.memory - tables == pytest.approx(asked, rel=0.01)


def test_reading_is_what_the_reader_asks_for():
    assert stages(plan(SIZES))["reading"].memory == bytes_to_read(10**6, with_times=False)


@pytest.mark.parametrize("with_times", [False, True])
def test_a_file_is_counted(tmp_path, with_times):
    rows = [f"{u},{i},{r}" + ",7" * with_times for u, i, r in zip(*columns(), strict=True)]
    path = tmp_path / "ratings.csv"
    path.write_text("\n".join(["user,item,rating" + ",time" * with_times, *rows]))
    found = plan(path)
    assert found.n_ratings == TABLE.n_ratings
    assert found.n_users == pytest.approx(300, rel=0.1)
    assert found.n_items == pytest.approx(90, rel=0.1)
    assert found.model.startswith("MatrixFactorization(solver=Auto")
    assert stages(found)["reading"].memory == bytes_to_read(TABLE.n_ratings, with_times)


def columns():
    return TABLE.users.tolist(), TABLE.items.tolist(), TABLE.ratings.tolist()


def test_without_ratings_it_is_the_model_of_clicks():
    clicks = Interactions.from_columns([1, 1, 2], [1, 2, 1])
    assert plan(clicks).model.startswith("AutoRanker")


def test_what_does_not_fit_is_said(monkeypatch):
    assert plan(SIZES, Popularity()).fits
    monkeypatch.setenv(LIMIT, "50MB")
    found = plan(SIZES, Popularity())
    assert not found.fits
    assert "It does not fit" in str(found)
    assert found.to_dict()["fits"] is False


def test_more_rows_and_more_factors_take_more():
    small, wide = (MatrixFactorization(k, 1.0, 1.0, solver=SGD()) for k in (16, 128))
    base, larger = plan(SIZES, small), plan(SIZES | {"n_ratings": 10**7}, small)
    assert larger.memory > base.memory
    assert larger.cpu_seconds > 5 * base.cpu_seconds
    assert plan(SIZES, wide).memory > base.memory
    searched = plan(SIZES, MatrixFactorization(solver=SGD()))
    assert searched.cpu_seconds > base.cpu_seconds
    assert plan(SIZES, MatrixFactorization(solver=Auto())).cpu_seconds > searched.cpu_seconds


def test_every_model_of_the_command_line_has_a_plan():
    for name, kind in known_models().items():
        assert plan(SIZES, kind()).memory > 0, name


def test_a_search_of_rankings_takes_its_budget():
    assert stages(plan(SIZES, AutoRanker(work_budget=50.0)))["training"].cpu_seconds == 100
    assert stages(plan(SIZES, AutoRanker(time_budget=9.0), n_threads=4))["training"].cpu_seconds == 36
    assert stages(plan(SIZES, AutoRanker(n_trials=3)))["training"].cpu_seconds is None


def test_a_table_of_the_stages():
    found = plan(SIZES, EASE(), n_threads=4)
    names = found.to_columns()["name"]
    assert len(names) == len(found.stages)
    assert np.all([stage.memory > 0 for stage in found.stages])
    assert found.n_threads == 4
    assert "EASE()" in str(found)


@pytest.mark.parametrize(
    ("source", "columns", "error"),
    [
        ({"n_ratings": 5}, {}, ParameterValueError),
        ({**SIZES, "n_users": 0}, {}, ParameterValueError),
        ({**SIZES, "n_users": True}, {}, ParameterValueError),
        (3, {}, ParameterValueError),
        (TABLE, {"user": "a"}, ParameterValueError),
        ("not-there.csv", {}, DataError),
    ],
)
def test_what_is_no_table_is_refused(source, columns, error):
    with pytest.raises(error):
        plan(source, **columns)


def test_a_file_that_has_to_be_read_to_be_counted_is_refused(tmp_path):
    path = tmp_path / "lists.txt"
    path.write_text("".join(f"{user} {' '.join(map(str, range(1 + user % 7)))}\n" for user in range(40)))
    with pytest.raises(DataError, match="only be counted by reading it"):
        plan(path)
