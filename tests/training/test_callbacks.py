"""`on_epoch`: what functions of the user's are told after an epoch, and what they can end."""

from __future__ import annotations

import numpy as np
import pytest
from problems import clustered_table, planted_table, same_bits

import bilinear
from bilinear.errors import ParameterValueError
from bilinear.evaluation.metrics import Metric
from bilinear.training.callbacks import listeners
from bilinear.training.checkpoint_journal import FILE

TABLE, CLICKS = planted_table(80, 50, seed=3), clustered_table(0, 90, 50)
NUMBERS = {"n_factors": 4, "l2": 0.2, "l2_biases": 0.2, "rng": 0}
SOLVERS = {
    "sgd": bilinear.SGD(n_epochs=6),
    "minibatch": bilinear.MiniBatch(bilinear.Adam(), n_epochs=6),
    "als": bilinear.ALS(n_epochs=6),
}


def models():
    made = {name: bilinear.MatrixFactorization(**NUMBERS, solver=solver) for name, solver in SOLVERS.items()}
    sampled = bilinear.MiniBatch(bilinear.Adam(), n_epochs=6, batch_size=64)
    made["sampled"] = bilinear.RankingFactorization(
        4, solver=sampled, n_negatives=9, validate_every=2, rng=0, n_threads=1
    )
    return made | {"ials": bilinear.ImplicitALS(4, n_epochs=6, rng=0)}


@pytest.mark.parametrize("name", models())
def test_every_epoch_of_every_stage_is_told_and_changes_no_bit(name):
    heard, also = [], []
    told = models()[name].fit(TABLE, on_epoch=[heard.append, also.append])
    silent = models()[name].fit(TABLE)
    assert same_bits(told.parameters_, silent.parameters_)
    stages = dict.fromkeys(state.stage for state in heard)
    assert len(stages) == (1 if name == "ials" else 2)
    assert heard == also
    for stage in stages:
        mine = [state for state in heard if state.stage == stage]
        assert [state.epoch.number for state in mine] == list(range(1, len(mine) + 1))
        assert [len(state.history.epochs) for state in mine] == list(range(1, len(mine) + 1))
    first = [state for state in heard if state.stage == next(iter(stages))]
    assert [state.epoch.loss for state in first] == [epoch.loss for epoch in told.history_.epochs]
    assert heard[0].model == type(told).__name__
    assert listeners() is None


@pytest.mark.parametrize("name", models())
def test_stop_keeps_the_best_and_trains_no_further(name):
    heard = []

    def stop_after_two(state):
        heard.append(state.stage)
        if state.epoch.number == 2:
            state.stop()

    model = models()[name].fit(TABLE, on_epoch=stop_after_two)
    assert len(heard) == 2
    assert (model.history_.ended, len(model.history_.epochs)) == ("stopped by on_epoch", 2)
    assert np.isfinite(model.parameters_.item_factors).all()


def test_stop_ends_a_search_and_leaves_no_checkpoint(tmp_path):
    def stop(state):
        if state.stage.startswith("search full run"):
            state.stop()

    model = bilinear.MatrixFactorization(solver=bilinear.SGD(n_epochs=12), rng=0)
    model.fit(TABLE, on_epoch=stop, checkpoint=tmp_path / "c")
    assert model.history_.ended == "stopped by on_epoch"
    assert model.search_.interrupted
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("name", ["sgd", "sampled", "ials"])
def test_an_exception_ends_training_with_it_and_a_checkpoint_goes_on(name, tmp_path):
    def fail(state):
        if state.epoch.number == 3:
            raise OSError("the tracking server is gone")

    model = models()[name]
    kept = bilinear.Checkpoint(tmp_path / "c", minutes=0)
    with pytest.raises(OSError, match="the tracking server is gone"):
        model.fit(TABLE, on_epoch=fail, checkpoint=kept)
    assert listeners() is None
    assert (tmp_path / "c" / FILE).exists()
    heard = []
    model.fit(TABLE, checkpoint=kept, on_epoch=lambda state: heard.append(state.epoch.number))
    assert heard[0] == 3  # the two before are done
    assert same_bits(model.parameters_, models()[name].fit(TABLE).parameters_)


