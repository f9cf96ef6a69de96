"""The kernels of the grid against plain twins."""

from __future__ import annotations

import numpy as np
import pytest

from bilinear.kernels.grid import INTERLEAVED, cut_into_blocks, distinct_values, fill_cells, interleave_cells

N_USERS, N_ITEMS, N = 23, 17, 260


def table(seed=0):
    rng = np.random.default_rng(seed)
    cells = rng.permutation(N_USERS * N_ITEMS)[:N]
    users, items = (cells // N_ITEMS).astype(np.int32), (cells % N_ITEMS).astype(np.int32)
    return users, items, rng.normal(size=N).astype(np.float32)


def filled(user_blocks=4, item_blocks=3, seed=0, coded=False):
    """Users and items of the cells are counted from row 0 again."""
    users, items, ratings = table(seed)
    ratings = ratings.round(1) if coded else ratings
    values = np.unique(ratings) if coded else np.empty(0, np.float32)
    rng = np.random.default_rng(seed + 1)
    sides = []
    for rows, n_rows, n_blocks in ((users, N_USERS, user_blocks), (items, N_ITEMS, item_blocks)):
        order = rng.permutation(n_rows)
        labels, starts = np.empty(n_rows, np.int32), np.empty(n_blocks + 1, np.int64)
        cut_into_blocks(order, np.bincount(rows, minlength=n_rows), n_blocks, labels, starts)
        sides.append(
            (order, labels, starts, np.repeat(np.arange(n_blocks), np.diff(starts)).astype(np.int32))
        )
    columns = np.empty(N, np.uint16), np.empty(N, np.uint16), np.empty(N, np.uint8 if coded else np.float32)
    starts = np.zeros(user_blocks * item_blocks + 1, np.int64)
    (u_order, _, u_starts, _), (_, i_labels, i_starts, i_blocks) = sides
    by_user = np.lexsort((items, users))
    counts = np.bincount(users, minlength=N_USERS)
    user_starts = np.append(0, np.cumsum(counts))
    starts[::item_blocks] = np.append(0, np.cumsum(counts[u_order]))[u_starts]
    grouped = user_starts, items[by_user], ratings[by_user]
    kept = np.empty(0, bool)
    for blocks in (np.arange(1, user_blocks), np.array([0])):  # shared out, in any order
        sides_of_items = i_labels, i_blocks, i_starts, values
        fill_cells(blocks, u_starts, u_order, *grouped, kept, *sides_of_items, *columns, starts)
    cells = np.repeat(np.arange(user_blocks * item_blocks), np.diff(starts))
    columns = (
        columns[0] + u_starts[cells // item_blocks],
        columns[1] + i_starts[cells % item_blocks],
        values[columns[2]] if coded else columns[2],
    )
    return (users, items, ratings), sides, columns, starts


@pytest.mark.parametrize("n_blocks", [1, 2, 5, 23])
def test_blocks_are_runs_of_nearly_equal_numbers_of_ratings(n_blocks):
    users, _, _ = table()
    counts = np.bincount(users, minlength=N_USERS)
    order = np.random.default_rng(2).permutation(N_USERS)
    labels, starts = np.empty(N_USERS, np.int32), np.empty(n_blocks + 1, np.int64)
    cut_into_blocks(order, counts, n_blocks, labels, starts)
    assert (labels[order] == np.arange(N_USERS)).all()
    assert starts[0] == 0
    assert starts[-1] == N_USERS
    assert (np.diff(starts) >= 0).all()
    sums = np.add.reduceat(np.append(counts[order], 0), np.minimum(starts[:-1], N_USERS))
    if n_blocks <= 5:
        assert abs(sums - N / n_blocks).max() <= counts.max()


@pytest.mark.parametrize("coded", [False, True])
def test_cells_hold_every_rating_once_where_it_belongs(coded):
    (users, items, ratings), sides, columns, starts = filled(coded=coded)
    (u_order, _, _, u_blocks), (i_order, _, _, i_blocks) = sides
    assert starts[0] == 0
    assert starts[-1] == N
    cell = np.repeat(np.arange(12), np.diff(starts))
    assert (u_blocks[columns[0]] * 3 + i_blocks[columns[1]] == cell).all()
    back = sorted(zip(u_order[columns[0]], i_order[columns[1]], columns[2], strict=True))
    assert back == sorted(zip(users, items, ratings, strict=True))


@pytest.mark.parametrize("n_values", [0, 1, 2, 7, 8])
def test_distinct_values_are_those_of_numpy_or_too_many(n_values):
    rng = np.random.default_rng(n_values)
    numbers = rng.permutation(np.arange(n_values).repeat(3)).astype(np.float32) - 2
    found = np.empty(7, np.float32)
    n = distinct_values(numbers, found)
    if n_values > 7:
        assert n == -1
    else:
        assert found[:n].tolist() == np.unique(numbers).tolist()


def test_a_cell_comes_user_by_user():
    _, _, (users, _, _), starts = filled()
    for cell in range(12):
        assert (np.diff(users[starts[cell] : starts[cell + 1]]) >= 0).all()


def test_taking_turns_stays_in_the_cell_and_does_not_depend_on_who_does_it():
    _, _, columns, starts = filled()
    once, parts = [column.copy() for column in columns], [column.copy() for column in columns]
    interleave_cells(*once, starts, np.arange(12), 5)
    for part in (np.array([7, 3]), np.array([0, 1, 2]), np.array([11, 4, 5, 6, 8, 9, 10])):
        interleave_cells(*parts, starts, part, 5)
    other = [column.copy() for column in columns]
    interleave_cells(*other, starts, np.arange(12), 6)
    assert all((a == b).all() for a, b in zip(once, parts, strict=True))
    assert not (once[2] == other[2]).all()
    for cell in range(12):
        inside = slice(starts[cell], starts[cell + 1])
        before, after = (sorted(zip(*(c[inside] for c in cs), strict=True)) for cs in (columns, once))
        assert before == after


@pytest.mark.parametrize("counts", [[3] * 5, [1, 9, 2, 40, 1], list(range(1, 60)), [7] * 16, [100], [2] * 17])
def test_turns_go_round(counts):
    """The twin: lists of turns; a user who is done hands over to the next, or else to the last turn."""
    users = np.repeat(np.arange(len(counts)), counts).astype(np.int32)
    items = np.arange(len(users), dtype=np.int32)
    ratings = items.astype(np.float32)
    starts = np.array([0, len(users)])
    mixed = users.copy()
    interleave_cells(mixed, items, ratings, starts, np.array([0]), 3)
    left, waiting = dict(enumerate(counts)), list(range(len(counts)))
    turns = [waiting.pop(0) for _ in range(min(INTERLEAVED, len(counts)))]
    expected, turn = [], 0
    while turns:
        turn = 0 if turn >= len(turns) else turn
        user = turns[turn]
        expected.append(user)
        left[user] -= 1
        if left[user]:
            turn += 1
        elif waiting:
            turns[turn] = waiting.pop(0)
            turn += 1
        else:
            last = turns.pop()
            if turn < len(turns):
                turns[turn] = last
    assert mixed.tolist() == expected
    assert (users[items] == mixed).all()  # items and ratings moved along
    assert (items == ratings).all()
    assert sorted(items) == list(range(len(users)))


def test_a_users_order_in_a_cell_puts_every_rating_first_equally_often():
    n = 5
    starts, first = np.array([0, n]), np.zeros(n, int)
    for seed in range(4000):
        items = np.arange(n, dtype=np.int32)
        interleave_cells(np.zeros(n, np.int32), items, np.zeros(n, np.float32), starts, np.array([0]), seed)
        first[items[0]] += 1
    # chi square with 4 degrees of freedom: 18.5 is the 0.1 % point
    assert ((first - 800) ** 2 / 800).sum() < 18.5
