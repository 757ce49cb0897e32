"""A counter-based random generator in int32 arithmetic: the same bits on every backend and device.

The stream is a hash of (seed, counter, position), so it needs no state but the counter, and a counter in an array
lets a compiled or captured step draw anew each time. PyTorch has hardly any uint32 arithmetic and JAX no int64 by
default; hence int32, and right shifts made logical by a mask.
"""

from __future__ import annotations

import math
from typing import Any

from array_api_compat import device

from xpnet.backend.array import Array, Namespace

__all__ = ["advance", "uniform_bits", "uniform_floats"]

# Constants of the finaliser "lowbias32", found by C. Wellons' search for hashes with little bias, as int32.
_MULTIPLIERS = (0x7FEB352D, 0x846CA68B - (1 << 32))
_SHIFTS = (16, 15, 16)


def _mix(h: Array) -> Array:
    h = h ^ ((h >> _SHIFTS[0]) & ((1 << (32 - _SHIFTS[0])) - 1))
    h = h * _MULTIPLIERS[0]
    h = h ^ ((h >> _SHIFTS[1]) & ((1 << (32 - _SHIFTS[1])) - 1))
    h = h * _MULTIPLIERS[1]
    return h ^ ((h >> _SHIFTS[2]) & ((1 << (32 - _SHIFTS[2])) - 1))


def advance(xp: Namespace, key: Array) -> Array:
    """Return the key of the next step: the same seed, the counter one higher."""
    return key + xp.arange(2, dtype=key.dtype, device=device(key))


def uniform_bits(xp: Namespace, key: Array, stream: int, shape: tuple[int, ...], start: int = 0) -> Array:
    """Uniform int32 over the type's whole range.

    Parameters
    ----------
    key : (2,) int32
        Seed and counter; the counter is to be raised after each step.
    stream : int
        Tells draws of one step apart, e.g. the number of the layer.
    shape : tuple of int
        Shape of the result.
    start : int
        Place of its first number in the draw, by which a part of a draw is drawn as in the whole.
    """
    # One-element arrays, not scalars: NumPy warns when a scalar wraps around.
    seed = _mix(_mix(_mix(key[:1]) ^ key[1:]) + stream)
    position = xp.arange(start, start + math.prod(shape), dtype=xp.int32, device=device(key))
    return xp.reshape(_mix(_mix(position) ^ seed), shape)


def uniform_floats(xp: Namespace, bits: Array, dtype: Any) -> Array:
    """Uniform numbers in [0, 1), multiples of 2**-24 and thus exact in every dtype."""
    return xp.astype((bits >> 8) & 0xFFFFFF, dtype) * 2.0**-24
