"""Peer for predictions: ONNX Runtime, with the network as one graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from xpnet.errors import DeviceUnavailableError

__all__ = ["predict_onnxruntime"]

_ACTIVATIONS = {"relu": "Relu", "sigmoid": "Sigmoid"}
_PROVIDERS = {"cpu": "CPUExecutionProvider", "gpu": "CUDAExecutionProvider"}
_OPSET, _IR = 17, 8  # old enough for every version in use


def predict_onnxruntime(kind: str) -> Callable[..., Callable[[np.ndarray], np.ndarray]]:
    """Return a function that makes a session of ONNX Runtime; see `xpnet_backends.peers`."""
    provider = _PROVIDERS[kind]
    if provider not in onnxruntime.get_available_providers():
        raise DeviceUnavailableError(
            f"ONNX Runtime finds no {kind}: expected the provider {provider}; received "
            f"{', '.join(onnxruntime.get_available_providers())}. Install onnxruntime-gpu."
        )

    def start(*, layers: list[tuple[np.ndarray, np.ndarray]], activation: str) -> Callable[[np.ndarray], np.ndarray]:
        nodes: list[Any] = []
        weights: list[Any] = []
        name = "x"
        for i, (W, b) in enumerate(layers):
            weights += [numpy_helper.from_array(W, f"W{i}"), numpy_helper.from_array(b, f"b{i}")]
            nodes.append(helper.make_node("Gemm", [name, f"W{i}", f"b{i}"], [f"z{i}"]))
            last = i == len(layers) - 1
            name = "y" if last else f"a{i}"
            nodes.append(helper.make_node("Softmax" if last else _ACTIVATIONS[activation], [f"z{i}"], [name]))
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, layers[0][0].shape[0]])
        y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, layers[-1][1].size])
        graph = helper.make_graph(nodes, "network", [x], [y], weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
        onnx.checker.check_model(model)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=[provider])

        def predict(x: np.ndarray) -> np.ndarray:
            return np.asarray(session.run(["y"], {"x": x})[0])

        return predict

    return start
