"""Model files: safetensors with the specification as JSON in the metadata; no pickle, no code.

The weights are saved from the host, so a model that was trained on a GPU loads on a machine without one.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from xpnet.data.images import image_shape
from xpnet.data.scaling import Scaler, ScalerKind
from xpnet.data.targets import Task, check_label_lengths
from xpnet.errors import ModelFormatError
from xpnet.files import write_output
from xpnet.model.model import Model
from xpnet.nn.network import Network
from xpnet.nn.parameters import Segment
from xpnet.tensors import Format

if TYPE_CHECKING:
    from xpnet.data.tables.encoding import TableEncoding

__all__ = [
    "FORMAT_VERSION",
    "MODEL_FILE",
    "load_model",
    "model_parts",
    "model_path",
    "save_model",
    "specification_of",
]

FORMAT_VERSION = 1
MODEL_FILE = "model.safetensors"
"""The name of the model file in the folder of a run."""

_FORMAT = Format("xpnet", "model", FORMAT_VERSION)
# The tensor of each kind of parameter, with the layer in place of the braces.
_TENSORS = {
    "weights": "layers.{}.weight",
    "biases": "layers.{}.bias",
    "slopes": "layers.{}.slope",
    "input_scale": "input_scale",
}
_INTEGERS = [f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)]
_LABEL_TYPES = ("str", "bool", *_INTEGERS, "float16", "float32", "float64")


def save_model(path: str | Path, model: Model) -> None:
    """Write a model as one safetensors file.

    The file is written under another name and then renamed, so it is never incomplete. A link is followed, and a pipe
    or a device is written in place.

    Parameters
    ----------
    path : str or Path
    model : Model

    Notes
    -----
    The tensors are ``layers.<i>.weight`` (n_in, n_out), ``layers.<i>.bias`` (n_out,), ``layers.<i>.slope`` of learned
    slopes, ``input_scale`` (n_in,), ``scaler.shift``, ``scaler.scale``, ``target_scaler.shift`` and
    ``target_scaler.scale``. Those of an ensemble have one more axis in front, its members.

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
    write_output(path, *model_parts(model))


def model_parts(model: Model) -> Iterator[bytes | memoryview]:
    """Yield the content of a model file, piece by piece."""
    members = model.vector.shape[:-1]
    parts = np.split(model.vector, _ends(model.network), axis=-1)  # views: a model may fill the memory
    tensors: dict[str, Any] = {
        _tensor_name(segment): np.ascontiguousarray(part.reshape(members + segment.shape))
        for segment, part in zip(model.network.segments, parts, strict=True)
    }
    for name in ("scaler", "target_scaler"):
        scaler: Scaler | None = getattr(model, name)
        if scaler is not None:
            tensors |= {f"{name}.shift": scaler.shift, f"{name}.scale": scaler.scale}
    return _FORMAT.parts(specification_of(model), tensors)


def specification_of(model: Model) -> dict[str, Any]:
    """Return everything but the arrays as plain values."""
    return {
        "network": model.network.to_dict(),
        "task": model.task,
        "classes": None if model.classes is None else model.classes.tolist(),
        "classes_dtype": None if model.classes is None else _dtype_name(model.classes.dtype),
        "scaler": model.scaler and model.scaler.kind,
        "target_scaler": model.target_scaler and model.target_scaler.kind,
        "feature_names": model.feature_names,
        "target_name": model.target_name,
        "encoding": model.encoding and model.encoding.to_dict(),
        "index_base": model.index_base,
        "image_shape": model.image_shape,
    }


def _dtype_name(dtype: np.dtype[Any]) -> str:
    """Return the name of the labels' type: ``"str"`` for text of any length."""
    return "str" if dtype.kind in "UTO" else dtype.name


def model_path(path: str | Path) -> Path:
    """Return the model file of a path: the path itself, or the file in the folder of a run.

    Raises
    ------
    ModelFormatError
        It is a folder without a model, or a link to nothing.
    """
    path = Path(path)
    if path.is_symlink() and not path.exists():
        raise ModelFormatError(
            f"{path}: expected a model file or the folder of a run; received a link to {os.readlink(path)}, which does "
            "not exist. Name another run."
        )
    if not path.is_dir():
        return path
    if not os.path.lexists(path / MODEL_FILE):
        raise ModelFormatError(
            f"{path}: expected a model file, or the folder of a run that has ended; received a folder without "
            f"{MODEL_FILE}. Name another run, or wait for the end of this one."
        )
    return path / MODEL_FILE


def load_model(path: str | Path) -> Model:
    """Read a model file.

    Parameters
    ----------
    path : str or Path
        The file, or the folder of a run of ``xpnet train``.

    Returns
    -------
    Model

    Raises
    ------
    ModelFormatError
        The file is missing, truncated, not a safetensors file, without xpnet metadata, or inconsistent; or the folder
        has no model.

    Examples
    --------
    >>> import numpy as np, tempfile, xpnet
    >>> network = xpnet.Network([2, 2], initializer="zeros")
    >>> model = xpnet.Model(network, network.init().vector, "classification", classes=np.asarray(["no", "yes"]))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     xpnet.save_model(f"{folder}/model.safetensors", model)
    ...     loaded = xpnet.load_model(f"{folder}/model.safetensors")
    >>> loaded.predict(np.ones((1, 2))).tolist()
    ['no']
    """
    return _FORMAT.read(model_path(path), _model)


