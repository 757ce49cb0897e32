"""Scalers as nodes of an ONNX graph; see `xpnet.data.scaling.Scaler`."""

from __future__ import annotations

import numpy as np

from xpnet.data.scaling import Scaler
from xpnet.model.onnx.graph import Graph, Tensor

__all__ = ["scaled", "unscaled"]


def scaled(graph: Graph, scaler: Scaler, x: Tensor) -> Tensor:
    """Return scaled features, (n_samples, n_features).

    The library subtracts in float64, so that values with a large offset keep their digits. Here the shift is split into
    a number of the tensor's type and the rest, which are subtracted one after the other: the first difference is exact
    where digits would be lost.
    """
    shift = scaler.shift.astype(x.dtype)
    rest = (scaler.shift - shift).astype(x.dtype)
    for part in (shift, rest):
        if part.any():
            x = x - graph.constant(part, name="shift")
    if (scaler.scale != 1).any():
        x = x / graph.constant(scaler.scale, x.dtype, "scale")
    return x if scaler.is_linear else _smooth_clip(graph, x)


def _smooth_clip(graph: Graph, x: Tensor) -> Tensor:
    """Return ``x / hypot(1, x / bound)``, where no square overflows."""
    t = graph.abs(x) / Scaler.bound
    larger = graph.maximum(t, 1.0)
    a, b = 1.0 / larger, t / larger
    return x / larger / graph.sqrt(a * a + b * b)


def unscaled(graph: Graph, scaler: Scaler, x: Tensor) -> Tensor:
    """Return the values whose scaled values are `x`, both (n_samples, n_features)."""
    if not scaler.is_linear:
        x = x / graph.sqrt(1.0 - (x / Scaler.bound) * (x / Scaler.bound))
    scale, shift = (np.asarray(each, x.dtype) for each in (scaler.scale, scaler.shift))
    return x * graph.constant(scale, name="target_scale") + graph.constant(shift, name="target_shift")
