"""Ranking losses of one user: positives against negatives, with the derivatives by their scores.

A new loss is one function here, with its number and its line in `ranking_loss`, and one small class
in objective.ranking_losses. Training and fold-in call the same function.
"""

import numpy as np

from bilinear.kernels import elementary
from bilinear.kernels.cache import njit

# Sums may be reordered into vector lanes; NaN and infinity keep their meaning.
_FAST = {"reassoc", "contract", "nsz", "arcp"}

BPR, WARP, SOFTMAX, COSINE_CONTRASTIVE = range(4)

# All have the arguments
#   positive (P,), weights (P,): scores of the user's items, and their weights;
#   negative (K,): scores of the others; minus infinity stands for one that does not count;
#   n: how many count, at least one; log_weights (K,): how many items each stands for, as a logarithm;
#   a, b: numbers of the loss; up (P,), down (K,): filled with the derivatives by the scores.
# They return the sum over the positives, each times its weight.


@njit(inline="always")
def _logistic(ahead, decay):  # type: ignore[no-untyped-def]
    """1 / (1 + exp(-ahead)), where decay is exp(-|ahead|)."""
    return (np.float32(1) if ahead >= 0 else decay) / (np.float32(1) + decay)


@njit(inline="always")
def _bpr(positive, weights, negative, n, log_weights, a, b, up, down):  # type: ignore[no-untyped-def]
    value = 0.0
    down[:] = 0
    for p in range(len(positive)):
        own, total, pull = positive[p], 0.0, 0.0
        share = np.float32(weights[p] / n)
        for k in range(len(negative)):
            ahead = negative[k] - own
            decay = elementary.exp(-abs(ahead))
            total += elementary.log1p(decay) + max(ahead, np.float32(0))
            pull += _logistic(ahead, decay)
        for k in range(len(negative)):
            ahead = negative[k] - own
            down[k] += share * _logistic(ahead, elementary.exp(-abs(ahead)))
        value += share * total  # type: ignore[assignment]
        up[p] = -share * pull
    return value


@njit(inline="always")
def _warp(positive, weights, negative, n, log_weights, margin, b, up, down):  # type: ignore[no-untyped-def]
    value = 0.0
    down[:] = 0
    for p in range(len(positive)):
        bar = positive[p] - margin
        rank, over, violators = 0.0, 0.0, 0.0
        for k in range(len(negative)):
            hit = negative[k] > bar
            rank += elementary.exp(log_weights[k]) if hit else np.float32(0)  # type: ignore[assignment]
            over += negative[k] - bar if hit else 0.0
            violators += 1.0 if hit else 0.0
        up[p] = 0
        if violators > 0:
            share = weights[p] * np.log1p(rank) / violators
            value += share * over
            step = np.float32(share)
            for k in range(len(negative)):
                down[k] += step if negative[k] > bar else np.float32(0)
            up[p] = -share * violators
    return value


@njit(nogil=True, fastmath=_FAST | {"nnan"}, error_model="numpy", forceinline=True)
def _largest_logit(negative, log_weights, sharpness, corrected):  # type: ignore[no-untyped-def]
    """A NaN may be passed over here: the loss meets it again."""
    largest = -np.inf
    for k in range(len(negative)):
        logit = negative[k] * sharpness + corrected * log_weights[k]
        largest = logit if logit > largest else largest
    return largest


@njit(inline="always")
def _softmax(positive, weights, negative, n, log_weights, temperature, corrected, up, down):  # type: ignore[no-untyped-def]
    sharpness = 1.0 / temperature
    largest = _largest_logit(negative, log_weights, sharpness, corrected)
    for p in range(len(positive)):
        largest = max(largest, positive[p] * sharpness)
    others = 0.0
    for k in range(len(negative)):
        down[k] = elementary.exp(np.float32(negative[k] * sharpness + corrected * log_weights[k] - largest))
    for k in range(len(negative)):
        others += down[k]
    value, pull = 0.0, 0.0
    for p in range(len(positive)):
        logit = positive[p] * sharpness - largest
        own = np.exp(logit)
        value += weights[p] * (np.log(own + others) - logit)
        pull += weights[p] * sharpness / (own + others)
    for p in range(len(positive)):
        own = np.exp(positive[p] * sharpness - largest)
        up[p] = -weights[p] * sharpness * others / (own + others)
    for k in range(len(negative)):
        down[k] *= pull
    return value


@njit(inline="always")
def _cosine_contrastive(positive, weights, negative, n, log_weights, margin, weight, up, down):  # type: ignore[no-untyped-def]
    value, total, over = 0.0, 0.0, 0.0
    for p in range(len(positive)):
        value += weights[p] * (1.0 - positive[p])
        total += weights[p]
    for p in range(len(positive)):
        up[p] = -weights[p]
    gradient = total * weight / n
    for k in range(len(negative)):
        over += max(negative[k] - margin, 0.0)
    for k in range(len(negative)):
        down[k] = gradient if negative[k] > margin else 0.0
    return value + gradient * over


@njit(nogil=True, fastmath=_FAST, error_model="numpy")
def ranking_loss(loss, positive, weights, negative, n, log_weights, a, b, up, down):  # type: ignore[no-untyped-def]
    """Fills `up` and `down` with the derivatives of loss number `loss`; returns its value."""
    n = max(n, 1)
    if loss == BPR:
        return _bpr(positive, weights, negative, n, log_weights, a, b, up, down)
    if loss == WARP:
        return _warp(positive, weights, negative, n, log_weights, a, b, up, down)
    if loss == SOFTMAX:
        return _softmax(positive, weights, negative, n, log_weights, a, b, up, down)
    return _cosine_contrastive(positive, weights, negative, n, log_weights, a, b, up, down)
