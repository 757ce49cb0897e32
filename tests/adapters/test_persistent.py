"""One kernel that does many steps on CuPy, compared with the steps on NumPy; without a GPU on the double."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest

from tests import cuda_double
from tests.compiler.training_steps import BACKEND, BATCH, CASES, N, data_of, started
from tests.cuda_double.runtime import state as gpu
from tests.host_compiler import COMPILER
from xpnet.backend import arrays_in, map_arrays
from xpnet.backend.steps import run_steps
from xpnet.nn.network import Network
from xpnet.nn.optimizers import get_optimizer
from xpnet.nn.step import make_step
from xpnet_backends.compiler.program_cache import traced

if COMPILER is None:
    pytest.skip("no g++ to compile kernels for the host", allow_module_level=True)


@pytest.fixture
def cupy() -> Iterator[Any]:
    with cuda_double.installed():
        import cupy

        yield cupy


def persistent(cupy: Any, layer_sizes: tuple[int, ...], *, batch: int = BATCH, **network: Any) -> Any:
    """Return the kernel for a network, its state on the GPU, and what the step does on NumPy."""
    from xpnet_backends.cuda.persistent import persistent

    net = Network(layer_sizes, **network)
    step = make_step(net, get_optimizer("momentum"), BACKEND)
    host = started(net, "momentum", "float32")
    own = map_arrays(cupy.asarray, host)
    data = data_of(net, "float32", weighted=False)
    order = np.random.default_rng(2).integers(0, N, (5, batch)).astype(np.int32)
    program = traced(step, *host, data, order)
    kernel = persistent(program, arrays_in(own))
    return kernel, own, data, order, partial(run_steps, BACKEND.xp, step, *host, data)


@pytest.mark.subprocess
@pytest.mark.parametrize("case", ["classes", "long rows"], ids=["in shared memory", "in global memory"])
def test_a_run_in_several_launches(cupy: Any, case: str) -> None:
    gpu.attributes.update(MaxSharedMemoryPerBlockOptin=49152, MultiProcessorCount=2)
    kernel, own, data, order, expected = persistent(cupy, **CASES[case])
    assert kernel._blocks == {"classes": 1, "long rows": 2}[case]
    kernel._most_steps = 2
    losses = kernel.run(tuple(map(cupy.asarray, data)), cupy.asarray(order))
    for mine, reference in zip((*arrays_in(own), losses), arrays_in(expected(order)), strict=True):
        np.testing.assert_allclose(mine.get(), reference, rtol=1e-4, atol=1e-4)


def test_networks_that_graphs_suit_better(cupy: Any) -> None:
    assert persistent(cupy, (300, 2000, 2000, 10), batch=90)[0] is None


def test_older_gpus(cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "compute_capability", "75")
    assert persistent(cupy, **CASES["classes"])[0] is None
