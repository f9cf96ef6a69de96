"""The model that chooses itself: what it promises whatever it finds, and how it searches."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from problems import clustered_table, same_bits, with_strangers

from bilinear.data.splits import split_random
from bilinear.errors import EmptyDataError, ModelFileError, NotFittedError, ParameterValueError
from bilinear.estimators.auto import search as auto_search
from bilinear.estimators.auto.auto_ranker import AutoRanker
from bilinear.estimators.auto.search_space import KINDS, CostModel, Sizes
from bilinear.estimators.auto.trials import AutoTable
from bilinear.estimators.blend import Blend
from bilinear.estimators.ease import EASE
from bilinear.estimators.implicit_als import ImplicitALS
from bilinear.estimators.popularity import Popularity
from bilinear.estimators.random_walk import RandomWalk
from bilinear.estimators.ranking_model import rows_of
from bilinear.evaluation.ranking import RankingProtocol
from bilinear.persistence.artifact import read_artifact, write_artifact
from bilinear.persistence.models import load

N_TRIALS = 16


SPLIT = split_random(clustered_table(0, 120, 60, n_groups=5, within=0.5, across=0.04), 0.2)
TRAIN = with_strangers(SPLIT.train)
USERS = np.arange(TRAIN.n_users, dtype=np.int32)


class Spoken:
    """Keeps what it is told; `at` runs before the given note is kept."""

    def __init__(self, at=None):
        self.notes, self.at = [], at or {}

    def stage(self, name, n_ratings): ...
    def advance(self, n_ratings, loss): ...
    def epoch(self, epoch): ...

    def note(self, text):
        self.notes.append(text)
        for part, action in self.at.items():
            if part in text:
                action()


@pytest.fixture(scope="module")
def auto() -> AutoRanker:
    return AutoRanker(n_trials=N_TRIALS, rng=0).fit(TRAIN)


# -- promises -------------------------------------------------------------------------------------


def test_it_beats_popularity_on_what_was_held_out(auto):
    protocol = RankingProtocol((5,))
    floor = Popularity().fit(TRAIN).evaluate(SPLIT.test, protocol)["ndcg@5"]
    assert auto.evaluate(SPLIT.test, protocol)["ndcg@5"] > 1.3 * floor


def test_the_same_seed_and_number_of_trials_gives_the_same_bits(auto):
    again = AutoRanker(n_trials=N_TRIALS, rng=0, n_threads=2).fit(TRAIN)
    assert same_bits(again.score_block(USERS), auto.score_block(USERS))
    assert [trial.value for trial in again.search_.trials] == [trial.value for trial in auto.search_.trials]


def test_the_model_chosen_is_trained_on_everything(auto):
    assert same_bits(auto.model_.seen_.indptr, TRAIN.by_user.indptr)
    parts = auto.model_.models_ if isinstance(auto.model_, Blend) else (auto.model_,)
    for part in parts:
        fresh = type(part)(**part.get_params(deep=False)).fit(TRAIN)
        assert same_bits(fresh.score_block(USERS), part.score_block(USERS))


def test_it_answers_as_the_model_it_chose(auto):
    assert same_bits(auto.score_block(USERS), auto.model_.score_block(USERS))
    assert list(auto.similar("i05", 4)) == list(auto.model_.similar("i05", 4))
    rows = np.flatnonzero(TRAIN.by_user.counts > 0)[:10]
    np.testing.assert_allclose(
        auto.score_histories(rows_of(TRAIN.by_user, rows)), auto.score_block(rows), rtol=1e-3, atol=1e-3
    )
    seen = {TRAIN.item_vocabulary[item] for item in TRAIN.items[TRAIN.users == 9]}
    assert not set(auto.recommend(TRAIN.user_vocabulary[9], 99)) & seen
    assert len(auto.fold_in(["i01", "i05"]).recommend(3)) == 3


def test_arguments_stay_as_they_were_given(auto):
    assert auto.get_params(deep=False) == AutoRanker(n_trials=N_TRIALS, rng=0).get_params(deep=False)


def test_threshold_and_confidence_reach_every_model():
    model = AutoRanker(n_trials=8, rng=0, threshold=2, confidence="log").fit(TRAIN)
    parts = model.model_.models_ if isinstance(model.model_, Blend) else (model.model_,)
    assert all((part.threshold, part.confidence) == (2, "log") for part in parts)
    assert model.needs_ratings()
    with pytest.raises(ParameterValueError, match="give one an item"):
        model.fold_in(["i01"])


# -- the search -----------------------------------------------------------------------------------


def test_the_table_tells_every_trial_and_what_was_chosen(auto):
    table = auto.search_
    assert len(table.trials) == N_TRIALS
    assert {trial.kind for trial in table.trials} == {kind.name for kind in KINDS}
    assert table.value >= max(trial.value for trial in table.trials)
    assert table.ended == "all trials done"
    text = str(table)
    assert "ndcg@20 of" in text
    assert text.count("\n") == N_TRIALS + 2
    assert "<- " in text
    assert AutoTable.from_dict(table.to_dict()) == table


def test_no_trial_is_made_twice(auto):
    tried = [(trial.model, trial.share) for trial in auto.search_.trials]
    assert len(set(tried)) == len(tried)


def test_only_the_kinds_asked_for_are_tried_and_a_single_model_is_kept_as_it_is():
    model = AutoRanker(n_trials=3, kinds=("RandomWalk",), rng=0).fit(TRAIN)
    assert {trial.kind for trial in model.search_.trials} == {"RandomWalk"}
    assert isinstance(model.model_, RandomWalk)
    best = max(trial.value for trial in model.search_.trials)
    assert model.search_.value == best
    assert [trial.value for trial in model.search_.trials if trial.note == "chosen"] == [best]
    plain = AutoRanker(n_trials=8, blend=False, rng=0).fit(TRAIN)
    assert not isinstance(plain.model_, Blend)


def test_larger_tables_are_searched_by_parts_of_their_users(monkeypatch):
    monkeypatch.setattr(auto_search, "_LEAST_PAIRS", 80)
    model = AutoRanker(n_trials=24, rng=0).fit(TRAIN)
    shares = [trial.share for trial in model.search_.trials]
    assert shares == sorted(shares)
    assert shares[0] < 0.8
    assert shares[-1] == 1
    first, second = (
        [trial for trial in model.search_.trials if trial.share == share] for share in sorted(set(shares))[:2]
    )
    ranked = [trial.model for trial in sorted(first, key=lambda trial: -trial.value)]
    places = [ranked.index(trial.model) for trial in second if trial.model in ranked]
    assert places[0] == 0  # the best goes on, and goes first
    assert len(places) < len(first)


def test_a_budget_stops_what_it_cannot_pay_and_still_gives_a_model(monkeypatch):
    clock = iter(np.arange(0, 10_000, 0.5))  # every look at the clock is half a second later
    monkeypatch.setattr(auto_search, "clock", lambda: float(next(clock)))
    spoken = Spoken()
    model = AutoRanker(time_budget=12, rng=0).fit(TRAIN, progress=spoken)
    assert model.search_.ended == "budget spent"
    assert 1 <= len([trial for trial in model.search_.trials if trial.value is not None]) < 12
    assert len(model.recommend(TRAIN.user_vocabulary[5], 3)) == 3
    assert any("not tried: about" in trial.note for trial in model.search_.trials)
    assert spoken.notes


def test_a_trial_that_cannot_be_afforded_is_not_made():
    sizes = Sizes.of(TRAIN)
    huge = replace(sizes, n_items=10**6)
    dense = next(kind for kind in KINDS if kind.model is EASE)
    pace = CostModel(1)
    assert pace.fit_seconds(dense, huge, EASE()) > 1e6
    assert not dense.fits(huge)
    assert dense.fits(sizes)
    assert dense.bearable(replace(sizes, n_items=15_000))
    assert not dense.bearable(replace(sizes, n_items=30_000))
    pace.measured(dense, sizes, EASE(), 10, 50.0, 1.0)
    assert pace.fit_seconds(dense, sizes, EASE()) == pytest.approx(50)
    pace.measured(dense, sizes, EASE(), 10, 2.0, 1.0)  # the first had to compile
    assert pace.fit_seconds(dense, sizes, EASE()) == pytest.approx(2)


def test_ctrl_c_keeps_the_best_so_far():
    def stop():
        raise KeyboardInterrupt

    spoken = Spoken({"  3 of": stop})
    model = AutoRanker(n_trials=N_TRIALS, rng=0).fit(TRAIN, progress=spoken)
    assert model.search_.ended == "interrupted"
    assert len(model.search_.trials) == 3
    assert len(model.recommend(TRAIN.user_vocabulary[5], 3)) == 3


def test_ctrl_c_in_a_model_that_would_keep_what_it_has_ends_the_search_too(monkeypatch):
    def fit(self, interactions, **_):
        self.history_ = SimpleNamespace(ended="interrupted")
        return self

    monkeypatch.setattr(ImplicitALS, "fit", fit)
    model = AutoRanker(n_trials=N_TRIALS, rng=0).fit(TRAIN)
    assert model.search_.ended == "interrupted"
    assert "ImplicitALS" not in {trial.kind for trial in model.search_.trials}
    assert len(model.recommend(TRAIN.user_vocabulary[5], 3)) == 3


def test_ctrl_c_before_the_first_trial_leaves_the_estimator_as_it_was(monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(auto_search, "evaluate_ranking", stop)
    model = AutoRanker(n_trials=4, rng=0)
    with pytest.raises(KeyboardInterrupt):
        model.fit(TRAIN)
    with pytest.raises(NotFittedError):
        model.recommend(1)


def test_a_model_that_fails_is_told_and_the_others_go_on(monkeypatch):
    def fail(self, interactions, **_):
        raise ParameterValueError("of no use here")

    monkeypatch.setattr(EASE, "fit", fail)
    model = AutoRanker(n_trials=N_TRIALS, rng=0).fit(TRAIN)
    failed = [trial for trial in model.search_.trials if trial.kind == "EASE"]
    assert failed
    assert all(trial.note == "failed: of no use here" for trial in failed)
    assert len(model.recommend(TRAIN.user_vocabulary[5], 3)) == 3


def test_where_no_model_could_be_tried_the_error_says_why(monkeypatch):
    def fail(self, interactions, **_):
        raise ParameterValueError("of no use here")

    monkeypatch.setattr(EASE, "fit", fail)
    with pytest.raises(ParameterValueError, match="none of the models could be tried"):
        AutoRanker(n_trials=2, kinds=("EASE",), rng=0).fit(TRAIN)


def test_moves_in_the_grid_stay_in_it_and_always_move():
    rng = np.random.default_rng(0)
    for kind in KINDS:
        choice = dict(kind.default)
        for _ in range(50 if kind.grid else 0):
            moved = kind.neighbour(choice, rng)
            assert moved != choice
            assert all(0 <= moved[name] < len(values) for name, values in kind.grid.items())
            kind.make(moved, {"rng": 0, "threshold": 3})
            choice = moved


# -- refusals and storage -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"time_budget": 0}, "time_budget=0"),
        ({"time_budget": "a minute"}, "time_budget='a minute'"),
        ({"n_trials": 0}, "n_trials=0"),
        ({"kinds": ("GPT",)}, "a tuple of names among Popularity"),
        ({"kinds": ()}, "a tuple of names"),
        ({"metric": "auc"}, "metric='auc'"),
        ({"validation": 0}, "between 0 and 1"),
        ({"threshold": "3"}, "threshold='3'"),
        ({"confidence": "loud"}, "confidence='loud'"),
    ],
)
def test_arguments_outside_what_they_may_be_are_refused_before_any_work(arguments, message):
    spoken = Spoken()
    with pytest.raises(ParameterValueError, match=message):
        AutoRanker(**arguments).fit(TRAIN, progress=spoken)
    assert not spoken.notes


def test_tables_that_cannot_be_learned_from_are_refused():
    with pytest.raises(EmptyDataError, match="only one user"):
        AutoRanker(n_trials=2).fit(TRAIN.take(TRAIN.users == 5))
    with pytest.raises(EmptyDataError, match="no rating reaches threshold=9"):
        AutoRanker(n_trials=2, threshold=9).fit(TRAIN)
    with pytest.raises(
        ParameterValueError,
        match=" takes Interactions, a data frame",
    ):
        AutoRanker(n_trials=2).fit([[1, 2]])


def test_a_saved_search_comes_back_with_its_table_and_the_same_bits(tmp_path, auto):
    auto.save(tmp_path / "model")
    found = load(tmp_path / "model")
    assert repr(found) == repr(auto)
    assert str(found.search_) == str(auto.search_)
    assert same_bits(found.score_block(USERS), auto.score_block(USERS))
    assert same_bits(found.fold_in(["i05"]).scores, auto.fold_in(["i05"]).scores)


def test_a_damaged_search_is_refused(tmp_path, auto):
    auto.save(tmp_path / "model")
    artifact = read_artifact(tmp_path / "model")
    for damage in ({"chosen": {"arguments": {"model": "GlobalMean", "arguments": {}}}}, {"search": {}}):
        write_artifact(tmp_path / "bad", artifact.manifest | damage, artifact.tensors)
        with pytest.raises(ModelFileError, match="do not fit together"):
            load(tmp_path / "bad")
