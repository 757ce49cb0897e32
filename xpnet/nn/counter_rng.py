"""A counter-based random generator in int32 arithmetic: the same bits on every backend and device.

`xpnet.nn.dropout` draws dropout masks and random slopes from it. The seed and the counter are the `key` of
`xpnet.nn.step.StepState`; each step advances the counter.

A random stream is a hash of (seed, counter, stream, position), so its only state is the counter. The counter is an
array, so a compiled or captured step draws new numbers each time. PyTorch has hardly any uint32 arithmetic and JAX no
int64 by default. Hence int32, with right shifts made logical by a mask.
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


def uniform_bits(xp: Namespace, key: Array, stream: int, shape: tuple[int, ...], start: int | Array = 0) -> Array:
    """Return uniform int32 numbers over the type's whole range.

    Parameters
    ----------
    key : (2,) int32
        Seed and counter; see `advance`.
    stream : int
        Number of the random stream within a step; each use has its own.
    shape : tuple of int
        Shape of the result.
    start : int or scalar int32 array
        Position of the first number in the stream, to draw only a part of the numbers.
    """
    # One-element arrays, not scalars: NumPy warns when a scalar wraps around.
    seed = _mix(_mix(_mix(key[:1]) ^ key[1:]) + stream)
    first, shift = (start, None) if isinstance(start, int) else (0, start)
    position = xp.arange(first, first + math.prod(shape), dtype=xp.int32, device=device(key))
    if shift is not None:
        position = position + shift
    return xp.reshape(_mix(_mix(position) ^ seed), shape)


def uniform_floats(xp: Namespace, bits: Array, dtype: Any) -> Array:
    """Return uniform numbers in [0, 1), multiples of 2**-24 and thus exact in every dtype."""
    return xp.astype((bits >> 8) & 0xFFFFFF, dtype) * 2.0**-24
