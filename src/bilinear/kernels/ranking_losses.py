"""What a user's scores cost: losses of some positives against some negatives, with their slopes.

A new loss is one function here, with its number and its line in `ranking_loss`, and one small class
in objective.ranking_losses. Training and fold-in call the same function.
"""

import numpy as np
from numba import njit

# Sums may be reordered into vector lanes; NaN and infinity keep their meaning.
_FAST = {"reassoc", "contract", "nsz", "arcp"}

BPR, WARP, SOFTMAX, COSINE_CONTRASTIVE = range(4)

# All have the arguments
#   positive (P,), weights (P,): scores of what the user took up, and how much each counts;
#   negative (K,): scores of the others; minus infinity stands for one that does not count;
#   n: how many count, at least one; log_weights (K,): how many items each stands for, as a logarithm;
#   a, b: numbers of the loss; up (P,), down (K,): filled with the derivatives by the scores.
# They return the sum over the positives, each times its weight.


@njit(inline="always")
def _bpr(positive, weights, negative, n, log_weights, a, b, up, down):  # type: ignore[no-untyped-def]
    value = 0.0
    down[:] = 0
    for p in range(len(positive)):
        share, pull = weights[p] / n, 0.0
        for k in range(len(negative)):
            ahead = negative[k] - positive[p]
            decay = np.exp(-abs(ahead))
            value += share * (np.log1p(decay) + max(ahead, 0))
            slope = share * (1.0 if ahead >= 0 else decay) / (1.0 + decay)
            pull += slope
            down[k] += slope
        up[p] = -pull
    return value


@njit(inline="always")
def _warp(positive, weights, negative, n, log_weights, margin, b, up, down):  # type: ignore[no-untyped-def]
    value = 0.0
    down[:] = 0
    for p in range(len(positive)):
        bar = positive[p] - margin
        rank, over, violators = 0.0, 0.0, 0
        for k in range(len(negative)):
            if negative[k] > bar:
                rank += np.exp(log_weights[k])
                over += negative[k] - bar
                violators += 1
        up[p] = 0
        if violators > 0:
            share = weights[p] * np.log1p(rank) / violators
            value += share * over
            for k in range(len(negative)):
                if negative[k] > bar:
                    down[k] += share
            up[p] = -share * violators
    return value


@njit(inline="always")
def _softmax(positive, weights, negative, n, log_weights, temperature, corrected, up, down):  # type: ignore[no-untyped-def]
    largest, sharpness = -np.inf, 1.0 / temperature
    for p in range(len(positive)):
        largest = max(largest, positive[p] * sharpness)
    for k in range(len(negative)):
        largest = max(largest, negative[k] * sharpness + corrected * log_weights[k])
    others = 0.0
    for k in range(len(negative)):
        share = np.exp(negative[k] * sharpness + corrected * log_weights[k] - largest)
        down[k] = share
        others += share
    value, pull = 0.0, 0.0
    for p in range(len(positive)):
        logit = positive[p] * sharpness - largest
        own = np.exp(logit)
        value += weights[p] * (np.log(own + others) - logit)
        up[p] = -weights[p] * sharpness * others / (own + others)
        pull += weights[p] * sharpness / (own + others)
    for k in range(len(negative)):
        down[k] *= pull
    return value


@njit(inline="always")
def _cosine_contrastive(positive, weights, negative, n, log_weights, margin, weight, up, down):  # type: ignore[no-untyped-def]
    value, total, over = 0.0, 0.0, 0.0
    for p in range(len(positive)):
        value += weights[p] * (1.0 - positive[p])
        total += weights[p]
        up[p] = -weights[p]
    slope = total * weight / n
    for k in range(len(negative)):
        over += max(negative[k] - margin, 0.0)
        down[k] = slope if negative[k] > margin else 0.0
    return value + slope * over


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def ranking_loss(loss, positive, weights, negative, n, log_weights, a, b, up, down):  # type: ignore[no-untyped-def]
    """Fills `up` and `down` with the slopes of loss number `loss`; returns its value."""
    n = max(n, 1)
    if loss == BPR:
        return _bpr(positive, weights, negative, n, log_weights, a, b, up, down)
    if loss == WARP:
        return _warp(positive, weights, negative, n, log_weights, a, b, up, down)
    if loss == SOFTMAX:
        return _softmax(positive, weights, negative, n, log_weights, a, b, up, down)
    return _cosine_contrastive(positive, weights, negative, n, log_weights, a, b, up, down)
