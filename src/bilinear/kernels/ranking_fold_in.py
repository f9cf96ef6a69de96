"""New users of a model that was trained on sampled negatives: the least loss, the items held fixed."""

import numpy as np

from bilinear.kernels.cache import njit
from bilinear.kernels.ranking_losses import ranking_loss
from bilinear.kernels.rows import add_row
from bilinear.kernels.sampled import SET
from bilinear.kernels.tile import TILE_USERS
from bilinear.kernels.top_k_blocks import block_scores, packed_rows

# Sums may be reordered into vector lanes; NaN and infinity keep their meaning.
_FAST = {"reassoc", "contract", "nsz", "arcp"}


@njit(nogil=True, fastmath=_FAST, error_model="numpy")
def _into_ball(row, radius):  # type: ignore[no-untyped-def]
    """Shortens a row that is longer than the radius."""
    square = row.dtype.type(0)
    for f in range(len(row)):
        square += row[f] * row[f]
    if square > radius * radius:
        row *= row.dtype.type(radius / np.sqrt(square))


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def fold_in_users(  # type: ignore[no-untyped-def]
    starts, taken, weights, rows, panels, biases, log_weights,
    loss, a, b, l2, radius, most, tolerance, users,
):  # fmt: skip
    """Minimises the loss of each user against all items over factors at most `radius` long, in place.

    Args:
        starts, taken, weights: positives by user (CSR): their places in `rows`, and their weights.
        rows: (n_items, n_factors); panels: the same, packed; biases, log_weights: (n_items,).
        l2: (n,) penalty of each user; the loss is the weighted mean over the user's positives.
        most: largest number of evaluations; ends earlier when a step is shorter than tolerance * radius.
        users: (n, n_factors) start, overwritten with the result.

    Projected gradient descent with steps after Barzilai and Borwein that never raise the objective.
    """
    real = np.float32
    n_items, n_factors = rows.shape
    tile = users.shape[0]
    assert tile <= SET
    offsets = np.zeros(((SET + TILE_USERS - 1) // TILE_USERS, TILE_USERS), real)
    scores, down = np.empty((tile, n_items), real), np.empty(n_items, real)
    tried, gradient = users.copy(), np.zeros(users.shape, real)
    all_new = np.empty((1, n_factors), real)
    new = all_new[0]
    values, steps, active = np.full(tile, np.inf), np.full(tile, 1.0), np.ones(tile, np.bool_)
    every = np.arange(tile)
    for u in range(tile):
        active[u] = starts[u + 1] > starts[u]
    for evaluation in range(most):
        if not active.any():
            break
        block_scores(packed_rows(tried, every, TILE_USERS), offsets, panels, biases, scores)
        for u in range(tile):
            if not active[u]:
                continue
            mine, own = scores[u], taken[starts[u] : starts[u + 1]]
            positive = mine[own]
            shares = weights[starts[u] : starts[u + 1]] / weights[starts[u] : starts[u + 1]].sum()
            mine[own] = -np.inf
            up = np.empty(len(own), real)
            left = n_items - len(own)
            value = ranking_loss(loss, positive, shares, mine, left, log_weights, a, b, up, down)
            new[:] = real(l2[u]) * tried[u]
            for f in range(n_factors):
                value += 0.5 * l2[u] * tried[u, f] * tried[u, f]
            for n in range(len(own)):
                add_row(all_new, 0, up[n], rows, own[n])
            for n in range(n_items):
                if down[n] != 0:
                    add_row(all_new, 0, down[n], rows, n)
            if evaluation == 0:
                length = np.sqrt((new * new).sum())
                steps[u] = radius / length if length > 0 else 0.0
            elif value <= values[u]:
                square, curvature = 0.0, 0.0
                for f in range(n_factors):
                    step = tried[u, f] - users[u, f]
                    square += step * step
                    curvature += step * (new[f] - gradient[u, f])
                if square < (tolerance * radius) ** 2:
                    active[u] = False
                steps[u] = min(10 * steps[u], square / curvature) if curvature > 0 else 2 * steps[u]
            else:
                steps[u] *= 0.25
            if value <= values[u]:
                values[u] = value
                users[u], gradient[u] = tried[u], new
            square = 0.0
            for f in range(n_factors):
                tried[u, f] = users[u, f] - real(steps[u]) * gradient[u, f]
            _into_ball(tried[u], radius)
            for f in range(n_factors):
                square += (tried[u, f] - users[u, f]) ** 2
            if square < (0.01 * tolerance * radius) ** 2:
                active[u] = False
    return 0
