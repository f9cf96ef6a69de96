"""Stochastic gradient descent on the dot-product model, one rating at a time, cell by cell."""

import numpy as np

from bilinear.kernels.cache import njit
from bilinear.kernels.lanes import broadcast, decoded, entry, load, prefetch, reduce_add, set_entry, store
from bilinear.kernels.target import WIDE

# Sums may be reordered into vector lanes; NaN and infinity keep their meaning.
_FAST = {"reassoc", "contract", "nsz", "arcp"}

IDENTITY, SIGMOID = 0, 1
SQUARED_ERROR, CROSS_ENTROPY = 0, 1

# Columns of `bias_columns`: what one step reads of a row beside its factors. VELOCITY with momentum alone.
BIAS = 0
SHARE = 1  # of the row's penalty that falls on one rating
VELOCITY = 2  # of the bias

_USERS_AHEAD = 48  # ratings: a user's row comes from memory,
_ITEMS_AHEAD = 24  # an item's from the second-level cache
_TOGETHER = 1 if WIDE else 4  # ratings whose scores are taken before the rows of any of them move


@njit(inline="always")
def loss_and_gradient(score, rating, link, loss, low, span):  # type: ignore[no-untyped-def]
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


@njit(inline="always")
def _distinct(rows, n):  # type: ignore[no-untyped-def]
    """Whether rows[n : n + 4] are four different rows."""
    a, b, c, d = entry(rows, n), entry(rows, n + 1), entry(rows, n + 2), entry(rows, n + 3)
    return (a != b) & (a != c) & (a != d) & (b != c) & (b != d) & (c != d)


