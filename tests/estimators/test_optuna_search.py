"""Longer searches: resumed where they were stopped, refused on other data; skipped without Optuna."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest

from bilinear.data.interactions import Interactions
from bilinear.errors import MissingDependencyError, ParameterValueError
from bilinear.estimators.auto import optuna_search
from bilinear.estimators.auto.optuna_search import search_with_optuna
from bilinear.estimators.ease import EASE

KINDS = ("Popularity", "GraphFilter", "RandomWalk", "EASE")


def clusters() -> Interactions:
    rng = np.random.default_rng(0)
    same = rng.integers(4, size=80)[:, None] == rng.integers(4, size=40)
    users, items = np.nonzero(rng.random((80, 40)) < np.where(same, 0.6, 0.05))
    return Interactions.from_columns(users, items, np.ones(len(users)), source="clusters")


TABLE = clusters()


@pytest.fixture(autouse=True)
def _optuna():
    pytest.importorskip("optuna", reason="Optuna is not installed: pip install 'bilinear[optuna]'")


def test_the_best_trial_is_the_result_and_the_kinds_as_they_come_are_tried_first():
    found = search_with_optuna(TABLE, n_trials=8, kinds=KINDS)
    assert [trial.kind for trial in found.table.trials[:4]] == list(KINDS)
    assert len(found.table.trials) == 8
    assert found.value == max(trial.value for trial in found.table.trials)
    assert repr(found.model) == found.table.chosen
    assert [trial.model for trial in found.table.trials if trial.note == "chosen"] == [repr(found.model)]
    assert len(found.model.fit(TABLE).recommend(3, 5)) == 5
    assert "ndcg@20" in str(found)


def test_the_same_seed_gives_the_same_trials():
    first, second = (search_with_optuna(TABLE, n_trials=7, kinds=KINDS, rng=3) for _ in range(2))
    assert [t.model for t in first.table.trials] == [t.model for t in second.table.trials]
    assert [t.value for t in first.table.trials] == [t.value for t in second.table.trials]


def test_a_search_goes_on_where_it_was_stopped(tmp_path, monkeypatch):
    journal = tmp_path / "search.journal"
    evaluate, calls = optuna_search.evaluate_ranking, []

    def stop_at_the_sixth(*arguments, **named):
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return evaluate(*arguments, **named)

    monkeypatch.setattr(optuna_search, "evaluate_ranking", stop_at_the_sixth)
    stopped = search_with_optuna(TABLE, n_trials=9, kinds=KINDS, storage=journal)
    assert stopped.table.ended == "interrupted"
    assert len(stopped.table.trials) == 5
    resumed = search_with_optuna(TABLE, n_trials=9, kinds=KINDS, storage=journal)
    assert len(calls) == 6 + 4
    assert len(resumed.table.trials) == 9
    assert resumed.table.trials[:4] == tuple(
        replace(trial, note=resumed.table.trials[n].note) for n, trial in enumerate(stopped.table.trials[:4])
    )
    assert resumed.value >= stopped.value
    again = search_with_optuna(TABLE, n_trials=9, kinds=KINDS, storage=journal)
    assert len(calls) == 10
    assert repr(again.model) == repr(resumed.model)


def test_a_storage_of_another_search_is_refused(tmp_path):
    journal = tmp_path / "search.journal"
    search_with_optuna(TABLE, n_trials=1, kinds=KINDS, storage=journal)
    with pytest.raises(ParameterValueError, match="other data or by other rules"):
        search_with_optuna(TABLE.take(np.arange(400)), n_trials=2, kinds=KINDS, storage=journal)
    with pytest.raises(ParameterValueError, match="other data or by other rules"):
        search_with_optuna(TABLE, n_trials=2, kinds=KINDS, storage=journal, metric="recall@5")
    with pytest.raises(ParameterValueError, match="no folder"):
        search_with_optuna(TABLE, n_trials=2, storage=tmp_path / "nowhere" / "search.journal")


def test_a_trial_that_fails_is_told_and_the_others_go_on(monkeypatch):
    def fail(self, interactions, **_):
        raise ParameterValueError("of no use here")

    monkeypatch.setattr(EASE, "fit", fail)
    found = search_with_optuna(TABLE, n_trials=6, kinds=KINDS)
    failed = [trial for trial in found.table.trials if trial.note == "failed"]
    assert failed
    assert {trial.kind for trial in failed} == {"EASE"}
    assert found.value > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_trials": 0}, "n_trials=0"),
        ({"kinds": ("GPT",)}, "a tuple of names"),
        ({"metric": "auc"}, "metric='auc'"),
        ({"rng": -1}, "rng=-1"),
        ({"confidence": "loud"}, "confidence='loud'"),
    ],
)
def test_arguments_outside_what_they_may_be_are_refused(arguments, message):
    with pytest.raises(ParameterValueError, match=message):
        search_with_optuna(TABLE, **arguments)


def test_without_optuna_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'bilinear\[optuna\]'"):
        search_with_optuna(TABLE)
