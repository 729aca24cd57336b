"""exp and log in single precision that LLVM turns into vector code (Numba); np.exp and np.log in a loop stay scalar.

Polynomials and splittings of constants as in Cephes' expf and logf (S. Moshier); relative error below 3e-7.
"""

from __future__ import annotations

import numpy as np

from .compile import inlined

LOG2_E = np.float32(1.44269504088896341)
LN_2_HIGH = np.float32(0.693359375)
LN_2_LOW = np.float32(-2.12194440e-4)
SMALLEST = np.float32(-87.0)
LARGEST = np.float32(88.0)
SQRT_HALF = np.float32(0.707106781186547524)


@inlined()
def expf(x):
    """Return e^x of a float32; exactly 0 below -87, e^88 above 88."""
    clipped = min(max(x, SMALLEST), LARGEST)
    power = np.floor(clipped * LOG2_E + np.float32(0.5))
    r = clipped - power * LN_2_HIGH - power * LN_2_LOW
    y = np.float32(1.9875691500e-4)
    y = y * r + np.float32(1.3981999507e-3)
    y = y * r + np.float32(8.3334519073e-3)
    y = y * r + np.float32(4.1665795894e-2)
    y = y * r + np.float32(1.6666665459e-1)
    y = y * r + np.float32(5.0000001201e-1)
    y = y * r * r + r + np.float32(1.0)
    scale = np.int32((np.int32(power) + np.int32(127)) << np.int32(23)).view(np.float32)
    return y * scale if x >= SMALLEST else np.float32(0.0)


@inlined()
def logf(x):
    """Return log x of a positive, normal float32."""
    bits = np.float32(x).view(np.int32)
    exponent = np.float32((bits >> np.int32(23)) - np.int32(126))
    mantissa = np.int32((bits & np.int32(0x007FFFFF)) | np.int32(0x3F000000)).view(np.float32)
    low = mantissa < SQRT_HALF
    exponent = exponent - np.float32(1.0) if low else exponent
    m = mantissa + mantissa - np.float32(1.0) if low else mantissa - np.float32(1.0)
    y = np.float32(7.0376836292e-2)
    y = y * m - np.float32(1.1514610310e-1)
    y = y * m + np.float32(1.1676998740e-1)
    y = y * m - np.float32(1.2420140846e-1)
    y = y * m + np.float32(1.4249322787e-1)
    y = y * m - np.float32(1.6668057665e-1)
    y = y * m + np.float32(2.0000714765e-1)
    y = y * m - np.float32(2.4999993993e-1)
    y = y * m + np.float32(3.3333331174e-1)
    squared = m * m
    y = y * m * squared + exponent * LN_2_LOW - np.float32(0.5) * squared
    return m + y + exponent * LN_2_HIGH
