"""Stochastic gradient descent on the dot-product model, one rating at a time, cell by cell."""

import numpy as np

from bilinear.kernels.cache import njit
from bilinear.kernels.lanes import broadcast, load, prefetch, reduce_add, store

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


def _cells(identity: bool, moving: bool):  # type: ignore[no-untyped-def]
    """The kernel without the branches that a descent never takes."""

    @njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
    def sgd_cells(  # type: ignore[no-untyped-def]
        cells, factor_rates, bias_rates, momenta, starts, users, items, ratings,
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
        for c in range(len(cells)):
            begin, end = starts[cells[c]], starts[cells[c] + 1]
            cell_users, cell_items, cell_ratings = users[begin:end], items[begin:end], ratings[begin:end]
            rate, bias_rate, momentum = real(factor_rates[c]), real(bias_rates[c]), real(momenta[c])
            last = len(cell_users) - 1
            summed = 0.0
            for n in range(len(cell_users)):
                next_user = cell_users[min(n + _USERS_AHEAD, last)]
                next_item = cell_items[min(n + _ITEMS_AHEAD, last)]
                for piece in range(pieces):
                    prefetch(user_factors, next_user, piece, width)
                    prefetch(item_factors, next_item, piece, width)
                    if moving:
                        prefetch(user_velocities, next_user, piece, width)
                        prefetch(item_velocities, next_item, piece, width)
                u, i = cell_users[n], cell_items[n]
                score = real(0)
                for piece in range(pieces):
                    p, q = load(user_factors, u, piece, width), load(item_factors, i, piece, width)
                    score += reduce_add(p * q)
                user_bias, item_bias = user_columns[u, BIAS], item_columns[i, BIAS]
                user_share, item_share = user_columns[u, SHARE], item_columns[i, SHARE]
                score += mean + user_bias + item_bias
                rating = cell_ratings[n]
                value, gradient = loss_and_gradient(
                    score, rating, IDENTITY if identity else link, loss, low, span
                )
                summed += value
                gradient = real(gradient)
                user_step = gradient + bias_pull * user_share * user_bias
                item_step = gradient + bias_pull * item_share * item_bias
                if moving:
                    user_step += momentum * user_columns[u, VELOCITY]
                    item_step += momentum * item_columns[i, VELOCITY]
                    user_columns[u, VELOCITY], item_columns[i, VELOCITY] = user_step, item_step
                user_columns[u, BIAS] = user_bias - bias_rate * user_step
                item_columns[i, BIAS] = item_bias - bias_rate * item_step
                if moving:
                    user_pull, item_pull = pull * user_share, pull * item_share
                    for piece in range(pieces):
                        p, q = (
                            load(user_factors, u, piece, width),
                            load(item_factors, i, piece, width),
                        )
                        p_velocity = broadcast(momentum, width) * load(user_velocities, u, piece, width)
                        q_velocity = broadcast(momentum, width) * load(item_velocities, i, piece, width)
                        p_velocity = (
                            p_velocity + broadcast(gradient, width) * q + broadcast(user_pull, width) * p
                        )
                        q_velocity = (
                            q_velocity + broadcast(gradient, width) * p + broadcast(item_pull, width) * q
                        )
                        store(user_velocities, u, piece, p_velocity)
                        store(item_velocities, i, piece, q_velocity)
                        store(user_factors, u, piece, p - broadcast(rate, width) * p_velocity)
                        store(item_factors, i, piece, q - broadcast(rate, width) * q_velocity)
                else:
                    user_keep, item_keep = one - rate * pull * user_share, one - rate * pull * item_share
                    step = broadcast(rate * gradient, width)
                    for piece in range(pieces):  # both with the old values
                        p, q = (
                            load(user_factors, u, piece, width),
                            load(item_factors, i, piece, width),
                        )
                        store(user_factors, u, piece, broadcast(user_keep, width) * p - step * q)
                        store(item_factors, i, piece, broadcast(item_keep, width) * q - step * p)
            losses[cells[c]] = summed
            if not np.isfinite(summed):
                return False
        return True

    return sgd_cells


# by (whether the link is the identity, whether there is momentum)
SGD_CELLS = {(plain, moving): _cells(plain, moving) for plain in (True, False) for moving in (True, False)}
