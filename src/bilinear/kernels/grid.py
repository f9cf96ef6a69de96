"""Gradient descent in cells: ratings grouped so that the rows they touch stay in cache."""

import numpy as np
from numba import njit

from bilinear.kernels.sgd import loss_and_slope

_FAST = {"reassoc", "contract", "nsz", "arcp"}


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
def fill_cells(  # type: ignore[no-untyped-def]
    users, items, ratings, user_labels, item_labels, user_block, item_block, n_item_blocks,
    cell_users, cell_items, cell_ratings, starts,
):  # fmt: skip
    """Copies the ratings, relabelled, cell by cell: cell = user block * n_item_blocks + item block.

    user_block, item_block give the block of each label; starts (n_cells + 1,) is filled.
    Cost: O(n_ratings + n_cells), 12 bytes a rating written.
    """
    n_cells = len(starts) - 1
    for n in range(len(users)):
        cell = user_block[user_labels[users[n]]] * n_item_blocks + item_block[item_labels[items[n]]]
        starts[cell + 1] += 1
    for cell in range(n_cells):
        starts[cell + 1] += starts[cell]
    free = starts[:-1].copy()
    for n in range(len(users)):
        u, i = user_labels[users[n]], item_labels[items[n]]
        cell = user_block[u] * n_item_blocks + item_block[i]
        at = free[cell]
        free[cell] = at + 1
        cell_users[at], cell_items[at], cell_ratings[at] = u, i, ratings[n]


@njit(inline="always")
def _next(state):  # type: ignore[no-untyped-def]
    """The next state of a 64-bit xorshift generator (Marsaglia 2003)."""
    state ^= state << np.uint64(13)
    state ^= state >> np.uint64(7)
    state ^= state << np.uint64(17)
    return state


@njit(cache=True, nogil=True)
def shuffle_cells(users, items, ratings, starts, cells, seed):  # type: ignore[no-untyped-def]
    """Shuffles the ratings within each listed cell; what a cell becomes depends on seed and cell alone."""
    for c in range(len(cells)):
        cell = cells[c]
        state = np.uint64(seed) ^ (np.uint64(cell + 1) * np.uint64(0x9E3779B97F4A7C15))
        if state == 0:
            state = np.uint64(1)
        for _ in range(4):
            state = _next(state)
        first = starts[cell]
        for n in range(starts[cell + 1] - 1, first, -1):
            state = _next(state)
            m = first + np.int64((state >> np.uint64(11)) % np.uint64(n - first + 1))
            users[n], users[m] = users[m], users[n]
            items[n], items[m] = items[m], items[n]
            ratings[n], ratings[m] = ratings[m], ratings[n]


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def sgd_cells(  # type: ignore[no-untyped-def]
    cells, starts, users, items, ratings,
    global_mean, user_biases, item_biases, user_factors, item_factors,
    link, loss, low, span,
    user_weights, item_weights, l2_factors, l2_biases,
    factor_rate, bias_rate, losses,
):  # fmt: skip
    """`sgd_block` over the listed cells in their order, at constant rates.

    losses[cell] becomes the summed loss before each step. Returns False as soon as that of a cell
    is no finite number.
    """
    n_factors = user_factors.shape[1]
    real = user_factors.dtype.type
    one, mean = real(1), real(global_mean)
    rate, slow = real(factor_rate), real(bias_rate)
    factor_pull, bias_pull = real(factor_rate * l2_factors), real(bias_rate * l2_biases)
    for c in range(len(cells)):
        in_cell = real(0)
        for n in range(starts[cells[c]], starts[cells[c] + 1]):
            u, i = users[n], items[n]
            p, q = user_factors[u], item_factors[i]
            score = real(0)
            for f in range(n_factors):
                score += p[f] * q[f]
            user_bias, item_bias = user_biases[u], item_biases[i]
            user_weight, item_weight = user_weights[u], item_weights[i]
            value, slope = loss_and_slope(
                mean + user_bias + item_bias + score, ratings[n], link, loss, low, span
            )
            in_cell += real(value)
            slope = real(slope)
            user_biases[u] = user_bias - slow * slope - bias_pull * user_weight * user_bias
            item_biases[i] = item_bias - slow * slope - bias_pull * item_weight * item_bias
            user_keep, item_keep = one - factor_pull * user_weight, one - factor_pull * item_weight
            step = rate * slope
            for f in range(n_factors):
                p_f, q_f = p[f], q[f]  # both gradients use the old values
                p[f] = user_keep * p_f - step * q_f
                q[f] = item_keep * q_f - step * p_f
        losses[cells[c]] = in_cell
        if not np.isfinite(in_cell):
            return False
    return True
