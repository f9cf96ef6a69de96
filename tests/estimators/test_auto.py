"""The model that chooses itself: what it promises whatever it finds, and how it searches."""

from __future__ import annotations

import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from problems import clustered_table, same_bits, with_strangers

from bilinear.data.interactions import Interactions
from bilinear.data.splits import split_leave_last_out, split_random, split_temporal
from bilinear.errors import (
    EmptyDataError,
    MissingColumnError,
    ModelFileError,
    NotFittedError,
    ParameterValueError,
)
from bilinear.estimators.auto import search as auto_search
from bilinear.estimators.auto.auto_ranker import AutoRanker
from bilinear.estimators.auto.search_space import KINDS, CostModel, Sizes, learnable
from bilinear.estimators.auto.trials import AutoTable
from bilinear.estimators.blend import Blend
from bilinear.estimators.ease import EASE
from bilinear.estimators.implicit_als import ImplicitALS
from bilinear.estimators.measurement import measure
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
    assert 0.99 * best <= model.search_.value <= best
    assert [t.value for t in model.search_.trials if t.note == "chosen"] == [model.search_.value]
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
    assert model.search_.ended == "time limit of 12 s reached"
    assert 1 <= len([trial for trial in model.search_.trials if trial.value is not None]) < 12
    assert len(model.recommend(TRAIN.user_vocabulary[5], 3)) == 3
    assert any("not tried: about" in trial.note for trial in model.search_.trials)
    assert spoken.notes


def test_a_trial_that_cannot_be_afforded_is_not_made():
    sizes = Sizes.of(TRAIN)
    huge = replace(sizes, n_items=10**6, n_users=10**6)
    dense = next(kind for kind in KINDS if kind.model is EASE)
    pace = CostModel(1)
    assert pace.fit_seconds(dense, huge, EASE()) > 1e6
    assert re.fullmatch(
        r"needs .* of memory, more than 60% of the .* free", dense.memory_refusal(huge, EASE())
    )
    assert not dense.memory_refusal(sizes, EASE())
    many = replace(sizes, n_users=10_000)
    assert dense.bearable(replace(many, n_items=15_000), EASE())
    assert not dense.bearable(replace(many, n_items=30_000), EASE())
    assert dense.bearable(replace(sizes, n_items=30_000), EASE())  # of few users
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
            kind.make(moved, {"rng": 0, "threshold": 3}, TRAIN)
            choice = moved


def test_the_default_budget_counts_work_and_gives_the_same_model_whatever_the_clock_says(monkeypatch):
    kinds = ("Popularity", "RandomWalk", "ItemKNN", "ImplicitALS")
    spoken = Spoken()
    usual = AutoRanker(0.05, kinds=kinds, rng=0).fit(TRAIN, progress=spoken)
    assert spoken.notes[0].startswith(
        "search over 4 kinds of models: up to 0.05 core-seconds of estimated work"
    )
    assert 0.025 < usual.search_.work <= 0.05
    assert usual.search_.ended in {
        "budget of work spent: 0 of 0.05 core-seconds",
        "no progress in 7 variations",
    }
    clock = iter(np.arange(0, 1e6, 50.0))
    monkeypatch.setattr(auto_search, "clock", lambda: float(next(clock)))
    slow = AutoRanker(0.05, kinds=kinds, rng=0).fit(TRAIN)
    assert slow.search_.chosen == usual.search_.chosen
    assert same_bits(slow.score_block(USERS), usual.score_block(USERS))


def test_limits_add_up_and_the_first_that_is_reached_is_named():
    model = AutoRanker(10, n_trials=3, kinds=("Popularity", "GraphFilter", "RandomWalk"), rng=0).fit(TRAIN)
    assert model.search_.ended == "all trials done"
    assert AutoRanker(kinds=("Popularity",), rng=0).fit(TRAIN).search_.ended == "nothing left to try"
    model = AutoRanker(1e6, kinds=("EASE",), rng=0).fit(TRAIN)
    assert model.search_.ended == "nothing left to try" or "no progress in" in model.search_.ended


def test_several_starts_of_a_kind_are_multiples_of_the_default_of_the_table(auto):
    default = EASE().fit(TRAIN).l2_
    inner = AutoRanker(n_trials=9, kinds=("EASE",), blend=False, rng=0).fit(TRAIN)
    assert inner.search_.trials[0].model == "EASE()"
    tried = [float(re.search("l2=(.*?)[,)]", trial.model)[1]) for trial in inner.search_.trials[1:3]]
    assert tried[1] / tried[0] == pytest.approx(16, rel=0.01)
    chosen = EASE(4 * default)
    kind = next(kind for kind in KINDS if kind.model is EASE)
    positives = learnable(TRAIN, None, "equal")
    assert kind.make({"l2": 6}, {}, positives).l2 == pytest.approx(chosen.l2, rel=0.005)
    assert kind.make({"l2": 4}, {}, positives).l2 == "auto"


def test_models_get_as_many_factors_as_the_budget_allows():
    kinds = ("Popularity", "ImplicitALS")
    for budget, most in ((0.07, 128), (0.2, 256)):
        trials = AutoRanker(budget, kinds=kinds, rng=0).fit(TRAIN).search_.trials[:3]
        named = [re.search(r"n_factors=(\d+)", trial.model) for trial in trials]
        assert max(int(found[1]) if found else 128 for found in named) == most


