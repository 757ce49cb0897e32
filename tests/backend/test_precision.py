"""Precision of products: what is rounded, what is not, and that training comes to the same."""

from __future__ import annotations

import json
import pickle
from typing import Any

import numpy as np
import pytest

from tests.command_line import refused, train
from tests.runs import fashion_mnist_folder, job_of, trained_score
from xpnet.backend import PRECISIONS, Backend, get_backend
from xpnet.errors import BackendNotInstalledError, DeviceUnavailableError, InvalidParameterError, UnknownNameError
from xpnet.nn.backprop import objective_and_gradient
from xpnet.nn.network import Network
from xpnet.training.trainer import Trainer

_BITS = {"float32": 24, "tf32": 11, "bf16": 8}  # of the significand, the first one unwritten
# Devices that always round to bf16; others may, says their documentation, where that is faster.
_ALWAYS_ROUND = ("torch:cpu", "jax:cpu", "torch:gpu")
_rng = np.random.default_rng(8)
A, B = (_rng.standard_normal(shape).astype(np.float32) for shape in ((16, 40), (40, 24)))

PAIRS = [
    *((device, "bf16") for device in ("torch:cpu", "jax:cpu")),
    *((device, p) for device in ("cupy:gpu", "torch:gpu", "jax:gpu") for p in PRECISIONS),
]
on_each = pytest.mark.parametrize(
    ("device", "precision"), [pytest.param(*pair, marks=pytest.mark.needs(pair[0])) for pair in PAIRS]
)


def _get(device: str, precision: str) -> Backend:
    try:
        return get_backend(f"{device}@{precision}")
    except (BackendNotInstalledError, DeviceUnavailableError) as exc:
        pytest.skip(str(exc))


def _rounded(x: np.ndarray, bits: int) -> np.ndarray:
    fraction, exponent = np.frexp(x.astype(np.float64))
    return np.ldexp(np.round(np.ldexp(fraction, bits)), exponent - bits)


