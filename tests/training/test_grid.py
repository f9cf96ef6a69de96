"""The grid: strata share no row, all ratings are met once, and threads change no bit."""

from __future__ import annotations

import numpy as np
import pytest
from problems import random_parameters

from bilinear.data.part import Part
from bilinear.data.splits import split_random
from bilinear.data.synthetic import synthetic_ratings
from bilinear.errors import DivergenceError
from bilinear.estimators.matrix_factorization import MatrixFactorization
from bilinear.model.link import Identity
from bilinear.model.parameters import Parameters
from bilinear.training import grid as module
from bilinear.training import sgd
from bilinear.training.grid import Grid, pool
from bilinear.training.sgd import SGD

TABLE = synthetic_ratings(300, 120, 6000, 3, rng=1)


def build(threads=1, seed=0):
    with pool(threads) as threads_pool:
        return Grid.of(TABLE, 4 * 8, np.random.default_rng(seed), threads_pool)


@pytest.mark.parametrize("cache", [module._CACHE, 600, 5000])
def test_strata_meet_every_cell_once_and_share_no_row(cache, monkeypatch):
    monkeypatch.setattr(module, "_CACHE", cache)
    grid = build()
    wide, narrow = grid.user_side.n_blocks, grid.item_side.n_blocks
    met = []
    for cells in grid.strata(np.random.default_rng(3)):
        assert len(set(cells // narrow)) == len(cells)  # user blocks
        assert len(set(cells % narrow)) == len(cells)  # item blocks
        met += cells.tolist()
    assert sorted(met) == list(range(wide * narrow))


def test_more_items_than_users_is_as_good(monkeypatch):
    monkeypatch.setattr(module, "_CACHE", 600)
    table = synthetic_ratings(40, 900, 6000, 3, rng=1)
    with pool(1) as one:
        grid = Grid.of(table, 32, np.random.default_rng(0), one)
    assert grid.item_side.n_blocks > grid.user_side.n_blocks
    met = np.concatenate(list(grid.strata(np.random.default_rng(0))))
    assert sorted(met) == list(range(len(grid.starts) - 1))


def test_the_grid_does_not_depend_on_the_number_of_threads():
    one, three = build(1), build(3)
    for name in ("users", "items", "ratings", "starts"):
        assert (getattr(one, name) == getattr(three, name)).all()


def test_another_seed_is_another_grid():
    assert not (build(seed=0).users == build(seed=1).users).all()


def test_ratings_are_those_of_the_table():
    grid = build()
    users, items = grid.user_side.order[grid.users], grid.item_side.order[grid.items]
    rows = np.lexsort((items, users))
    assert (users[rows] == TABLE.users).all()
    assert (items[rows] == TABLE.items).all()
    assert (grid.ratings[rows] == TABLE.ratings).all()


def test_renumbering_is_undone():
    rng = np.random.default_rng(0)
    parameters = Parameters(
        1.5, rng.normal(size=300), rng.normal(size=120), rng.normal(size=(300, 4)), rng.normal(size=(120, 4))
    )
    grid = build()
    there = grid.renumbered(parameters)
    assert not (there.user_biases == parameters.user_biases).all()
    back = grid.restored(there)
    for name, array in parameters.arrays().items():
        assert (back.arrays()[name] == array).all()
    place = grid.user_side.labels[7]
    assert (there.user_factors[place] == parameters.user_factors[7]).all()


SPLIT = split_random(synthetic_ratings(400, 200, 16_000, 4, noise=0.3, rng=2), 0.2)
FIXED = {"n_factors": 8, "l2": 0.2, "l2_biases": 0.2, "rng": 0, "refit": False}


def fitted(monkeypatch, *, on_grid, **solver):
    monkeypatch.setattr(sgd, "_ON_GRID", 0 if on_grid else 10**9)
    monkeypatch.setattr(sgd, "_SHARED", 0)
    monkeypatch.setattr(module, "_CACHE", 2000)
    return MatrixFactorization(**FIXED, solver=SGD(n_epochs=40, **solver)).fit(SPLIT.train)


def test_the_same_bits_for_any_number_of_threads(monkeypatch):
    one, two, five = (fitted(monkeypatch, on_grid=True, threads=n) for n in (1, 2, 5))
    for other in (two, five):
        for a, b in zip(one.parameters_.arrays().values(), other.parameters_.arrays().values(), strict=True):
            assert (a == b).all()
        assert [epoch.loss for epoch in one.history_.epochs] == [
            epoch.loss for epoch in other.history_.epochs
        ]


def test_the_grid_is_as_good_as_shuffled_ratings(monkeypatch):
    """The order of the steps is another, so the bits are; the error is the same within its noise."""
    errors = {}
    for on_grid in (True, False):
        model = fitted(monkeypatch, on_grid=on_grid)
        errors[on_grid] = model.evaluate(SPLIT.test).rmse.value
        assert model.history_.epochs[-1].loss < 0.4 * model.history_.epochs[0].loss
    assert errors[True] == pytest.approx(errors[False], rel=0.02)
    assert errors[True] != errors[False]


def test_the_kept_weights_are_those_of_the_best_epoch_in_the_order_of_the_table(monkeypatch):
    model = fitted(monkeypatch, on_grid=True, learning_rate=0.1)
    history = model.history_
    measured = [epoch.validation_rmse for epoch in history.epochs]
    assert history.best_epoch == 1 + int(np.argmin(measured))
    unseen = np.bincount(SPLIT.train.users, minlength=SPLIT.train.n_users) == 0
    assert not model.parameters_.user_factors[unseen].any()
    errors = model.predict_rows(SPLIT.train.users, SPLIT.train.items) - SPLIT.train.ratings
    assert np.sqrt(np.mean(errors**2)) < min(measured)


def test_steps_that_are_too_long_say_what_to_lower_on_the_grid_too(monkeypatch):
    with pytest.raises(DivergenceError, match="learning_rate"):
        fitted(monkeypatch, on_grid=True, learning_rate=1e6)


def test_a_part_of_a_table_makes_the_grid_of_its_copy(monkeypatch):
    """Bit by bit, without the copy: the part is asked for columns to count, and for nothing else."""
    monkeypatch.setattr(module, "_CACHE", 600)
    part = Part(TABLE, np.random.default_rng(0).random(TABLE.n_ratings) < 0.7)
    with pool(2) as threads:
        lazy, copied = (Grid.of(t, 32, np.random.default_rng(0), threads) for t in (part, part.gathered()))
    for name in ("users", "items", "ratings", "starts"):
        assert (getattr(lazy, name) == getattr(copied, name)).all(), name


def test_measuring_in_the_order_of_the_grid_gives_the_bits_of_measuring_the_table():
    grid, rng = build(), np.random.default_rng(5)
    parameters = random_parameters(TABLE.shape, 4, rng, np.float32)
    part = TABLE.take(rng.random(TABLE.n_ratings) < 0.2)
    link = Identity(1.0, 5.0)
    renumbered = grid.renumbered(parameters)
    assert sgd.rmse(renumbered, link, grid.relabelled(part)) == sgd.rmse(parameters, link, part)
