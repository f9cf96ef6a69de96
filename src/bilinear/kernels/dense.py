"""Dense products and Cholesky factors of small systems, four rows at a time.

Four rows against four rows is sixteen multiply-adds for eight loads, which keeps the vector units
busy; LLVM turns the innermost loops into vectors. BLAS does the same, but its own threads would get
in the way of ours, and its bits depend on how many there are.
"""

import numpy as np

from bilinear.kernels.cache import njit

# Sums may be reordered into vector lanes; NaN and infinity keep their meaning.
_FAST = {"reassoc", "contract", "nsz", "arcp"}


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy", forceinline=True)
def multiply(left, right, out):  # type: ignore[no-untyped-def]
    """out = left @ right, for left (m, k), right (k, n), out (m, n); k is a multiple of 4.

    Cost:
        O(m * k * n).
    """
    m, k = left.shape
    n = right.shape[1]
    out[:] = 0
    whole = m // 4 * 4
    for i in range(0, whole, 4):
        a0, a1, a2, a3 = left[i], left[i + 1], left[i + 2], left[i + 3]
        c0, c1, c2, c3 = out[i], out[i + 1], out[i + 2], out[i + 3]
        for f in range(0, k, 4):
            b0, b1, b2, b3 = right[f], right[f + 1], right[f + 2], right[f + 3]
            a00, a01, a02, a03 = a0[f], a0[f + 1], a0[f + 2], a0[f + 3]
            a10, a11, a12, a13 = a1[f], a1[f + 1], a1[f + 2], a1[f + 3]
            a20, a21, a22, a23 = a2[f], a2[f + 1], a2[f + 2], a2[f + 3]
            a30, a31, a32, a33 = a3[f], a3[f + 1], a3[f + 2], a3[f + 3]
            for j in range(n):
                x0, x1, x2, x3 = b0[j], b1[j], b2[j], b3[j]
                c0[j] += a00 * x0 + a01 * x1 + a02 * x2 + a03 * x3
                c1[j] += a10 * x0 + a11 * x1 + a12 * x2 + a13 * x3
                c2[j] += a20 * x0 + a21 * x1 + a22 * x2 + a23 * x3
                c3[j] += a30 * x0 + a31 * x1 + a32 * x2 + a33 * x3
    for i in range(whole, m):
        for f in range(k):
            for j in range(n):
                out[i, j] += left[i, f] * right[f, j]


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy", forceinline=True)
def add_column_products(rows, n, out):  # type: ignore[no-untyped-def]
    """The lower triangle of out += rows[:n].T @ rows[:n]; k, their width, is a multiple of 4.

    Entries above the diagonal of the 4 x 4 blocks on it are filled too. Cost: O(n * k^2).
    """
    k = rows.shape[1]
    whole = n // 4 * 4
    for t in range(0, whole, 4):
        y0, y1, y2, y3 = rows[t], rows[t + 1], rows[t + 2], rows[t + 3]
        for i in range(0, k, 4):
            a00, a01, a02, a03 = y0[i], y1[i], y2[i], y3[i]
            a10, a11, a12, a13 = y0[i + 1], y1[i + 1], y2[i + 1], y3[i + 1]
            a20, a21, a22, a23 = y0[i + 2], y1[i + 2], y2[i + 2], y3[i + 2]
            a30, a31, a32, a33 = y0[i + 3], y1[i + 3], y2[i + 3], y3[i + 3]
            c0, c1, c2, c3 = out[i], out[i + 1], out[i + 2], out[i + 3]
            for j in range(i + 4):
                x0, x1, x2, x3 = y0[j], y1[j], y2[j], y3[j]
                c0[j] += a00 * x0 + a01 * x1 + a02 * x2 + a03 * x3
                c1[j] += a10 * x0 + a11 * x1 + a12 * x2 + a13 * x3
                c2[j] += a20 * x0 + a21 * x1 + a22 * x2 + a23 * x3
                c3[j] += a30 * x0 + a31 * x1 + a32 * x2 + a33 * x3
    for t in range(whole, n):
        y = rows[t]
        for i in range(k):
            c, a = out[i], y[i]
            for j in range(i + 1):
                c[j] += a * y[j]


