"""Mini-batch descent of the dot-product model: gradients of the rows of a batch, and their steps.

What an optimiser makes of a row's gradient is in kernels.rules; here is what all have in common.
"""

from collections import namedtuple

import numpy as np

from bilinear.kernels.cache import njit
from bilinear.kernels.rules import step_rows
from bilinear.kernels.sgd import loss_and_gradient

# Sums may be reordered into vector lanes; NaN and infinity keep their meaning.
_FAST = {"reassoc", "contract", "nsz", "arcp"}

# Functions are inlined by force, here and in the rules: one that is called by its name is, in the process
# that compiles the kernel, another copy of it than in the kernel that later processes load, and rounds
# differently.

Side = namedtuple(
    "Side",
    "biases factors bias_state factor_state bias_gradient factor_gradient slots touched pulls shares "
    "steps slow_biases slow_factors seen mean_biases mean_factors",
)
"""One side's arrays, as the kernel takes them, for n rows and a gradient of up to m rows.

biases (n, 1), factors (n, n_factors); states (n, n_states, width); gradients (m, width);
slots (n,) the row of the gradient, -1 for rows that no rating of the batch has (dense: the row);
touched (m,) the row of each slot; pulls (m,) the L2 weight that a slot has gathered (dense: fixed);
shares (n,) L2 weight of one rating of a row; steps (n,) of a row, for Lookahead, and its slow copies;
seen (n,) the step at which a row's running mean was last brought up to date, and the means.
"""


@njit(inline="always")
def _new_slot(n, slot, slots, touched, bias_gradient, factor_gradient, pulls):  # type: ignore[no-untyped-def]
    """Makes `slot` the row of the gradient for row n of a side, all zeros."""
    slots[n] = slot
    touched[slot] = n
    bias_gradient[slot, 0] = 0
    pulls[slot] = 0
    for f in range(factor_gradient.shape[1]):
        factor_gradient[slot, f] = 0


@njit(nogil=True, fastmath=_FAST, error_model="numpy", forceinline=True)
def _finish_rows(rows, gradients, touched, pulls, used, l2, largest):  # type: ignore[no-untyped-def]
    """Adds the L2, cuts every entry to [-largest, largest]; returns the sum of squares."""
    width, squares = rows.shape[1], 0.0
    for slot in range(used):
        n, pull = touched[slot], l2 * pulls[slot]
        square = rows.dtype.type(0)
        for f in range(width):
            entry = gradients[slot, f] + pull * rows[n, f]
            if abs(entry) > largest:
                entry = np.copysign(largest, entry)
            gradients[slot, f] = entry
        for f in range(width):
            square += gradients[slot, f] * gradients[slot, f]
        squares += square
    return squares


@njit(nogil=True, fastmath=_FAST, error_model="numpy", forceinline=True)
def _step_rows(  # type: ignore[no-untyped-def]
    rows, gradients, states, touched, used, rule, rate, momentum, t, decay, epsilon, scale, weight_decay
):
    """For each row with a gradient: clipping by length, decoupled weight decay, and the rule."""
    width, real = rows.shape[1], rows.dtype.type
    left, right = 1.0 - momentum**t, 1.0 - decay**t
    factor, keep = real(scale), real(1.0 - rate * weight_decay)
    if scale != 1.0:
        for slot in range(used):
            for f in range(width):
                gradients[slot, f] *= factor
    if weight_decay > 0:
        for slot in range(used):
            n = touched[slot]
            for f in range(width):
                rows[n, f] *= keep
    step_rows(rule, rows, gradients, states, touched, used, rate, momentum, t, left, right, decay, epsilon)


@njit(nogil=True, fastmath=_FAST, error_model="numpy", forceinline=True)
def _draw_near(row, other, share):  # type: ignore[no-untyped-def]
    """row += share * (other - row)."""
    share = row.dtype.type(share)
    for f in range(len(row)):
        row[f] += share * (other[f] - row[f])


@njit(nogil=True, fastmath=_FAST, error_model="numpy", forceinline=True)
def _catch_up(side, used, t, memory):  # type: ignore[no-untyped-def]
    """Brings the running means of the touched rows, which are about to move, to step t - 1."""
    for slot in range(used):
        n = side.touched[slot]
        late = t - 1 - side.seen[n]  # steps at which this row stood still
        if late > 0:
            _draw_near(side.mean_biases[n], side.biases[n], 1.0 - memory**late)
            _draw_near(side.mean_factors[n], side.factors[n], 1.0 - memory**late)
        side.seen[n] = t


@njit(nogil=True, fastmath=_FAST, error_model="numpy", forceinline=True)
def _look_ahead(side, used, every, pull_back):  # type: ignore[no-untyped-def]
    """Counts a step of the touched rows; those whose turn it is go back to their slow copies."""
    for slot in range(used):
        n = side.touched[slot]
        side.steps[n] += 1
        if side.steps[n] % every == 0:
            _draw_near(side.slow_biases[n], side.biases[n], pull_back)
            _draw_near(side.slow_factors[n], side.factors[n], pull_back)
            side.biases[n, 0] = side.slow_biases[n, 0]
            for f in range(side.factors.shape[1]):
                side.factors[n, f] = side.slow_factors[n, f]


