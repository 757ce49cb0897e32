"""A compiled step as CUDA, built for the host and compared with the step itself.

Most kernels run with blocks and warps of one thread; some with a thread of the system for each thread of CUDA, which
meet where CUDA's do.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pytest

from tests.compiler.training_steps import BACKEND, BATCH, CASES, CLOCKED, N, at_rate, data_of, started
from tests.cuda_double.kernels import HOST
from tests.host_compiler import COMPILER, build
from xpnet.backend import arrays_in
from xpnet.backend.steps import run_steps
from xpnet.bench.workloads import get_workloads
from xpnet.nn.activations import ACTIVATIONS
from xpnet.nn.network import Network
from xpnet.nn.optimizers import OPTIMIZERS, get_optimizer
from xpnet.nn.step import init_state, make_step
from xpnet_backends.compiler import cuda_codegen
from xpnet_backends.compiler.cuda_codegen import CudaSource, Product, passes
from xpnet_backends.compiler.ops import UntraceableError
from xpnet_backends.compiler.program_cache import host_memory
from xpnet_backends.compiler.trace import trace

if COMPILER is None:
    pytest.skip("no g++ to compile kernels for the host", allow_module_level=True)

STEPS = 3
THREADS = 64
HOST_THREADS = """
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


def run_on_host(source: CudaSource, memory: Any, n_steps: int, *, threaded: bool, most_blocks: int = 2) -> None:
    """Do the launches of a step, so many times."""
    kernels = build((HOST_THREADS if threaded else HOST) + source.text)
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
            blocks = min(launch.blocks, most_blocks)  # each goes over what there are too few for
            kernels.launch(blocks, THREADS)

            def thread(t: int, kernel: Any = kernel, blocks: int = blocks) -> None:
                for block in range(blocks):
                    kernels.enter(block, t)
                    kernel()

            list(pool.map(thread, range(THREADS)))


def run_program(
    step: Any, params: Any, state: Any, data: Any, order: np.ndarray, **options: Any
) -> tuple[CudaSource, np.ndarray]:
    """Do steps by the kernels, for each row of an order; return the source and the losses."""
    program = passes(trace(step, params, state, [array[: order.shape[1]] for array in data]))
    source, memory = CudaSource(program, len(order)), host_memory(program, arrays_in((params, state)))
    memory(source.table.whole)[...] = [array.ctypes.data for array in data]
    memory(source.order.whole)[...] = order
    memory(source.counter.whole)[...] = 0
    run_on_host(source, memory, len(order), **options)
    return source, memory(source.losses.whole)