@pytest.mark.parametrize("scale", [1.0, 2.0**60])
def test_the_weights_of_the_state_are_those_that_were_measured_in_rating_units(scale):
    """A table far from one is trained in other units, of which a function sees nothing."""
    large = bilinear.Interactions.from_columns(TABLE.users, TABLE.items, TABLE.ratings * np.float32(scale))
    found = []

    def measure(state):
        parameters = state.parameters()
        predicted = parameters.global_mean + parameters.user_biases[large.users].astype(float)
        predicted += parameters.item_biases[large.items]
        pairs = parameters.user_factors[large.users].astype(float) * parameters.item_factors[large.items]
        errors = predicted + pairs.sum(axis=1) - large.ratings.astype(float)
        found.append((state.epoch, np.sqrt((errors**2).mean())))

    settings = {"n_factors": 4, "l2": 0.2 * scale, "l2_biases": 0.2, "rng": 0, "refit": False}
    model = bilinear.MatrixFactorization(**settings, solver=bilinear.SGD(n_epochs=12))
    model.fit(large, on_epoch=measure)
    (early, before), (late, after) = found[0], found[-1]
    assert late.loss < early.loss
    assert after < before < 3 * large.ratings.astype(float).std()
    assert [epoch for epoch, _ in found] == list(model.history_.epochs)


def test_what_cannot_be_called_is_refused_before_training():
    for wrong in (5, ["print"]):
        with pytest.raises((ParameterValueError, TypeError)):
            models()["sgd"].fit(TABLE, on_epoch=wrong)


# -- the metric of the inner validation part ------------------------------------------------------


def test_ratings_may_be_trained_by_another_error():
    model = bilinear.MatrixFactorization(**NUMBERS, solver=SOLVERS["sgd"], metric="mae", refit=False).fit(
        TABLE
    )
    by_rmse = bilinear.MatrixFactorization(**NUMBERS, solver=SOLVERS["sgd"], refit=False).fit(TABLE)
    pairs = zip(model.history_.epochs, by_rmse.history_.epochs, strict=False)
    for mine, other in pairs:
        assert mine.loss == other.loss
        assert mine.validation < other.validation  # the mean absolute error is below its root mean square
    assert model.history_.best_validation == min(epoch.validation for epoch in model.history_.epochs)
    assert model.history_.best_validation_rmse is None
    assert "validation mae" in str(model.history_)


def test_a_metric_of_my_own_sees_rating_units():
    large = bilinear.Interactions.from_columns(TABLE.users, TABLE.items, TABLE.ratings * np.float32(2.0**60))
    seen = []

    def mine(predictions, ratings):
        seen.append(float(np.abs(ratings).max()))
        return float(np.abs(predictions - ratings).mean())

    settings = {"n_factors": 4, "l2": 0.2, "l2_biases": 0.2, "rng": 0, "refit": False}
    model = bilinear.MatrixFactorization(**settings, solver=SOLVERS["sgd"], metric=mine).fit(large)
    assert min(seen) > 2.0**60
    assert model.history_.metric == "mine"
    assert model.history_.best_validation == min(epoch.validation for epoch in model.history_.epochs)


@pytest.mark.parametrize("name", SOLVERS)
def test_ratings_may_be_trained_by_a_metric_of_lists(name):
    model = bilinear.MatrixFactorization(**NUMBERS, solver=SOLVERS[name], metric="recall@10").fit(TABLE)
    history = model.history_
    assert history.metric == "recall@10"
    assert history.best_validation == max(epoch.validation for epoch in history.epochs)
    assert 0 < history.best_validation < 1


def test_the_search_goes_by_the_rmse_and_training_follows_by_the_metric():
    solver = bilinear.SGD(n_epochs=12)
    by_rmse = bilinear.MatrixFactorization(solver=solver, rng=0).fit(TABLE)
    heard = []
    by_lists = bilinear.MatrixFactorization(solver=solver, rng=0, metric="ndcg@10")
    by_lists.fit(TABLE, on_epoch=heard.append)
    trials = [
        [(trial.l2, trial.validation_rmse) for trial in model.search_.trials] for model in (by_rmse, by_lists)
    ]
    assert trials[0] == trials[1]
    assert by_lists.history_.metric == "ndcg@10"
    stages = list(dict.fromkeys(state.stage.split(",")[0] for state in heard))
    assert stages[-2:] == ["training", "on all ratings"]


def test_smaller_may_be_better_for_lists_too():
    worst = Metric(
        "misses@10", lambda items, hits, n_relevant: 1 - hits.mean(axis=1), 10, larger_is_better=False
    )
    solver = bilinear.MiniBatch(bilinear.Adam(), n_epochs=6, batch_size=64)
    model = bilinear.RankingFactorization(
        4, solver=solver, n_negatives=9, validate_every=1, metric=worst, rng=0, refit=False
    ).fit(CLICKS)
    assert model.history_.best_validation == min(epoch.validation for epoch in model.history_.epochs)


def test_histories_of_all_models_are_drawn(tmp_path):
    for name, model in models().items():
        history = model.fit(TABLE).history_
        if name in ("sgd", "sampled", "ials"):  # one for each kind of columns
            history.plot(tmp_path / f"{name}.png")
        assert type(history).from_table(history.table(), **history.summary()) == history
        assert type(history).from_dict(history.to_dict()) == history
        assert str(history).endswith(history.ended)