@njit(nogil=True, fastmath=_FAST, error_model="numpy", forceinline=True)
def _dots(a, i, b, j, width):  # type: ignore[no-untyped-def]
    """The sixteen dot products of a[i : i + 4, :width] and b[j : j + 4, :width]."""
    zero = a.dtype.type(0)
    a0, a1, a2, a3 = a[i], a[i + 1], a[i + 2], a[i + 3]
    b0, b1, b2, b3 = b[j], b[j + 1], b[j + 2], b[j + 3]
    s00 = s01 = s02 = s03 = s10 = s11 = s12 = s13 = zero
    s20 = s21 = s22 = s23 = s30 = s31 = s32 = s33 = zero
    for f in range(width):
        x0, x1, x2, x3 = a0[f], a1[f], a2[f], a3[f]
        y0, y1, y2, y3 = b0[f], b1[f], b2[f], b3[f]
        s00 += x0 * y0
        s01 += x0 * y1
        s02 += x0 * y2
        s03 += x0 * y3
        s10 += x1 * y0
        s11 += x1 * y1
        s12 += x1 * y2
        s13 += x1 * y3
        s20 += x2 * y0
        s21 += x2 * y1
        s22 += x2 * y2
        s23 += x2 * y3
        s30 += x3 * y0
        s31 += x3 * y1
        s32 += x3 * y2
        s33 += x3 * y3
    return s00, s01, s02, s03, s10, s11, s12, s13, s20, s21, s22, s23, s30, s31, s32, s33


@njit(nogil=True, fastmath=_FAST, error_model="numpy", forceinline=True)
def row_products(rows, n, out):  # type: ignore[no-untyped-def]
    """The lower triangle of out[:n, :n] = rows[:n] @ rows[:n].T; n is a multiple of 4.

    Entries above the diagonal of the 4 x 4 blocks on it are filled too. Cost: O(n^2 * k).
    """
    width = rows.shape[1]
    for i in range(0, n, 4):
        c0, c1, c2, c3 = out[i], out[i + 1], out[i + 2], out[i + 3]
        for j in range(0, i + 4, 4):
            (
                c0[j], c0[j + 1], c0[j + 2], c0[j + 3],
                c1[j], c1[j + 1], c1[j + 2], c1[j + 3],
                c2[j], c2[j + 1], c2[j + 2], c2[j + 3],
                c3[j], c3[j + 1], c3[j + 2], c3[j + 3],
            ) = _dots(rows, i, rows, j, width)  # fmt: skip


@njit(nogil=True, fastmath=_FAST, error_model="numpy", forceinline=True)
def cholesky_of_one_plus(system, n, inverses):  # type: ignore[no-untyped-def]
    """Factors 1 + system[:n, :n] = L L^T; n is a multiple of 4, the system positive semidefinite.

    L takes the place of the strict lower triangle, and inverses[:n] the inverses of its
    diagonal. Each pivot is one or more, but for rounding, which is cut off: so a system that is
    singular in float32 still gives finite numbers. Cost: O(n^3 / 3).
    """
    one = system.dtype.type(1)
    for j in range(0, n, 4):
        s00, _, _, _, s10, s11, _, _, s20, s21, s22, _, s30, s31, s32, s33 = _dots(system, j, system, j, j)
        k0, k1, k2, k3 = system[j], system[j + 1], system[j + 2], system[j + 3]
        d0 = one / np.sqrt(max(one + k0[j] - s00, one))
        l10, l20, l30 = (k1[j] - s10) * d0, (k2[j] - s20) * d0, (k3[j] - s30) * d0
        d1 = one / np.sqrt(max(one + k1[j + 1] - s11 - l10 * l10, one))
        l21, l31 = (k2[j + 1] - s21 - l20 * l10) * d1, (k3[j + 1] - s31 - l30 * l10) * d1
        d2 = one / np.sqrt(max(one + k2[j + 2] - s22 - l20 * l20 - l21 * l21, one))
        l32 = (k3[j + 2] - s32 - l30 * l20 - l31 * l21) * d2
        d3 = one / np.sqrt(max(one + k3[j + 3] - s33 - l30 * l30 - l31 * l31 - l32 * l32, one))
        inverses[j], inverses[j + 1], inverses[j + 2], inverses[j + 3] = d0, d1, d2, d3
        k1[j], k2[j], k3[j], k2[j + 1], k3[j + 1], k3[j + 2] = l10, l20, l30, l21, l31, l32
        for i in range(j + 4, n, 4):
            s = _dots(system, i, system, j, j)
            for r in range(4):
                row = system[i + r]
                a = (row[j] - s[4 * r]) * d0
                b = (row[j + 1] - s[4 * r + 1] - a * l10) * d1
                c = (row[j + 2] - s[4 * r + 2] - a * l20 - b * l21) * d2
                row[j], row[j + 1], row[j + 2] = a, b, c
                row[j + 3] = (row[j + 3] - s[4 * r + 3] - a * l30 - b * l31 - c * l32) * d3


@njit(nogil=True, fastmath=_FAST, error_model="numpy", forceinline=True)
def solve_factored(lower, inverses, n, x):  # type: ignore[no-untyped-def]
    """x[:n] = (L L^T)^-1 x[:n], with what `cholesky_of_one_plus` left. Cost: O(n^2)."""
    for i in range(n):
        row = lower[i]
        total = x[i]
        for p in range(i):
            total -= row[p] * x[p]
        x[i] = total * inverses[i]
    for i in range(n - 1, -1, -1):
        row = lower[i]
        value = x[i] * inverses[i]
        x[i] = value
        for p in range(i):
            x[p] -= row[p] * value
