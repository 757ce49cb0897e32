"""A model as an ONNX graph: inputs, network, outputs, and what is said about it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from xpnet.errors import InvalidParameterError, shown
from xpnet.libraries import import_library
from xpnet.model.onnx.graph import ML, Graph, Tensor
from xpnet.model.onnx.scaling import scaled, unscaled
from xpnet.nn.backprop import forward
from xpnet.nn.network import Network
from xpnet.nn.parameters import Parameters

if TYPE_CHECKING:
    from xpnet.model.model import Model

__all__ = ["DEFAULT_OPSET", "to_onnx"]

DEFAULT_OPSET = 17
_ML_OPSET = 3  # the oldest with the operators on text that the files of `DEFAULT_OPSET` may have
_LARGEST = 2_000_000_000  # bytes: protobuf takes no file of 2 GiB


def to_onnx(
    model: Model, *, opset: int = DEFAULT_OPSET, dtype: str | None = None, metadata: Mapping[str, str] | None = None
) -> Any:
    """Return a model as an ONNX model; see `xpnet.Model.to_onnx`.

    Parameters
    ----------
    model : Model
    opset : int
    dtype : {"float32", "float64"} or None
    metadata : mapping of str to str, optional
        More entries of `metadata_props`, such as settings and scores of the run.

    Returns
    -------
    onnx.ModelProto

    Raises
    ------
    LibraryNotInstalledError
        onnx is not installed.
    InvalidParameterError
        `opset` or `dtype` is not supported, a column of a table cannot be expressed, or the model exceeds 2 GB.
    """
    onnx = import_library("onnx", "onnx")
    newest = onnx.defs.onnx_opset_version()
    if not isinstance(opset, int) or not DEFAULT_OPSET <= opset <= newest:
        raise InvalidParameterError(
            f"opset: expected {DEFAULT_OPSET} to {newest}, which the installed onnx knows; received {shown(opset)}."
        )
    if dtype not in (None, "float32", "float64"):
        raise InvalidParameterError(f"dtype: expected 'float32', 'float64' or None; received {shown(dtype)}.")
    if model.vector.nbytes > _LARGEST:
        raise InvalidParameterError(
            "to_onnx: expected less than 2 GB of parameters, the limit of ONNX files; "
            f"received {model.vector.nbytes:,} bytes. Use the model file."
        )
    graph = Graph(opset)
    numbers = np.dtype(dtype or model.vector.dtype)
    output = _output(graph, model, _features(graph, model, numbers))
    _add_outputs(graph, model, output, numbers)
    return _proto(onnx, graph, _description(model) | dict(metadata or {}))


def _features(graph: Graph, model: Model, numbers: np.dtype[Any]) -> Tensor:
    if model.encoding is not None:
        from xpnet.model.onnx.encoding import encoded  # with pyarrow, which is slow to import

        return encoded(graph, model.encoding, numbers, model.vector.dtype)
    x = graph.add_input("x", numbers, (None, model.network.layer_sizes[0]))
    if model.scaler is not None:
        x = scaled(graph, model.scaler, x)
    return graph.astype(x, model.vector.dtype)


def _output(graph: Graph, model: Model, x: Tensor) -> Tensor:
    """Return the network's output, (n_samples, n_out), of an ensemble from the mean of the logits."""
    network: Any = model.network
    tracer: Any = graph
    features: Any = x
    logits = [forward(network, tracer, _constants(graph, network, params), features) for params in model.members]
    total: Any = sum(logits[1:], start=logits[0])
    output: Tensor = network.outputs(total / len(logits) if len(logits) > 1 else total)
    return output


def _constants(graph: Graph, network: Network, params: Parameters) -> Any:
    layers = [
        (graph.constant(W, name=f"layers.{i}.weight"), graph.constant(b, name=f"layers.{i}.bias"))
        for i, (W, b) in enumerate(params.scaled_layers())
    ]
    slopes = [
        None if slope is None else graph.constant(slope, name=f"layers.{i}.slope")
        for i, slope in enumerate(params.slopes)
    ]
    made: Any = Parameters.of
    return made(layers, slopes)


