"""A compiled step as CUDA, built for the host and compared with the step itself.

Most kernels run with blocks and warps of one thread; some with a thread of the system for each thread of CUDA, which
meet where CUDA's do.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.compiler.training_steps import BACKEND, BATCH, CASES, CLOCKED, N, at_rate, data_of, started
from xpnet.backend import arrays_in
from xpnet.backend.steps import run_steps
from xpnet.nn.activations import ACTIVATIONS
from xpnet.nn.network import Network
from xpnet.nn.optimizers import OPTIMIZERS, get_optimizer
from xpnet.nn.step import make_step
from xpnet_backends.compiler import cuda_codegen
from xpnet_backends.compiler.cuda_codegen import CudaSource, Product, passes
from xpnet_backends.compiler.ops import UntraceableError
from xpnet_backends.compiler.program_cache import host_memory
from xpnet_backends.compiler.trace import trace

COMPILER = shutil.which("g++")
if COMPILER is None:
    pytest.skip("no g++ to compile kernels for the host", allow_module_level=True)

STEPS = 3
HOST = """
#include <cmath>
using namespace std;
#define LANES 1
#define __global__
#define __launch_bounds__(...)
#define __device__
#define __shared__
static void __syncthreads() {}
static void __syncwarp() {}
template <class T> static T __shfl_xor_sync(unsigned, T r, int) { return r; }
struct Dim { int x; };
static Dim threadIdx{0}, blockDim{1}, blockIdx{0}, gridDim{1};
"""
THREADS = 64
HOST_THREADS = """
#include <barrier>
#include <cmath>
#include <cstring>
#include <memory>
#include <vector>
#define LANES 32
#define __global__
#define __launch_bounds__(...)
#define __device__
#define __shared__ static
struct Dim { int x; };
static thread_local Dim threadIdx, blockIdx;
static Dim blockDim, gridDim;
static std::unique_ptr<std::barrier<>> all;
static std::vector<std::unique_ptr<std::barrier<>>> warps;
static char slots[1024][8];
static void __syncthreads() { all->arrive_and_wait(); }
static void __syncwarp() { warps[threadIdx.x / LANES]->arrive_and_wait(); }
template <class T> static T __shfl_xor_sync(unsigned, T r, int d) {
    memcpy(slots[threadIdx.x], &r, sizeof r);
    __syncwarp();
    memcpy(&r, slots[threadIdx.x ^ d], sizeof r);
    __syncwarp();
    return r;
}
extern "C" void launch(int blocks, int threads) {
    gridDim.x = blocks, blockDim.x = threads;
    all = std::make_unique<std::barrier<>>(threads);
    warps.clear();
    for (int w = 0; w < threads / LANES; ++w) warps.push_back(std::make_unique<std::barrier<>>(LANES));
}
extern "C" void enter(int block, int thread) { __syncthreads(); blockIdx.x = block, threadIdx.x = thread; }
"""
# The cases whose kernels differ; each takes one run of the C++ compiler.
KERNEL_CASES = [
    "classes",
    "no hidden layer",
    "many classes",
    "dropout and slopes",
    "penalties",
    "labels",
    "values",
    "rates",
    "forward scaling",
]


def run_on_host(source: CudaSource, memory: Any, folder: Path, n_steps: int, *, threaded: bool) -> None:
    """Do the launches of a step, so many times."""
    text = folder / "kernels.cpp"
    text.write_text((HOST_THREADS if threaded else HOST) + source.text)
    library = folder / "kernels.so"
    options = ["-std=c++20", "-O0", "-fwrapv", "-shared", "-fPIC", "-pthread"]
    subprocess.run([str(COMPILER), *options, "-o", library, text], check=True)
    kernels = ctypes.CDLL(str(library))
    with ThreadPoolExecutor(THREADS) as pool:
        for launch in source.launches * n_steps:
            if isinstance(launch, Product):
                a, b, out = map(memory, launch[:3])
                np.matmul(a, b, out=out)
                continue
            addresses = [ctypes.c_void_p(memory(buffer.whole).ctypes.data) for buffer in launch.buffers]
            kernel = partial(getattr(kernels, launch.name), *addresses)
            if not threaded:
                kernel()
                continue
            blocks = min(launch.blocks, 2)  # each goes over what there are too few for
            kernels.launch(blocks, THREADS)

            def thread(t: int, kernel: Any = kernel, blocks: int = blocks) -> None:
                for block in range(blocks):
                    kernels.enter(block, t)
                    kernel()

            list(pool.map(thread, range(THREADS)))


def same(
    network: Network,
    optimizer: str,
    dtype: str,
    folder: Path,
    *,
    weighted: bool = False,
    threaded: bool = False,
    **options: Any,
) -> None:
    step = make_step(network, get_optimizer(optimizer), BACKEND, **options)
    data = data_of(network, dtype, weighted=weighted, as_bytes="divisor" in options)
    order = np.random.default_rng(2).integers(0, N, (STEPS, BATCH)).astype(np.int32)

    def with_rate() -> tuple[np.ndarray, Any]:
        params, state = started(network, optimizer, dtype)
        return params, at_rate(network, state, 0.02, dtype, clocked="rate_factor" in options)

    with np.errstate(all="ignore"):
        expected = arrays_in(run_steps(BACKEND.xp, step, *with_rate(), data, order))
    params, state = with_rate()
    program = passes(trace(step, params, state, [array[:BATCH] for array in data]))
    source, memory = CudaSource(program, STEPS), host_memory(program, arrays_in((params, state)))
    memory(source.table.whole)[...] = [array.ctypes.data for array in data]
    memory(source.order.whole)[...] = order
    memory(source.counter.whole)[...] = 0
    run_on_host(source, memory, folder, STEPS, threaded=threaded)
    allowed = {"float64": 1e-11, "float32": 5e-4}[dtype]
    for mine, reference in zip([*arrays_in((params, state)), memory(source.losses.whole)], expected, strict=True):
        np.testing.assert_allclose(mine, reference, rtol=allowed, atol=allowed)


@pytest.fixture(params=[4096, 1], ids=["small by block", "nothing small"])
def small(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_codegen, "_SMALL", request.param)


@pytest.mark.subprocess
def test_inputs_in_bytes(small: None, tmp_path: Path) -> None:
    same(Network(**CASES["classes"]), "momentum", "float32", tmp_path, weighted=True, divisor=255.0)


@pytest.mark.subprocess
@pytest.mark.slow
@pytest.mark.parametrize("case", KERNEL_CASES)
def test_every_kind_of_network(case: str, small: None, tmp_path: Path) -> None:
    same(Network(**CASES[case]), "adam", "float64", tmp_path, weighted=case != "classes")


@pytest.mark.subprocess
@pytest.mark.slow
@pytest.mark.parametrize("case", ["classes", "many classes", "penalties"])
def test_threads_that_meet(case: str, small: None, tmp_path: Path) -> None:
    same(Network(**CASES[case]), "adam", "float64", tmp_path, threaded=True, clip_norm=3.0)


@pytest.mark.subprocess
def test_float32(tmp_path: Path) -> None:
    same(Network(**CASES["dropout and slopes"]), "adam", "float32", tmp_path)


@pytest.mark.subprocess
@pytest.mark.slow
@pytest.mark.parametrize("name", [*sorted(set(OPTIMIZERS) - {"rmsprop"}), "rmsprop:epsilon=0.01", "adam:beta_1=0"])
def test_every_optimizer(name: str, small: None, tmp_path: Path) -> None:
    same(Network((7, 30, 20, 5), activation="tanh"), name, "float64", tmp_path, clip_norm=3.0)


@pytest.mark.subprocess
def test_a_rate_for_each_parameter_and_step(small: None, tmp_path: Path) -> None:
    same(Network(**CASES["forward scaling"]), "adam", "float64", tmp_path, **CLOCKED)


@pytest.mark.subprocess
@pytest.mark.slow
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation(name: str, tmp_path: Path) -> None:
    same(Network((7, 20, 40, 4), activation=name), "momentum", "float64", tmp_path)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x: np.max(x, axis=0), "the reduction max over many rows"),
        (lambda x: np.sum(x[0] > 0) + x[0], "the reduction sum of bool"),
    ],
)
def test_a_step_without_kernels(function: Callable[[Any], Any], reason: str) -> None:
    def step(params: Any, state: Any, batch: tuple[Any, ...]) -> Any:
        params += function(batch[0])
        return params, state, np.sum(params)

    with pytest.raises(UntraceableError, match=reason):
        CudaSource(passes(trace(step, np.zeros(4), (), [np.zeros((2000, 4))])), STEPS)


def test_arrays_that_32_bit_indices_cannot_reach() -> None:
    shape = np.broadcast_to(np.float32(0), (3_000_000, 784))
    program = trace(lambda params, state, batch: (params, state, np.sum(batch[0])), np.zeros(4), (), [shape])
    with pytest.raises(UntraceableError, match="an array of more than 2"):
        CudaSource(passes(program), STEPS)
