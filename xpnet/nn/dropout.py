"""The random numbers of a training step: dropout masks, and the random slopes of an activation such as ``"rrelu"``.

Both follow from the key (seed and counter of `xpnet.nn.counter_rng`), the layer and the position in the batch alone.
So they are the same on every backend, and a micro-batch gets the numbers of its rows of the whole batch.
"""

from __future__ import annotations

from typing import Any

from xpnet.backend.array import Array, Namespace
from xpnet.nn.counter_rng import uniform_bits, uniform_floats

__all__ = ["dropout_mask", "random_slope"]


# Each layer has two random streams: 2 * layer for its mask, and 2 * layer + 1 for its slopes.


def dropout_mask(
    xp: Namespace, key: Array, layer: int, keep: float, shape: tuple[int, int], dtype: Any, first_row: int | Array = 0
) -> Array:
    """Return a mask: 0 for a dropped unit, ``1 / keep`` for any other (inverted dropout).

    Srivastava et al. (2014), JMLR 15, 1929-1958.

    Parameters
    ----------
    key : (2,) int32
        Seed and counter.
    layer : int
    keep : float
        Probability that a unit is kept.
    shape : (n_rows, n_out)
    first_row : int or scalar int32 array
        Position of the first row in the batch.

    Returns
    -------
    mask : (n_rows, n_out)
    """
    bits = uniform_bits(xp, key, 2 * layer, shape, first_row * shape[1])
    return xp.astype(bits < min(round(keep * 2**32), 2**32 - 1) - 2**31, dtype) * (1 / keep)


def random_slope(
    xp: Namespace,
    key: Array,
    layer: int,
    slope_range: tuple[float, float],
    shape: tuple[int, int],
    dtype: Any,
    first_row: int | Array = 0,
) -> Array:
    """Return a slope for each element, (n_rows, n_out), drawn uniformly from `slope_range`.

    The other parameters are those of `dropout_mask`.
    """
    lower, upper = slope_range
    bits = uniform_bits(xp, key, 2 * layer + 1, shape, first_row * shape[1])
    return lower + (upper - lower) * uniform_floats(xp, bits, dtype)
