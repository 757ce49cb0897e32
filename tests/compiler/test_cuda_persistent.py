"""The kernel that does many steps, built for the host and compared with the step itself."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Any

import numpy as np
import pytest

from tests.compiler.fibers import ORDERS, build
from tests.compiler.nvrtc import ARCHITECTURES, check_kernels, needs_nvrtc
from tests.compiler.training_steps import BACKEND, BATCH, CASES, CLOCKED, N, at_rate, data_of, started
from xpnet.backend import arrays_in
from xpnet.backend.steps import run_steps
from xpnet.bench.workloads import WORKLOADS, make_data, orders
from xpnet.nn.activations import ACTIVATIONS
from xpnet.nn.network import Network
from xpnet.nn.optimizers import OPTIMIZERS, get_optimizer
from xpnet.nn.step import make_step
from xpnet_backends.compiler.cuda_persistent import Limits, PersistentSource, passes, persistent_source
from xpnet_backends.compiler.trace import trace

THREADS = 64
STEPS = 5


class Steps:
    """Some steps of a network, by the step itself and by a kernel."""

    def __init__(
        self,
        network: Network,
        optimizer: str,
        dtype: str,
        *,
        blocks: int = 1,
        resident: int | None = None,
        weighted: bool = True,
        **options: Any,
    ) -> None:
        self.network, self.optimizer, self.dtype, self.options = network, optimizer, dtype, options
        self.step = make_step(network, get_optimizer(optimizer), BACKEND, **options)
        self.data = data_of(network, dtype, weighted=weighted)
        self.order = np.random.default_rng(2).integers(0, N, (STEPS, BATCH)).astype(np.int32)
        self.blocks, self.resident = blocks, resident

    @cached_property
    def source(self) -> PersistentSource:
        """The kernel."""
        program = trace(self.step, *self.start(), [array[:BATCH] for array in self.data])
        return PersistentSource(passes(program), THREADS, self.blocks, self.resident)

    def start(self) -> tuple[np.ndarray, Any]:
        """Return the first parameters and state."""
        params, state = started(self.network, self.optimizer, self.dtype)
        return params, at_rate(self.network, state, 0.02, self.dtype, clocked="rate_factor" in self.options)

    def on_host(self, *, mode: str = "in order", text: str | None = None) -> list[np.ndarray]:
        """Run the kernel in two launches; return parameters, state and losses."""
        source, launch = self.source, build(text or self.source.text)
        own = [np.array(array) for array in arrays_in(self.start())]
        losses = np.full(STEPS, np.nan, self.dtype)
        for part in (slice(0, 2), slice(2, STEPS)):
            alone = source.is_alone
            memory = [] if alone else [np.full(-(-source.memory // 8), np.nan), np.zeros(1, np.uint32)]
            order = self.order[part].copy()
            arguments = [order, losses[part], len(order), *memory, *self.data, *own, *source.constants]
            launch(arguments, source.blocks, source.threads, source.memory if alone else 0, ORDERS[mode])
        return [*own, losses]

    def check(self, **options: Any) -> None:
        """Compare the kernel with the step."""
        with np.errstate(all="ignore"):
            expected = arrays_in(run_steps(BACKEND.xp, self.step, *self.start(), self.data, self.order))
        allowed = {"float64": 1e-11, "float32": 1e-3}[self.dtype]
        for mine, reference in zip(self.on_host(**options), expected, strict=True):
            np.testing.assert_allclose(mine, reference, rtol=allowed, atol=allowed)

    def agrees(self, **options: Any) -> bool:
        """Tell whether the kernel does what the step does."""
        try:
            self.check(**options)
        except AssertionError:
            return False
        return True


alone_and_together = pytest.mark.parametrize("blocks", [1, 3])


@pytest.mark.subprocess
@alone_and_together
@pytest.mark.parametrize("case", ["classes", "dropout and slopes", "forward scaling"])
def test_kinds_of_network(case: str, blocks: int) -> None:
    Steps(Network(**CASES[case]), "adam", "float64", blocks=blocks, weighted=case != "classes").check()


@pytest.mark.subprocess
@pytest.mark.slow
@pytest.mark.parametrize(("blocks", "dtype"), [(1, "float64"), (3, "float32")])
@pytest.mark.parametrize("case", CASES)
def test_every_kind_of_network(case: str, blocks: int, dtype: str) -> None:
    Steps(Network(**CASES[case]), "momentum", dtype, blocks=blocks).check()


@pytest.mark.subprocess
@alone_and_together
@pytest.mark.parametrize("mode", ORDERS)
def test_threads_that_meet(mode: str, blocks: int) -> None:
    Steps(Network(**CASES["penalties"]), "adam", "float64", blocks=blocks, clip_norm=3.0).check(mode=mode)


@pytest.mark.subprocess
@pytest.mark.slow
@pytest.mark.parametrize("name", [*sorted(set(OPTIMIZERS) - {"rmsprop"}), "rmsprop:epsilon=0.01", "adam:beta_1=0"])
def test_every_optimizer(name: str) -> None:
    Steps(Network((7, 30, 20, 5), activation="tanh"), name, "float64", clip_norm=3.0).check()


@pytest.mark.subprocess
@pytest.mark.slow
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation(name: str) -> None:
    Steps(Network((7, 20, 40, 4), activation=name), "momentum", "float64").check()


@pytest.mark.subprocess
def test_a_rate_for_each_parameter_and_step() -> None:
    Steps(Network(**CASES["forward scaling"]), "adam", "float64", **CLOCKED).check()


@pytest.mark.subprocess
@alone_and_together
@pytest.mark.parametrize("n_features", [8, 9], ids=["words", "bytes"])
def test_bytes(n_features: int, blocks: int) -> None:
    def step(params: Any, state: Any, batch: tuple[Any, ...]) -> Any:
        x = batch[0].astype("float64") * (1 / 255)
        hidden = np.tanh(x @ params)
        error = hidden - batch[1].astype("float64")[:, None]
        params -= 0.1 * (x.T @ (error * (1.0 - hidden * hidden)))
        return params, state, np.sum(np.sum(error * error, axis=1))

    rng = np.random.default_rng(0)
    data = rng.integers(0, 255, (N, n_features), np.uint8), rng.integers(0, 2, N, np.uint8)
    order = rng.integers(0, N, (STEPS, BATCH)).astype(np.int32)
    params = rng.standard_normal((n_features, 5))
    own, losses = params.copy(), np.full(STEPS, np.nan)
    program = passes(trace(step, params, (), [array[:BATCH] for array in data]))
    source = PersistentSource(program, THREADS, blocks)
    memory = [] if source.is_alone else [np.full(-(-source.memory // 8), np.nan), np.zeros(1, np.uint32)]
    shared = source.memory if source.is_alone else 0
    build(source.text)([order, losses, STEPS, *memory, *data, own], source.blocks, THREADS, shared, 0)
    expected = [step(params, (), [array[rows] for array in data])[2] for rows in order]
    np.testing.assert_allclose(losses, expected, rtol=1e-11)
    np.testing.assert_allclose(own, params, rtol=1e-11)


@pytest.mark.subprocess
def test_the_number_of_resident_blocks_changes_no_bit() -> None:
    def results(resident: int) -> list[np.ndarray]:
        network = Network(**CASES["penalties"])
        steps = Steps(network, "adam", "float32", blocks=5, resident=resident, clip_norm=3.0)
        return steps.on_host(mode="shuffled")

    first, *others = map(results, (1, 2, 5))
    for other in others:
        for mine, reference in zip(other, first, strict=True):
            np.testing.assert_array_equal(mine, reference)


@pytest.mark.subprocess
@pytest.mark.slow
@pytest.mark.parametrize("name", ["tiny", "digits", "mnist-small"])
def test_the_kernels_of_the_benchmark(name: str) -> None:
    workload = WORKLOADS[name]
    steps = Steps(workload.network, workload.optimizer, "float32")
    made = make_data(workload)
    steps.data, steps.order = (made.x, made.y), orders(workload, 0, 1)[0][:STEPS].copy()
    program = trace(steps.step, *steps.start(), [array[: workload.batch] for array in steps.data])
    source = persistent_source(program, Limits(232448, 132))
    assert source is not None
    assert source.blocks == {"tiny": 1, "digits": 128, "mnist-small": 128}[name]
    steps.source = source
    steps.check(mode="shuffled")


@pytest.mark.subprocess
@pytest.mark.parametrize(
    ("case", "blocks", "barrier", "count"),
    [
        ("classes", 1, "__syncthreads();", 5),
        ("long rows", 3, "__syncthreads();", 2),
        ("long rows", 3, "meet(arrived, all += BLOCKS);", 5),
    ],
)
def test_a_barrier_that_lacks_is_noticed(case: str, blocks: int, barrier: str, count: int) -> None:
    steps = Steps(Network(**CASES[case]), "momentum", "float64", blocks=blocks, weighted=False)
    head, body = steps.source.text.split("for (int step = 0;")
    phases = re.split(rf"\n +{re.escape(barrier)}\n", body)
    assert len(phases) == count + 1
    for k in range(count):
        joined = [*phases[:k], phases[k] + "\n" + phases[k + 1], *phases[k + 2 :]]
        text = head + "for (int step = 0;" + f"\n        {barrier}\n".join(joined)
        assert not all(steps.agrees(mode=mode, text=text) for mode in ORDERS)


@pytest.mark.subprocess
@pytest.mark.parametrize(("blocks", "count"), [(1, 2), (3, 1)])
def test_a_missing_wait_for_copies_is_noticed(blocks: int, count: int) -> None:
    steps = Steps(Network(**CASES["classes"]), "momentum", "float64", blocks=blocks, weighted=False)
    pieces = steps.source.text.split(" WAIT_ASYNC;")
    assert len(pieces) == count + 1
    for k in range(count):
        without = [*pieces[:k], pieces[k] + pieces[k + 1], *pieces[k + 2 :]]
        assert not steps.agrees(text=" WAIT_ASYNC;".join(without))


@pytest.mark.subprocess
@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("if (threadIdx.x) __syncthreads();", "threads that wait for one another"),
        ("arena[8 * ((BYTES + 7) / 8)] = 0;", "a write behind the shared memory"),
    ],
)
def test_kernels_that_the_host_refuses(line: str, error: str) -> None:
    text = f'extern "C" __global__ void steps(int* x) {{\n#define BYTES 20\nARENA {line}\n}}'
    with pytest.raises(RuntimeError, match=error):
        build(text)([np.zeros(1, np.int32)], 1, 64, 20, 0)


@needs_nvrtc
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@alone_and_together
def test_what_nvidia_compiles(blocks: int, dtype: str, architecture: str) -> None:
    steps = Steps(Network(**CASES["forward scaling"]), "adam", dtype, blocks=blocks, clip_norm=3.0)
    check_kernels(steps.source.text, architecture, dtype=dtype)


@needs_nvrtc
@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "threads_and_blocks"), [("float32", (128, 1)), ("float32", (256, 128)), ("float64", (256, 128))]
)
@pytest.mark.parametrize("case", CASES)
def test_what_nvidia_compiles_of_each_case(case: str, dtype: str, threads_and_blocks: tuple[int, int]) -> None:
    steps = Steps(Network(**CASES[case]), "adam", dtype)
    program = passes(trace(steps.step, *steps.start(), [array[:BATCH] for array in steps.data]))
    check_kernels(PersistentSource(program, *threads_and_blocks).text, "sm_90", dtype=dtype)


def test_the_choice() -> None:
    def choice(layer_sizes: tuple[int, ...], shared_memory: int) -> PersistentSource | None:
        steps = Steps(Network(layer_sizes), "adam", "float32")
        program = trace(steps.step, *steps.start(), [array[:BATCH] for array in steps.data])
        return persistent_source(program, Limits(shared_memory, 132))

    alone, together = choice((7, 20, 4), 49152), choice((7, 20, 4), 4096)
    assert alone is not None
    assert (alone.blocks, alone.memory <= 49152) == (1, True)
    assert together is not None
    assert together.blocks > 1
    assert choice((7, 4096, 4096, 4), 49152) is None