@njit(nogil=True, fastmath=_FAST, error_model="numpy", forceinline=True)
def _take_steps(  # type: ignore[no-untyped-def]
    side, used, dense, rule, rate, momentum, t, decay, epsilon, scale,
    weight_decay_factors, weight_decay_biases, every, pull_back, memory,
):  # fmt: skip
    """One step of every row that has a gradient; frees its slot."""
    if memory > 0:
        _catch_up(side, used, t, memory)
    for rows, gradients, states, weight_decay in (  # a loop, so that the rules are compiled once
        (side.biases, side.bias_gradient, side.bias_state, weight_decay_biases),
        (side.factors, side.factor_gradient, side.factor_state, weight_decay_factors),
    ):
        _step_rows(
            rows, gradients, states, side.touched, used,
            rule, rate, momentum, t, decay, epsilon, scale, weight_decay,
        )  # fmt: skip
    if every > 0:
        _look_ahead(side, used, every, pull_back)
    if memory > 0:
        for slot in range(used):
            n = side.touched[slot]
            _draw_near(side.mean_biases[n], side.biases[n], 1.0 - memory)
            _draw_near(side.mean_factors[n], side.factors[n], 1.0 - memory)
    if dense:
        side.bias_gradient[:] = 0
        side.factor_gradient[:] = 0
    else:
        slots, touched = side.slots, side.touched
        for slot in range(used):
            slots[touched[slot]] = -1


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def minibatch_block(  # type: ignore[no-untyped-def]
    order, batch_size, users, items, ratings, weights,
    global_mean, user, item, dense,
    link, loss, low, span,
    l2_factors, l2_biases, weight_decay_factors, weight_decay_biases, largest, longest,
    rule, rates, momenta, t, decay, epsilon, every, pull_back, memory,
):  # fmt: skip
    """One step for each `batch_size` ratings of `order`, updating `user` and `item` (`Side`) in place.

    Rates and momenta (n_batches,), one for each step; t: steps before the first. Entries of the
    gradient are cut to `largest`, then its length to `longest`. Zero switches Lookahead (`every`) and
    the running mean (`memory`) off; weights (n_ratings,), or empty for ones.
    Returns (summed loss before the steps, ratings done): fewer than len(order) when a score stopped
    being a finite number; the batch that it is in has then taken no step.
    """
    n_factors = user.factors.shape[1]
    real = user.factors.dtype.type
    cut, l2_factors, l2_biases = real(largest), real(l2_factors), real(l2_biases)
    # out of the tuples: an array taken from one in a loop is counted by an atomic instruction each time
    p_biases, p_factors, q_biases, q_factors = user.biases, user.factors, item.biases, item.factors
    p_bias_gradient, p_gradient, p_pulls = user.bias_gradient, user.factor_gradient, user.pulls
    q_bias_gradient, q_gradient, q_pulls = item.bias_gradient, item.factor_gradient, item.pulls
    p_slots, p_touched, p_shares = user.slots, user.touched, user.shares
    q_slots, q_touched, q_shares = item.slots, item.touched, item.shares
    total = 0.0
    n_steps = len(order)
    for batch, start in enumerate(range(0, n_steps, batch_size)):
        end = min(start + batch_size, n_steps)
        share = 1.0 / (end - start)
        n_users = n_items = 0
        if dense:
            n_users, n_items = len(user.slots), len(item.slots)
        for n in range(start, end):
            row = order[n]
            u, i = users[row], items[row]
            p, q = p_factors[u], q_factors[i]
            score = real(global_mean) + p_biases[u, 0] + q_biases[i, 0]
            for f in range(n_factors):
                score += p[f] * q[f]
            value, score_gradient = loss_and_gradient(score, ratings[row], link, loss, low, span)
            if not np.isfinite(value):
                return np.nan, start
            weight = weights[row] if len(weights) else 1.0
            total += value * weight
            score_gradient = real(score_gradient * weight * share)
            a, b = p_slots[u], q_slots[i]
            if a < 0:
                a = n_users
                n_users += 1
                _new_slot(u, a, p_slots, p_touched, p_bias_gradient, p_gradient, p_pulls)
            if b < 0:
                b = n_items
                n_items += 1
                _new_slot(i, b, q_slots, q_touched, q_bias_gradient, q_gradient, q_pulls)
            if not dense:
                p_pulls[a] += p_shares[u] * real(weight * share)
                q_pulls[b] += q_shares[i] * real(weight * share)
            p_bias_gradient[a, 0] += score_gradient
            q_bias_gradient[b, 0] += score_gradient
            g, h = p_gradient[a], q_gradient[b]
            for f in range(n_factors):
                g[f] += score_gradient * q[f]
                h[f] += score_gradient * p[f]
        scale = 1.0
        if l2_factors > 0 or l2_biases > 0 or largest < np.inf or longest < np.inf:
            squares = 0.0
            for side, used in ((user, n_users), (item, n_items)):
                squares += _finish_rows(
                    side.biases, side.bias_gradient, side.touched, side.pulls, used, l2_biases, cut
                )
                squares += _finish_rows(
                    side.factors, side.factor_gradient, side.touched, side.pulls, used, l2_factors, cut
                )
            if longest < np.inf:
                scale = min(1.0, longest / (np.sqrt(squares) + 1e-6))  # as torch's clip_grad_norm_
        t += 1
        for side, used in ((user, n_users), (item, n_items)):
            _take_steps(
                side, used, dense, rule, rates[batch], momenta[batch], t, decay, epsilon, scale,
                weight_decay_factors, weight_decay_biases, every, pull_back, memory,
            )  # fmt: skip
    return total, n_steps
