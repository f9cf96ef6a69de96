"""The step of one row for every optimiser.

A new optimiser is one function here, with its number and its lines at `_over_rows`, and one small class
in training.optimizers. Numbers instead of function arguments keep the compiled kernels in Numba's
cache on disk: a dispatcher that is passed as an argument is another type in every process.
"""

from typing import Any

import numpy as np

from bilinear.kernels.cache import njit
from bilinear.kernels.rows import prefetch_row

# Sums may be reordered into vector lanes; NaN and infinity keep their meaning.
_FAST = {"reassoc", "contract", "nsz", "arcp"}

_AHEAD = 8  # rows that are on their way from memory

PLAIN, MOMENTUM, NESTEROV, ADAGRAD, ROW_ADAGRAD, RMSPROP, ADAM, RADAM, LAMB, LARS = range(10)

# A step of one row, in place. All have the arguments
#   row, gradient (width,), state (n_states, width); rate, momentum (beta1 of Adam); t, the number of the step
#   from 1; left, right: 1 - beta1^t and 1 - beta2^t; decay (beta2 of Adam), epsilon: numbers of the rule.
# Numbers come in float64 and are rounded to the type of the row where they are used: 1 - 0.999 in
# float32 would be wrong in the fifth digit.


@njit(inline="always")
def _plain(row, gradient, state, rate, momentum, t, left, right, decay, epsilon):  # type: ignore[no-untyped-def]
    rate = row.dtype.type(rate)
    for f in range(len(row)):
        row[f] -= rate * gradient[f]


@njit(inline="always")
def _momentum(row, gradient, state, rate, momentum, t, left, right, decay, epsilon):  # type: ignore[no-untyped-def]
    real, velocity = row.dtype.type, state[0]
    rate, momentum = real(rate), real(momentum)
    for f in range(len(row)):
        velocity[f] = momentum * velocity[f] + gradient[f]
        row[f] -= rate * velocity[f]


@njit(inline="always")
def _nesterov(row, gradient, state, rate, momentum, t, left, right, decay, epsilon):  # type: ignore[no-untyped-def]
    real, velocity = row.dtype.type, state[0]
    rate, momentum = real(rate), real(momentum)
    for f in range(len(row)):
        velocity[f] = momentum * velocity[f] + gradient[f]
        row[f] -= rate * (gradient[f] + momentum * velocity[f])


@njit(inline="always")
def _adagrad(row, gradient, state, rate, momentum, t, left, right, decay, epsilon):  # type: ignore[no-untyped-def]
    real, squares = row.dtype.type, state[0]
    rate, epsilon = real(rate), real(epsilon)
    for f in range(len(row)):
        squares[f] += gradient[f] * gradient[f]
        row[f] -= rate * gradient[f] / (np.sqrt(squares[f]) + epsilon)


@njit(inline="always")
def _row_adagrad(row, gradient, state, rate, momentum, t, left, right, decay, epsilon):  # type: ignore[no-untyped-def]
    real = row.dtype.type
    square = real(0)
    for f in range(len(row)):
        square += gradient[f] * gradient[f]
    state[0, 0] += square / real(len(row))
    step = real(rate) / (np.sqrt(state[0, 0]) + real(epsilon))
    for f in range(len(row)):
        row[f] -= step * gradient[f]


@njit(inline="always")
def _rmsprop(row, gradient, state, rate, momentum, t, left, right, decay, epsilon):  # type: ignore[no-untyped-def]
    real, squares = row.dtype.type, state[0]
    rate, epsilon, rest, decay = real(rate), real(epsilon), real(1.0 - decay), real(decay)
    for f in range(len(row)):
        squares[f] = decay * squares[f] + rest * gradient[f] * gradient[f]
        row[f] -= rate * gradient[f] / (np.sqrt(squares[f]) + epsilon)


@njit(inline="always")
def _moments(gradient, state, beta1, beta2):  # type: ignore[no-untyped-def]
    """Updates the running means of gradient and squared gradient (Adam, RAdam, LAMB)."""
    real = gradient.dtype.type
    mean, squares = state[0], state[1]
    new, newer = real(1.0 - beta1), real(1.0 - beta2)
    beta1, beta2 = real(beta1), real(beta2)
    for f in range(len(gradient)):
        mean[f] = beta1 * mean[f] + new * gradient[f]
        squares[f] = beta2 * squares[f] + newer * gradient[f] * gradient[f]


@njit(inline="always")
def _adam(row, gradient, state, rate, beta1, t, left, right, beta2, epsilon):  # type: ignore[no-untyped-def]
    _moments(gradient, state, beta1, beta2)
    real = row.dtype.type
    root, step, epsilon = real(1.0 / np.sqrt(right)), real(rate / left), real(epsilon)
    for f in range(len(row)):
        row[f] -= step * state[0, f] / (np.sqrt(state[1, f]) * root + epsilon)


