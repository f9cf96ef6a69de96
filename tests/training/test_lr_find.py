"""The range test finds rates that train, draws them, and changes nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from problems import planted_table, rows_of_grid, same_bits

from bilinear.errors import ParameterValueError
from bilinear.estimators.matrix_factorization import MatrixFactorization
from bilinear.model.link import Identity
from bilinear.model.scoring import score_rows
from bilinear.objective.losses import SquaredError
from bilinear.objective.objective import Objective
from bilinear.objective.penalties import L2
from bilinear.training.initialization import Scale, random_start
from bilinear.training.lr_find import lr_find, suggest
from bilinear.training.minibatch import MiniBatch
from bilinear.training.optimizers import Adam, ExponentialMovingAverage, GradientDescent
from bilinear.training.sgd import SGD, SGDRun
from bilinear.training.solver import Solver
from bilinear.training.thread_pool import Workers

TABLE = planted_table(200, 100)
OBJECTIVE = Objective(SquaredError(), Identity(0.0, 6.0), L2(0.1, 0.1), TABLE)
START = random_start(TABLE, 4, Scale.of(TABLE, OBJECTIVE.link, OBJECTIVE.loss), 0.1, np.random.default_rng(0))


def found_with(solver, **options):
    return lr_find(solver, OBJECTIVE, START, np.random.default_rng(1), **options)


def check_suggestions(found, solver, n_first):
    """Trained at a careful suggestion the loss is well below the first ones; at a hundredth it is higher."""
    assert set(found.suggestions) == {"valley", "steepest", "minimum"}

    def loss(rate):
        made = replace(solver, learning_rate=rate)
        return made.minimise(OBJECTIVE, START, np.random.default_rng(2))[1].epochs[-1].loss

    for name in ("valley", "minimum"):
        rate = found.suggestions[name]
        assert loss(rate) < 0.6 * found.raw_losses[:n_first].mean(), name
        assert loss(rate / 100) > loss(rate), name


@pytest.mark.parametrize("optimizer", [Adam(), GradientDescent()])
def test_the_careful_suggestions_train_and_a_hundredth_of_it_hardly(optimizer):
    solver = MiniBatch(optimizer, batch_size=64, n_epochs=3)
    found = found_with(solver, highest=1000)
    check_suggestions(found, solver, n_first=20)


def test_nothing_is_changed_and_the_seed_decides():
    before = START.copy()
    solver = MiniBatch(average=ExponentialMovingAverage())
    first, again = found_with(solver), found_with(solver)
    assert same_bits(START, before)
    assert same_bits(first.losses, again.losses)
    assert first.suggestions == again.suggestions


def test_rates_grow_geometrically_until_the_loss_explodes():
    found = found_with(MiniBatch(GradientDescent()), lowest=1e-4, highest=1e6, n_steps=100)
    assert len(found.learning_rates) == len(found.losses) == len(found.raw_losses) < 100
    ratios = found.learning_rates[1:] / found.learning_rates[:-1]
    np.testing.assert_allclose(ratios, 1e10 ** (1 / 99))
    assert np.isfinite(found.raw_losses).all()


def test_more_steps_than_batches_go_round_the_ratings_again():
    found = found_with(MiniBatch(batch_size="all"), n_steps=50, highest=0.01)
    assert len(found.learning_rates) == 50


def test_suggestions_of_a_curve_that_is_known():
    """Flat, straight down over the logarithm from 1e-4 to 1e-1, then up."""
    rates = np.geomspace(1e-6, 10, 141)
    x = np.log10(rates)
    losses = 2 - 0.5 * np.clip(x + 4, 0, 3) + 2 * np.clip(x + 1, 0, None)
    found = suggest(rates, losses)
    assert found["minimum"] == pytest.approx(0.01)
    assert 1e-4 <= found["steepest"] <= 1e-1
    assert found["valley"] == pytest.approx(1e-2, rel=0.3)  # two thirds of the way
    assert suggest(rates, np.ones(141)) == suggest(rates, 1 + x - x[0]) == {}


def test_the_picture_shows_what_was_found(tmp_path):
    pytest.importorskip("matplotlib")
    found = found_with(MiniBatch())
    figure = found.plot(tmp_path / "range.svg")
    assert (tmp_path / "range.svg").stat().st_size > 1000
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert labels == [f"{name} {rate:.2g}" for name, rate in found.suggestions.items()]
    assert str(found).splitlines()[1:] == [
        f"{name:<9} {rate:.2g}" for name, rate in found.suggestions.items()
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"lowest": 0}, "lowest=0"),
        ({"lowest": 1, "highest": 0.1}, "in order"),
        ({"n_steps": 5}, "n_steps=5"),
        ({"lowest": 1e30, "highest": 1e35}, "smaller lowest"),
    ],
)
def test_a_range_of_no_use_is_refused(options, said):
    with pytest.raises(ParameterValueError, match=said):
        found_with(MiniBatch(GradientDescent()), **options)


def test_a_solver_without_a_rate_is_refused():
    with pytest.raises(ParameterValueError, match="no rate"):
        found_with(Solver())


def test_sgd_tries_batches_of_its_own_and_trains_at_the_careful_suggestions():
    found = found_with(SGD(), n_steps=100)
    assert len(found.learning_rates) < 100  # it exploded before the highest
    check_suggestions(found, SGD(n_epochs=10), n_first=10)


def test_its_first_loss_is_that_of_the_start_and_a_tiny_rate_changes_nothing():
    found = found_with(SGD(momentum=0.5), lowest=1e-12, highest=1e-11, n_steps=10)
    rng = np.random.default_rng(1)
    grid = SGDRun.of(SGD().resolved(TABLE.n_ratings), OBJECTIVE, START, rng, Workers(1)).grid
    users, items, ratings = rows_of_grid(grid)
    losses = OBJECTIVE.loss.value(score_rows(START, users, items), ratings, OBJECTIVE.link)
    size, expected, batch = TABLE.n_ratings // 10, [], []
    for cell in np.concatenate([*grid.strata(rng), [-1], *grid.strata(rng)]):
        batch += [] if cell < 0 else list(losses[grid.starts[cell] : grid.starts[cell + 1]])
        if len(batch) >= size or (cell < 0 and batch):
            expected.append(np.mean(batch))
            batch = []
    expected = expected[:10]
    np.testing.assert_allclose(found.raw_losses, expected, rtol=1e-4)


@pytest.mark.parametrize("solver", [SGD(), MiniBatch(Adam())])
def test_a_model_finds_rates_and_stays_as_it_is(solver):
    model = MatrixFactorization(solver=solver, rng=0)  # with all that a search would choose
    found = model.lr_find(TABLE, highest=1000)
    assert found.losses[-1] > 2 * found.losses.min()
    assert not hasattr(model, "parameters_")
    model.set_params(n_factors=4, l2=0.1, l2_biases=0.1, solver__n_epochs=2).fit(TABLE)
    weights = model.parameters_.copy()
    again = model.lr_find(TABLE, n_steps=30)
    assert same_bits(model.parameters_, weights)
    assert same_bits(again.losses, model.lr_find(TABLE, n_steps=30).losses)