def _cells(identity: bool, moving: bool):  # type: ignore[no-untyped-def]
    """The kernel without the branches that a descent never takes."""
    columns = 4 if moving else 2

    @njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
    def sgd_cells(  # type: ignore[no-untyped-def]
        cells, factor_rates, bias_rates, momenta,
        starts, user_starts, item_starts, users, items, ratings, values,
        global_mean, user_columns, item_columns, user_factors, item_factors, user_velocities, item_velocities,
        shape, link, loss, low, span, l2_factors, l2_biases, losses,
    ):  # fmt: skip
        """One step for each rating of the listed cells, in their order, updating in place.

        A cell's rates and momentum are those at its place in `cells`. Row r's penalty is spread over its
        ratings: a step adds l2 * bias_columns[r, SHARE] * row. With momentum:
        velocity = momentum * velocity + gradient; row -= rate * velocity. It is row-sparse:
        only the two rows of a rating move, so that a row's velocity decays once a rating of it.

        Args:
            starts: of the cells in users, items, ratings.
            user_starts, item_starts: (n_blocks + 1,) the first row of each block; cell = user block * number
                of item blocks + item block.
            users, items: of each rating, counted from the first row of their block.
            ratings: float32, or places in `values`.
            bias_columns: (n_rows, 2), with momentum (n_rows, 4): BIAS, SHARE, VELOCITY.
            factors, velocities: (n_rows, columns): see `lanes.columns_of`, `lanes.shape_of`. Without
                momentum, velocities have no rows.

        losses[cell] becomes the summed loss before each step. Returns False as soon as that of a cell
        is not finite.
        """
        width, more = shape
        pieces = 1 + len(more)
        real = user_factors.dtype.type  # all arithmetic of a step in the type of the factors
        one, mean = real(1), real(global_mean)
        pull, bias_pull = real(l2_factors), real(l2_biases)
        gradients = np.empty(_TOGETHER, user_factors.dtype)
        n_item_blocks = len(item_starts) - 1
        for c in range(len(cells)):
            begin, end = starts[cells[c]], starts[cells[c] + 1]
            first_user = user_starts[cells[c] // n_item_blocks]
            first_item = item_starts[cells[c] % n_item_blocks]
            rate, bias_rate, momentum = real(factor_rates[c]), real(bias_rates[c]), real(momenta[c])
            furthest = max(end - _TOGETHER, begin)
            summed = 0.0
            n = begin
            while n < end:
                # steps on different rows do not depend on each other: scores first, so that no processor
                # waits for the sum of one product before it begins with the next
                turn = 1
                if _TOGETHER > 1 and n + _TOGETHER <= end and _distinct(users, n) and _distinct(items, n):
                    turn = _TOGETHER
                users_ahead, items_ahead = min(n + _USERS_AHEAD, furthest), min(n + _ITEMS_AHEAD, furthest)
                for t in range(turn):
                    u, i = first_user + entry(users, n + t), first_item + entry(items, n + t)
                    next_user = first_user + entry(users, users_ahead + t)
                    next_item = first_item + entry(items, items_ahead + t)
                    prefetch(user_factors, next_user, shape)
                    prefetch(item_factors, next_item, shape)
                    if moving:
                        prefetch(user_velocities, next_user, shape)
                        prefetch(item_velocities, next_item, shape)
                    score = real(0)
                    if not WIDE:
                        products = load(user_factors, u, 0, shape) * load(item_factors, i, 0, shape)
                        for piece in range(1, pieces):
                            p, q = load(user_factors, u, piece, shape), load(item_factors, i, piece, shape)
                            products = products + p * q
                        score = reduce_add(products)
                    else:
                        for piece in range(pieces):
                            p, q = load(user_factors, u, piece, shape), load(item_factors, i, piece, shape)
                            score += reduce_add(p * q)
                    user_bias, item_bias = (
                        entry(user_columns, u * columns + BIAS),
                        entry(item_columns, i * columns + BIAS),
                    )
                    user_share, item_share = (
                        entry(user_columns, u * columns + SHARE),
                        entry(item_columns, i * columns + SHARE),
                    )
                    score += mean + user_bias + item_bias
                    rating = decoded(values, ratings, n + t)
                    value, gradient = loss_and_gradient(
                        score, rating, IDENTITY if identity else link, loss, low, span
                    )
                    summed += value
                    gradient = real(gradient)
                    user_step = gradient + bias_pull * user_share * user_bias
                    item_step = gradient + bias_pull * item_share * item_bias
                    if moving:
                        user_step += momentum * entry(user_columns, u * columns + VELOCITY)
                        item_step += momentum * entry(item_columns, i * columns + VELOCITY)
                        set_entry(user_columns, u * columns + VELOCITY, user_step)
                        set_entry(item_columns, i * columns + VELOCITY, item_step)
                    set_entry(user_columns, u * columns + BIAS, user_bias - bias_rate * user_step)
                    set_entry(item_columns, i * columns + BIAS, item_bias - bias_rate * item_step)
                    if _TOGETHER > 1:
                        set_entry(gradients, t, gradient)
                for t in range(turn):  # both rows with the old values
                    if _TOGETHER > 1:
                        u, i = first_user + entry(users, n + t), first_item + entry(items, n + t)
                        gradient = entry(gradients, t)
                        user_share, item_share = (
                            entry(user_columns, u * columns + SHARE),
                            entry(item_columns, i * columns + SHARE),
                        )
                    if moving:
                        user_pull, item_pull = pull * user_share, pull * item_share
                        for piece in range(pieces):
                            p, q = load(user_factors, u, piece, shape), load(item_factors, i, piece, shape)
                            p_velocity = broadcast(momentum, width) * load(user_velocities, u, piece, shape)
                            q_velocity = broadcast(momentum, width) * load(item_velocities, i, piece, shape)
                            p_velocity = (
                                p_velocity + broadcast(gradient, width) * q + broadcast(user_pull, width) * p
                            )
                            q_velocity = (
                                q_velocity + broadcast(gradient, width) * p + broadcast(item_pull, width) * q
                            )
                            store(user_velocities, u, piece, shape, p_velocity)
                            store(item_velocities, i, piece, shape, q_velocity)
                            store(user_factors, u, piece, shape, p - broadcast(rate, width) * p_velocity)
                            store(item_factors, i, piece, shape, q - broadcast(rate, width) * q_velocity)
                    else:
                        user_keep = broadcast(one - rate * pull * user_share, width)
                        item_keep = broadcast(one - rate * pull * item_share, width)
                        step = broadcast(rate * gradient, width)
                        for piece in range(pieces):
                            p, q = load(user_factors, u, piece, shape), load(item_factors, i, piece, shape)
                            store(user_factors, u, piece, shape, user_keep * p - step * q)
                            store(item_factors, i, piece, shape, item_keep * q - step * p)
                n += turn
            losses[cells[c]] = summed
            if not np.isfinite(summed):
                return False
        return True

    return sgd_cells


# by (whether the link is the identity, whether there is momentum)
SGD_CELLS = {(plain, moving): _cells(plain, moving) for plain in (True, False) for moving in (True, False)}
