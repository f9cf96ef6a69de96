"""The grid: strata share no row, all ratings are met once, and threads change no bit."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from problems import random_parameters, rows_of_grid, same_bits

from bilinear.data.row_subset import Part
from bilinear.data.splits import split_random
from bilinear.data.synthetic.catalogue import synthetic_ratings
from bilinear.errors import DivergenceError
from bilinear.estimators.matrix_factorization import MatrixFactorization
from bilinear.model.link import Identity
from bilinear.model.parameters import Parameters
from bilinear.objective.losses import SquaredError
from bilinear.objective.objective import Objective
from bilinear.objective.penalties import L2
from bilinear.training import rating_grid as module
from bilinear.training import sgd
from bilinear.training.rating_grid import Grid, Rows
from bilinear.training.sgd import SGD, SGDRun
from bilinear.training.thread_pool import Workers
from bilinear.training.validation import RatingValidation, rmse

TABLE = synthetic_ratings(300, 120, 6000, 3, rng=1)


def build(threads=1, seed=0):
    with closing(Workers(threads)) as workers:
        return Grid.of(TABLE, 4 * 8, np.random.default_rng(seed), workers)


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
    grid = Grid.of(table, 32, np.random.default_rng(0), Workers(1))
    assert grid.item_side.n_blocks > grid.user_side.n_blocks
    met = grid.strata(np.random.default_rng(0)).reshape(-1)
    assert sorted(met) == list(range(len(grid.starts) - 1))


def test_the_grid_does_not_depend_on_the_number_of_threads():
    one, three = build(1), build(3)
    for name in ("users", "items", "ratings", "starts"):
        assert (getattr(one, name) == getattr(three, name)).all()


def test_another_seed_is_another_grid():
    assert not (build(seed=0).users == build(seed=1).users).all()


def test_ratings_are_those_of_the_table():
    grid = build()
    users, items, ratings = rows_of_grid(grid)
    rows = np.lexsort((items, users))
    assert (users[rows] == TABLE.users).all()
    assert (items[rows] == TABLE.items).all()
    assert (ratings[rows] == TABLE.ratings).all()
    assert [column.itemsize for column in (grid.users, grid.items, grid.ratings)] == [2, 2, 1]


@pytest.mark.parametrize("n_factors", [4, 16, 130])
@pytest.mark.parametrize("moving", [False, True])
def test_rows_are_in_the_order_of_the_grid_and_come_back(n_factors, moving):
    parameters = random_parameters(TABLE.shape, n_factors, np.random.default_rng(0), np.float32)
    grid, sides = build(), []
    for side, biases, factors in (
        (grid.user_side, parameters.user_biases, parameters.user_factors),
        (grid.item_side, parameters.item_biases, parameters.item_factors),
    ):
        rows = Rows.of(biases, np.arange(len(biases), dtype=np.float32), factors, side.order, moving)
        assert rows.factors.ctypes.data % 64 == 0
        assert rows.factors.strides[0] % 64 == 0
        assert rows.factors.flags["C_CONTIGUOUS"]
        assert not rows.factors[:, n_factors:].any()
        assert (rows.bias_columns[:, 1] == side.order).all()
        assert rows.velocities.shape == ((len(biases) if moving else 0), rows.factors.shape[1])
        assert not rows.velocities.any()
        place = side.labels[7]
        assert (rows.weights[place] == factors[7]).all()
        sides.append(rows)
    users, items = sides
    there = Parameters(parameters.global_mean, users.biases, items.biases, users.weights, items.weights)
    assert same_bits(grid.restored(there), parameters)


SPLIT = split_random(synthetic_ratings(400, 200, 16_000, 4, noise=0.3, rng=2), 0.2)
FIXED = {"n_factors": 8, "l2": 0.2, "l2_biases": 0.2, "rng": 0, "refit": False}


def fitted(monkeypatch, **solver):
    monkeypatch.setattr(sgd, "_SHARED", 0)
    monkeypatch.setattr(module, "_CACHE", 2000)
    return MatrixFactorization(**FIXED, solver=SGD(n_epochs=40, **solver)).fit(SPLIT.train)


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_the_same_bits_for_any_number_of_threads(monkeypatch, momentum):
    one, two, five = (fitted(monkeypatch, momentum=momentum, n_threads=n) for n in (1, 2, 5))
    for other in (two, five):
        for a, b in zip(one.parameters_.arrays().values(), other.parameters_.arrays().values(), strict=True):
            assert (a == b).all()
        assert [epoch.loss for epoch in one.history_.epochs] == [
            epoch.loss for epoch in other.history_.epochs
        ]


class Shuffled(Grid):
    """One cell with all ratings, in a new order every epoch."""

    def strata(self, rng):
        order = rng.permutation(len(self.users))
        for column in (self.users, self.items, self.ratings):
            column[:] = column[order]
        return np.array([[0]])


def test_the_grid_is_as_good_as_shuffled_ratings(monkeypatch):
    """The order of the steps is another, so the bits are; the error is the same within its noise."""
    model = fitted(monkeypatch)
    assert model.history_.epochs[-1].loss < 0.4 * model.history_.epochs[0].loss
    monkeypatch.setattr(module, "Grid", Shuffled)
    monkeypatch.setattr(module, "_n_blocks", lambda *_: 1)
    shuffled = MatrixFactorization(**FIXED, solver=SGD(n_epochs=40)).fit(SPLIT.train)
    mine, other = (m.evaluate(SPLIT.test).rmse.value for m in (model, shuffled))
    assert mine == pytest.approx(other, rel=0.02)
    assert mine != other


def test_the_kept_weights_are_those_of_the_best_epoch_in_the_order_of_the_table(monkeypatch):
    model = fitted(monkeypatch, learning_rate=0.1)
    history = model.history_
    measured = [epoch.validation for epoch in history.epochs]
    assert history.best_epoch == 1 + int(np.argmin(measured))
    unseen = np.bincount(SPLIT.train.users, minlength=SPLIT.train.n_users) == 0
    assert not model.parameters_.user_factors[unseen].any()
    errors = model.predict_rows(SPLIT.train.users, SPLIT.train.items) - SPLIT.train.ratings
    assert np.sqrt(np.mean(errors**2)) < min(measured)


def test_steps_that_are_too_long_say_what_to_lower(monkeypatch):
    with pytest.raises(DivergenceError, match="learning_rate"):
        fitted(monkeypatch, learning_rate=1e6)


def test_a_part_of_a_table_makes_the_grid_of_its_copy(monkeypatch):
    """Bit by bit, without the copy: the part is asked for columns to count, and for nothing else."""
    monkeypatch.setattr(module, "_CACHE", 600)
    part = Part(TABLE, np.random.default_rng(0).random(TABLE.n_ratings) < 0.7)
    with closing(Workers(2)) as threads:
        lazy, copied = (Grid.of(t, 32, np.random.default_rng(0), threads) for t in (part, part.gathered()))
    for name in ("users", "items", "ratings", "starts"):
        assert (getattr(lazy, name) == getattr(copied, name)).all(), name


@pytest.mark.parametrize("threads", [1, 3])
def test_measuring_in_the_order_of_the_grid_gives_the_bits_of_measuring_the_table(threads):
    rng = np.random.default_rng(5)
    start = random_parameters(TABLE.shape, 4, rng, np.float32)
    part = TABLE.take(rng.random(TABLE.n_ratings) < 0.2)
    objective = Objective(SquaredError(), Identity(1.0, 5.0), L2(0.1, 0.1), TABLE)
    with closing(Workers(threads)) as workers:
        run = SGDRun.of(SGD(n_epochs=1), objective, start, rng, workers)
        assert RatingValidation(part, objective.link).measure(run) == rmse(
            run.current(), objective.link, part
        )
    assert same_bits(run.current(), start)


def test_codes_and_places_give_the_bits_of_ratings_and_rows():
    """The twin has one block of either side and no codes: whole rows and float32 ratings."""
    rng = np.random.default_rng(2)
    start = random_parameters(TABLE.shape, 4, rng, np.float32)
    objective = Objective(SquaredError(), Identity(1.0, 5.0), L2(0.1, 0.1), TABLE)
    with closing(Workers(1)) as workers:
        run, twin = (
            SGDRun.of(SGD(n_epochs=1), objective, start, np.random.default_rng(0), workers) for _ in range(2)
        )
        grid = twin.grid
        cells = np.repeat(np.arange(len(grid.starts) - 1), np.diff(grid.starts))
        blocks = np.divmod(cells, grid.item_side.n_blocks)
        twin.grid = replace(
            grid,
            users=(grid.user_side.starts[blocks[0]] + grid.users).astype(np.uint32),
            items=(grid.item_side.starts[blocks[1]] + grid.items).astype(np.uint32),
            ratings=grid.values[grid.ratings],
            values=grid.values[:0],
            user_side=replace(grid.user_side, starts=np.zeros_like(grid.user_side.starts)),
            item_side=replace(grid.item_side, starts=np.zeros_like(grid.item_side.starts)),
        )
        every = np.random.default_rng(1).permutation(len(grid.starts) - 1)
        for one in (run, twin):
            assert one.step(every, np.full(len(every), 0.05), 0.1)
    assert same_bits(run.current(), twin.current())
    assert not same_bits(run.current(), start)


def test_blocks_of_more_rows_than_two_bytes_tell_apart_have_longer_places(monkeypatch):
    monkeypatch.setattr(module, "_MOST_PLACES", 8)
    grid = build()
    assert grid.user_side.dtype is np.uint32
    assert np.diff(grid.user_side.starts).max() > 8
    rows = np.lexsort(rows_of_grid(grid)[1::-1])
    assert (rows_of_grid(grid)[0][rows] == TABLE.users).all()