def _product(backend: Backend, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    with backend.scope(str(a.dtype)):
        return backend.to_numpy(backend.xp.matmul(backend.asarray(a), backend.asarray(b)))


@on_each
@pytest.mark.parametrize("transposed", [(False, False), (True, False), (False, True)])
def test_factors_are_rounded(device: str, precision: str, transposed: tuple[bool, bool]) -> None:
    backend = _get(device, precision)
    a, b = (np.ascontiguousarray(x.T) if flip else x for x, flip in zip((A, B), transposed, strict=True))
    with backend.scope("float32"):
        factors = [
            backend.asarray(x).T if flip else backend.asarray(x) for x, flip in zip((a, b), transposed, strict=True)
        ]
        found = backend.to_numpy(backend.xp.matmul(*factors))
    assert found.dtype == np.float32
    assert found.shape == (16, 24)
    size = np.abs(A).astype(np.float64) @ np.abs(B)
    error = np.max(np.abs(found - A.astype(np.float64) @ B) / size)
    # Each factor is off by half a unit in its last place at most, and each addition by one of float32; PyTorch rounds
    # the result of bf16 too.
    assert error < (1.1 if precision != "bf16" else 2) * 2.0 ** -_BITS[precision] + len(B) * 2.0**-24
    if precision == "bf16" and device in _ALWAYS_ROUND:
        exact = _rounded(A, 8) @ _rounded(B, 8)
        np.testing.assert_allclose(found, exact, rtol=2.0**-8, atol=1e-5)
        assert error > 2.0**-13


@on_each
def test_float64_is_as_it_was(device: str, precision: str) -> None:
    backend = _get(device, precision)
    a, b = A.astype(np.float64), B.astype(np.float64)
    np.testing.assert_allclose(_product(backend, a, b), a @ b, rtol=1e-12, atol=1e-12)


@on_each
def test_all_products_of_a_step_are_rounded_and_nothing_else(device: str, precision: str) -> None:
    backend = _get(device, precision)
    network = Network([40, 8, 8, 3], "tanh")
    products, float64 = [], get_backend("cpu")

    class Spy:
        def __getattr__(self, name: str) -> Any:
            return getattr(float64.xp, name)

        def matmul(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
            products.append((a.shape, b.shape))
            return _rounded(a, _BITS[precision]) @ _rounded(b, _BITS[precision])

    y = np.arange(16, dtype=np.int32) % 3
    vector = network.init(0).vector
    _, expected = objective_and_gradient(network, Spy(), vector, (A.astype(np.float64), y))
    assert len(products) == 3 + 3 + 2  # forward, gradients of the weights, and of all inputs but the first
    with backend.scope("float32"):
        params = network.init(0, backend, "float32").vector
        batch = backend.asarray(A), backend.asarray(y)
        _, gradient = objective_and_gradient(network, backend.xp, params, batch)
        found = backend.to_numpy(gradient)
    allowed = {"float32": 1e-5, "tf32": 2e-3, "bf16": 1e-2}[precision] * np.abs(expected).max()
    np.testing.assert_allclose(found, expected, atol=allowed)


@on_each
def test_the_weights_stay_float32(device: str, precision: str) -> None:
    # Steps much smaller than bf16 can tell from nothing.
    backend, network = _get(device, precision), Network([40, 3])
    y = np.arange(16) % 3
    trainer = Trainer(network, optimizer="sgd", learning_rate=1e-5, batch_size=8, epochs=1, device=backend)
    run = trainer.fit(A, y)
    moved = np.abs(backend.to_numpy(run.params.vector) - network.init(0, dtype="float32").vector)
    assert moved.dtype == np.float32
    assert 0 < np.median(moved) < 1e-5


@on_each
def test_a_backend_knows_its_precision(device: str, precision: str) -> None:
    backend = _get(device, precision)
    assert backend.precision == precision
    assert backend.name == (device if precision == "float32" else f"{device}@{precision}")
    assert pickle.loads(pickle.dumps(backend)) is backend
    assert (get_backend(device) is backend) == (precision == "float32")
    assert get_backend(device).precision == "float32"


@pytest.mark.parametrize("device", ["cpu", "strict:cpu", "torch:cpu", "jax:cpu"])
def test_a_precision_that_a_device_has_not(device: str) -> None:
    try:
        name = get_backend(device).name
    except BackendNotInstalledError as exc:
        pytest.skip(str(exc))
    with pytest.raises(InvalidParameterError, match=f"precision: expected float32, .* of {name}; received tf32"):
        get_backend(f"{device}@tf32")


def test_an_unknown_precision() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown precision: expected one of .*bf16.*received 'fp8'"):
        get_backend("cpu@fp8")


def test_a_scope_leaves_settings_as_they_were() -> None:
    torch = pytest.importorskip("torch")
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with get_backend("torch:cpu").scope("float32"):
            assert torch.get_float32_matmul_precision() == "highest"  # whatever the user's other code takes
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    jax = pytest.importorskip("jax")
    with get_backend("jax:cpu").scope("float32"):
        assert jax.config.jax_default_matmul_precision == "highest"
    assert jax.config.jax_default_matmul_precision is None


# The command line.


def test_train_states_its_precision(folder: Any) -> None:
    pytest.importorskip("torch")
    out = train("--device", "torch:cpu", "--precision", "bf16", "--out", "run", "--json").out
    assert (json.loads(out)["device"], json.loads(out)["precision"]) == ("torch:cpu@bf16", "bf16")
    again = json.loads(train("--config", "run/config.toml", "--out", "again", "--json").out)
    assert again["precision"] == "bf16"
    assert again["train"] == json.loads(out)["train"]
    assert "on torch:cpu@bf16" in train("--backend", "torch", "--device", "cpu@bf16", "--out", "third").out
    for option, precision in (("float32", "float32"), ("float64", "float64")):
        out = train("--device", "cpu", "--dtype", option, "--out", option, "--json").out
        assert json.loads(out)["precision"] == precision


def test_train_refuses(folder: Any) -> None:
    assert "--precision: expected float32, the only precision of numpy:cpu" in refused(
        "train", "--device", "cpu", "--precision", "bf16"
    )
    assert "--precision: expected 'tf32'" in refused("train", "--device", "gpu@tf32", "--precision", "bf16")
    error = refused("train", "--device", "gpu", "--precision", "tf32", "--dtype", "float64")
    assert "--precision: expected 'float32' with --dtype float64" in error


@pytest.mark.slow
@pytest.mark.parametrize("device", ["jax:cpu", "cupy:gpu", "torch:gpu", "jax:gpu"])
def test_bf16_reaches_the_same_accuracy_on_fashion_mnist(device: str) -> None:
    backend, folder = _get(device, "bf16"), fashion_mnist_folder()
    options = ("fashion-mnist", "--data-dir", folder, "--epochs", "3", "--schedule", "cosine", "--batch-size", "128")
    options = (*map(str, options), "--hidden", "64", "--device")
    scores = [trained_score(job_of(*options, name)) for name in (device, backend.name)]
    assert scores[0] > 0.84
    assert scores[1] == pytest.approx(scores[0], abs=0.005)
