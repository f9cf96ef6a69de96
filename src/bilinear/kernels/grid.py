"""Ratings grouped into cells, so that the rows which a cell touches stay in cache."""

import numpy as np

from bilinear.kernels.cache import njit

INTERLEAVED = 16  # users; enough that the processor has work while it waits for one's row


@njit(cache=True, nogil=True, error_model="numpy")
def cut_into_blocks(order, counts, n_blocks, labels, starts):  # type: ignore[no-untyped-def]
    """Cuts rows, taken in `order`, into `n_blocks` runs of nearly equal numbers of ratings.

    Fills labels[row] with the row's place in `order` and starts (n_blocks + 1,) with the first
    place of each block. `counts` (n_rows,) are ratings a row.
    """
    total = 0
    for row in range(len(counts)):
        total += counts[row]
    done = 0
    block = 0
    starts[0] = 0
    for place in range(len(order)):
        labels[order[place]] = place
        while block + 1 < n_blocks and done >= (block + 1) * total / n_blocks:
            block += 1
            starts[block] = place
        done += counts[order[place]]
    while block + 1 <= n_blocks:
        block += 1
        starts[block] = len(order)


@njit(inline="always")
def _place(values, value):  # type: ignore[no-untyped-def]
    """Where `value` is in `values`, ascending."""
    low, high = 0, len(values) - 1
    while low < high:
        middle = (low + high) // 2
        if values[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low


@njit(cache=True, nogil=True)
def distinct_values(numbers, values):  # type: ignore[no-untyped-def]
    """Fills `values` with the different ones of `numbers` (n,), ascending; returns how many there are.

    As soon as they are more than `values` holds it returns -1. Cost: O(n).
    """
    n_values = 0
    for n in range(len(numbers)):
        number = numbers[n]
        place = _place(values[:n_values], number)
        if place < n_values and values[place] == number:
            continue
        if n_values == len(values):
            return -1
        if place < n_values and values[place] < number:
            place += 1
        for at in range(n_values, place, -1):
            values[at] = values[at - 1]
        values[place] = number
        n_values += 1
    return n_values


@njit(cache=True, nogil=True)
def fill_cells(  # type: ignore[no-untyped-def]
    user_blocks, block_starts, user_order, user_starts, user_items, user_ratings, kept,
    item_labels, item_block, item_starts, values, cell_users, cell_items, cell_ratings, starts,
):  # fmt: skip
    """Copies the ratings of the listed blocks of users, relabelled, cell by cell; in a cell, user by user.

    Rows are counted from the first of their block, block_starts and item_starts, and a rating becomes its
    place in `values` (ascending), or stays a number where that is empty.

    Cell = user block * number of item blocks + item block. user_starts, user_items, user_ratings are
    the ratings grouped by user, of which those with `kept` (n_ratings,) count, or all where it is empty;
    block_starts are places in user_order. `starts` (n_cells + 1,) must
    hold the first rating of each listed block's first cell; the rest of it is filled. Blocks of users
    write to places of their own, so several calls may share them out.

    Cost:
        O(n_ratings), 5 bytes a rating written, 8 without `values`.
    """
    n_item_blocks = (len(starts) - 1) // (len(block_starts) - 1)
    free = np.empty(n_item_blocks, np.int64)
    some = len(kept) > 0
    coded = len(values) > 0
    for b in range(len(user_blocks)):
        block = user_blocks[b]
        free[:] = 0
        for place in range(block_starts[block], block_starts[block + 1]):
            row = user_order[place]
            for n in range(user_starts[row], user_starts[row + 1]):
                if some and not kept[n]:
                    continue
                free[item_block[item_labels[user_items[n]]]] += 1
        at = starts[block * n_item_blocks]
        for c in range(n_item_blocks):
            size = free[c]
            starts[block * n_item_blocks + c] = at
            free[c] = at
            at += size
        for place in range(block_starts[block], block_starts[block + 1]):
            row = user_order[place]
            for n in range(user_starts[row], user_starts[row + 1]):
                if some and not kept[n]:
                    continue
                item = item_labels[user_items[n]]
                column = item_block[item]
                at = free[column]
                free[column] = at + 1
                cell_users[at] = place - block_starts[block]
                cell_items[at] = item - item_starts[column]
                rating = user_ratings[n]
                cell_ratings[at] = _place(values, rating) if coded else rating


@njit(inline="always")
def _next(state):  # type: ignore[no-untyped-def]
    """The next state of a 64-bit xorshift generator (Marsaglia 2003)."""
    state ^= state << np.uint64(13)
    state ^= state >> np.uint64(7)
    state ^= state << np.uint64(17)
    return state


@njit(cache=True, nogil=True, error_model="numpy")
def interleave_cells(users, items, ratings, starts, cells, seed):  # type: ignore[no-untyped-def]
    """Orders each listed cell, which comes user by user, so that INTERLEAVED users take turns.

    A user's ratings in the cell follow each other in random order with those of INTERLEAVED - 1 others
    between: the user's row then stays in the first-level cache, and no step waits for the one before.
    What a cell becomes depends on its ratings, the seed and the number of the cell alone.
    """
    most = 0
    for c in range(len(cells)):
        most = max(most, starts[cells[c] + 1] - starts[cells[c]])
    old_users, old_items = np.empty(most, users.dtype), np.empty(most, items.dtype)
    old_ratings = np.empty(most, ratings.dtype)
    at, end = np.empty(INTERLEAVED, np.int64), np.empty(INTERLEAVED, np.int64)
    for c in range(len(cells)):
        cell = cells[c]
        first, size = starts[cell], starts[cell + 1] - starts[cell]
        for n in range(size):  # a slice set to a slice compiles four seconds of messages
            old_users[n], old_items[n] = users[first + n], items[first + n]
            old_ratings[n] = ratings[first + n]
        state = np.uint64(seed) ^ (np.uint64(cell + 1) * np.uint64(0x9E3779B97F4A7C15))
        if state == 0:
            state = np.uint64(1)
        for _ in range(4):
            state = _next(state)
        taken = 0  # ratings of users who have or had a turn
        n_turns = 0
        while n_turns < INTERLEAVED and taken < size:
            at[n_turns] = taken
            taken = _end_of_run(old_users, taken, size)
            end[n_turns] = taken
            n_turns += 1
        turn = 0
        for n in range(first, first + size):
            if turn >= n_turns:
                turn = 0
            state = _next(state)
            here = at[turn]
            pick = here + np.int64((state >> np.uint64(11)) % np.uint64(end[turn] - here))
            users[n], items[n], ratings[n] = old_users[pick], old_items[pick], old_ratings[pick]
            old_items[pick], old_ratings[pick] = old_items[here], old_ratings[here]
            at[turn] = here + 1
            if at[turn] < end[turn]:
                turn += 1
            elif taken < size:  # the next user takes this turn
                at[turn] = taken
                taken = _end_of_run(old_users, taken, size)
                end[turn] = taken
                turn += 1
            else:  # no user is left: the last turn moves here
                n_turns -= 1
                at[turn], end[turn] = at[n_turns], end[n_turns]


@njit(inline="always")
def _end_of_run(values, start, size):  # type: ignore[no-untyped-def]
    """The first place after `start` whose value differs."""
    place = start + 1
    while place < size and values[place] == values[start]:
        place += 1
    return place
