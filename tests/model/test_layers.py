"""Models as plain layers: PyTorch's modules, and state dicts that they load."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy

from tests.models import CASES, VALUES, X, make
from xpnet.data.scaling import Scaler, fit_scaler
from xpnet.errors import InvalidParameterError, LibraryNotInstalledError
from xpnet.files import write_output
from xpnet.model.layers import plain_layers, state_dict, state_dict_parts
from xpnet.model.model import Model
from xpnet.nn.activations import ACTIVATIONS
from xpnet.nn.losses import LOSSES
from xpnet.nn.network import Network

TOLERANCE = {"float32": 1e-5, "float64": 1e-12}
SPECS = [*ACTIVATIONS, "leaky_relu:slope=0.3", "prelu:slope=0.7", "rrelu:lower=0.2,upper=0.6", "elu:alpha=1.7"]


def check(model: Model, x: np.ndarray, **options: Any) -> None:
    """Compare the module of a model with the model's outputs in the user's terms."""
    torch = pytest.importorskip("torch")
    module = model.to_torch(**options)
    assert not module.training
    dtype = options.get("dtype") or str(model.vector.dtype)
    with torch.no_grad():
        found = module(torch.asarray(x.astype(dtype))).numpy()
    assert found.dtype == dtype
    expected = model.outputs(x)
    if model.target_scaler is not None:
        expected = model.target_scaler.inverse(expected)
    largest = max(1, np.abs(expected).max())
    np.testing.assert_allclose(found, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * largest)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", CASES)
def test_the_module_of_each_kind_of_model(name: str, dtype: str) -> None:
    check(make(name, dtype), X.astype(dtype))


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("spec", SPECS)
def test_the_module_of_each_activation(spec: str, dtype: str) -> None:
    x = np.concatenate([X - 5, 10 * (X - 5)]).astype(dtype)
    for output in ("identity", spec):
        network = Network([4, 5, 3], spec, loss="squared_error", output=output, initializer="normal")
        check(Model(network, network.init(2, dtype=dtype).vector, "regression"), x)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_module_of_each_loss(loss: str) -> None:
    network = Network([4, 5, 3], "tanh", loss=loss)
    check(Model(network, network.init(2).vector, LOSSES[loss]().tasks[0]), X - 5)


def test_the_module_is_made_of_the_librarys_own() -> None:
    nn = pytest.importorskip("torch.nn")
    module = make("text").to_torch()
    assert [type(each) for each in module] == [nn.Linear, nn.ReLU, nn.Linear, nn.Softmax]
    assert module[1:3][0] is module[1]
    slopes = make("slopes").to_torch()
    assert [type(each) for each in slopes][1::2] == [nn.PReLU, nn.RReLU, nn.PReLU, nn.Softmax]


def test_the_module_shares_nothing_with_the_model() -> None:
    torch = pytest.importorskip("torch")
    model = make("integers")
    before = model.vector.copy()
    module = model.to_torch()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(1)
    np.testing.assert_array_equal(model.vector, before)
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_limits_of_the_outputs() -> None:
    model = make("one value", "float64")
    (low,), (high,) = np.quantile(model.outputs(X), [0.3, 0.6], axis=0)
    network = replace(model.network, output_range=((low,), (high,)))
    check(replace(model, network=network), X)
    scaler = Scaler("standard", np.asarray([5.0]), np.asarray([3.0]))
    check(replace(model, network=network, target_scaler=scaler), X)


def test_without_the_scaling() -> None:
    torch = pytest.importorskip("torch")
    model = replace(make("values", "float64"), scaler=fit_scaler("robust", X))
    found = model.to_torch(scaling=False)(torch.asarray(model.features(X))).detach().numpy()
    np.testing.assert_allclose(found, model.outputs(X), rtol=1e-12)


def test_another_type() -> None:
    for name, dtype in (("text", "float32"), ("values", "float64")):
        check(make(name, "float64"), X, dtype=dtype)
    state = state_dict(plain_layers(make("text"), dtype="float64"))
    assert {array.dtype.name for array in state.values()} == {"float64"}


def test_a_state_dict_loads_into_modules_that_are_built_by_hand(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    load_file = pytest.importorskip("safetensors.torch").load_file
    model = make("slopes")
    write_output(tmp_path / "state.safetensors", *state_dict_parts(plain_layers(model)))
    nn = torch.nn
    layers = [nn.Linear(4, 6), nn.PReLU(6), nn.Linear(6, 5), nn.RReLU(), nn.Linear(5, 2), nn.PReLU(2), nn.Linear(2, 3)]
    module = nn.Sequential(*layers, nn.Softmax(1)).eval()
    module.load_state_dict(load_file(tmp_path / "state.safetensors"))
    with torch.no_grad():
        np.testing.assert_allclose(
            module(torch.asarray(X.astype("float32"))).numpy(), model.predict_proba(X), atol=1e-6
        )
    assert module.state_dict().keys() == model.to_torch().state_dict().keys()


def test_a_state_dict_needs_no_other_library(tmp_path: Path) -> None:
    model = make("input scale", "float64")
    write_output(tmp_path / "state.safetensors", *state_dict_parts(plain_layers(model)))
    state = safetensors.numpy.load_file(tmp_path / "state.safetensors")
    assert {name: array.shape for name, array in state.items()} == {
        "0.weight": (6, 4),
        "0.bias": (6,),
        "1.weight": (6,),
        "2.weight": (5, 6),
        "2.bias": (5,),
        "4.weight": (3, 5),
        "4.bias": (3,),
    }
    z = X @ state["0.weight"].T + state["0.bias"]
    np.testing.assert_allclose(z, (X * model.params.input_scale) @ model.params[0][0] / 2 + model.params[0][1])
    with safetensors.safe_open(tmp_path / "state.safetensors", "numpy") as file:
        functions = json.loads(file.metadata()["functions"])
    assert [each["name"] for each in functions] == ["prelu", "selu", "softmax"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vector": np.stack([make("text").vector] * 3)}, "expected one network; received an ensemble of 3"),
        ({"scaler": fit_scaler("robust", X)}, "received a scaling with a clip. Export it to ONNX"),
        ({"scaler": Scaler("standard", np.full(4, 1e6), np.ones(4))}, "expected features whose offset is at most 1000"),
    ],
)
def test_what_no_layer_can_do(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidParameterError, match=re.escape(message)):
        plain_layers(replace(make("text"), **change))


def test_other_parts_that_no_layer_can_do() -> None:
    values = make("values")
    ranged = replace(values.network, output_range=((0, 0), (1, 2)))
    with pytest.raises(InvalidParameterError, match="expected the same limits for all outputs"):
        plain_layers(replace(values, network=ranged), scaling=False)
    bent = replace(values, network=replace(values.network, output="tanh"), target_scaler=fit_scaler("standard", VALUES))
    with pytest.raises(InvalidParameterError, match="expected the output identity where targets are scaled"):
        plain_layers(bent)
    plain_layers(bent, scaling=False)
    with pytest.raises(InvalidParameterError, match="dtype: expected 'float32', 'float64' or None; received 'int8'"):
        plain_layers(values, dtype="int8")


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(LibraryNotInstalledError, match=re.escape("pip install 'xpnet[torch]'")):
        make("text").to_torch()
