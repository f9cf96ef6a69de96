"""The search: what its table says is what it did, and Ctrl-C keeps what belongs together."""

from __future__ import annotations

import numpy as np
import pytest
from listeners import CtrlC, Recorder
from problems import planted_table, same_bits

from bilinear.data.interactions import Interactions
from bilinear.data.splits import split_random
from bilinear.model.link import Identity, Sigmoid
from bilinear.model.parameters import Parameters
from bilinear.objective.losses import CrossEntropy, SquaredError
from bilinear.objective.penalties import L2
from bilinear.training import rating_grid
from bilinear.training import search as module
from bilinear.training.bias_solver import solve_biases
from bilinear.training.initialization import Scale
from bilinear.training.search import (
    BIAS_GRID,
    FACTOR_PATH,
    FULL_L2_PATH,
    L2_PATH,
    NO_BIASES,
    SearchTable,
    choose_bias_penalty,
    search,
)
from bilinear.training.sgd import SGD
from bilinear.training.validation import rmse

TABLE = planted_table(150, 80, rank=3, density=0.3)
SPLIT = split_random(TABLE, 0.1)
CLOSED = ("mean", "biases")  # stages without a descent
LINK = Identity(float(TABLE.ratings.min()), float(TABLE.ratings.max()))
SOLVER = SGD(n_epochs=40, learning_rate=0.05, patience=40)


def run(*, split=SPLIT, loss=SquaredError(), link=LINK, solver=SOLVER, progress=None, **fixed):  # noqa: B008
    chosen = {"n_factors": None, "l2": None, "l2_biases": None} | fixed
    return search(
        split.train,
        split.test,
        link,
        loss,
        solver,
        **chosen,
        exponent=0.5,
        start_size=0.1,
        seed=0,
        progress=progress,
    )


@pytest.fixture(scope="module")
def found():
    return run()


def kept_in(table, stage):
    return [trial for trial in table.trials if trial.kept and trial.stage == stage]


def test_the_table_has_its_stages_in_order_and_each_keeps_its_best_trial(found):
    table = found.table
    assert list(dict.fromkeys(trial.stage for trial in table.trials)) == ["mean", "biases", "l2", "full run"]
    (bias,), (l2,), (full,) = (kept_in(table, stage) for stage in ("biases", "l2", "full run"))
    for stage, kept in (("biases", bias), ("l2", l2)):
        measured = [trial.validation_rmse for trial in table.trials if trial.stage == stage]
        assert kept.validation_rmse == min(measured)
    measured = [trial.validation_rmse for trial in table.trials if trial.stage == "full run"]
    assert min(measured) <= full.validation_rmse <= min(measured) / (1 - 5e-4)  # 0.05 % count as no better
    assert (full.n_factors, full.l2, full.l2_biases) == (table.n_factors, table.l2, table.l2_biases)
    assert full.l2 in [l2.l2 * factor for factor in (1, *FULL_L2_PATH)]
    assert not table.interrupted
    assert all(trial.seconds >= 0 for trial in table.trials)


def test_the_result_is_the_run_of_the_kept_row(found):
    (full,) = kept_in(found.table, "full run")
    assert found.parameters.n_factors == found.table.n_factors
    assert found.history.best_validation_rmse == full.validation_rmse
    assert rmse(found.parameters, LINK, SPLIT.test) == full.validation_rmse


def test_grids_are_walked_as_documented(found):
    scale = Scale.of(SPLIT.train, LINK, SquaredError())
    by_stage = {
        stage: [trial for trial in found.table.trials if trial.stage == stage]
        for stage in ("biases", "l2", "full run")
    }
    assert [trial.l2_biases for trial in by_stage["biases"]] == list(BIAS_GRID)
    steps = [trial.l2 / scale.l2_factors for trial in by_stage["l2"]]
    np.testing.assert_allclose(steps, L2_PATH[: len(steps)])
    bias = kept_in(found.table, "biases")[0].l2_biases
    assert {trial.l2_biases for trial in by_stage["l2"]} == {bias}
    assert {trial.n_factors for trial in by_stage["l2"]} == {32}
    first = by_stage["full run"][0]
    assert (first.n_factors, first.l2_biases) == (32, bias)
    factors = [trial.n_factors for trial in by_stage["full run"]]
    assert factors == sorted(factors)
    assert set(factors) <= set(FACTOR_PATH)


@pytest.mark.parametrize("noise", [0.1, 1.5])
def test_the_l2_path_goes_on_until_two_trials_were_clearly_worse(noise):
    split = split_random(planted_table(150, 80, density=0.3, noise=noise), 0.1)
    link = Identity(float(split.train.ratings.min()) - 9, float(split.train.ratings.max()) + 9)
    table = run(split=split, link=link, n_factors=8).table
    measured = [trial.validation_rmse for trial in table.trials if trial.stage == "l2"]
    best, worse = np.inf, 0
    for n, found in enumerate(measured, 1):
        if found < best:
            best, worse = found, 0
        elif found > best * 1.002:
            worse += 1
        assert (worse == 2 or n == len(L2_PATH)) == (n == len(measured))
    assert (len(measured) < len(L2_PATH)) == (noise > 1)


