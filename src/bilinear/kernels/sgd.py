"""Stochastic gradient descent on the dot-product model, one rating at a time."""

import numpy as np
from numba import njit

# Sums may be reordered into vector lanes; NaN and infinity keep their meaning.
_FAST = {"reassoc", "contract", "nsz", "arcp"}

IDENTITY, SIGMOID = 0, 1
SQUARED_ERROR, CROSS_ENTROPY = 0, 1


@njit(inline="always")
def loss_and_slope(score, rating, link, loss, low, span):  # type: ignore[no-untyped-def]
    """The loss of one rating and its derivative by the score (twin: objective.losses)."""
    if link == IDENTITY:
        residual = score - rating
        return 0.5 * residual * residual, residual
    decay = np.exp(-abs(score))
    share = (1.0 if score >= 0 else decay) / (1.0 + decay)
    if loss == SQUARED_ERROR:
        residual = low + span * share - rating
        return 0.5 * residual * residual, residual * span * share * (1.0 - share)
    fraction = (rating - low) / span
    return np.log1p(decay) + max(score, 0.0) - fraction * score, share - fraction


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def sgd_block(  # type: ignore[no-untyped-def]
    order, users, items, ratings,
    global_mean, user_biases, item_biases, user_factors, item_factors,
    link, loss, low, span,
    user_weights, item_weights, l2_factors, l2_biases,
    factor_rates, bias_rates,
):  # fmt: skip
    """One step for each rating listed in `order`, updating in place.

    Row r's penalty is spread over its ratings: a step adds l2 * weights[r] * row, where
    weights[r] = n_r^(exponent - 1). Rates go linearly from [0] to [1] over the block.
    Returns (summed loss before each step, steps done): fewer than len(order) when a score
    stopped being a finite number.
    """
    n_factors = user_factors.shape[1]
    real = user_factors.dtype.type  # all arithmetic of a step in the type of the factors
    total = 0.0
    n_steps = len(order)
    for n in range(n_steps):
        row = order[n]
        u, i = users[row], items[row]
        p, q = user_factors[u], item_factors[i]
        score = real(global_mean) + user_biases[u] + item_biases[i]
        for f in range(n_factors):
            score += p[f] * q[f]
        value, slope = loss_and_slope(score, ratings[row], link, loss, low, span)
        if not np.isfinite(value):
            return np.nan, n
        total += value
        progress = n / n_steps
        rate = real(factor_rates[0] + progress * (factor_rates[1] - factor_rates[0]))
        bias_rate = real(bias_rates[0] + progress * (bias_rates[1] - bias_rates[0]))
        slope = real(slope)
        user_weight, item_weight = user_weights[u], item_weights[i]
        user_biases[u] -= bias_rate * (slope + real(l2_biases) * user_weight * user_biases[u])
        item_biases[i] -= bias_rate * (slope + real(l2_biases) * item_weight * item_biases[i])
        user_keep = real(1) - rate * real(l2_factors) * user_weight
        item_keep = real(1) - rate * real(l2_factors) * item_weight
        step = rate * slope
        for f in range(n_factors):
            p_f, q_f = p[f], q[f]  # both gradients use the old values
            p[f] = user_keep * p_f - step * q_f
            q[f] = item_keep * q_f - step * p_f
    return total, n_steps


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def momentum_block(  # type: ignore[no-untyped-def]
    order, users, items, ratings,
    global_mean, user_biases, item_biases, user_factors, item_factors,
    user_bias_speed, item_bias_speed, user_speed, item_speed,
    link, loss, low, span,
    user_weights, item_weights, l2_factors, l2_biases,
    factor_rates, bias_rates, momenta,
):  # fmt: skip
    """`sgd_block` with heavy-ball momentum: speed = momentum * speed + gradient; row -= rate * speed.

    Row-sparse: only the two rows of a rating move, so a row's speed decays once a rating of it.
    """
    n_factors = user_factors.shape[1]
    real = user_factors.dtype.type  # all arithmetic of a step in the type of the factors
    total = 0.0
    n_steps = len(order)
    for n in range(n_steps):
        row = order[n]
        u, i = users[row], items[row]
        p, q = user_factors[u], item_factors[i]
        score = real(global_mean) + user_biases[u] + item_biases[i]
        for f in range(n_factors):
            score += p[f] * q[f]
        value, slope = loss_and_slope(score, ratings[row], link, loss, low, span)
        if not np.isfinite(value):
            return np.nan, n
        total += value
        progress = n / n_steps
        rate = real(factor_rates[0] + progress * (factor_rates[1] - factor_rates[0]))
        bias_rate = real(bias_rates[0] + progress * (bias_rates[1] - bias_rates[0]))
        momentum = real(momenta[0] + progress * (momenta[1] - momenta[0]))
        slope = real(slope)
        user_weight, item_weight = user_weights[u], item_weights[i]
        user_bias_speed[u] = (
            momentum * user_bias_speed[u] + slope + real(l2_biases) * user_weight * user_biases[u]
        )
        item_bias_speed[i] = (
            momentum * item_bias_speed[i] + slope + real(l2_biases) * item_weight * item_biases[i]
        )
        user_biases[u] -= bias_rate * user_bias_speed[u]
        item_biases[i] -= bias_rate * item_bias_speed[i]
        p_speed, q_speed = user_speed[u], item_speed[i]
        user_pull, item_pull = real(l2_factors) * user_weight, real(l2_factors) * item_weight
        for f in range(n_factors):
            p_f, q_f = p[f], q[f]
            p_speed[f] = momentum * p_speed[f] + slope * q_f + user_pull * p_f
            q_speed[f] = momentum * q_speed[f] + slope * p_f + item_pull * q_f
            p[f] = p_f - rate * p_speed[f]
            q[f] = q_f - rate * q_speed[f]
    return total, n_steps
