"""MatrixFactorization: search, early stopping, refit, Ctrl-C, and what it refuses."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from functools import cache
from math import inf, nan

import numpy as np
import pytest
from estimator_cases import FIXED, QUICK, SPLIT, TRAIN, fitted
from listeners import CtrlC, Recorder
from problems import planted_table, same_bits

from bilinear.data.interactions import Interactions
from bilinear.data.splits import split_validation
from bilinear.errors import DivergenceError, EmptyDataError, ParameterValueError
from bilinear.estimators.matrix_factorization import MatrixFactorization
from bilinear.model.link import Identity, Sigmoid
from bilinear.objective.losses import CrossEntropy, SquaredError
from bilinear.objective.objective import Objective
from bilinear.objective.penalties import L2
from bilinear.training.schedules import Constant
from bilinear.training.sgd import SGD
from bilinear.training.validation import rmse


def inner_parts(model, table=TRAIN):
    """What `fit` trains on and measures itself by."""
    rng = np.random.default_rng([model.seed_, 0])
    return split_validation(table, model.validation_fraction, rng)


# -- search and refit -----------------------------------------------------------------------------


def test_the_chosen_values_are_those_of_the_table_and_of_the_model():
    model = fitted("factors")
    table = model.search_
    assert {trial.stage for trial in table.trials} == {"mean", "biases", "l2", "full run"}
    (kept,) = (trial for trial in table.trials if trial.kept and trial.stage == "full run")
    assert (table.n_factors, table.l2, table.l2_biases) == (kept.n_factors, kept.l2, kept.l2_biases)
    assert model.parameters_.n_factors == table.n_factors
    assert model.penalty_ == L2(table.l2, table.l2_biases, 0.5)
    assert model.history_.best_validation_rmse == kept.validation_rmse


def test_without_refit_the_weights_are_those_of_the_best_epoch():
    for make in ({}, {"n_factors": 4, "l2": 0.1, "l2_biases": 0.1}):
        model = MatrixFactorization(**make, solver=QUICK, refit=False, rng=3).fit(TRAIN)
        best = min(epoch.validation for epoch in model.history_.epochs)
        assert model.history_.best_validation_rmse == best
        assert rmse(model.parameters_, model.link_, inner_parts(model).test) == best


def test_refit_trains_on_all_ratings_for_as_many_epochs_as_were_best():
    heard = Recorder()
    model = MatrixFactorization(**FIXED).fit(TRAIN, progress=heard)
    n_best = model.history_.best_epoch
    n_inner = inner_parts(model).train.n_ratings
    assert heard.of("stage") == [
        ("training, 4 factors", 60 * n_inner),
        ("on all ratings, 4 factors", n_best * TRAIN.n_ratings),
    ]
    assert [epoch for (epoch,) in heard.of("epoch")][: len(model.history_.epochs)] == list(
        model.history_.epochs
    )
    assert len(heard.of("epoch")) == len(model.history_.epochs) + n_best
    alone = MatrixFactorization(**FIXED, refit=False).fit(TRAIN)
    assert model.history_.best_validation_rmse == alone.history_.best_validation_rmse
    objective = Objective(SquaredError(), model.link_, model.penalty_, TRAIN)
    assert objective.value(model.parameters_) < objective.value(alone.parameters_)


def test_without_a_validation_part_all_epochs_run_on_all_ratings():
    model = MatrixFactorization(**FIXED, validation_fraction=0).fit(TRAIN)
    assert model.search_ is None
    assert len(model.history_.epochs) == model.history_.best_epoch == QUICK.n_epochs
    assert model.history_.best_validation_rmse is None


@pytest.mark.parametrize(
    "given",
    [{"n_factors": 3}, {"l2": 0.2}, {"l2_biases": 0.3}, {"n_factors": 0}, {"n_factors": 3, "l2": 0.2}],
    ids=str,
)
def test_what_is_given_is_kept_and_the_rest_searched(given):
    model = MatrixFactorization(**given, solver=QUICK, rng=0).fit(TRAIN)
    assert model.parameters_.n_factors == given.get("n_factors", model.search_.n_factors)
    assert model.penalty_.factors == given.get("l2", model.search_.l2)
    assert model.penalty_.biases == given.get("l2_biases", model.search_.l2_biases)
    assert model.get_params()["n_factors"] == given.get("n_factors", "auto")


def test_a_search_ends_where_the_same_values_given_end():
    found = MatrixFactorization(n_factors=4, solver=QUICK, rng=0).fit(TRAIN)
    again = MatrixFactorization(
        n_factors=4, l2=found.search_.l2, l2_biases=found.search_.l2_biases, solver=QUICK, rng=0
    ).fit(TRAIN)
    assert same_bits(again.parameters_, found.parameters_)
    assert again.search_ is None


def test_auto_epochs_are_resolved_once_and_kept():
    model = MatrixFactorization(n_factors=2, l2=0.1, l2_biases=0.1, rng=0)
    assert model.fit(TRAIN).solver_ == SGD().resolved(TRAIN.n_ratings)
    assert model.solver.n_epochs == "auto"
    assert len(model.history_.epochs) <= model.solver_.n_epochs == 170


# -- invariance and determinism -------------------------------------------------------------------


def test_ratings_four_times_as_large_give_predictions_four_times_as_large_search_included():
    model = fitted("factors")
    larger = MatrixFactorization(solver=QUICK, rng=0).fit(replace(TRAIN, ratings=4 * TRAIN.ratings))
    assert larger.parameters_.n_factors == model.parameters_.n_factors
    users, items = SPLIT.test.users + 1, SPLIT.test.items + 1
    assert same_bits(larger.predict_rows(users, items), 4 * model.predict_rows(users, items))


KINDS = {
    "squared": {},
    "sigmoid": {"link": Sigmoid()},
    "cross-entropy": {"link": Sigmoid(), "loss": CrossEntropy()},
}


@cache
def scaled(kind, factor=1, shift=0):
    """A model fitted on ratings of another scale; shared, so look and do not touch."""
    moved = replace(TRAIN, ratings=(factor * TRAIN.ratings + shift).astype(np.float32))
    solver = SGD(n_epochs=30, learning_rate=0.05)
    return MatrixFactorization(n_factors=4, solver=solver, rng=0, **KINDS[kind]).fit(moved)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("factor", "shift"), [(3, 0), (0.1, -7), (-1, 5)])
def test_another_rating_scale_moves_the_predictions_along(kind, factor, shift):
    """Also a reversed one: nothing knows that more is better."""
    users, items = SPLIT.test.users + 1, SPLIT.test.items + 1
    expected = factor * scaled(kind).predict_rows(users, items) + shift
    error = scaled(kind, factor, shift).predict_rows(users, items) - expected
    tolerance = 0.02 if factor > 0 else 0.2  # mirrored scores are reached by other steps
    assert np.sqrt(np.mean(error**2)) < tolerance * abs(factor) * TRAIN.ratings.std()


def test_another_seed_is_another_model():
    one, other = (MatrixFactorization(**FIXED | {"rng": seed}).fit(TRAIN) for seed in (0, 1))
    assert not same_bits(one.parameters_, other.parameters_)


def test_without_a_seed_one_is_drawn_and_kept():
    first, second = (MatrixFactorization(**FIXED | {"rng": None}).fit(TRAIN) for _ in range(2))
    assert first.seed_ != second.seed_
    again = MatrixFactorization(**FIXED | {"rng": first.seed_}).fit(TRAIN)
    assert same_bits(again.parameters_, first.parameters_)


# -- Ctrl-C and divergence ------------------------------------------------------------------------


STOPS = [
    ("epoch", 20, "l2"),
    ("advance", 3, "l2"),
    ("stage", 3, "l2"),
    ("stage", 1, "full"),
    ("epoch", 1, "full"),
]


@pytest.mark.parametrize("stop", STOPS, ids=str)
def test_ctrl_c_in_the_search_keeps_the_best_so_far(stop):
    method, n, stage = stop
    heard = CtrlC(method, n, f"search {stage}")
    model = MatrixFactorization(solver=QUICK, rng=0).fit(TRAIN, progress=heard)
    assert heard.raised
    assert heard.of("stage")[-1][0].startswith(f"search {stage}")  # no refit after it
    assert model.history_.ended == "interrupted"
    assert model.search_.interrupted
    assert model.penalty_ == L2(model.search_.l2, model.search_.l2_biases, 0.5)
    assert model.parameters_.n_factors == model.search_.n_factors
    found = rmse(model.parameters_, model.link_, inner_parts(model).test)
    assert found == model.history_.best_validation_rmse
    assert np.isfinite(model.predict([101], ["i01"]).values).all()


@pytest.mark.parametrize("stop", [("epoch", 5, "training"), ("advance", 6, "training")], ids=str)
def test_ctrl_c_in_training_keeps_the_best_epoch_and_does_not_refit(stop):
    heard = CtrlC(*stop)
    model = MatrixFactorization(**FIXED).fit(TRAIN, progress=heard)
    assert (len(model.history_.epochs), model.history_.ended) == (5, "interrupted")
    assert [name for name, _ in heard.of("stage")] == ["training, 4 factors"]
    best = min(epoch.validation for epoch in model.history_.epochs)
    assert rmse(model.parameters_, model.link_, inner_parts(model).test) == best


AT = [("stage", 1), ("advance", 1), ("epoch", 1), ("advance", 9), ("epoch", 9)]


@pytest.mark.parametrize("at", AT, ids=str)
def test_ctrl_c_in_the_refit_keeps_what_was_measured(at):
    model = MatrixFactorization(**FIXED).fit(TRAIN, progress=CtrlC(*at, "on all ratings"))
    alone = MatrixFactorization(**FIXED, refit=False).fit(TRAIN)
    assert same_bits(model.parameters_, alone.parameters_)
    assert model.history_.ended == "interrupted"
    assert [epoch.loss for epoch in model.history_.epochs] == [epoch.loss for epoch in alone.history_.epochs]


@pytest.mark.parametrize("at", AT, ids=str)
def test_ctrl_c_while_training_again_leaves_the_model_as_it_was(at):
    model = copy(fitted("factors, fixed"))
    before = dict(model.__dict__)
    model.retrain(planted_table(seed=5), progress=CtrlC(*at))
    assert model.history_ == replace(before.pop("history_"), ended="interrupted")
    assert all(model.__dict__[name] is value for name, value in before.items())


@pytest.mark.parametrize("at", [("stage", 1), ("advance", 1)], ids=str)
@pytest.mark.parametrize("name", ["factors, fixed", "factors"])
def test_ctrl_c_before_the_first_epoch_comes_through_and_leaves_the_model_as_it_was(at, name):
    model = copy(fitted(name))
    before = dict(model.__dict__)
    with pytest.raises(KeyboardInterrupt):
        model.fit(planted_table(seed=5), progress=CtrlC(*at))
    assert model.__dict__.keys() == before.keys()
    assert all(model.__dict__[name] is value for name, value in before.items())


def test_divergence_names_what_to_lower_and_leaves_the_model_as_it_was():
    model = MatrixFactorization(**FIXED).fit(TRAIN)
    before = dict(model.__dict__)
    model.set_params(solver__learning_rate=1e9, solver__schedule=Constant())
    with pytest.raises(DivergenceError, match=r"Lower learning_rate \(now 1e\+09; try 2\.5e\+08\)"):
        model.fit(planted_table(seed=5))
    del before["solver"]
    assert all(model.__dict__[name] is value for name, value in before.items())


# -- progress -------------------------------------------------------------------------------------


def test_progress_hears_every_epoch_of_every_stage():
    heard = Recorder()
    model = MatrixFactorization(solver=QUICK, rng=0).fit(TRAIN, progress=heard)
    stages = [name for name, _ in heard.of("stage")]
    trials = [trial for trial in model.search_.trials if trial.stage not in ("mean", "biases")]
    assert stages[:-1] == [f"search {trial.stage}, {trial.n_factors} factors" for trial in trials]
    assert stages[-1] == f"on all ratings, {model.parameters_.n_factors} factors"
    assert len(heard.of("epoch")) == len(heard.of("advance"))  # one block an epoch
    assert [epoch for (epoch,) in heard.of("epoch")][-1].validation is None


def test_a_bar_is_shown_only_when_asked_for_and_changes_nothing(capsys):
    quiet = MatrixFactorization(**FIXED).fit(TRAIN)
    assert capsys.readouterr() == ("", "")
    shown = MatrixFactorization(**FIXED).fit(TRAIN, progress=True)
    output = capsys.readouterr()
    assert output.out == ""
    assert "training, 4 factors" in output.err
    assert same_bits(quiet.parameters_, shown.parameters_)


# -- arguments ------------------------------------------------------------------------------------

REFUSED = {
    "n_factors": [-1, 2.5, "many", None, True, 5000],
    "l2": [-0.1, nan, inf, "much", None, True],
    "l2_biases": [-0.1, nan, "much", None],
    "l2_exponent": [-0.1, 1.1, nan, "half", None],
    "start_size": [0, -1, nan, inf, "small", None],
    "validation_fraction": [-0.1, 1, 1.5, nan, "some"],
    "rng": [-1, 1.5, "seed", True],
    "loss": ["squared", None, SquaredError],
    "link": ["sigmoid", None, Sigmoid],
    "solver": ["sgd", None, SGD],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in REFUSED.items() for value in values]
)
def test_an_argument_outside_what_it_may_be_is_refused_before_work_begins(name, value):
    heard = Recorder()
    model = MatrixFactorization(**FIXED | {name: value})
    words = {"l2": "L2 of factors", "l2_biases": "L2 of biases", "l2_exponent": "L2 exponent"}
    with pytest.raises(ParameterValueError) as caught:
        model.fit(TRAIN, progress=heard)
    assert words.get(name, name) in str(caught.value)
    assert str(value) in str(caught.value)
    assert heard.calls == []


def test_cross_entropy_without_the_sigmoid_is_refused():
    with pytest.raises(ParameterValueError, match=r"needs link=Sigmoid\(\)"):
        MatrixFactorization(loss=CrossEntropy()).fit(TRAIN)


@pytest.mark.parametrize("name", ["n_factors", "l2", "l2_biases"])
def test_nothing_can_be_searched_without_a_validation_part(name):
    with pytest.raises(ParameterValueError, match="validation_fraction=0 leaves nothing to search on"):
        MatrixFactorization(**FIXED | {name: "auto"}, validation_fraction=0).fit(TRAIN)


def test_a_few_ratings_need_numbers_instead_of_a_search():
    table = Interactions.from_columns([1, 1, 2, 2], [1, 2, 1, 2], [1, 2, 3, 4])
    with pytest.raises(EmptyDataError, match=r"4 ratings are too few for an inner.*--model biases"):
        MatrixFactorization().fit(table)
    model = MatrixFactorization(**FIXED, validation_fraction=0).fit(table)
    assert np.isfinite(model.predict([1, 2], [1, 2]).values).all()


@pytest.mark.parametrize("share", [0.001, 0.999])
def test_any_share_for_validation_leaves_ratings_on_both_sides(share):
    table = planted_table(5, 4, density=0.9)
    model = MatrixFactorization(**FIXED, validation_fraction=share).fit(table)
    assert np.isfinite(model.parameters_.user_factors).all()


def test_a_sigmoid_finds_its_range_a_tenth_wider_and_takes_a_given_one_as_it_is():
    low, high = float(TRAIN.ratings.min()), float(TRAIN.ratings.max())
    arguments = FIXED | {"link": Sigmoid()}
    wider = (low - 0.1 * (high - low), high + 0.1 * (high - low))
    assert MatrixFactorization(**arguments).fit(TRAIN).link_.bounds == pytest.approx(wider)
    given = MatrixFactorization(**arguments, rating_range=(-10, 20)).fit(TRAIN)
    assert given.link_ == Sigmoid(-10, 20)
    assert given.link == Sigmoid()
    assert MatrixFactorization(**FIXED, rating_range=(-10, 20)).fit(TRAIN).link_ == Identity(-10, 20)
    own = MatrixFactorization(**FIXED | {"link": Sigmoid(-10, 20)}).fit(TRAIN)
    assert same_bits(own.parameters_, given.parameters_)


def test_a_link_whose_own_range_leaves_ratings_out_is_refused():
    with pytest.raises(ValueError, match=r"outside \[2, 3\]"):
        MatrixFactorization(link=Identity(2, 3)).fit(TRAIN)