def test_the_bias_penalty_is_the_best_of_the_grid_by_the_closed_form():
    table = choose_bias_penalty(SPLIT.train, SPLIT.test, LINK, 0.5)
    expected = [rmse(solve_biases(SPLIT.train, L2(0, l2, 0.5)), LINK, SPLIT.test) for l2 in BIAS_GRID]
    mean, *biases = table.trials
    assert [trial.validation_rmse for trial in biases] == expected
    assert table.l2_biases == BIAS_GRID[int(np.argmin(expected))]
    assert [trial.kept for trial in biases].index(True) == int(np.argmin(expected))
    assert sum(trial.kept for trial in table.trials) == 1
    of_mean = Parameters.zeros(TABLE.shape, 0, float(SPLIT.train.ratings.mean(dtype=np.float64)))
    assert mean.validation_rmse == pytest.approx(rmse(of_mean, LINK, SPLIT.test), rel=1e-6)


def test_a_bias_penalty_that_the_steps_cannot_follow_is_not_chosen():
    rng = np.random.default_rng(0)
    pairs = [(user, item) for user in range(40) for item in rng.permutation(5)[: 1 + user % 4]]
    users, items = np.array(pairs).T
    noise = Interactions.from_columns(users, items, rng.integers(1, 31, len(pairs)))
    split = split_random(noise, 0.1)
    link = Identity(1, 30)
    assert choose_bias_penalty(split.train, split.test, link, 0.5, 52).l2_biases == 51.2
    assert choose_bias_penalty(split.train, split.test, link, 0.5).l2_biases == NO_BIASES
    assert choose_bias_penalty(split.train, split.test, link, 0.5, 26).l2_biases == 25.6
    for trial in run(split=split, link=link, solver=SGD()).table.trials:
        if trial.stage in ("l2", "full run"):  # a descent diverges where 0.06 * 51.2 is tried
            assert trial.l2_biases <= 2 / SGD().rate
            assert trial.validation_rmse < 30


@pytest.mark.parametrize(
    "fixed",
    [
        {"n_factors": 5},
        {"l2": 0.123},
        {"l2_biases": 0.77},
        {"n_factors": 5, "l2": 0.123},
        {"n_factors": 5, "l2": 0.123, "l2_biases": 0.77},
        {"n_factors": 0},
    ],
    ids=str,
)
def test_what_is_given_is_not_searched(fixed):
    result = run(**fixed)
    stages = {trial.stage for trial in result.table.trials}
    for name, value in fixed.items():
        assert getattr(result.table, name) == value
    assert ("biases" in stages) == ("l2_biases" not in fixed)
    assert ("l2" in stages) == ("l2" not in fixed and fixed.get("n_factors") != 0)
    for trial in result.table.trials:
        if trial.stage not in CLOSED:
            assert trial.n_factors == fixed.get("n_factors", trial.n_factors)
            assert trial.l2 == fixed.get("l2", trial.l2)
            assert trial.l2_biases == fixed.get("l2_biases", trial.l2_biases)
    assert result.parameters.n_factors == result.table.n_factors


@pytest.mark.parametrize("loss", [SquaredError(), CrossEntropy()])
def test_after_a_sigmoid_the_penalties_come_in_the_units_of_the_score(loss):
    link = Sigmoid().resolved(*LINK.bounds)
    result = run(loss=loss, link=link, n_factors=4)
    scale = Scale.of(SPLIT.train, link, loss)
    units = [trial.l2_biases / scale.l2_biases for trial in result.table.trials if trial.stage == "biases"]
    np.testing.assert_allclose(units, BIAS_GRID)
    assert result.history.best_validation_rmse < 0.5 * TABLE.ratings.std()


def test_the_seed_decides_the_search(found):
    assert same_bits(run().parameters, found.parameters)


def test_every_stage_is_announced():
    heard = Recorder()
    result = run(progress=heard)
    names = [name for name, _ in heard.of("stage")]
    expected = [trial for trial in result.table.trials if trial.stage not in CLOSED]
    assert names == [f"search {trial.stage}, {trial.n_factors} factors" for trial in expected]


@pytest.mark.parametrize("n", [1, 5, 12, 13, 30])
def test_ctrl_c_while_the_penalty_is_chosen_keeps_the_best_trial_so_far(n):
    result = run(progress=CtrlC("epoch", n, "search l2"))
    assert result.table.interrupted
    assert not kept_in(result.table, "full run")
    (kept,) = kept_in(result.table, "l2")
    assert kept.validation_rmse == min(t.validation_rmse for t in result.table.trials if t.stage == "l2")
    assert_it_belongs_together(result, kept)


