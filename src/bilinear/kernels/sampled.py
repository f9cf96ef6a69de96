"""Steps on ranking losses with sampled negatives: scores in tiles, slopes, gradients, one optimiser step.

A batch is some users, each with some of its positives. `SET` users after another share their
negatives, so that the rows of these are fetched and packed once and scores come from tiles in
registers. Each of the phases can be divided among threads without changing a bit: sets are
independent of each other (`score_sets`), and an item belongs to one part (`gather_items`), which
adds to its gradient in the order of sets.
"""

from collections import namedtuple

import numpy as np
from numba import njit

from bilinear.kernels.optimizers import Side, _finish_rows, _slot, _take_steps
from bilinear.kernels.ranking_losses import ranking_loss
from bilinear.kernels.tile import TILE_ITEMS, TILE_USERS
from bilinear.kernels.top_k_blocks import block_scores, packed_rows

# Sums may be reordered into vector lanes; NaN and infinity keep their meaning.
_FAST = {"reassoc", "contract", "nsz", "arcp"}

SET = 12
"""Users that share their negatives."""

Sampler = namedtuple("Sampler", "catalogue cumulative guide log_chances key")
"""Where negatives come from.

catalogue (n,) rows of items, ascending; cumulative (n,) sums of their chances, the last is one;
guide (m,) the first place whose sum is above g / m; log_chances (n,); key: uint64, of this epoch.
"""

Positives = namedtuple("Positives", "users items weights starts")
"""Pairs sorted by user, then item, what each counts, and (n_users + 1,) where each user's begin."""

Model = namedtuple("Model", "user_factors item_factors item_biases cosine loss a b")
"""The weights, whether scores are cosines, and the loss with its two numbers."""

Work = namedtuple("Work", "users starts up directions losses negatives down")
"""What a batch of up to U users and B positives writes, in chunks of C sets.

users (U,), starts (U + 1,): its users, and where each one's positives begin; up (B,): slopes of
positives; directions (U, n_factors): users' factors, of length one where scores are cosines;
losses (U,) of sets; negatives (C, K), down (C, K, SET): items, and slopes of their scores.
"""

Rule = namedtuple(
    "Rule",
    "rule decay epsilon every pull_back memory l2_factors l2_biases weight_decay largest longest dense",
)
"""Numbers of the step, see `minibatch_block` in kernels.optimizers."""