def same(
    network: Network,
    optimizer: str,
    dtype: str,
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
    _, losses = run_program(step, params, state, data, order, threaded=threaded)
    allowed = {"float64": 1e-11, "float32": 5e-4}[dtype]
    for mine, reference in zip([*arrays_in((params, state)), losses], expected, strict=True):
        np.testing.assert_allclose(mine, reference, rtol=allowed, atol=allowed)


@pytest.fixture(params=[4096, 1], ids=["small by block", "nothing small"])
def small(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_codegen, "_SMALL", request.param)


@pytest.mark.subprocess
def test_inputs_in_bytes(small: None) -> None:
    same(Network(**CASES["classes"]), "momentum", "float32", weighted=True, divisor=255.0)


@pytest.mark.subprocess
@pytest.mark.slow
@pytest.mark.parametrize("case", KERNEL_CASES)
def test_every_kind_of_network(case: str, small: None) -> None:
    same(Network(**CASES[case]), "adam", "float64", weighted=case != "classes")


@pytest.mark.subprocess
@pytest.mark.slow
@pytest.mark.parametrize("case", ["classes", "many classes", "penalties"])
def test_threads_that_meet(case: str, small: None) -> None:
    same(Network(**CASES[case]), "adam", "float64", threaded=True, clip_norm=3.0)


@pytest.mark.subprocess
def test_float32() -> None:
    same(Network(**CASES["dropout and slopes"]), "adam", "float32")


@pytest.mark.subprocess
@pytest.mark.slow
@pytest.mark.parametrize("name", [*sorted(set(OPTIMIZERS) - {"rmsprop"}), "rmsprop:epsilon=0.01", "adam:beta_1=0"])
def test_every_optimizer(name: str, small: None) -> None:
    same(Network((7, 30, 20, 5), activation="tanh"), name, "float64", clip_norm=3.0)


@pytest.mark.subprocess
def test_a_rate_for_each_parameter_and_step(small: None) -> None:
    same(Network(**CASES["forward scaling"]), "adam", "float64", **CLOCKED)


@pytest.mark.subprocess
@pytest.mark.slow
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation(name: str) -> None:
    same(Network((7, 20, 40, 4), activation=name), "momentum", "float64")


def test_a_softmax_is_one_loop_over_rows_and_few_barriers() -> None:
    network = Network(**CASES["classes"])
    step = make_step(network, get_optimizer("adam"), BACKEND)
    data = [array[:BATCH] for array in data_of(network, "float32", weighted=False)]
    text = CudaSource(passes(trace(step, *started(network, "adam", "float32"), data)), STEPS).text
    loss = next(kernel for kernel in text.split("extern")[1:] if "log(" in kernel)
    assert loss.count(f"BLOCK(i, {BATCH})") == 1
    assert loss.count("__syncthreads") == 3  # after the rows, and before the mean and the loss are read


@pytest.mark.subprocess
@pytest.mark.parametrize("n_out", [28, 29])
def test_rows_in_registers_and_rows_that_are_too_long(n_out: int, small: None) -> None:
    same(Network((7, n_out)), "sgd", "float32", weighted=True, threaded=n_out == 28)


def reduces(function: Callable[[Any, Any], Any], x: np.ndarray, **options: Any) -> np.ndarray:
    """Return parameters after a step that subtracts a function of them and x, and check them."""

    def step(params: Any, state: Any, batch: tuple[Any, ...]) -> Any:
        change = function(params, batch[0])
        params -= change
        return params, state, np.sum(params)

    n = len(function(np.zeros(x.shape[1]), x))
    params = np.linspace(-1.0, 1.0, n)
    expected, order = params - function(params, x), np.arange(len(x), dtype=np.int32)[None]
    _, losses = run_program(step, params, (), (x,), order, **options)
    np.testing.assert_allclose(params, expected, rtol=1e-12)
    np.testing.assert_allclose(losses, np.sum(expected), rtol=1e-12)
    return params


@pytest.mark.subprocess
@pytest.mark.parametrize(("n", "m"), [(3, 40), (40, 3), (200, 5), (2100, 1)])
def test_sums_by_a_thread_a_warp_or_a_block(n: int, m: int) -> None:
    def function(params: Any, x: Any) -> Any:
        return np.sum(x * 2.0, axis=0) + np.max(np.sum(np.abs(x), axis=1))

    reduces(function, np.random.default_rng(3).standard_normal((n, m)), threaded=True)


@pytest.mark.subprocess
def test_rows_wait_for_a_number_from_all_rows() -> None:
    def function(params: Any, x: Any) -> Any:
        y = x / np.max(np.max(np.abs(x), axis=1))
        return np.max(y, axis=1) + np.sum(y, axis=1)

    reduces(function, np.random.default_rng(8).standard_normal((40, 3)), threaded=True)


@pytest.mark.subprocess
def test_long_reductions_do_not_depend_on_the_number_of_blocks() -> None:
    def function(params: Any, x: Any) -> Any:
        largest = np.max(np.abs(x))
        return np.sum((x / largest) * (x / largest)) * params + np.sum(x[:, ::2]) * largest

    x = np.random.default_rng(4).standard_normal((150, 60)) ** 3
    one, two = (reduces(function, x, threaded=True, most_blocks=n) for n in (1, 2))
    np.testing.assert_array_equal(one, two)


@pytest.mark.subprocess
def test_a_vector_that_is_added_to_each_row_of_a_square_matrix(small: None) -> None:
    x = np.random.default_rng(5).standard_normal((70, 70))  # more than 4096 elements, whose rows share a kernel
    reduces(lambda params, x: np.max(x + np.tanh(params), axis=1), x, threaded=False)


@pytest.mark.subprocess
@pytest.mark.parametrize("batch", [1, 50])
def test_bytes_are_scaled_where_they_lie(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_codegen, "_SMALL", 1)
    x = np.random.default_rng(6).integers(0, 255, (60, 30), dtype=np.uint8)
    weights = np.linspace(-1.0, 1.0, 60)

    def step(params: Any, state: Any, batch: tuple[Any, ...]) -> Any:
        scaled = batch[0].astype(np.float64) / 255.0 - batch[1][:, None]
        params -= 1e-4 * (scaled.T @ scaled[:, :2])
        return params, state, np.sum(params)

    order = np.random.default_rng(7).integers(0, 60, (3, batch)).astype(np.int32)
    params, expected, losses = np.ones((30, 2)), np.ones((30, 2)), []
    for rows in order:
        expected, _, loss = step(expected, (), (x[rows], weights[rows]))
        losses.append(loss)
    source, received = run_program(step, params, (), (x, weights), order, threaded=False)
    np.testing.assert_allclose(params, expected, rtol=1e-12)
    np.testing.assert_allclose(received, losses, rtol=1e-12)
    kernels = [launch for launch in source.launches if not isinstance(launch, Product)]
    assert len(kernels) == (5 if batch == 1 else 4)  # the gather, the product, the update, the loss
    bytes_read = [buffer for buffer in kernels[0].buffers if buffer.dtype == np.uint8]
    assert len(bytes_read) == (batch == 1)


@pytest.mark.subprocess
def test_rows_beyond_32_bit_indices() -> None:
    # The first row is far before the array in memory, where the order has no row.
    step = make_step(Network((784, 3)), get_optimizer("sgd"), BACKEND)
    params, state = started(Network((784, 3)), "sgd", "float32")
    x, y = np.ones((4, 784), np.float32), np.zeros(4, np.int32)
    program, first = passes(trace(step, params, state, [x, y])), 3_000_000
    source, memory = CudaSource(program, 1), host_memory(program, arrays_in((params, state)))
    memory(source.table.whole)[...] = [array.ctypes.data - first * array[0].nbytes for array in (x, y)]
    memory(source.order.whole)[...] = np.arange(first, first + 4)
    memory(source.counter.whole)[...] = 0
    run_on_host(source, memory, 1, threaded=False)
    assert np.all(memory(program.batch[0]) == 1)


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


@pytest.mark.parametrize("threaded", [False, True], ids=["a thread", "warps"])
@pytest.mark.parametrize(("m", "n", "k"), [(70, 10, 67), (9, 90, 40), (60, 33, 10), (1, 100, 45), (50, 1, 64)])
def test_narrow_products(m: int, n: int, k: int, threaded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_codegen, "_SMALL", 1)
    rng = np.random.default_rng(5)
    a, b, c = (rng.standard_normal(shape).round(2) for shape in [(k, m), (k, n), (n, k)])

    def step(params: Any, state: Any, batch: tuple[Any, ...]) -> Any:
        product = batch[0].T @ batch[1] + batch[0].T @ state.T
        params -= 0.1 * product
        return params, state, np.sum(params)

    expected, params = np.ones((m, n)) - 0.1 * (a.T @ b + a.T @ c.T), np.ones((m, n))
    source, losses = run_program(step, params, c, (a, b), np.arange(k, dtype=np.int32)[None], threaded=threaded)
    assert not any(isinstance(launch, Product) for launch in source.launches)
    np.testing.assert_allclose(params, expected, rtol=1e-12)
    np.testing.assert_allclose(losses, [expected.sum()], rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "launches", "sums"),
    [("mnist-large", 16, []), ("narrow-1k", 18, []), ("wide", 19, [1024] * 2), ("narrow-64k", 20, [65536] * 3)],
)
def test_launches_of_a_step(name: str, launches: int, sums: list[int]) -> None:
    """They are those that were measured. A long sum of a bias's gradient is no narrow product, with few threads."""
    (workload,) = get_workloads((name,))
    network, optimizer = workload.network, get_optimizer(workload.optimizer)
    params, x = (
        np.broadcast_to(np.float32(0), n) for n in (network.n_parameters, (workload.batch, network.layer_sizes[0]))
    )
    state, y = init_state(network, optimizer, params, 0, BACKEND), np.zeros(workload.batch, np.int32)
    source = CudaSource(passes(trace(make_step(network, optimizer, BACKEND), params, state, [x, y])), 1)
    assert len(source.launches) == launches
    products = [launch for launch in source.launches if isinstance(launch, Product)]
    assert [each.a.shape[1] for each in products if each.out.shape[0] == 1] == sums
    assert all(each.exact == (each.out.shape[0] == 1) for each in products)


@pytest.mark.parametrize("threaded", [False, True], ids=["a thread", "warps"])
@pytest.mark.parametrize("turned", [False, True])
def test_what_follows_a_narrow_product(turned: bool, threaded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its kernel does that, but not what needs elements of other threads."""
    monkeypatch.setattr(cuda_codegen, "_SMALL", 1)
    rng = np.random.default_rng(8)
    x, weights = rng.standard_normal((40, 10)).round(2), rng.standard_normal((10, 40)).round(2)

    def step(params: Any, state: Any, batch: tuple[Any, ...]) -> Any:
        z = batch[0] @ state
        z = np.maximum((z.T if turned else z) + 1.0, 0.0)
        params -= z @ z.T
        return params, state, np.sum(params)

    expected, params = np.ones((40, 40)), np.ones((40, 40))
    step(expected, weights, (x,))
    order = np.arange(40, dtype=np.int32)[None]
    source, _ = run_program(step, params, weights, (x,), order, threaded=threaded)
    np.testing.assert_allclose(params, expected, rtol=1e-12)
    kernels = [launch for launch in source.launches if not isinstance(launch, Product)]
    assert len(kernels) == 4 + turned  # the gather, the product, the update, the loss