def _model(given: dict[str, Any], tensors: dict[str, np.ndarray]) -> Model:
    n_layers = sum(name.startswith("layers.") and name.endswith(".weight") for name in tensors)
    if len(given["network"]["layer_sizes"]) != n_layers + 1:  # before a long list takes memory
        raise ModelFormatError(f"expected the sizes of {n_layers + 1} layers; received another number of them")
    network = Network(**given["network"])
    task = given["task"]
    if task not in get_args(Task):
        raise ModelFormatError(f"expected one of the tasks {get_args(Task)}; received {task!r:.40}")
    encoding = _encoding(given.get("encoding"), network)
    names = given["feature_names"]
    n_names = network.layer_sizes[0] if encoding is None else len(encoding.input_names)
    if names is not None and (not _is_text(names) or len(names) != n_names):
        raise ModelFormatError(f"feature_names: expected {n_names} names; received another list")
    target_name = given["target_name"]
    if target_name is not None and not isinstance(target_name, str):
        raise ModelFormatError("target_name: expected a name; received another type")
    index_base = given.get("index_base")  # files of earlier versions have none
    if index_base not in (None, 0, 1) or isinstance(index_base, bool):
        raise ModelFormatError(f"index_base: expected 0, 1 or null; received {index_base!r:.40}")
    return Model(
        network,
        _vector(network, tensors),
        task,
        _classes(given["classes"], given["classes_dtype"], max(network.layer_sizes[-1], 2)),
        _scaler(given["scaler"], "scaler", tensors, network.layer_sizes[0]),
        _scaler(given["target_scaler"], "target_scaler", tensors, network.layer_sizes[-1]),
        None if names is None else tuple(names),
        target_name,
        index_base,
        encoding,
        _image_shape(given.get("image_shape"), network),
    )


def _image_shape(shape: Any, network: Network) -> tuple[int, ...] | None:
    if shape is None:  # also in files of earlier versions
        return None
    sizes = tuple(shape) if isinstance(shape, list) else ()
    whole = all(type(size) is int and 0 < size <= network.layer_sizes[0] for size in sizes)
    if not whole or image_shape((1, *sizes)) is None or math.prod(sizes) != network.layer_sizes[0]:
        raise ModelFormatError(
            f"image_shape: expected the shape of an image of {network.layer_sizes[0]} features; received {shape!r:.40}"
        )
    return sizes


def _encoding(values: Any, network: Network) -> TableEncoding | None:
    if values is None:
        return None
    from xpnet.data.tables.encoding import TableEncoding

    encoding = TableEncoding.from_dict(values)
    if encoding.n_features != network.layer_sizes[0]:
        raise ModelFormatError(
            f"encoding: expected {network.layer_sizes[0]} features, as the network has; received {encoding.n_features}"
        )
    return encoding


def _vector(network: Network, tensors: dict[str, np.ndarray]) -> np.ndarray:
    names = [_tensor_name(segment) for segment in network.segments]
    arrays = [tensors[name] for name in names]
    members = arrays[0].shape[:1] if arrays[0].ndim > 2 else ()
    for name, array, segment in zip(names, arrays, network.segments, strict=True):
        shape = members + segment.shape
        if array.shape != shape or array.dtype not in (np.float32, np.float64) or array.dtype != arrays[0].dtype:
            raise ModelFormatError(
                f"tensor {name}: expected the shape {shape}, all in float32 or all in float64; "
                f"received {array.dtype} {array.shape}"
            )
        if not np.isfinite(array).all():
            raise ModelFormatError(f"tensor {name}: expected finite numbers; received NaN or infinity")
    if members == (0,):
        raise ModelFormatError("tensors: expected at least one member of the ensemble; received none")
    return np.concatenate([array.reshape(*members, -1) for array in arrays], axis=-1)


def _tensor_name(segment: Segment) -> str:
    return _TENSORS[segment.kind].format(segment.layer)


def _ends(network: Network) -> np.ndarray:
    """Return the ends of all segments but the last in the parameter vector."""
    return np.cumsum([segment.size for segment in network.segments])[:-1]


def _classes(labels: Any, dtype: Any, count: int) -> np.ndarray | None:
    if labels is None:
        return None
    if dtype not in _LABEL_TYPES or (dtype == "str" and not _is_text(labels)):
        raise ModelFormatError(f"classes: expected labels of one type; received the type {dtype!r:.40}")
    if dtype == "str":
        check_label_lengths(labels)
    classes = np.asarray(labels, dtype=dtype)
    if classes.shape != (count,) or classes.tolist() != labels or not np.all(classes[:-1] < classes[1:]):
        raise ModelFormatError(f"classes: expected {count} sorted labels of the type {dtype}; received others")
    return classes


def _scaler(kind: Any, name: str, tensors: dict[str, np.ndarray], width: int) -> Scaler | None:
    if kind is None:
        return None
    shift, scale = tensors[f"{name}.shift"], tensors[f"{name}.scale"]
    usable = all(array.shape == (width,) and array.dtype == np.float64 for array in (shift, scale))
    if kind not in get_args(ScalerKind) or not usable or not np.isfinite([shift, scale]).all() or np.any(scale == 0):
        raise ModelFormatError(f"{name}: expected {width} finite shifts and scales in float64; received others")
    return Scaler(kind, shift, scale)


def _is_text(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)
