"""First and second derivatives of an objective over pairs of rows, and the blocks that precondition them."""

import numpy as np

from bilinear.kernels.cache import njit

# Sums may be reordered into vector lanes; NaN and infinity keep their meaning.
_FAST = {"reassoc", "contract", "nsz", "arcp"}


@njit(cache=True, nogil=True, fastmath=_FAST)
def pair_products(users, items, u, v, scales, out):  # type: ignore[no-untyped-def]
    """out[n] = scales[n] * <u[users[n]], v[items[n]]>."""
    k = u.shape[1]
    for n in range(len(users)):
        p, q = u[users[n]], v[items[n]]
        total = 0.0
        for f in range(k):
            total += p[f] * q[f]
        out[n] = scales[n] * total


@njit(cache=True, nogil=True, fastmath=_FAST)
def gradient_pairs(users, items, entries, u, v, out_u, out_v):  # type: ignore[no-untyped-def]
    """out_u[user] += entry * v[item] and out_v[item] += entry * u[user]: a matrix times v, and back."""
    k = u.shape[1]
    for n in range(len(users)):
        a, b = users[n], items[n]
        e = entries[n]
        p, q, left, right = u[a], v[b], out_u[a], out_v[b]
        for f in range(k):
            left[f] += e * q[f]
            right[f] += e * p[f]


@njit(cache=True, nogil=True, fastmath=_FAST)
def hessian_product_pairs(  # type: ignore[no-untyped-def]
    users, items, scales, curvatures, gradients, u, v, du, dv, dz, out_u, out_v
):  # fmt: skip
    """One pass of the Hessian of sum_n loss(z_n), z_n = ... + scales[n] <u, v>, along (du, dv).

    dz holds the biases' change of the scores and becomes curvatures * (the whole change);
    out_u, out_v receive the sums over pairs of curvatures * dz * scales * v + gradients * scales * dv.
    """
    k = u.shape[1]
    for n in range(len(users)):
        a, b = users[n], items[n]
        p, q, dp, dq = u[a], v[b], du[a], dv[b]
        total = 0.0
        for f in range(k):
            total += p[f] * dq[f] + dp[f] * q[f]
        dz[n] = curvatures[n] * (dz[n] + scales[n] * total)
        h, g = scales[n] * dz[n], scales[n] * gradients[n]
        left, right = out_u[a], out_v[b]
        for f in range(k):
            left[f] += h * q[f] + g * dq[f]
            right[f] += h * p[f] + g * dp[f]


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def factor_blocks(indptr, indices, weights, factors, ridge, offsets, blocks):  # type: ignore[no-untyped-def]
    """Cholesky factors of every row's own block diag(ridge) + sum_n weights[n] a_n a_n^T.

    a_n = factors[indices[n]] for the pairs n in indptr[r]:indptr[r + 1]. Rows with fewer pairs than
    factors go by the matrix inversion lemma: what is factored is then I + B B^T with rows
    b_n = sqrt(weights[n] / ridge) a_n. blocks[offsets[r]:offsets[r + 1]] receives the lower triangle,
    row after row, of side min(n_r, k). Own loops, because a threaded BLAS is slow on small blocks.
    """
    k = factors.shape[1]
    for r in range(len(indptr) - 1):
        begin = indptr[r]
        n_pairs = indptr[r + 1] - begin
        side = min(n_pairs, k)
        block = blocks[offsets[r] : offsets[r + 1]].reshape(side, side)
        if n_pairs < k:
            for n in range(side):
                a = factors[indices[begin + n]]
                for m in range(n + 1):
                    b = factors[indices[begin + m]]
                    total = 0.0
                    for f in range(k):
                        total += a[f] * b[f] / ridge[f]
                    block[n, m] = np.sqrt(weights[begin + n] * weights[begin + m]) * total
                block[n, n] += 1.0
        else:
            block[:] = 0.0
            for n in range(begin, begin + n_pairs):
                a = factors[indices[n]]
                for f in range(k):
                    scaled, row = weights[n] * a[f], block[f]
                    for h in range(f + 1):
                        row[h] += scaled * a[h]
            for f in range(k):
                block[f, f] += ridge[f]
        for f in range(side):
            row = block[f]
            for h in range(f):
                above = block[h]
                total = row[h]
                for j in range(h):
                    total -= row[j] * above[j]
                row[h] = total / above[h]
            total = row[f]
            for j in range(f):
                total -= row[j] * row[j]
            row[f] = np.sqrt(total)


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def solve_blocks(indptr, indices, weights, factors, ridge, offsets, blocks, x, out):  # type: ignore[no-untyped-def]
    """out[r] = (row r's block)^-1 x[r], with the factors of `factor_blocks`; x, out (n_rows, k)."""
    k = factors.shape[1]
    inner = np.empty(k)
    for r in range(len(indptr) - 1):
        begin = indptr[r]
        n_pairs = indptr[r + 1] - begin
        side = min(n_pairs, k)
        lemma = n_pairs < k
        if lemma:
            for f in range(k):
                out[r, f] = x[r, f] / ridge[f]
            for n in range(side):
                a = factors[indices[begin + n]]
                total = 0.0
                for f in range(k):
                    total += a[f] * out[r, f]
                inner[n] = total * np.sqrt(weights[begin + n])
        else:
            for f in range(k):
                inner[f] = x[r, f]
        block = blocks[offsets[r] : offsets[r + 1]].reshape(side, side)
        for f in range(side):
            row = block[f]
            total = inner[f]
            for h in range(f):
                total -= row[h] * inner[h]
            inner[f] = total / row[f]
        for g in range(side):
            f = side - 1 - g
            row = block[f]
            value = inner[f] / row[f]
            inner[f] = value
            for h in range(f):
                inner[h] -= value * row[h]
        if lemma:
            for n in range(side):
                a = factors[indices[begin + n]]
                value = inner[n] * np.sqrt(weights[begin + n])
                for f in range(k):
                    out[r, f] -= value * a[f] / ridge[f]
        else:
            for f in range(k):
                out[r, f] = inner[f]