@pytest.mark.parametrize("n", [1, 2, 41, 60, 81, 95, 121])
@pytest.mark.parametrize("method", ["advance", "epoch"])
def test_ctrl_c_in_the_full_runs_keeps_the_best_run_so_far(method, n):
    """Even in its very first steps, when there are only the weights of the stage before."""
    stop = CtrlC(method, n, "search full run")
    result = run(progress=stop)
    if not stop.raised:
        pytest.fail("the search was over before Ctrl-C came")
    assert result.table.interrupted
    kept = (kept_in(result.table, "full run") or kept_in(result.table, "l2"))[0]
    assert_it_belongs_together(result, kept)


def assert_it_belongs_together(result, kept):
    """Weights, history and choices are those of one trial."""
    table = result.table
    assert (table.n_factors, table.l2, table.l2_biases) == (kept.n_factors, kept.l2, kept.l2_biases)
    assert result.parameters.n_factors == kept.n_factors
    assert result.history.best_validation_rmse == kept.validation_rmse
    assert rmse(result.parameters, LINK, SPLIT.test) == kept.validation_rmse


def test_ctrl_c_in_the_first_epoch_of_a_full_run_does_not_replace_better_weights():
    result = run(progress=CtrlC("epoch", 1, "search full run"))
    assert result.history.best_validation_rmse == kept_in(result.table, "l2")[0].validation_rmse


def test_ctrl_c_before_anything_is_learned_comes_through():
    for stop in (CtrlC("stage", 1), CtrlC("advance", 1)):
        with pytest.raises(KeyboardInterrupt):
            run(progress=stop)


def test_a_table_survives_json_and_prints_a_row_a_trial(found):
    table = found.table
    assert SearchTable.from_dict(table.to_dict()) == table
    lines = str(table).splitlines()
    assert len(lines) == 1 + len(table.trials)
    assert sum(line.endswith("<- kept") for line in lines) == 3


def test_a_search_builds_one_grid_for_each_cut_of_the_table(monkeypatch):
    built = []
    of = rating_grid.Grid.of.__func__

    def counted(cls, table, row_bytes, rng, workers):
        built.append(table)
        return of(cls, table, row_bytes, rng, workers)

    monkeypatch.setattr(rating_grid.Grid, "of", classmethod(counted))
    result = run()
    assert len([trial for trial in result.table.trials if trial.n_factors]) > 5
    assert len(built) == 1  # 80 items fit the cache with any number of factors


def searched_in_part(monkeypatch, n_ratings, **fixed):
    monkeypatch.setattr(module, "SEARCHED", n_ratings)
    return run(**fixed)


@pytest.mark.parametrize("n_ratings", [2000, 600])
def test_a_large_table_is_searched_on_some_users_and_trained_on_all(monkeypatch, found, n_ratings):
    part = searched_in_part(monkeypatch, n_ratings)
    table = part.table
    assert n_ratings <= table.n_searched < n_ratings + TABLE.n_items
    finalist = table.trials[-1]
    assert finalist.stage == "finalist"
    assert finalist.kept
    for name in ("n_factors", "l2", "l2_biases"):
        assert getattr(finalist, name) == getattr(table, name)
    assert part.parameters.user_factors.shape == (TABLE.n_users, table.n_factors)
    assert rmse(part.parameters, LINK, SPLIT.test) == finalist.validation_rmse
    assert finalist.validation_rmse < found.history.best_validation_rmse * 1.15
    again = [trial.l2 for trial in table.trials[:-1] if trial.stage == "l2"]
    rises = [n for n in range(1, len(again)) if again[n] > again[n - 1]]  # a second path
    assert len(rises) == (n_ratings < 0.25 * SPLIT.train.n_ratings)
    assert f"{table.n_searched:,} ratings" in str(table)
    assert SearchTable.from_dict(table.to_dict()) == table
    assert same_bits(searched_in_part(monkeypatch, n_ratings).parameters, part.parameters)


def test_a_part_that_chooses_no_factors_has_the_biases_of_all(monkeypatch):
    rng = np.random.default_rng(0)
    pairs = np.argwhere(rng.random((120, 40)) < 0.3)
    values = (
        3 + rng.normal(size=120)[pairs[:, 0]] + rng.normal(size=40)[pairs[:, 1]] + rng.normal(size=len(pairs))
    )
    split = split_random(Interactions.from_columns(*pairs.T, values), 0.1)
    result = searched_in_part(monkeypatch, 400, split=split, link=Identity(-9, 15))
    assert result.table.n_factors == 0
    exact = solve_biases(split.train, L2(0.0, result.table.l2_biases, 0.5))
    assert same_bits(result.parameters, exact)


def test_ctrl_c_while_a_part_is_searched_comes_through_and_later_keeps_the_best(monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        searched_in_part(monkeypatch, 2000, progress=CtrlC("epoch", 3, "search full run"))
    kept = searched_in_part(monkeypatch, 2000, progress=CtrlC("epoch", 3, "search finalist"))
    assert kept.table.interrupted
    assert kept.parameters.n_users == TABLE.n_users
    assert rmse(kept.parameters, LINK, SPLIT.test) == kept.history.best_validation_rmse
