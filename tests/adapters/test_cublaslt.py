"""Training steps whose products have epilogues, on a double of cuBLASLt that knows NVIDIA's rules for them."""

from __future__ import annotations

import ctypes
import gc
import itertools
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import cuda_double
from tests.command_line import refused, train, xpnet
from tests.compiler.training_steps import BACKEND
from tests.host_compiler import COMPILER
from xpnet.backend import TunableBackend, arrays_in, get_backend, run_steps
from xpnet.nn.network import Network
from xpnet.nn.optimizers import get_optimizer
from xpnet.nn.step import init_state, make_step
from xpnet_backends.compiler import cuda_codegen
from xpnet_backends.compiler.epilogues import Epilogue, Product
from xpnet_backends.compiler.ir import Buffer

if COMPILER is None:
    pytest.skip("no g++ to compile kernels for the host", allow_module_level=True)

from tests.cuda_double import cublaslt as double

N, STEPS = 300, 3
NETWORK = Network((20, 128, 128, 70), activation="relu")
BIAS, BIAS_RELU, MASKED, DRELU, DRELU_SUMS, SUMS = 4, 6, 134, 136, 152, 256


@pytest.fixture(autouse=True)
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[double.Call]]:
    """The products that cuBLASLt was given."""
    with cuda_double.installed():
        get_backend("gpu")
        # These networks are small, and would be one kernel, or without epilogues.
        monkeypatch.setattr(sys.modules["xpnet_backends.cuda.cublaslt"], "_WORTH", 0)
        monkeypatch.setattr(sys.modules["xpnet_backends.cuda.graph"], "persistent", lambda *_: None)
        double.calls.clear()
        double.refused.clear()
        yield double.calls


