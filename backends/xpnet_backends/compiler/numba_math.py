"""Functions of numbers and of vectors that compiled steps call.

They are written so that a compiler turns loops over them into vector instructions, which it cannot do with those of
the C library. The polynomials and rational functions are those of S. L. Moshier's Cephes library (1989).
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.extending import intrinsic
from numpy import float32, float64, int32, int64

__all__ = [
    "call_address",
    "exp_float32",
    "exp_float64",
    "expm1_float32",
    "expm1_float64",
    "max_of",
    "maximum",
    "minimum",
    "sum_of",
    "tanh_float32",
    "tanh_float64",
]


def compiled(function: Any, **options: Any) -> Any:
    """Return a function of numbers and NumPy arrays as machine code, which follows IEEE 754 and holds no lock."""
    return numba.njit(function, error_model="numpy", nogil=True, **options)


def _inlined(function: Any) -> Any:
    return compiled(function, forceinline=True)


@intrinsic
def call_address(_: Any, address: Any) -> Any:
    """Call the function without arguments at an address."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        function = ir.FunctionType(ir.VoidType(), []).as_pointer()
        builder.call(builder.inttoptr(arguments[0], function), [])
        return context.get_dummy_value()

    return numba.types.void(address), code


@_inlined
def maximum(a: Any, b: Any) -> Any:
    """Return the larger, or NaN if there is one."""
    return a if a >= b or a != a else b


@_inlined
def minimum(a: Any, b: Any) -> Any:
    """Return the smaller, or NaN if there is one."""
    return a if a <= b or a != a else b


@compiled
def max_of(vector: Any) -> Any:
    """Return the largest element, or NaN if there is one."""
    largest = vector[0]
    for i in range(1, len(vector)):
        largest = maximum(largest, vector[i])
    return largest


@partial(compiled, fastmath={"reassoc"})  # several partial sums at a time
def sum_of(vector: Any) -> Any:
    """Return the sum of the elements."""
    total = vector[0]
    for i in range(1, len(vector)):
        total += vector[i]
    return total


@_inlined
def _exp_parts_float32(x: Any) -> Any:
    """Return p, low, high and 1 / high, where e^x is ``(p + 1) low high``, and low and high are powers of 2."""
    x = max(min(x, float32(89)), float32(-104))  # beyond, the result is infinite or zero
    n = np.floor(x * float32(1 / math.log(2)) + float32(0.5))
    r = x - n * float32(0.693359375) - n * float32(-2.12194440e-4)
    p = float32(1.9875691500e-4) * r + float32(1.3981999507e-3)
    p = p * r + float32(8.3334519073e-3)
    p = p * r + float32(4.1665795894e-2)
    p = p * r + float32(1.6666665459e-1)
    p = p * r + float32(5.0000001201e-1)
    # 2^n, in two factors, for n may lie outside what an exponent can be.
    k = int32(n)
    half = int32(k >> int32(1))
    low = int32((half + int32(127)) << int32(23)).view(float32)
    high = int32((k - half + int32(127)) << int32(23)).view(float32)
    inverse = int32((half - k + int32(127)) << int32(23)).view(float32)
    return p * r * r + r, low, high, inverse


@_inlined
def exp_float32(x: Any) -> Any:
    """Return e^x, with an error below two units in the last place."""
    p, low, high, _ = _exp_parts_float32(x)
    return (p + float32(1)) * low * high


@_inlined
def _exp_parts_float64(x: Any) -> Any:
    """Return p, low, high and 1 / high, where e^x is ``(p + 1) low high``, and low and high are powers of 2."""
    x = max(min(x, 710.0), -746.0)
    n = np.floor(x * (1 / math.log(2)) + 0.5)
    r = x - n * 6.93145751953125e-1 - n * 1.42860682030941723212e-6
    z = r * r
    p = r * ((1.26177193074810590878e-4 * z + 3.02994407707441961300e-2) * z + 9.99999999999999999910e-1)
    q = (3.00198505138664455042e-6 * z + 2.52448340349684104192e-3) * z + 2.27265548208155028766e-1
    k = int64(n)
    half = k >> 1
    low = int64((half + 1023) << 52).view(float64)
    high = int64((k - half + 1023) << 52).view(float64)
    inverse = int64((half - k + 1023) << 52).view(float64)
    return 2 * p / (q * z + 2 - p), low, high, inverse


@_inlined
def exp_float64(x: Any) -> Any:
    """Return e^x, with an error below two units in the last place."""
    p, low, high, _ = _exp_parts_float64(x)
    return (p + 1) * low * high


@_inlined
def tanh_float32(x: Any) -> Any:
    """Return the hyperbolic tangent, with an error below three units in the last place."""
    z, y = x * x, abs(x)
    p = float32(-5.70498872745e-3) * z + float32(2.06390887954e-2)
    p = p * z + float32(-5.37397155531e-2)
    p = p * z + float32(1.33314422036e-1)
    p = p * z + float32(-3.33332819422e-1)
    far = math.copysign(float32(1) - float32(2) / (exp_float32(y + y) + float32(1)), x)
    return p * z * x + x if y < float32(0.625) else float32(far)


@_inlined
def tanh_float64(x: Any) -> Any:
    """Return the hyperbolic tangent, with an error below three units in the last place."""
    z, y = x * x, abs(x)
    p = (-9.64399179425052238628e-1 * z - 9.92877231001918586564e1) * z - 1.61468768441708447952e3
    q = ((z + 1.12811678491632931402e2) * z + 2.23548839060100448583e3) * z + 4.84406305325125486048e3
    far = math.copysign(1 - 2 / (exp_float64(y + y) + 1), x)
    return x + x * z * p / q if y < 0.625 else far


@_inlined
def expm1_float32(x: Any) -> Any:
    """Return e^x - 1, with an error below four units in the last place."""
    p, low, high, inverse = _exp_parts_float32(x)
    return (p * low + (low - inverse)) * high


@_inlined
def expm1_float64(x: Any) -> Any:
    """Return e^x - 1, with an error below four units in the last place."""
    p, low, high, inverse = _exp_parts_float64(x)
    return (p * low + (low - inverse)) * high
