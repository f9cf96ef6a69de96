"""Steps on ranking losses from the gradients of a batch: L2, clipping, the update rule."""

from collections import namedtuple

import numpy as np

from bilinear.kernels.cache import njit
from bilinear.kernels.optimizers import Side, _finish_rows, _take_steps
from bilinear.kernels.rows import inverse_length, prefetch_row
from bilinear.kernels.sampled import SET, find_users, gather_items, score_sets

# Sums may be reordered into vector lanes; NaN and infinity keep their meaning.
_FAST = {"reassoc", "contract", "nsz", "arcp"}

_AHEAD = 8  # rows that are on their way from memory

Rule = namedtuple(
    "Rule",
    "rule decay epsilon every pull_back memory l2_factors l2_biases weight_decay largest longest dense",
)
"""Numbers of the step, see `minibatch_block` in kernels.optimizers."""


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def finish_gradients(side, used, cosine, biased, rule):  # type: ignore[no-untyped-def]
    """Through the division by the length where scores are cosines, plus L2, cut; the sum of squares."""
    factors, gradient, touched = side.factors, side.factor_gradient, side.touched
    for slot in range(used if cosine else 0):
        if slot + _AHEAD < used:
            prefetch_row(factors, touched[slot + _AHEAD])
        n = touched[slot]
        length, along = inverse_length(factors, n), np.float32(0)
        for f in range(factors.shape[1]):
            along += gradient[slot, f] * factors[n, f]
        along *= length * length
        for f in range(factors.shape[1]):
            gradient[slot, f] = length * (gradient[slot, f] - along * factors[n, f])
    if not biased:
        side.bias_gradient[:used] = 0
    if not (rule.l2_factors > 0 or rule.l2_biases > 0 or rule.largest < np.inf or rule.longest < np.inf):
        return 0.0
    cut = np.float32(rule.largest)
    return _finish_rows(
        side.biases, side.bias_gradient, side.touched, side.pulls, used, np.float32(rule.l2_biases), cut
    ) + _finish_rows(
        side.factors, side.factor_gradient, side.touched, side.pulls, used, np.float32(rule.l2_factors), cut
    )


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def take_steps(side, used, rule, rate, momentum, t, scale):  # type: ignore[no-untyped-def]
    """One step of every row with a gradient; its slot is free again."""
    _take_steps(
        side, used, rule.dense, rule.rule, rate, momentum, t, rule.decay, rule.epsilon, scale,
        rule.weight_decay, rule.weight_decay, rule.every, rule.pull_back, rule.memory,
    )  # fmt: skip
    return 0


@njit(cache=True, nogil=True)
def part_of_users(user, n_rows, part, n_parts):  # type: ignore[no-untyped-def]
    """One part of the first n_rows rows of the users' gradient, as a `Side`."""
    a, b = n_rows * part // n_parts, n_rows * (part + 1) // n_parts
    return Side(
        user.biases, user.factors, user.bias_state, user.factor_state,
        user.bias_gradient[a:b], user.factor_gradient[a:b],
        user.slots, user.touched[a:b], user.pulls[a:b], user.shares,
        user.steps, user.slow_biases, user.slow_factors, user.seen, user.mean_biases, user.mean_factors,
    )  # fmt: skip


@njit(cache=True, nogil=True)
def clipping(squares, longest):  # type: ignore[no-untyped-def]
    """What gradients with these sums of squares are multiplied by; as torch's `clip_grad_norm_`."""
    return min(1.0, longest / (np.sqrt(squares.sum()) + 1e-6)) if longest < np.inf else 1.0


@njit(cache=True, nogil=True)
def sampled_block(  # type: ignore[no-untyped-def]
    order, cuts, number, positives, sampler, model, user, parts, part_cuts, biased, rule,
    rates, momenta, t, work, used, squares,
):  # fmt: skip
    """All phases of the batches order[cuts[n]:cuts[n + 1]], one after another, on one thread.

    Returns (summed loss before the steps, number of the next set): the loss is not finite where a
    score was not; the batch that it is in has then taken no step.
    """
    total = 0.0
    chunk, n_parts = len(work.negatives), len(parts)
    for batch in range(len(cuts) - 1):
        pairs = order[cuts[batch] : cuts[batch + 1]]
        n_users = find_users(pairs, positives, work)
        n_sets = (n_users + SET - 1) // SET
        for p in range(n_parts):
            used[p] = len(parts[p].slots) if rule.dense else 0
        for a in range(0, n_sets, chunk):
            b = min(a + chunk, n_sets)
            score_sets(a, b, a, number, pairs, n_users, positives, sampler, model, user, rule.dense, work)
            for p in range(n_parts):
                used[p] = gather_items(
                    parts[p], part_cuts[p], part_cuts[p + 1], a, b,
                    pairs, n_users, positives, rule.dense, work, used[p],
                )  # fmt: skip
        loss = work.losses[:n_sets].sum()
        if not np.isfinite(loss):
            return np.nan, number
        total += loss
        number += n_sets
        n_rows = len(user.slots) if rule.dense else n_users
        for p in range(2 * n_parts):  # of the items, then of the users, in one loop: each is compiled once
            side = parts[p] if p < n_parts else part_of_users(user, n_rows, p - n_parts, n_parts)
            n = used[p] if p < n_parts else len(side.touched)
            squares[p] = finish_gradients(side, n, model.cosine, biased and p < n_parts, rule)
        scale = clipping(squares, rule.longest)
        t += 1
        for p in range(2 * n_parts):
            side = parts[p] if p < n_parts else part_of_users(user, n_rows, p - n_parts, n_parts)
            n = used[p] if p < n_parts else len(side.touched)
            take_steps(side, n, rule, rates[batch], momenta[batch], t, scale)
    return total, number