def _add_outputs(graph: Graph, model: Model, output: Tensor, dtype: np.dtype[Any]) -> None:
    """Add what `Model.predict` and `Model.predict_proba` return."""
    n_out = model.network.layer_sizes[-1]
    if model.task == "regression":
        values = graph.astype(output, dtype)
        if model.target_scaler is not None:
            values = unscaled(graph, model.target_scaler, values)
        if n_out == 1:
            values = graph.reshape(values, (-1,))
        graph.add_output("values", values, (None,) if n_out == 1 else (None, n_out))
        return
    if model.task == "multilabel":
        graph.add_output("label", graph.astype(output > 0.5, np.int64), (None, n_out))
    else:
        if n_out == 1:
            output, n_out = graph.concat([1.0 - output, output], axis=1), 2
        label = graph.argmax(output, axis=1)
        if model.classes is not None:
            label = graph.take(graph.constant(_labels(model.classes), name="classes"), label, axis=0)
        graph.add_output("label", label, (None,))
    name = "probabilities" if model.gives_probabilities else "scores"
    graph.add_output(name, graph.astype(output, dtype), (None, n_out))


def _labels(classes: np.ndarray) -> np.ndarray:
    """Return labels as text, or in int64 if they are whole numbers that fit."""
    if classes.dtype.kind in "OT":
        return classes.astype(np.str_)
    fits = classes.dtype.kind in "iu" and np.can_cast(classes.dtype, np.int64)
    return classes.astype(np.int64) if fits else classes


def _description(model: Model) -> dict[str, str]:
    """Return what is known about a model, as text or JSON."""
    entries: dict[str, Any] = {
        "xpnet_version": sys.modules["xpnet"].__version__,
        "task": model.task,
        "network": model.network.to_dict(),
        "members": len(model.members),
        "feature_names": model.feature_names if model.encoding is None else model.encoding.input_names,
        "target_name": model.target_name,
        "classes": None if model.classes is None else model.classes.tolist(),
        "image_shape": model.image_shape,
    }
    return {
        name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for name, value in entries.items()
        if value is not None
    }


def _proto(onnx: Any, graph: Graph, metadata: Mapping[str, str]) -> Any:
    helper = onnx.helper

    def code(dtype: np.dtype[Any]) -> int:
        found: int = onnx.TensorProto.STRING if dtype.kind == "U" else helper.np_dtype_to_tensor_dtype(dtype)
        return found

    def info(values: Mapping[str, tuple[np.dtype[Any], tuple[int | None, ...]]]) -> list[Any]:
        return [
            helper.make_tensor_value_info(name, code(dtype), ["N" if size is None else size for size in shape])
            for name, (dtype, shape) in values.items()
        ]

    def attribute(value: Any) -> Any:
        return code(value) if isinstance(value, np.dtype) else value

    nodes = [
        helper.make_node(
            node.op,
            node.inputs,
            [node.output],
            name=node.output,
            domain=node.domain,
            **{name: attribute(value) for name, value in node.attributes.items()},
        )
        for node in graph.nodes
    ]
    constants = [_constant(onnx, name, array) for name, array in graph.constants.items()]
    made = helper.make_graph(nodes, "xpnet", info(graph.inputs), info(graph.outputs), constants)
    opsets = [helper.make_opsetid("", graph.opset)]
    if any(node.domain for node in graph.nodes):
        opsets.append(helper.make_opsetid(ML, _ML_OPSET))
    proto = helper.make_model(
        made,
        opset_imports=opsets,
        ir_version=helper.find_min_ir_version_for(opsets),
        producer_name="xpnet",
        producer_version=metadata["xpnet_version"],
    )
    helper.set_model_props(proto, dict(metadata))
    return proto


def _constant(onnx: Any, name: str, array: np.ndarray) -> Any:
    if array.dtype.kind == "U":
        texts = [str(text).encode() for text in array.ravel()]
        return onnx.helper.make_tensor(name, onnx.TensorProto.STRING, array.shape, texts)
    return onnx.numpy_helper.from_array(array, name)