@njit(inline="always")
def _mixed(x):  # type: ignore[no-untyped-def]
    """A bijection of 64-bit numbers that looks random (SplitMix64; Steele, Lea, Flood 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@njit(cache=True, nogil=True)
def draw_negatives(sampler, number, items, log_weights):  # type: ignore[no-untyped-def]
    """Fills items (K,), ascending, and log_weights (K,): -log of how often each is expected among them.

    Stratified: one item from each of K equal shares of the chance, by numbers that are a function of
    the key, the number of the set and k alone. As many as the catalogue, at equal chances, is all of it.
    """
    n = len(items)
    start = _mixed(sampler.key + np.uint64(number) * np.uint64(0x9E3779B97F4A7C15))
    scale = np.log(n)
    for k in range(n):
        bits = _mixed(start + np.uint64(k + 1) * np.uint64(0x9E3779B97F4A7C15))
        share = (k + np.float64(bits >> np.uint64(32)) * 2.0**-32) / n
        place = sampler.guide[int(share * len(sampler.guide))]
        while sampler.cumulative[place] <= share:
            place += 1
        items[k] = sampler.catalogue[place]
        log_weights[k] = -sampler.log_chances[place] - scale


@njit(inline="always")
def _inverse_length(row):  # type: ignore[no-untyped-def]
    """One over the length of a row; zero for a row of zeros."""
    square = row.dtype.type(0)
    for f in range(len(row)):
        square += row[f] * row[f]
    return row.dtype.type(0) if square == 0 else row.dtype.type(1) / np.sqrt(square)


@njit(inline="always")
def _add(out, slope, row):  # type: ignore[no-untyped-def]
    for f in range(len(out)):
        out[f] += slope * row[f]


@njit(cache=True, nogil=True)
def hide(scores, negatives, items):  # type: ignore[no-untyped-def]
    """Minus infinity for the negatives that are among items, both ascending; returns how many are left."""
    left = len(negatives)
    for n in range(len(items)):
        at = np.searchsorted(negatives, items[n])
        while at < len(negatives) and negatives[at] == items[n]:
            scores[at] = -np.inf
            left -= 1
            at += 1
    return left


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def score_sets(a, b, first, number, pairs, n_users, positives, sampler, model, user, dense, work):  # type: ignore[no-untyped-def]
    """Losses, slopes and users' gradients of the sets a..b of a batch; first: the chunk's first set.

    number: of the batch's first set since the epoch began, which decides the negatives.
    """
    n_negatives, n_factors = work.negatives.shape[1], model.user_factors.shape[1]
    real = np.float32
    share = real(1.0 / len(pairs))
    log_weights, lengths = np.empty(n_negatives, real), np.ones(n_negatives, real)
    rows, scores = np.empty((n_negatives, n_factors), real), np.empty((SET, n_negatives), real)
    biases = np.zeros(((n_negatives + TILE_ITEMS - 1) // TILE_ITEMS, TILE_ITEMS), real)
    offsets = np.zeros(((SET + TILE_USERS - 1) // TILE_USERS, TILE_USERS), real)
    down, every = np.empty(n_negatives, real), np.arange(max(n_negatives, SET))
    for s in range(a, b):
        negatives, slopes = work.negatives[s - first], work.down[s - first]
        draw_negatives(sampler, number + s, negatives, log_weights)
        for k in range(n_negatives):
            row = model.item_factors[negatives[k]]
            if model.cosine:
                lengths[k] = _inverse_length(row)
            for f in range(n_factors):
                rows[k, f] = lengths[k] * row[f]
            biases[k // TILE_ITEMS, k % TILE_ITEMS] = model.item_biases[negatives[k], 0]
        begin, end = s * SET, min((s + 1) * SET, n_users)
        width = end - begin
        for u in range(begin, end):
            row = model.user_factors[work.users[u]]
            length = _inverse_length(row) if model.cosine else real(1)
            for f in range(n_factors):
                work.directions[u, f] = length * row[f]
        block_scores(
            packed_rows(work.directions[begin:end], every[:width], TILE_USERS), offsets,
            packed_rows(rows, every[:n_negatives], TILE_ITEMS), biases, scores[:width],
        )  # fmt: skip
        total = 0.0
        for u in range(begin, end):
            who, direction, mine = work.users[u], work.directions[u], scores[u - begin]
            left = hide(mine, negatives, positives.items[positives.starts[who] : positives.starts[who + 1]])
            start, stop = work.starts[u], work.starts[u + 1]
            own, weights = np.empty(stop - start, real), np.empty(stop - start, real)
            units = np.empty((stop - start, n_factors), real)
            pull = 0.0
            for n in range(start, stop):
                item = positives.items[pairs[n]]
                row = model.item_factors[item]
                length = _inverse_length(row) if model.cosine else real(1)
                score = real(0)
                for f in range(n_factors):
                    units[n - start, f] = length * row[f]
                    score += direction[f] * units[n - start, f]
                own[n - start] = score + model.item_biases[item, 0]
                weights[n - start] = positives.weights[pairs[n]] * share
                pull += weights[n - start]
            total += ranking_loss(
                model.loss, own, weights, mine, left, log_weights, model.a, model.b, work.up[start:stop], down
            )
            slot = who if dense else u
            gradient = user.factor_gradient[slot]
            gradient[:] = 0
            if not dense:
                user.touched[u] = who
                user.pulls[u] = user.shares[who] * real(pull)
            for n in range(start, stop):
                _add(gradient, work.up[n], units[n - start])
            for k in range(n_negatives):
                slopes[k, u - begin] = down[k]
                if down[k] != 0:
                    _add(gradient, down[k], rows[k])
        for u in range(width, SET):
            slopes[:, u] = 0
        work.losses[s] = total / share
    return 0


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def gather_items(part, low, high, a, b, pairs, n_users, positives, dense, work, used):  # type: ignore[no-untyped-def]
    """Adds to the gradients of the items low..high what the sets a..b, one chunk, say of them.

    part: the `Side` of these items alone; used: rows of the gradient in use. Returns how many now are.
    """
    share = np.float32(1.0 / len(pairs))
    for s in range(a, b):
        negatives, slopes = work.negatives[s - a], work.down[s - a]
        begin, end = s * SET, min((s + 1) * SET, n_users)
        for k in range(np.searchsorted(negatives, low), np.searchsorted(negatives, high)):
            item, slot = negatives[k] - low, -1
            for u in range(begin, end):
                slope = slopes[k, u - begin]
                if slope != 0:
                    if slot < 0:
                        slot, used = _slot(part, item, used)
                    part.bias_gradient[slot, 0] += slope
                    _add(part.factor_gradient[slot], slope, work.directions[u])
        for u in range(begin, end):
            for n in range(work.starts[u], work.starts[u + 1]):
                item = positives.items[pairs[n]] - low
                if item < 0:
                    continue
                if item >= high - low:
                    break  # a user's positives ascend
                slot, used = _slot(part, item, used)
                part.bias_gradient[slot, 0] += work.up[n]
                _add(part.factor_gradient[slot], work.up[n], work.directions[u])
                if not dense:
                    part.pulls[slot] += part.shares[item] * positives.weights[pairs[n]] * share
    return used


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def finish_gradients(side, used, cosine, biased, rule):  # type: ignore[no-untyped-def]
    """Through the division by the length where scores are cosines, plus L2, cut; the sum of squares."""
    for slot in range(used if cosine else 0):
        row, gradient = side.factors[side.touched[slot]], side.factor_gradient[slot]
        length, along = _inverse_length(row), np.float32(0)
        for f in range(len(row)):
            along += gradient[f] * row[f]
        along *= length * length
        for f in range(len(row)):
            gradient[f] = length * (gradient[f] - along * row[f])
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
def find_users(pairs, positives, work):  # type: ignore[no-untyped-def]
    """Fills users and starts of a batch, whose positives are grouped by user; returns how many users."""
    n_users = 0
    for n in range(len(pairs)):
        who = positives.users[pairs[n]]
        if n == 0 or who != work.users[n_users - 1]:
            work.users[n_users], work.starts[n_users] = who, n
            n_users += 1
    work.starts[n_users] = len(pairs)
    return n_users


@njit(cache=True, nogil=True)
def clipping(squares, longest):  # type: ignore[no-untyped-def]
    """What gradients with these sums of squares are multiplied by; as torch's clip_grad_norm_."""
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
    chunk = len(work.negatives)
    for batch in range(len(cuts) - 1):
        pairs = order[cuts[batch] : cuts[batch + 1]]
        n_users = find_users(pairs, positives, work)
        n_sets = (n_users + SET - 1) // SET
        for p in range(len(parts)):
            used[p] = len(parts[p].slots) if rule.dense else 0
        for a in range(0, n_sets, chunk):
            b = min(a + chunk, n_sets)
            score_sets(a, b, a, number, pairs, n_users, positives, sampler, model, user, rule.dense, work)
            for p in range(len(parts)):
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
        for p in range(len(parts)):
            squares[p] = finish_gradients(parts[p], used[p], model.cosine, biased, rule)
            some = part_of_users(user, n_rows, p, len(parts))
            squares[len(parts) + p] = finish_gradients(some, len(some.touched), model.cosine, False, rule)
        scale = clipping(squares, rule.longest)
        t += 1
        for p in range(len(parts)):
            take_steps(parts[p], used[p], rule, rates[batch], momenta[batch], t, scale)
            some = part_of_users(user, n_rows, p, len(parts))
            take_steps(some, len(some.touched), rule, rates[batch], momenta[batch], t, scale)
    return total, number


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
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
    """Descends users (n, n_factors) to the least loss against all items, at most `radius` long.

    Args:
        starts, taken, weights: by user (CSR), places of positives in `rows`, and what each counts.
        rows (n_items, n_factors), and packed as panels, with biases; log_weights (n_items,).
        l2 (n,): of a user's objective, the weighted mean of the loss over its positives.
        most: evaluations at most; ends before when a step is shorter than tolerance * radius.
    Projected gradient descent with steps after Barzilai and Borwein that never raise the objective.
    """
    real = np.float32
    n_items, n_factors = rows.shape
    tile = users.shape[0]
    assert tile <= SET
    offsets = np.zeros(((SET + TILE_USERS - 1) // TILE_USERS, TILE_USERS), real)
    scores, down = np.empty((tile, n_items), real), np.empty(n_items, real)
    tried, gradient = users.copy(), np.zeros(users.shape, real)
    new = np.empty(n_factors, real)
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
                _add(new, up[n], rows[own[n]])
            for n in range(n_items):
                if down[n] != 0:
                    _add(new, down[n], rows[n])
            if evaluation == 0:
                length = np.sqrt((new * new).sum())
                steps[u] = radius / length if length > 0 else 0.0
            elif value <= values[u]:
                square, bent = 0.0, 0.0
                for f in range(n_factors):
                    step = tried[u, f] - users[u, f]
                    square += step * step
                    bent += step * (new[f] - gradient[u, f])
                if square < (tolerance * radius) ** 2:
                    active[u] = False
                steps[u] = min(10 * steps[u], square / bent) if bent > 0 else 2 * steps[u]
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
