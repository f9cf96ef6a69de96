"""exp and log1p of float32 in plain arithmetic, so that loops over them become vector instructions.

Those of the C library are calls, one number at a time, and were most of the time of a loss.
"""

import numpy as np

from bilinear.kernels.cache import njit

# Neither reordered nor folded: the rounding below is (x + large) - large.
_PLAIN = {"contract"}


@njit(nogil=True, fastmath=_PLAIN, error_model="numpy", forceinline=True)
def exp(x):  # type: ignore[no-untyped-def]
    """exp of a float32 up to 88, to 2e-7 of it; zero below -87. NaN stays.

    2^n times a polynomial on [-log(2) / 2, log(2) / 2] (Moshier, Cephes, expf).
    """
    real = np.float32
    shifted = x * real(1.44269504088896341) + real(12582912.0)  # 1.5 * 2^23: whole numbers from here on
    n = shifted - real(12582912.0)
    r = x - n * real(0.693359375)
    r = r - n * real(-2.12194440e-4)
    y = real(1.9875691500e-4)
    y = y * r + real(1.3981999507e-3)
    y = y * r + real(8.3334519073e-3)
    y = y * r + real(4.1665795894e-2)
    y = y * r + real(1.6666665459e-1)
    y = y * r + real(5.0000001201e-1)
    y = (y * r) * r + r + real(1)
    bits = real(shifted).view(np.int32) << np.int32(23)  # n where exponents are
    power = np.int32(bits + np.int32(0x3F800000)).view(np.float32)
    return real(0) if x < real(-87) else y * power


@njit(nogil=True, fastmath=_PLAIN, error_model="numpy", forceinline=True)
def log1p(x):  # type: ignore[no-untyped-def]
    """log(1 + x) of a float32 in [0, 1], to 2e-7 of it: 2 artanh(x / (2 + x)). NaN stays."""
    real = np.float32
    s = x / (real(2) + x)
    square = s * s
    y = real(1 / 15)
    y = y * square + real(1 / 13)
    y = y * square + real(1 / 11)
    y = y * square + real(1 / 9)
    y = y * square + real(1 / 7)
    y = y * square + real(1 / 5)
    y = y * square + real(1 / 3)
    return real(2) * (s + s * square * y)
