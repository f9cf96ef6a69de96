"""Gradients of ranking losses with sampled negatives: scores in tiles, derivatives by the scores, sums.

A batch is some users, each with some of its positives. `SET` users after another share their
negatives, so that the rows of these are fetched and packed once and scores come from tiles in
registers. Each of the phases can be divided among threads without changing a bit: sets are
independent of each other (`score_sets`), and an item belongs to one part (`gather_items`), which
adds to its gradient in the order of sets.
"""

from collections import namedtuple

import numpy as np

from bilinear.kernels.cache import njit
from bilinear.kernels.negatives import draw_negatives, hide, mark, no_marks
from bilinear.kernels.optimizers import _new_slot
from bilinear.kernels.ranking_losses import ranking_loss
from bilinear.kernels.rows import add_four_rows, add_row, inverse_length, pack_rows, prefetch_row, scale_row
from bilinear.kernels.tile import TILE_ITEMS, TILE_USERS
from bilinear.kernels.top_k_blocks import block_scores, packed_rows

# Sums may be reordered into vector lanes; NaN and infinity keep their meaning.
_FAST = {"reassoc", "contract", "nsz", "arcp"}

# Arrays come out of their tuples before a loop, and what runs in it takes tables and the number of a
# row instead of rows: an array that is made in a loop is counted by atomic instructions each time.

SET = 12
"""Users that share their negatives."""

_AHEAD = 12  # rows that are on their way from memory

Positives = namedtuple("Positives", "users items weights starts")
"""Pairs sorted by user, then item, what each counts, and (n_users + 1,) where each user's begin."""

Model = namedtuple("Model", "user_factors item_factors item_biases cosine loss a b")
"""The weights, whether scores are cosines, and the loss with its two numbers."""

Work = namedtuple("Work", "users starts up directions losses negatives down")
"""What a batch of up to U users and B positives writes, in chunks of C sets.

users (U,), starts (U + 1,): its users, and where each one's positives begin; up (B,): derivatives by
positives; directions (U, n_factors): users' factors, of length one where scores are cosines;
losses (U,) of sets; negatives (C, K), down (C, K, SET): items, and derivatives by their scores.
"""


@njit(cache=True, nogil=True)
def find_users(pairs, positives, work):  # type: ignore[no-untyped-def]
    """Fills users and starts of a batch, whose positives are grouped by user; returns how many users."""
    owners, users, starts = positives.users, work.users, work.starts
    n_users = 0
    for n in range(len(pairs)):
        user_row = owners[pairs[n]]
        if n == 0 or user_row != users[n_users - 1]:
            users[n_users], starts[n_users] = user_row, n
            n_users += 1
    starts[n_users] = len(pairs)
    return n_users


