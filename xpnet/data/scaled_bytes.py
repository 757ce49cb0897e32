"""Features in bytes, such as images, that stay bytes until the training step scales them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from xpnet.data.scaling import Scaler

__all__ = ["ScaledBytes", "scaled_bytes"]

_LARGEST = 2.0**64  # far from the subnormal numbers, to which a larger divisor might lead


class ScaledBytes(NamedTuple):
    """Features ``values / divisor``.

    Attributes
    ----------
    values : ndarray or SharedRows of uint8, shape (n_samples, n_features)
    divisor : float
    """

    values: Any
    divisor: float


def scaled_bytes(x: Any, scaler: Scaler | None, dtype: DTypeLike) -> ScaledBytes | None:
    """Return features in bytes with their scaling, or None if the step would not scale them exactly as the scaler.

    A division in `dtype` gives the same numbers as one in float64 that is then rounded to `dtype`, if both operands
    are numbers of `dtype`: Figueroa (1995), When is double rounding innocuous?, SIGNUM Newsletter 30(3), 21-26.
    Another scaling rounds more than once.

    Parameters
    ----------
    x : array of any type
    scaler : Scaler or None
        None leaves the features as they are.
    dtype : dtype
        The type in which the network takes the features.

    Examples
    --------
    >>> from xpnet.data.scaling import fit_scaler
    >>> x = np.asarray([[0, 51, 255]], dtype=np.uint8)
    >>> scaled_bytes(x, fit_scaler("divide:255", x), "float32")
    ScaledBytes(values=array([[  0,  51, 255]], dtype=uint8), divisor=255.0)
    """
    if not isinstance(x, np.ndarray) or x.dtype != np.uint8:
        return None
    if scaler is None or scaler.kind == "none":
        return ScaledBytes(x, 1.0)
    divisor = float(scaler.scale[0])
    exact = 1 <= divisor < _LARGEST and float(np.asarray(divisor, dtype)) == divisor
    return ScaledBytes(x, divisor) if scaler.kind == "divide" and exact else None
