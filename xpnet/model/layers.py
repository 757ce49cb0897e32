"""A model as plain layers, for libraries that know linear layers and activations only, and as their state dict."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from xpnet.data.scaling import Scaler
from xpnet.errors import InvalidParameterError, shown
from xpnet.model.folding import folded
from xpnet.nn.activations import IDENTITY
from xpnet.tensors import safetensors_parts

if TYPE_CHECKING:
    from xpnet.model.model import Model

__all__ = ["PlainLayer", "PlainLayers", "plain_layers", "state_dict", "state_dict_parts"]

_LARGEST_OFFSET = {"float32": 1e3, "float64": 1e10}  # of features in units of their scale: digits of the result


class PlainLayer(NamedTuple):
    """A linear layer and the function behind it.

    Attributes
    ----------
    weight : (n_out, n_in) ndarray
    bias : (n_out,) ndarray
    function : str
        Name of the activation, or of the output function.
    options : dict of str to float
        Options of the function that are not its default.
    slopes : (n_out,) ndarray or None
        Learned slopes.
    """

    weight: np.ndarray
    bias: np.ndarray
    function: str
    options: dict[str, float]
    slopes: np.ndarray | None


class PlainLayers(NamedTuple):
    """The layers of a model, and the limits of its outputs if it has some."""

    layers: tuple[PlainLayer, ...]
    limits: tuple[float, float] | None


def plain_layers(model: Model, *, scaling: bool = True, dtype: str | None = None) -> PlainLayers:
    """Return a model as plain layers.

    Parameters
    ----------
    model : Model
    scaling : bool
        Whether the scaling of features and targets is folded into the first and the last layer.
    dtype : {"float32", "float64"} or None
        None takes that of the parameters.

    Raises
    ------
    InvalidParameterError
        The model is an ensemble, or has a part that no layer can do: an encoding of tables or a scaling with a clip
        that `scaling` asks for, an offset of a feature that leaves too few digits, scaled targets with an output that
        is not linear, or limits that differ from output to output.
    """
    network = model.network
    dtype = dtype or str(model.vector.dtype)
    if dtype not in _LARGEST_OFFSET:
        raise InvalidParameterError(f"dtype: expected 'float32', 'float64' or None; received {shown(dtype)}.")
    if len(model.members) > 1:
        raise InvalidParameterError(
            f"model: expected one network; received an ensemble of {len(model.members)}. Export it to ONNX."
        )
    scaler, target_scaler = (model.scaler, model.target_scaler) if scaling else (None, None)
    for part, given in (
        ("an encoding of tables", scaling and model.encoding is not None),
        ("a scaling with a clip", any(each is not None and not each.is_linear for each in (scaler, target_scaler))),
    ):
        if given:
            raise InvalidParameterError(
                f"scaling: expected one that a linear layer can do; received {part}. Export it to ONNX, or export the "
                "network alone, without the scaling, and give it the result of Model.features."
            )
    if target_scaler is not None and network.activations[-1] != IDENTITY:
        raise InvalidParameterError(
            f"scaling: expected the output identity where targets are scaled; received {shown(network.output)}. Export "
            "it to ONNX, or without the scaling."
        )
    advice = "Convert it to float64, or without the scaling."
    params = folded(
        model.params, network.gains, scaler, target_scaler, largest_offset=_LARGEST_OFFSET[dtype], advice=advice
    )
    names = (*network.activation_names[:-1], str(network.output))
    layers = tuple(
        _layer(np.asarray(W), np.asarray(b), name, slope, dtype)
        for (W, b), name, slope in zip(params.scaled_layers(), names, params.slopes, strict=True)
    )
    return PlainLayers(layers, _limits(model, target_scaler))


def _layer(W: np.ndarray, b: np.ndarray, spec: str, slopes: Any, dtype: str) -> PlainLayer:
    name, _, tail = spec.partition(":")
    options = {option: float(value) for option, _, value in (item.partition("=") for item in tail.split(",") if item)}
    slopes = None if slopes is None else np.asarray(slopes, dtype)
    return PlainLayer(np.ascontiguousarray(W.T, dtype), b.astype(dtype), name, options, slopes)


def _limits(model: Model, target_scaler: Scaler | None) -> tuple[float, float] | None:
    if model.network.output_range is None:
        return None
    limits = np.asarray(model.network.output_range)
    if target_scaler is not None:
        limits = target_scaler.inverse(limits)
    if (limits != limits[:, :1]).any():
        raise InvalidParameterError(
            "output_range: expected the same limits for all outputs; received several. Export it to ONNX."
        )
    low, high = limits[:, 0].tolist()
    return low, high


def state_dict(layers: PlainLayers) -> dict[str, np.ndarray]:
    """Return the parameters under the names that they have in a sequence of linear layers and functions in turn.

    These are ``0.weight`` (n_out, n_in), ``0.bias`` and, for learned slopes, ``1.weight``; then ``2.weight`` and so on.
    """

    def entries() -> Iterator[tuple[str, np.ndarray]]:
        for i, layer in enumerate(layers.layers):
            yield f"{2 * i}.weight", layer.weight
            yield f"{2 * i}.bias", layer.bias
            if layer.slopes is not None:
                yield f"{2 * i + 1}.weight", layer.slopes

    return dict(entries())


def state_dict_parts(layers: PlainLayers) -> Iterator[bytes | memoryview]:
    """Yield a safetensors file with the state dict, piece by piece; its metadata name the functions."""
    functions = [{"name": layer.function, **layer.options} for layer in layers.layers]
    metadata = {"format": "pt", "functions": json.dumps(functions), "limits": json.dumps(layers.limits)}
    return safetensors_parts(metadata, state_dict(layers))