@njit(nogil=True, forceinline=True)
def _fetch_negatives(item_factors, item_biases, negatives, cosine, rows, biases):  # type: ignore[no-untyped-def]
    """Fills rows (K, n_factors), of length one for cosines, and biases in panels."""
    n = len(negatives)
    for k in range(n):
        if k + _AHEAD < n:
            prefetch_row(item_factors, negatives[k + _AHEAD])
        item = negatives[k]
        length = inverse_length(item_factors, item) if cosine else np.float32(1)
        scale_row(rows, k, length, item_factors, item)
        biases[k // TILE_ITEMS, k % TILE_ITEMS] = item_biases[item, 0]


@njit(nogil=True, forceinline=True)
def _fetch_users(user_factors, users, begin, end, cosine, directions):  # type: ignore[no-untyped-def]
    """Fills directions[begin:end] with users' factors, of length one for cosines."""
    for u in range(begin, end):
        prefetch_row(user_factors, users[u])
    for u in range(begin, end):
        user_row = users[u]
        length = inverse_length(user_factors, user_row) if cosine else np.float32(1)
        scale_row(directions, u, length, user_factors, user_row)


@njit(nogil=True, fastmath=_FAST, error_model="numpy", forceinline=True)
def _score_of(directions, u, item_factors, item, cosine, units, n):  # type: ignore[no-untyped-def]
    """Fills units[n] with the item's row, of length one for cosines; returns the score."""
    length = inverse_length(item_factors, item) if cosine else np.float32(1)
    score = np.float32(0)
    for f in range(units.shape[1]):
        units[n, f] = length * item_factors[item, f]
    for f in range(units.shape[1]):
        score += directions[u, f] * units[n, f]
    return score


@njit(nogil=True, forceinline=True)
def _pull_users(gradient, slots, score_gradients, width, rows):  # type: ignore[no-untyped-def]
    """gradient[slots[u]] += sum over k of score_gradients[k, u] * rows[k], u < width, in ascending order."""
    n = len(rows)
    whole = n - n % 4
    for k in range(0, whole, 4):
        for u in range(width):
            a, b, c, d = (
                score_gradients[k, u],
                score_gradients[k + 1, u],
                score_gradients[k + 2, u],
                score_gradients[k + 3, u],
            )
            if a != 0 or b != 0 or c != 0 or d != 0:
                add_four_rows(gradient, slots[u], a, b, c, d, rows, k)
    for k in range(whole, n):
        for u in range(width):
            if score_gradients[k, u] != 0:
                add_row(gradient, slots[u], score_gradients[k, u], rows, k)


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def score_sets(a, b, first, number, pairs, n_users, positives, sampler, model, user, dense, work):  # type: ignore[no-untyped-def]
    """Losses, derivatives by the scores and users' gradients of the sets a..b of a batch.

    first: the chunk's first set.
    number: of the batch's first set since the epoch began, which decides the negatives.
    """
    n_negatives, n_factors = work.negatives.shape[1], model.user_factors.shape[1]
    real = np.float32
    share = real(1.0 / len(pairs))
    user_factors, item_factors, item_biases = model.user_factors, model.item_factors, model.item_biases
    cosine, loss, loss_a, loss_b = model.cosine, model.loss, model.a, model.b
    taken, all_weights, firsts = positives.items, positives.weights, positives.starts
    users, starts, up, directions, losses = work.users, work.starts, work.up, work.directions, work.losses
    all_negatives, all_score_gradients = work.negatives, work.down
    gradient, touched, pulls, pull_shares = user.factor_gradient, user.touched, user.pulls, user.shares

    most = 0  # positives of one user
    for u in range(a * SET, min(b * SET, n_users)):
        most = max(most, starts[u + 1] - starts[u])
    own, weights, units = np.empty(most, real), np.empty(most, real), np.empty((most, n_factors), real)
    log_weights, down = np.empty(n_negatives, real), np.empty(n_negatives, real)
    rows, scores = np.empty((n_negatives, n_factors), real), np.empty((SET, n_negatives), real)
    n_panels = (n_negatives + TILE_ITEMS - 1) // TILE_ITEMS
    panels = np.zeros((n_panels, n_factors, TILE_ITEMS), real)
    biases = np.zeros((n_panels, TILE_ITEMS), real)
    offsets = np.zeros(((SET + TILE_USERS - 1) // TILE_USERS, TILE_USERS), real)
    every, slots = np.arange(SET), np.empty(SET, np.int64)
    marks = no_marks(n_negatives)
    for s in range(a, b):
        negatives, score_gradients = all_negatives[s - first], all_score_gradients[s - first]
        draw_negatives(sampler, number + s, negatives, log_weights)
        mark(marks, negatives, True)
        _fetch_negatives(item_factors, item_biases, negatives, cosine, rows, biases)
        pack_rows(rows, panels)
        begin, end = s * SET, min((s + 1) * SET, n_users)
        width = end - begin
        _fetch_users(user_factors, users, begin, end, cosine, directions)
        block_scores(
            packed_rows(directions[begin:end], every[:width], TILE_USERS), offsets, panels, biases,
            scores[:width],
        )  # fmt: skip
        for n in range(starts[begin], min(starts[end], starts[begin] + 4 * SET)):
            prefetch_row(item_factors, taken[pairs[n]])
        total = 0.0
        for u in range(begin, end):
            user_row, start, n_own = users[u], starts[u], starts[u + 1] - starts[u]
            left = hide(scores, u - begin, negatives, marks, taken, firsts[user_row], firsts[user_row + 1])
            pull = 0.0
            for n in range(n_own):
                pair = pairs[start + n]
                item = taken[pair]
                score = _score_of(directions, u, item_factors, item, cosine, units, n)
                own[n] = score + item_biases[item, 0]
                weights[n] = all_weights[pair] * share
            for n in range(n_own):
                pull += weights[n]
            total += ranking_loss(
                loss, own[:n_own], weights[:n_own], scores[u - begin], left, log_weights,
                loss_a, loss_b, up[start : start + n_own], down,
            )  # fmt: skip
            slot = user_row if dense else u
            slots[u - begin] = slot
            for f in range(n_factors):
                gradient[slot, f] = 0
            if not dense:
                touched[u] = user_row
                pulls[u] = pull_shares[user_row] * real(pull)
            for n in range(n_own):
                add_row(gradient, slot, up[start + n], units, n)
            for k in range(n_negatives):
                score_gradients[k, u - begin] = down[k]
        for u in range(width, SET):
            score_gradients[:, u] = 0
        _pull_users(gradient, slots, score_gradients, width, rows)
        mark(marks, negatives, False)
        losses[s] = total / share
    return 0


@njit(nogil=True, fastmath=_FAST, error_model="numpy", forceinline=True)
def _pull_item(gradient, bias_gradient, slot, score_gradients, k, directions, begin, end):  # type: ignore[no-untyped-def]
    """Adds score_gradients[k, u - begin] * directions[u] to a row of the gradient, in the order of users."""
    total = bias_gradient[slot, 0]
    for u in range(begin, end):
        total += score_gradients[k, u - begin]
    bias_gradient[slot, 0] = total
    whole = end - (end - begin) % 4
    for u in range(begin, whole, 4):
        n = u - begin
        a, b, c, d = (
            score_gradients[k, n],
            score_gradients[k, n + 1],
            score_gradients[k, n + 2],
            score_gradients[k, n + 3],
        )
        if a != 0 or b != 0 or c != 0 or d != 0:
            add_four_rows(gradient, slot, a, b, c, d, directions, u)
    for u in range(whole, end):
        add_row(gradient, slot, score_gradients[k, u - begin], directions, u)


@njit(nogil=True, forceinline=True)
def _fetch_gradients(gradient, slots, negatives, low, high):  # type: ignore[no-untyped-def]
    """Has the rows of the gradient on their way that negatives from low to high have."""
    for k in range(np.searchsorted(negatives, low), np.searchsorted(negatives, high)):
        slot = slots[negatives[k] - low]
        if slot >= 0:
            prefetch_row(gradient, slot)


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def gather_items(part, low, high, a, b, pairs, n_users, positives, dense, work, used):  # type: ignore[no-untyped-def]
    """Adds to the gradients of the items low..high what the sets a..b, one chunk, say of them.

    part: the `Side` of these items alone; used: rows of the gradient in use. Returns how many now are.
    """
    share = np.float32(1.0 / len(pairs))
    taken, all_weights = positives.items, positives.weights
    starts, up, directions, all_negatives, all_score_gradients = (
        work.starts, work.up, work.directions, work.negatives, work.down
    )  # fmt: skip
    slots, touched, pulls, shares = part.slots, part.touched, part.pulls, part.shares
    bias_gradient, gradient = part.bias_gradient, part.factor_gradient
    for s in range(a, b):
        negatives, score_gradients = all_negatives[s - a], all_score_gradients[s - a]
        begin, end = s * SET, min((s + 1) * SET, n_users)
        if s + 1 < b:
            _fetch_gradients(gradient, slots, all_negatives[s + 1 - a], low, high)
        for n in range(starts[begin], starts[end]):
            item = taken[pairs[n]]
            if low <= item < high and slots[item - low] >= 0:
                prefetch_row(gradient, slots[item - low])
        for k in range(np.searchsorted(negatives, low), np.searchsorted(negatives, high)):
            any_gradient = False
            for n in range(end - begin):
                any_gradient |= score_gradients[k, n] != 0
            if not any_gradient:
                continue
            item = negatives[k] - low
            slot = slots[item]
            if slot < 0:
                slot = used
                used += 1
                _new_slot(item, slot, slots, touched, bias_gradient, gradient, pulls)
            _pull_item(gradient, bias_gradient, slot, score_gradients, k, directions, begin, end)
        for u in range(begin, end):
            for n in range(starts[u], starts[u + 1]):
                item = taken[pairs[n]] - low
                if item < 0:
                    continue
                if item >= high - low:
                    break  # a user's positives ascend
                slot = slots[item]
                if slot < 0:
                    slot = used
                    used += 1
                    _new_slot(item, slot, slots, touched, bias_gradient, gradient, pulls)
                bias_gradient[slot, 0] += up[n]
                add_row(gradient, slot, up[n], directions, u)
                if not dense:
                    pulls[slot] += shares[item] * all_weights[pairs[n]] * share
    return used
