"""Model files: safetensors with the specification as JSON in the metadata; no pickle, no code.

The weights lie on the host, so a model that was trained on a GPU loads on a machine without one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save

from xpnet.data import Scaler, ScalerKind, Task
from xpnet.errors import InvalidParameterError, ModelFormatError
from xpnet.files import write_atomically
from xpnet.model import Model
from xpnet.network import Network

__all__ = ["FORMAT_VERSION", "load_model", "save_model"]

FORMAT_VERSION = 1
_KEY = "xpnet"


def save_model(path: str | Path, model: Model) -> None:
    """Write a model as one safetensors file, beside its place and renamed.

    The tensors are ``layers.<i>.weight`` (n_in, n_out), ``layers.<i>.bias`` (n_out,), ``layers.<i>.slope`` where it
    is learned, and ``scaler.shift``, ``scaler.scale`` and the like of the target.

    Examples
    --------
    >>> import pathlib, tempfile, xpnet
    >>> network = xpnet.Network([4, 3])
    >>> model = xpnet.Model(network, network.init().vector, "classification")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     xpnet.save_model(f"{folder}/model.safetensors", model)
    ...     xpnet.load_model(f"{folder}/model.safetensors").network == network
    True
    """
    tensors = {}
    for i, ((W, b), slope) in enumerate(zip(model.params, model.params.slopes, strict=True)):
        tensors |= {f"layers.{i}.weight": W, f"layers.{i}.bias": b}
        if slope is not None:
            tensors[f"layers.{i}.slope"] = slope
    for name in ("scaler", "target_scaler"):
        scaler: Scaler | None = getattr(model, name)
        if scaler is not None:
            tensors |= {f"{name}.shift": scaler.shift, f"{name}.scale": scaler.scale}
    specification = {"format_version": FORMAT_VERSION, **model.to_dict()}
    data = save(
        {name: np.ascontiguousarray(array) for name, array in tensors.items()}, {_KEY: json.dumps(specification)}
    )
    write_atomically(path, data)


def load_model(path: str | Path) -> Model:
    """Read a model file.

    Raises
    ------
    ModelFormatError
        The file is missing, truncated, no safetensors file, has no xpnet metadata, or its parts do not fit together.
    """
    metadata, tensors = _read(Path(path))
    try:
        return _model(json.loads(metadata), tensors)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, OverflowError) as exc:
        if isinstance(exc, ModelFormatError):
            raise
        reason = str(exc) if isinstance(exc, InvalidParameterError) else f"{type(exc).__name__}: {exc}"
        raise ModelFormatError(
            f"{path}: expected an xpnet model; received metadata that do not fit: {reason[:200]}"
        ) from exc


def _read(path: Path) -> tuple[str, dict[str, np.ndarray]]:
    from safetensors import safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata = (file.metadata() or {}).get(_KEY)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except OSError as exc:
        raise ModelFormatError(f"{path}: expected a model file; received: {exc}") from exc
    except (SafetensorError, TypeError, ValueError, AttributeError) as exc:
        raise ModelFormatError(
            f"{path}: expected a whole safetensors file; received a damaged one or another format ({exc})"
        ) from exc
    if metadata is None:
        raise ModelFormatError(
            f"{path}: expected a model written by xpnet; received a safetensors file without the metadata {_KEY!r}"
        )
    return metadata, tensors


def _model(specification: dict[str, Any], tensors: dict[str, np.ndarray]) -> Model:
    version = specification["format_version"]
    if version != FORMAT_VERSION:
        raise ModelFormatError(
            f"expected a model of format version {FORMAT_VERSION}; received version {version!r}. "
            "Update xpnet: pip install -U xpnet"
        )
    network = Network(**specification["network"])
    n = network.n_layers
    names = [f"layers.{i}.{part}" for part in ("weight", "bias") for i in range(n)]
    names += [f"layers.{i}.slope" for i, f in enumerate(network.functions) if f.learned]
    pieces = [tensors[name] for name in names]
    for name, piece, shape in zip(names, pieces, network.shapes, strict=True):
        if piece.shape != shape or piece.dtype not in (np.float32, np.float64) or piece.dtype != pieces[0].dtype:
            raise ModelFormatError(
                f"tensor {name}: expected the shape {shape} in float32 or float64; received {piece.dtype} {piece.shape}"
            )
    if specification["task"] not in get_args(Task):
        raise ModelFormatError(f"expected one of the tasks {get_args(Task)}; received {specification['task']!r}")
    classes = specification["classes"]
    features = specification["feature_names"]
    model = Model(
        network,
        np.concatenate([piece.ravel() for piece in pieces]),
        specification["task"],
        None if classes is None else np.asarray(classes),
        _scaler(specification["scaler"], "scaler", tensors, network.layer_sizes[0]),
        _scaler(specification["target_scaler"], "target_scaler", tensors, network.layer_sizes[-1]),
        None if features is None else tuple(map(str, features)),
        specification["target_name"],
    )
    if model.classes is not None and model.classes.shape != (max(network.layer_sizes[-1], 2),):
        raise ModelFormatError(
            f"expected a label for each of the {network.layer_sizes[-1]} outputs; received {model.classes.shape}"
        )
    if features is not None and len(features) != network.layer_sizes[0]:
        raise ModelFormatError(f"expected {network.layer_sizes[0]} feature names; received {len(features)}")
    return model


def _scaler(kind: Any, name: str, tensors: dict[str, np.ndarray], width: int) -> Scaler | None:
    if kind is None:
        return None
    shift, scale = tensors[f"{name}.shift"], tensors[f"{name}.scale"]
    if kind not in get_args(ScalerKind) or shift.shape != (width,) or scale.shape != (width,) or np.any(scale == 0):
        raise ModelFormatError(f"{name}: expected {width} shifts and scales; received {kind!r}, {shift.shape}")
    return Scaler(kind, shift.astype(np.float64), scale.astype(np.float64))
