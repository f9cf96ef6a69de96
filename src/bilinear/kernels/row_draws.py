"""One row of a Gibbs sampler at a time: bias and factors of a user drawn from their posterior, or of an item.

A row with ratings t = 1..n, whose partners have factors y_t, biases c_t and noise precisions o_t^2, has
the prior x ~ N(m, 1) of its factors (the caller scales all factors so that their precision is one),
b ~ N(m_b, 1 / bias_precision) of its bias, and ratings

    r_t ~ N(mean + c_t + b + <x, y_t>, 1 / (weight o_t^2)).

The bias is a factor whose partner is one. It is eliminated from the system, as in `explicit_als`; then
x is drawn by one back-substitution, and b given x. Random numbers are a function of a key and the row alone
(SplitMix64 in counter mode, Box and Muller), so a draw does not depend on who makes it, or when.

`draw_map_rows` is the same for the maps of features into a prior's mean, one column of features at a time.
"""

import numpy as np

from bilinear.kernels.cache import njit
from bilinear.kernels.normal_equations import TILE, add_products, factor, solve_lower, solve_upper

# Sums may be reordered into vector lanes; NaN and infinity keep their meaning.
_FAST = {"reassoc", "contract", "nsz", "arcp"}
_CHUNK = 64  # ratings gathered at a time
_NARROW = 1024  # ratings whose products are summed, and whose system is solved, in the type of the factors
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)
_UNIT = 2.0**-53


@njit(cache=True, nogil=True, forceinline=True)
def mix(key, counter):  # type: ignore[no-untyped-def]
    """Output `counter` of the SplitMix64 stream of a key; uint64 both. Source: Steele, Lea, Flood 2014."""
    z = key + (counter + np.uint64(1)) * _GOLDEN
    z = (z ^ (z >> _S30)) * _FIRST
    z = (z ^ (z >> _S27)) * _SECOND
    return z ^ (z >> _S31)


