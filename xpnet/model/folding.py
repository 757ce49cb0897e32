"""Scaling, gains and input scale folded into the layers of a network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xpnet.backend import without_float_warnings
from xpnet.data.scaling import Scaler
from xpnet.errors import InvalidParameterError
from xpnet.nn.parameters import Parameters

__all__ = ["folded"]


@without_float_warnings
def folded(
    params: Parameters,
    gains: Sequence[float],
    scaler: Scaler | None,
    target_scaler: Scaler | None,
    *,
    largest_offset: float = 1e10,
    advice: str = "Predict with the model itself.",
) -> Parameters:
    """Fold ``(x - shift) / scale`` and the input scale into the first layer, and ``y scale + shift`` into the last.

    Parameters
    ----------
    params : Parameters
    gains : sequence of float
        Factor on the product of each layer.
    scaler, target_scaler : Scaler or None
        Linear ones.
    largest_offset : float
        Largest shift, in units of the scale. With 1e10 float64 keeps six digits of a scaled feature.
    advice : str
        What to do otherwise.

    Returns
    -------
    params : Parameters
        In float64, unless there is nothing to fold.

    Raises
    ------
    InvalidParameterError
        The shift of a feature exceeds `largest_offset`.
    """
    plain = scaler is None or scaler.kind == "none"
    if plain and target_scaler is None and params.input_scale is None and set(gains) == {1.0}:
        return params
    ratios = np.zeros(1) if scaler is None else np.abs(scaler.shift / scaler.scale)
    if ratios.max() > largest_offset:
        raise InvalidParameterError(
            f"scaling: expected features whose offset is at most {largest_offset:g} times their scale; "
            f"received {ratios.max():g} times in column {np.argmax(ratios) + 1}. {advice}"
        )
    layers = [
        (np.array(W, np.float64) * gain, np.array(b, np.float64)) for (W, b), gain in zip(params, gains, strict=True)
    ]
    if params.input_scale is not None:
        W, b = layers[0]
        layers[0] = np.array(params.input_scale, np.float64)[:, None] * W, b
    if scaler is not None and scaler.kind != "none":
        W, b = layers[0]
        W = W / scaler.scale[:, None]
        layers[0] = W, b - scaler.shift @ W
    if target_scaler is not None:
        W, b = layers[-1]
        layers[-1] = W * target_scaler.scale, b * target_scaler.scale + target_scaler.shift
    return Parameters.of(layers, [slope if slope is None else np.array(slope, np.float64) for slope in params.slopes])