def trained(
    device: str, network: Network, batch: int, *, optimizer: str = "momentum", dtype: str = "float32", compiled: bool
) -> list[Any]:
    """Return parameters, state and losses after some steps."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((N, network.layer_sizes[0])).astype(dtype)
    y = rng.integers(0, network.layer_sizes[-1], N, dtype=np.int32)
    order = rng.integers(0, N, (STEPS, batch)).astype(np.int32)
    backend = get_backend(device)
    with backend.scope(dtype):
        step = make_step(network, get_optimizer(optimizer), backend)
        params = network.init(3, "cpu", dtype).vector
        params[network.n_weights :] = 0.01  # so that biases matter
        params = backend.asarray(params)
        state = init_state(network, get_optimizer(optimizer), params, 5, backend)
        data = (backend.asarray(x), backend.asarray(y))
        if compiled:
            done = backend.compile(step, 1000)(params, state, data, backend.asarray(order))
        else:
            done = run_steps(backend.xp, step, params, state, data, order)
        return [backend.to_numpy(each).copy() for each in arrays_in(done)]


def same(network: Network, batch: int, *, device: str = "gpu", tolerance: float = 2e-5, **options: Any) -> None:
    expected = trained(BACKEND.name, network, batch, compiled=False, **options)
    for mine, reference in zip(trained(device, network, batch, compiled=True, **options), expected, strict=True):
        np.testing.assert_allclose(mine, reference, rtol=tolerance, atol=tolerance)


@pytest.mark.subprocess
@pytest.mark.parametrize("batch", [256, 97])
@pytest.mark.parametrize("sizes", [(20, 128, 128, 70), (33, 65, 127, 300, 5), (5, 1000, 50, 90)])
def test_steps(sizes: tuple[int, ...], batch: int, calls: list[double.Call]) -> None:
    same(Network(sizes, activation="relu"), batch)
    used = {call.epilogue for call in calls}
    assert {MASKED, DRELU_SUMS} <= used <= {MASKED, DRELU_SUMS, SUMS}


@pytest.mark.subprocess
def test_epilogues_that_spare_little_are_left_out(monkeypatch: pytest.MonkeyPatch, calls: list[double.Call]) -> None:
    monkeypatch.setattr(sys.modules["xpnet_backends.cuda.cublaslt"], "_WORTH", 256 * 128)
    same(Network((20, 128, 130, 70), activation="relu"), 255)
    assert {(call.epilogue, call.sizes[:2]) for call in calls} == {(MASKED, (130, 255)), (DRELU_SUMS, (130, 255))}


@pytest.mark.subprocess
def test_biases_that_are_not_aligned_have_no_epilogue(calls: list[double.Call]) -> None:
    """The heuristic does not ask for their alignment, and its kernels fail."""
    network = Network((7, 300, 129, 10), activation="relu")
    assert network.n_weights % 4
    same(network, 97)
    assert not calls


@pytest.mark.subprocess
@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 2, 130])
@pytest.mark.parametrize("sizes", [(3, 1, 2, 3), (1, 130, 1, 2), (2, 2, 129, 2)])
def test_narrow_layers(sizes: tuple[int, ...], batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_codegen, "_SMALL", 1)
    same(Network(sizes, activation="relu"), batch)


@pytest.mark.subprocess
def test_one_output(monkeypatch: pytest.MonkeyPatch, calls: list[double.Call]) -> None:
    """A product over one element has no mask; the gradient of one output counts as transposed, and has no sums."""
    monkeypatch.setattr(cuda_codegen, "_SMALL", 1)
    same(Network((20, 128, 1), activation="relu", loss="squared_error"), 97)
    assert {call.epilogue: call.sizes for call in calls} == {BIAS_RELU: (128, 97, 20), SUMS: (128, 20, 97)}


def test_a_result_by_columns() -> None:
    lt, cublas = (sys.modules[f"xpnet_backends.cuda.{name}"] for name in ("cublaslt", "cublas"))
    products = cublas.Products("float32", sys.modules["cupy.cuda"].Stream(non_blocking=True))
    made = lt.LtProducts(products, lambda value: 256, autotune=False)
    a, b, by_rows, by_columns, bias = (
        Buffer(k, shape, np.dtype(np.float32), by_columns=k == 3).whole
        for k, shape in enumerate([(4, 5), (5, 6), (4, 6), (4, 6), (6,)])
    )
    for out, accepted in ((by_rows, True), (by_columns, False)):
        assert made.accepts(Product(a, b, out, False, Epilogue.BIAS, bias)) is accepted


@pytest.mark.subprocess
@pytest.mark.parametrize(
    ("refuses", "used"),
    [
        ({MASKED}, {BIAS_RELU, SUMS}),
        ({DRELU_SUMS}, {MASKED, DRELU, SUMS}),
        ({DRELU_SUMS, SUMS}, {MASKED, DRELU}),
        ({DRELU}, {BIAS_RELU, SUMS}),
        ({BIAS_RELU, SUMS}, set[int]()),
    ],
)
def test_what_the_heuristic_refuses(refuses: set[int], used: set[int], calls: list[double.Call]) -> None:
    """Kernels and cuBLAS do it, as if there were no cuBLASLt."""
    double.refused.update(refuses)
    same(NETWORK, 97)
    assert {call.epilogue for call in calls} == used


@pytest.mark.subprocess
def test_a_bias_without_relu(calls: list[double.Call]) -> None:
    same(Network((20, 128, 70), activation="identity"), 97)
    assert {call.epilogue for call in calls} == {BIAS, SUMS}


@pytest.mark.subprocess
@pytest.mark.parametrize(("precision", "number"), [("float32", 68), ("tf32", 77), ("bf16", 75)])
def test_precisions(precision: str, number: int, calls: list[double.Call]) -> None:
    same(NETWORK, 97, device=f"gpu@{precision}", tolerance=0.1)
    assert {call.compute for call in calls} == {number}


@pytest.mark.subprocess
def test_without_cublaslt(monkeypatch: pytest.MonkeyPatch, calls: list[double.Call]) -> None:
    def missing(name: str) -> Any:
        raise RuntimeError(f"no library {name}")

    monkeypatch.setattr(sys.modules["xpnet_backends.cuda.cublaslt"], "load_nvidia_dynamic_lib", missing)
    same(NETWORK, 97)
    assert calls == []


@pytest.mark.subprocess
def test_float64_is_left_to_cublas(calls: list[double.Call]) -> None:
    expected = trained(BACKEND.name, NETWORK, 97, compiled=False, dtype="float64")
    for mine, reference in zip(trained("gpu", NETWORK, 97, compiled=True, dtype="float64"), expected, strict=True):
        np.testing.assert_allclose(mine, reference, rtol=1e-11, atol=1e-12)
    assert calls == []


@pytest.mark.subprocess
def test_descriptors_are_destroyed_with_the_graph() -> None:
    """At once, and so is the memory, without the garbage collector."""
    gc.disable()
    try:
        same(NETWORK, 97)
    finally:
        gc.enable()
    assert {each.kind for each in double.descriptors.values()} == {0}  # handles


def autotuned(device: str) -> None:
    backend = get_backend(device)
    assert isinstance(backend, TunableBackend)
    backend.autotune = True


@pytest.mark.subprocess
def test_autotune_takes_the_fastest(monkeypatch: pytest.MonkeyPatch, calls: list[double.Call]) -> None:
    """Of algorithms 0 and 2, for the double says that 1 does not run; also for products without an epilogue."""
    autotuned("gpu")
    for fastest in (0, 2):
        calls.clear()
        times = itertools.cycle((1.0, 2.0) if fastest == 0 else (2.0, 1.0))
        monkeypatch.setattr(sys.modules["cupy.cuda"], "get_elapsed_time", lambda start, end, times=times: next(times))
        same(NETWORK, 97)
        step = calls[-7:]  # the gradient of the first weights, of 20 inputs, is a kernel
        assert [call.algorithm for call in step] == [fastest] * 7
        assert [call.epilogue for call in step] == [MASKED, MASKED, 1, SUMS, DRELU_SUMS, 1, DRELU_SUMS]


@pytest.mark.subprocess
def test_autotune_leaves_exact_sums_to_cublas(calls: list[double.Call]) -> None:
    """Their factors would be rounded."""
    autotuned("gpu@tf32")
    double.refused.update({DRELU_SUMS, SUMS})
    same(NETWORK, 97, device="gpu@tf32", tolerance=0.1)
    assert {1, MASKED, DRELU} <= {call.epilogue for call in calls}
    assert all(call.sizes[1] > 1 for call in calls)  # a sum has one row


@pytest.mark.subprocess
def test_an_error_of_cublaslt() -> None:
    module = sys.modules["xpnet_backends.cuda.cublaslt"]
    with pytest.raises(RuntimeError, match=r"cublasLtMatmulDescCreate: expected status 0; received 7"):
        module._Descriptor("MatmulDesc", 1, 0)
    description = module._Descriptor("MatmulDesc", 68, 0)
    with pytest.raises(RuntimeError, match=r"cublasLtMatmulDescSetAttribute: expected status 0; received 7"):
        description.set(7, ctypes.c_uint64(4))


# The command line.


@pytest.mark.subprocess
def test_train_with_autotune(folder: Path, calls: list[double.Call]) -> None:
    train("digits", "--device", "gpu", "--autotune", "--epochs", "2", "--hidden", "256", "--out", "run", "--quiet")
    assert tomllib.loads((folder / "run/config.toml").read_text())["autotune"] is True
    assert {call.algorithm for call in calls} >= {0, 2}


def test_train_refuses_autotune(folder: Path) -> None:
    error = refused("train", "--device", "cpu", "--autotune")
    assert "--autotune: expected a device whose matrix products have algorithms to choose from" in error
    assert "received numpy:cpu. Train without it" in error
    error = refused("train", "--device", "gpu", "--autotune", "--dtype", "float64")
    assert "--autotune: expected --dtype float32, whose products it is for; received float64." in error


def test_a_run_is_resumed_elsewhere_without_autotune(folder: Path) -> None:
    options = ("--device", "gpu", "--autotune", "--epochs", "1", "--checkpoint-every", "1", "--out", "run")
    train("digits", *options)
    assert "--autotune: expected a device" in refused("resume", "--run", "run", "--device", "cpu", "--epochs", "2")
    xpnet("resume", "--run", "run", "--device", "cpu", "--no-autotune", "--epochs", "2")