@njit(cache=True, nogil=True, forceinline=True)
def normal_pair(key, pair):  # type: ignore[no-untyped-def]
    """Standard normal numbers 2 * pair and 2 * pair + 1 of a key. Source: Box, Muller 1958."""
    counter = np.uint64(2) * np.uint64(pair)
    first = (np.float64(mix(key, counter) >> _S11) + 1.0) * _UNIT  # in (0, 1]
    second = np.float64(mix(key, counter + np.uint64(1)) >> _S11) * _UNIT
    radius, angle = np.sqrt(-2.0 * np.log(first)), 2.0 * np.pi * second
    return radius * np.cos(angle), radius * np.sin(angle)


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy", forceinline=True)
def _gather(others, ratings, start, size, mean, fixed, ones, biases, x, bias, rows, errors, own):  # type: ignore[no-untyped-def]
    """rows[:size] = the partners from `start`; errors[:size] = precision roots `own` times the residuals."""
    for t in range(size):
        other = others[start + t]
        y, copy, one = fixed[other], rows[t], ones[other]
        score = y.dtype.type(0)
        for f in range(len(x)):
            copy[f] = y[f]
        for f in range(len(x)):
            score += y[f] * x[f]
        own[t] = one
        errors[t] = one * (ratings[start + t] - mean - biases[other] - bias) - score


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy", forceinline=True)
def _add_slopes(rows, errors, own, n, slope, sums):  # type: ignore[no-untyped-def]
    """slope += rows[:n].T @ errors[:n], sums += rows[:n].T @ own[:n]."""
    k = len(slope)
    whole = n // 4 * 4
    for t in range(0, whole, 4):
        y0, y1, y2, y3 = rows[t], rows[t + 1], rows[t + 2], rows[t + 3]
        e0, e1, e2, e3 = errors[t], errors[t + 1], errors[t + 2], errors[t + 3]
        o0, o1, o2, o3 = own[t], own[t + 1], own[t + 2], own[t + 3]
        for f in range(k):
            slope[f] += e0 * y0[f] + e1 * y1[f] + e2 * y2[f] + e3 * y3[f]
            sums[f] += o0 * y0[f] + o1 * y1[f] + o2 * y2[f] + o3 * y3[f]
    for t in range(whole, n):
        y, error, one = rows[t], errors[t], own[t]
        for f in range(k):
            slope[f] += error * y[f]
            sums[f] += one * y[f]


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def _draw(system, inverses, sums, slope, noise, weight, precision, bias_slope, draw):  # type: ignore[no-untyped-def]
    """slope = a draw of N(S^-1 right, S^-1) with the bias eliminated, from the upper triangle of `system`."""
    number = system.dtype.type
    k = len(system)
    for i in range(k):
        row, a = system[i], number(weight * sums[i] / precision)
        for j in range(i, k):
            row[j] = number(weight) * (row[j] - a * number(sums[j]))
        slope[i] = number(weight * (slope[i] - sums[i] * (weight * bias_slope / precision)))
    factor(system, inverses)
    solve_lower(system, inverses, slope)
    if draw:
        for f in range(k):
            slope[f] += noise[f]
    solve_upper(system, inverses, slope)


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def draw_rows(  # type: ignore[no-untyped-def]
    first, last, starts, others, ratings, mean, fixed, ones, fixed_biases, weights, means, mean_biases,
    bias_precision, key, draw, n_factors, factors, biases, squares,
):  # fmt: skip
    """Rows first..last - 1 drawn from their posterior, or set to its mean where `draw` is false.

    starts (n_rows + 1,), others, ratings (n_ratings,): the rows' ratings; fixed (n_others, k), k a multiple
    of `LINE`: factors of the partners times ones (n_others,), the roots of their noise precisions;
    fixed_biases (n_others,); weights (n_rows,) noise precisions of the rows; means (n_rows, k),
    mean_biases (n_rows,): the prior's. Factors from n_factors on are padding: zero in `fixed` and `means`.
    Takes the draws: factors (n_rows, k), biases (n_rows,), and squares (n_rows,) float64 the sums of
    o_t^2 times the squared residual. Rows without ratings get the prior's mean.

    Cost:
        O(n * k^2 / 2 + k^3 / 6) a row with n ratings.
    """
    k, number = fixed.shape[1], fixed.dtype
    rows, errors, own = np.zeros((_CHUNK, k), number), np.empty(_CHUNK, number), np.empty(_CHUNK, number)
    system, inverses = np.empty((k, k), number), np.empty((k, TILE), number)
    large, large_inverses = np.empty((k, k)), np.empty((k, TILE))
    slope, sums, part, part_sums = np.empty(k), np.empty(k), np.empty(k, number), np.empty(k, number)
    noise, vector = np.zeros(k), np.empty(k, number)
    for r in range(first, last):
        a, b = starts[r], starts[r + 1]
        x, prior, prior_bias, n = factors[r], means[r], mean_biases[r], b - a
        for f in range(k):
            x[f] = prior[f]
        biases[r], squares[r] = prior_bias, 0
        if n == 0:
            continue
        wide = n > _NARROW
        weight = np.float64(weights[r])
        for i in range(k):
            slope[i] = sums[i] = 0
            part[i] = part_sums[i] = 0
            for j in range(k):
                system[i, j] = 0
        if wide:
            for i in range(k):
                for j in range(k):
                    large[i, j] = 0
        bias_slope = ones_squared = 0.0
        for start in range(a, b, _CHUNK):
            size = min(_CHUNK, b - start)
            _gather(
                others, ratings, start, size, mean, fixed, ones, fixed_biases, x, prior_bias,
                rows, errors, own,
            )  # fmt: skip
            _add_slopes(rows, errors, own, size, part, part_sums)
            for t in range(size):
                bias_slope += own[t] * errors[t]
                ones_squared += own[t] * own[t]
            for f in range(k):
                slope[f] += part[f]
                sums[f] += part_sums[f]
                part[f] = part_sums[f] = 0
            add_products(rows, size, system)
            if wide and (start + size == b or (start + size - a) % _NARROW == 0):
                for i in range(k):
                    for j in range(i, k):
                        large[i, j] += system[i, j]
                        system[i, j] = 0
        row_key = mix(key, np.uint64(r))
        bias_noise = 0.0
        if draw:
            for f in range(0, n_factors, 2):
                one, other = normal_pair(row_key, f // 2 + 1)
                noise[f] = one
                if f + 1 < n_factors:
                    noise[f + 1] = other
            bias_noise, _ = normal_pair(row_key, 0)
        precision = bias_precision + weight * ones_squared
        if wide:
            _draw(large, large_inverses, sums, slope, noise, weight, precision, bias_slope, draw)
        else:
            for f in range(k):
                vector[f] = slope[f]
            _draw(system, inverses, sums, vector, noise, weight, precision, bias_slope, draw)
            for f in range(k):
                slope[f] = vector[f]
        change = weight * bias_slope
        for f in range(k):
            change -= weight * sums[f] * slope[f]
        for f in range(k):
            x[f] += slope[f]
        bias = prior_bias + change / precision + bias_noise / np.sqrt(precision)
        biases[r] = bias
        bias = biases[r]
        total = 0.0
        for t in range(a, b):
            other = others[t]
            y = fixed[other]
            score = y.dtype.type(0)
            for f in range(k):
                score += y[f] * x[f]
            error = ones[other] * (ratings[t] - mean - fixed_biases[other] - bias) - score
            total += error * error
        squares[r] = total


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def draw_map_rows(  # type: ignore[no-untyped-def]
    first, last, starts, rows, values, precisions, penalties, key, draw, residuals, weights
):
    """Columns first..last - 1 of a block's map drawn from their posterior, one feature after another.

    starts (n_features + 1,), rows, values (n_entries,): the block by its features; residuals (n_rows, d):
    what the prior's mean leaves of the rows, kept up to date; weights (n_features, d): the map; precisions,
    penalties (d,): of the rows about their mean and of the map. `first` is even. The columns of the map are
    independent given the rows, so any cuts give the same draws.

    Cost:
        O(n_entries * (last - first)).
    """
    width = last - first
    sums, change = np.empty(width, residuals.dtype), np.empty(width, residuals.dtype)
    for j in range(len(starts) - 1):
        a, b = starts[j], starts[j + 1]
        squares = 0.0
        for f in range(width):
            sums[f] = 0
        for t in range(a, b):
            x, row = values[t], residuals[rows[t], first:last]
            squares += x * x
            for f in range(width):
                sums[f] += x * row[f]
        row_key = mix(key, np.uint64(j))
        own = weights[j]
        for f in range(0, width, 2):
            one, other = 0.0, 0.0
            if draw:
                one, other = normal_pair(row_key, (first + f) // 2)
            for g in range(f, min(f + 2, width)):
                c = first + g
                total = precisions[c] * squares + penalties[c]
                old = own[c]
                new = precisions[c] * (sums[g] + squares * old) / total
                new += (one if g == f else other) / np.sqrt(total)
                own[c] = new
                change[g] = own[c] - old
        for t in range(a, b):
            x, row = values[t], residuals[rows[t], first:last]
            for f in range(width):
                row[f] -= x * change[f]
