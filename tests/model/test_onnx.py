"""Models as ONNX graphs, run by ONNX Runtime: they predict what the library predicts."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xpnet
from tests.exported import TOLERANCE, check, run
from tests.models import CASES, VALUES, X, make
from xpnet.data.scaling import Scaler, fit_scaler
from xpnet.errors import InvalidParameterError, LibraryNotInstalledError, XpnetError
from xpnet.model.model import Model
from xpnet.nn.activations import ACTIVATIONS
from xpnet.nn.losses import LOSSES
from xpnet.nn.network import Network

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", CASES)
def test_each_kind_of_model(name: str, dtype: str) -> None:
    x = X.astype(dtype)
    check(make(name, dtype), x)
    for few in (x[:1], x[:0]):
        outputs = run(make(name, dtype).to_onnx(), {"x": few})
        assert {len(output) for output in outputs.values()} == {len(few)}


def specs() -> list[str]:
    """Return each activation, and those with options also with other values of them."""
    return [*ACTIVATIONS, "leaky_relu:slope=0.3", "prelu:slope=0.7", "rrelu:lower=0.2,upper=0.6", "elu:alpha=1.7"]


def network_of(activation: str, output: str | None = None, loss: str = "squared_error") -> Network:
    return Network([4, 5, 3], activation, loss=loss, output=output, initializer="normal")


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("spec", specs())
def test_each_activation(spec: str, dtype: str) -> None:
    """Small and large arguments, between the layers and behind the last one."""
    x = np.concatenate([X - 5, 40 * (X - 5), 1e-3 * (X - 5), np.zeros((1, 4))]).astype(dtype)
    for output in ("identity", spec):
        network = network_of(spec, output)
        check(Model(network, network.init(2, dtype=dtype).vector, "regression"), x)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("loss", "task"), [(loss, task) for loss in LOSSES for task in LOSSES[loss]().tasks])
def test_each_loss_with_each_of_its_tasks(loss: str, task: Any, dtype: str) -> None:
    network = network_of("tanh", loss=loss)
    model = Model(network, network.init(2, dtype=dtype).vector, task)
    check(model, (20 * (X - 5)).astype(dtype))


@pytest.mark.parametrize("opset", [17, 18, 21, onnx.defs.onnx_opset_version()])
@pytest.mark.parametrize("name", ["text", "values"])
def test_each_opset(name: str, opset: int) -> None:
    proto = make(name).to_onnx(opset=opset)
    assert [(each.domain, each.version) for each in proto.opset_import] == [("", opset)]
    if opset <= 21:  # an older runtime does not take the newest
        check(make(name), X.astype("float32"), opset=opset)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("kind", ["standard", "minmax", "robust", "divide:16", "none"])
def test_each_scaler(kind: str, dtype: str) -> None:
    x = np.concatenate([X, [[1e9, -1e9, 0, 1]]]).astype(dtype)
    check(replace(make("text", dtype), scaler=fit_scaler(kind, X)), x)
    check(replace(make("values", dtype), target_scaler=fit_scaler(kind, VALUES)), X.astype(dtype))


def test_the_smooth_clip_and_its_inverse() -> None:
    network = Network([1, 1], loss="squared_error")
    robust = Scaler("robust", np.asarray([3.0]), np.asarray([2.0]))
    model = Model(network, np.asarray([1.0, 0.0]), "regression", scaler=robust, target_scaler=robust)
    x = np.asarray([[-1e3], [3.0], [3.5], [50.0]])
    np.testing.assert_allclose(run(model.to_onnx(), {"x": x})["values"], x[:, 0], rtol=1e-10)
    large = replace(model, target_scaler=None).to_onnx(dtype="float32")
    values = run(large, {"x": np.asarray([[1e30], [-1e30]], np.float32)})["values"]
    np.testing.assert_allclose(values, [3, -3], rtol=1e-6)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_values_with_a_large_offset_keep_their_digits_in_float32(task: Any) -> None:
    """Subtracting the rounded mean alone would be wrong by a third of the scale; the library subtracts in float64."""
    rng = np.random.default_rng(0)
    x = (2.0**24 + 1000 * rng.standard_normal((50, 4))).astype(np.float32)
    scaler = Scaler("standard", np.full(4, 2.0**24 + 0.9), np.full(4, 3.0))
    network = Network([4, 3], loss="squared_error")
    model = Model(network, network.init(0, dtype="float32").vector, task, scaler=scaler)
    np.testing.assert_allclose(
        list(run(model.to_onnx(), {"x": x}).values())[-1], model.outputs(x), rtol=1e-5, atol=1e-3
    )


@pytest.mark.parametrize(("own", "dtype"), list(product(TOLERANCE, TOLERANCE)))
def test_numbers_may_have_another_type_than_the_parameters(own: str, dtype: str) -> None:
    for name in ("text", "values", "one value"):
        model = make(name, own)
        outputs = run(model.to_onnx(dtype=dtype), {"x": X.astype(dtype)})
        assert {array.dtype for array in outputs.values() if array.dtype.kind == "f"} == {np.dtype(dtype)}
        check(model, X.astype(dtype), dtype=dtype)


def test_an_ensemble_has_the_mean_of_its_members_before_the_output_function() -> None:
    for name in ("text", "booleans", "slopes", "values"):
        first = make(name)
        rng = np.random.default_rng(3)
        vectors = first.vector + 0.3 * rng.standard_normal((3, first.vector.size)).astype("float32")
        check(replace(first, vector=vectors), X.astype("float32"))


def test_outputs_stay_in_their_range() -> None:
    model = make("values", "float64")
    low, high = np.quantile(model.outputs(X), [0.3, 0.6], axis=0)
    narrow = replace(model, network=replace(model.network, output_range=(low, high)))
    check(narrow, X)
    assert np.unique(narrow.predict(X)[:, 0]).size < len(X) - 10


def test_labels_keep_their_type_and_whole_numbers_are_int64() -> None:
    for name, dtype in {"text": "O", "bytes": "int64", "floats": "float32", "booleans": "bool"}.items():
        assert run(make(name).to_onnx(), {"x": X.astype("float32")})["label"].dtype == dtype
    large = np.asarray([2**63, 2**63 + 1, 2**64 - 1], dtype=np.uint64)
    model = replace(make("integers"), classes=large)
    assert set(run(model.to_onnx(), {"x": X.astype("float32")})["label"]) <= set(large)
    objects = replace(make("text"), classes=np.asarray(["a", "b", "c"], dtype=object))
    check(objects, X.astype("float32"))


def test_the_description_of_a_model_and_of_its_run() -> None:
    model = make("counts")
    props = {entry.key: entry.value for entry in model.to_onnx().metadata_props}
    assert props["xpnet_version"] == xpnet.__version__
    assert props["task"] == "regression"
    assert "target_name" not in props
    assert {e.key: e.value for e in make("values").to_onnx().metadata_props}["target_name"] == "Größe"
    assert json.loads(props["feature_names"]) == list(model.feature_names)
    assert Network(**json.loads(props["network"])) == model.network
    assert json.loads({e.key: e.value for e in make("text").to_onnx().metadata_props}["classes"]) == ["Öl", "été", "犬"]


def test_the_file_is_the_model(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    proto = make("text").to_onnx(path)
    assert onnx.load(path) == proto
    with pytest.raises(XpnetError, match=re.escape(f"cannot write {tmp_path}")):
        make("text").to_onnx(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"opset": 16}, "opset: expected 17 to"),
        ({"opset": 10**6}, "opset: expected 17 to"),
        ({"opset": "17"}, "opset: expected 17 to"),
        ({"dtype": "float16"}, "dtype: expected 'float32', 'float64' or None; received 'float16'."),
    ],
)
def test_what_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidParameterError, match=re.escape(message)):
        make("text").to_onnx(**arguments)


def test_a_model_that_no_file_can_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xpnet.model.onnx.convert._LARGEST", 10)
    with pytest.raises(InvalidParameterError, match="expected less than 2 GB of parameters"):
        make("text").to_onnx()


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(LibraryNotInstalledError, match=re.escape("Install it: pip install 'xpnet[onnx]'")):
        make("text").to_onnx()