def test_the_best_of_every_kind_reaches_the_last_rung_first_and_best_first(monkeypatch):
    monkeypatch.setattr(auto_search, "_LEAST_PAIRS", 80)
    monkeypatch.setattr(auto_search, "_ETA", 3)
    kinds = ("Popularity", "GraphFilter", "RandomWalk", "ItemKNN", "EASE")
    trials = AutoRanker(n_trials=24, kinds=kinds, rng=0).fit(TRAIN).search_.trials
    first = [trial for trial in trials if trial.share == trials[0].share]
    last = [trial for trial in trials if trial.share == 1]
    hopeful = {trial.kind for trial in first if trial.value >= max(other.value for other in first) / 2}
    assert {trial.kind for trial in last[: len(hopeful)]} >= hopeful


def test_of_models_that_are_as_good_the_one_with_the_larger_coverage_is_chosen():
    def result(name: str, values: list[float], coverage: float) -> auto_search.TrialResult:
        kind = next(kind for kind in KINDS if kind.name == name)
        of_users = np.tile(values, 50)
        return auto_search.TrialResult(kind, kind.default, 0, of_users.mean(), of_users, coverage, 0)

    narrow = result("Popularity", [0.4, 0.6], 0.01)
    for values, chosen in (
        ([0.6, 0.399], "EASE"),
        ([0.3, 0.6], "Popularity"),
        ([0.398, 0.598], "Popularity"),
    ):
        search = auto_search.Search.__new__(auto_search.Search)
        search._made, search._rung, search.seed = [narrow, result("EASE", values, 0.5)], 0, 0
        ((made, weight),), value = search._choice(may_blend=False)
        assert (made.kind.name, weight, value) == (chosen, 1.0, made.value)


def test_the_best_of_a_rung_stays_the_choice_where_it_was_not_tried_on_the_next():
    kinds = {kind.name: kind for kind in KINDS}

    def result(name: str, rung: int, value: float) -> auto_search.TrialResult:
        kind = kinds[name]
        return auto_search.TrialResult(kind, kind.default, rung, value, np.full(5, value), 0.1, 0)

    search = auto_search.Search.__new__(auto_search.Search)
    search._rung, search._made = 1, [result("EASE", 0, 0.5), result("Popularity", 0, 0.1)]
    search._made.append(result("Popularity", 1, 0.2))
    assert search._leader().kind.name == "EASE"
    search._made.append(result("EASE", 1, 0.15))
    assert search._leader().kind.name == "Popularity"


# -- time -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fashions():
    """In each of 12 months 100 users, half of them new, take three of eight items, five of them new."""
    rng, rows = np.random.default_rng(0), []
    for month in range(12):
        for user in rng.choice(np.arange(50 * month, 50 * month + 200), 100, replace=False):
            items, days = (5 * month + rng.permutation(8)[:3]) % 60, 30 * (month + rng.random(3))
            rows += [(user, item, 86_400 * day) for item, day in zip(items, days, strict=True)]
    users, items, times = zip(*rows, strict=True)
    return Interactions.from_columns(users, items, times=times)


def test_the_inner_split_is_as_that_of_the_measurement_and_decides_what_is_tried(fashions):
    kinds = ("Popularity", "RandomWalk")
    said = {
        "temporal": "latest 10% by time, as the test part is later than the training part",
        "leave-last-out": "latest 20% of each user, as the test part is the latest of each user",
        "random": "20% of each user, seed 0, as the test part was not held out by time",
    }
    for split in (split_temporal(fashions, 0.1), split_leave_last_out(fashions), split_random(fashions)):
        model = AutoRanker(n_trials=7, kinds=kinds, rng=0)
        measure({"auto": model}, split)
        assert model.search_.split == said[split.order]
        tried = any("half_life" in trial.model for trial in model.search_.trials)
        assert tried == (split.order != "random")


def test_where_fashions_change_a_half_life_is_chosen_and_new_users_count(fashions):
    split = split_temporal(fashions, 1 / 12)
    model = AutoRanker(n_trials=9, kinds=("Popularity", "RandomWalk"), validation=0.1, rng=0)
    model.fit(split.train)  # by itself: the table has times
    assert model.search_.split == "latest 10% by time, as a model is for what comes"
    assert model.uses_times
    parts = model.model_.models_ if isinstance(model.model_, Blend) else (model.model_,)
    assert any(part.half_life for part in parts)
    later = split_temporal(split.train, 0.1)
    known = later.train.by_user.counts > 0
    assert model.search_.n_judges == (later.test.by_user.counts > 0).sum() > known[later.test.users].sum() / 3
    protocol = RankingProtocol((5,))
    plain = Popularity().fit(split.train).evaluate(split.test, protocol)["ndcg@5"]
    assert model.evaluate(split.test, protocol)["ndcg@5"] > 1.2 * plain
    untimed = AutoRanker(n_trials=9, kinds=("Popularity",), split="random", rng=0).fit(split.train)
    assert not untimed.uses_times
    assert untimed.search_.split == "20% of each user, seed 0"


def test_kinds_that_need_times_and_splits_in_time_are_refused_without():
    with pytest.raises(MissingColumnError, match="no times, which Transitions needs"):
        AutoRanker(kinds=("Transitions",)).fit(TRAIN)
    with pytest.raises(MissingColumnError, match="a temporal split needs"):
        AutoRanker(split="temporal").fit(TRAIN)


# -- refusals and storage -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"time_budget": 0}, "time_budget=0"),
        ({"work_budget": 0}, "work_budget=0"),
        ({"time_budget": "a minute"}, "time_budget='a minute'"),
        ({"n_trials": 0}, "n_trials=0"),
        ({"kinds": ("GPT",)}, "a tuple of names among Popularity"),
        ({"kinds": ()}, "a tuple of names"),
        ({"split": "later"}, "split='later'"),
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
