"""What the tests of ONNX graphs share: a graph that ONNX Runtime runs, compared with its model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from xpnet.model.model import Model
from xpnet.model.onnx import onnx_feeds

TOLERANCE = {"float32": 1e-5, "float64": 1e-13}


def run(proto: Any, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Check a graph, and return its outputs by name; their types and shapes are those that the graph names."""
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    onnx.checker.check_model(proto, full_check=True)
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    outputs = session.run(None, feeds)
    for said, output in zip(session.get_outputs(), outputs, strict=True):
        assert len(said.shape) == output.ndim
        assert said.shape[0] == "N"
        assert tuple(said.shape[1:]) == output.shape[1:]
    return dict(zip((said.name for said in session.get_outputs()), outputs, strict=True))


def check(model: Model, x: Any, *, opset: int = 17, dtype: str | None = None, tolerance: float | None = None) -> None:
    """Compare the graph of a model with the model, for several samples, one and none."""
    tolerance = tolerance or max(TOLERANCE[str(model.vector.dtype)], TOLERANCE[dtype or "float64"])
    proto = model.to_onnx(opset=opset, dtype=dtype)
    outputs = run(proto, onnx_feeds(model, x, dtype))
    expected = model.predict(x)
    if model.task == "regression":
        np.testing.assert_allclose(outputs.pop("values"), expected, rtol=tolerance, atol=tolerance)
    else:
        np.testing.assert_array_equal(outputs.pop("label"), expected)
        name = "probabilities" if model.gives_probabilities else "scores"
        p = model.predict_proba(x) if model.gives_probabilities else model.outputs(x)
        (found,) = outputs.values()
        assert found.dtype == (dtype or model.vector.dtype)
        np.testing.assert_allclose(outputs.pop(name), p, rtol=tolerance, atol=tolerance)
    assert not outputs
