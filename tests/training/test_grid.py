"""The grid: strata share no row, all ratings are met once, and threads change no bit."""

from __future__ import annotations

import numpy as np
import pytest

from bilinear.data.synthetic import synthetic_ratings
from bilinear.model.parameters import Parameters
from bilinear.training import grid as module
from bilinear.training.grid import Grid, pool

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
