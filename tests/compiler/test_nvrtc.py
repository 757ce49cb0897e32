"""NVIDIA's compiler takes the kernels of every kind of step, without a GPU."""

from __future__ import annotations

from typing import Any

import pytest

from tests.compiler.nvrtc import ARCHITECTURES, check_kernels, needs_nvrtc
from tests.compiler.training_steps import BACKEND, BATCH, CASES, CLOCKED, at_rate, data_of, started
from xpnet.bench.workloads import WORKLOADS
from xpnet.nn.activations import ACTIVATIONS
from xpnet.nn.network import Network
from xpnet.nn.optimizers import OPTIMIZERS, get_optimizer
from xpnet.nn.step import make_step
from xpnet_backends.compiler import cuda_codegen
from xpnet_backends.compiler.cuda_codegen import CudaSource, passes
from xpnet_backends.compiler.trace import trace

pytestmark = needs_nvrtc


def source(network: Network, optimizer: str, dtype: str, *, batch: int = BATCH, **options: Any) -> CudaSource:
    step = make_step(network, get_optimizer(optimizer), BACKEND, **options)
    arrays = data_of(network, dtype, weighted=True, as_bytes="divisor" in options)
    data = [array[:1].repeat(batch, axis=0) for array in arrays]
    params, state = started(network, optimizer, dtype)
    state = at_rate(network, state, 0.02, dtype, clocked="rate_factor" in options)
    return CudaSource(passes(trace(step, params, state, data)), 3)


def check(architecture: str, network: Network, optimizer: str, dtype: str, **options: Any) -> None:
    made = source(network, optimizer, dtype, **options)
    kernels = check_kernels(made.text, architecture, dtype=dtype)
    launched = {launch.name: launch.threads for launch in made.launches if isinstance(launch, cuda_codegen.Kernel)}
    assert {name: kernel.threads for name, kernel in kernels.items()} == launched


@pytest.fixture(params=[4096, 1], ids=["small by block", "nothing small"])
def small(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_codegen, "_SMALL", request.param)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_each_architecture(architecture: str) -> None:
    check(architecture, Network(**CASES["dropout and slopes"]), "adam", "float32", clip_norm=3.0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", ["many classes", "penalties", "forward scaling"])
def test_kernels_that_differ(case: str, dtype: str) -> None:
    check("sm_90", Network(**CASES[case]), "momentum", dtype, **CLOCKED)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_inputs_in_bytes(dtype: str) -> None:
    check("sm_90", Network(**CASES["classes"]), "momentum", dtype, divisor=255.0)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("case", CASES)
def test_every_kind_of_network(case: str, architecture: str, dtype: str, small: None) -> None:
    check(architecture, Network(**CASES[case]), "adam", dtype, clip_norm=3.0)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer(name: str, architecture: str, dtype: str, small: None) -> None:
    check(architecture, Network((7, 30, 20, 5), activation="tanh"), name, dtype, **CLOCKED)


@pytest.mark.slow
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation(name: str) -> None:
    check("sm_90", Network((7, 20, 40, 4), activation=name), "momentum", "float32")


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("name", WORKLOADS)
def test_every_workload(name: str, architecture: str) -> None:
    workload = WORKLOADS[name]
    check(architecture, workload.network, workload.optimizer, "float32", batch=workload.batch)