@njit(inline="always")
def _radam(row, gradient, state, rate, beta1, t, left, right, beta2, epsilon):  # type: ignore[no-untyped-def]
    real = row.dtype.type
    _moments(gradient, state, beta1, beta2)
    longest = 2.0 / (1.0 - beta2) - 1.0
    length = longest - 2.0 * t * (1.0 - right) / right
    step, epsilon = real(rate / left), real(epsilon)
    if length > 5.0:  # enough squares to trust their mean
        share = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
        step *= real(np.sqrt(share * right))
        for f in range(len(row)):
            row[f] -= step * state[0, f] / (np.sqrt(state[1, f]) + epsilon)
    else:
        for f in range(len(row)):
            row[f] -= step * state[0, f]


@njit(inline="always")
def _trust(row, step):  # type: ignore[no-untyped-def]
    """`|row| / |step|`; one for a bias, and where either is zero."""
    zero, one = row.dtype.type(0), row.dtype.type(1)
    length, stride = zero, zero
    for f in range(len(row)):
        length += row[f] * row[f]
        stride += step[f] * step[f]
    if len(row) == 1 or length == zero or stride == zero:
        return one
    return np.sqrt(length / stride)


@njit(inline="always")
def _lamb(row, gradient, state, rate, beta1, t, left, right, beta2, epsilon):  # type: ignore[no-untyped-def]
    _moments(gradient, state, beta1, beta2)
    real = row.dtype.type
    root, left, epsilon = real(1.0 / np.sqrt(right)), real(1.0 / left), real(epsilon)
    for f in range(len(row)):  # the gradient has been used; its place takes the step
        gradient[f] = state[0, f] * left / (np.sqrt(state[1, f]) * root + epsilon)
    step = real(rate) * _trust(row, gradient)
    for f in range(len(row)):
        row[f] -= step * gradient[f]


@njit(inline="always")
def _lars(row, gradient, state, rate, momentum, t, left, right, decay, epsilon):  # type: ignore[no-untyped-def]
    real, velocity = row.dtype.type, state[0]
    momentum, step = real(momentum), real(rate) * _trust(row, gradient)
    for f in range(len(row)):
        velocity[f] = momentum * velocity[f] + step * gradient[f]
        row[f] -= velocity[f]


def _over_rows(step: Any) -> Any:
    """Makes the loop that applies one update rule to the first `used` touched rows.

    Each rule has a loop of its own: array views made inside a choice between rules would each cost an
    atomic instruction, for reference counts.
    """

    @njit(nogil=True, fastmath=_FAST, error_model="numpy", forceinline=True)
    def rows_step(  # type: ignore[no-untyped-def]
        rows, gradients, states, touched, used, rate, momentum, t, left, right, decay, epsilon
    ):
        for slot in range(used):
            if slot + _AHEAD < used:  # in random order: without a prefetch each would be waited for
                ahead = touched[slot + _AHEAD]
                prefetch_row(rows, ahead)
                prefetch_row(states, ahead)
            n = touched[slot]
            step(rows[n], gradients[slot], states[n], rate, momentum, t, left, right, decay, epsilon)

    return rows_step


_plain_rows = _over_rows(_plain)
_momentum_rows = _over_rows(_momentum)
_nesterov_rows = _over_rows(_nesterov)
_adagrad_rows = _over_rows(_adagrad)
_row_adagrad_rows = _over_rows(_row_adagrad)
_rmsprop_rows = _over_rows(_rmsprop)
_adam_rows = _over_rows(_adam)
_radam_rows = _over_rows(_radam)
_lamb_rows = _over_rows(_lamb)
_lars_rows = _over_rows(_lars)


@njit(inline="always")
def step_rows(  # type: ignore[no-untyped-def]
    rule, rows, gradients, states, touched, used, rate, momentum, t, left, right, decay, epsilon
):
    """A step of the first `used` touched rows by the rule of that number."""
    args = (rows, gradients, states, touched, used, rate, momentum, t, left, right, decay, epsilon)
    if rule == PLAIN:
        _plain_rows(*args)
    elif rule == MOMENTUM:
        _momentum_rows(*args)
    elif rule == NESTEROV:
        _nesterov_rows(*args)
    elif rule == ADAGRAD:
        _adagrad_rows(*args)
    elif rule == ROW_ADAGRAD:
        _row_adagrad_rows(*args)
    elif rule == RMSPROP:
        _rmsprop_rows(*args)
    elif rule == ADAM:
        _adam_rows(*args)
    elif rule == RADAM:
        _radam_rows(*args)
    elif rule == LAMB:
        _lamb_rows(*args)
    elif rule == LARS:
        _lars_rows(*args)
