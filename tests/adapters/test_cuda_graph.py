"""Compiled steps on CuPy, compared with the same steps on NumPy; without a GPU on the double (``--cuda-double``)."""

from __future__ import annotations

import sys
import threading
import warnings
from typing import Any

import numpy as np
import pytest

from tests import cuda_double
from tests.compiler.training_steps import BACKEND, BATCH, CASES, N, at_rate, data_of, started
from tests.host_compiler import COMPILER
from xpnet.backend import arrays_in, get_backend, map_arrays
from xpnet.backend.steps import run_steps
from xpnet.errors import XpnetWarning
from xpnet.nn.network import Network
from xpnet.nn.optimizers import OPTIMIZERS, get_optimizer
from xpnet.nn.step import make_step
from xpnet_backends.compiler import cuda_persistent

on_gpu = pytest.mark.parametrize("device", ["cupy:gpu"], indirect=True)
on_double = pytest.mark.skipif(COMPILER is None, reason="no g++ to compile kernels for the host")
MANY = 10**6  # steps of a run for which compiling pays


class Steps:
    """The same run of steps on a backend and on NumPy."""

    def __init__(self, backend: Any, case: str, optimizer: str, dtype: str, **options: Any) -> None:
        network = Network(**CASES[case])
        self.backend, self.dtype, self.rng = backend, dtype, np.random.default_rng(2)
        self.host_data = data_of(network, dtype, weighted=True)
        self.data = tuple(map(backend.asarray, self.host_data))
        params, state = started(network, optimizer, dtype)
        self.host = params, at_rate(network, state, 0.02, dtype)
        self.own = map_arrays(lambda array: backend.asarray(array.copy()), self.host)
        self.step = make_step(network, get_optimizer(optimizer), BACKEND, **options)
        own_step = make_step(network, get_optimizer(optimizer), backend, **options)
        self.compiled = backend.compile(own_step, MANY)

    def check(self, n_steps: int, batch: int = BATCH) -> None:
        """Go on for some steps on both."""
        order = self.rng.integers(0, N, (n_steps, batch)).astype(np.int32)
        with np.errstate(all="ignore"):
            *host, losses = run_steps(BACKEND.xp, self.step, *self.host, self.host_data, order)
        with self.backend.scope(self.dtype):
            *own, own_losses = self.compiled(*self.own, self.data, self.backend.asarray(order))
        self.host, self.own = tuple(host), tuple(own)
        allowed = {"float64": 1e-9, "float32": 2e-3}[self.dtype]
        pairs = zip(arrays_in((self.own, own_losses)), arrays_in((self.host, losses)), strict=True)
        for mine, reference in pairs:
            np.testing.assert_allclose(self.backend.to_numpy(mine), reference, rtol=allowed, atol=allowed)


@pytest.fixture(params=["PersistentKernel", "CudaGraph"])
def program(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Compile steps in one of the two ways, whichever is expected to be faster."""
    if request.param == "CudaGraph":
        without_kernel(monkeypatch)
    monkeypatch.setattr(cuda_persistent, "_GAIN", 0)
    return str(request.param)


@on_gpu
@pytest.mark.parametrize("case", CASES)
def test_every_case(case: str, backend: Any, dtype: str, program: str) -> None:
    steps = Steps(backend, case, "momentum", dtype)
    steps.check(19)  # a graph of many steps, and some alone
    steps.check(3)
    assert {type(each).__name__ for each in steps.compiled._programs.values()} == {program}


@on_gpu
def test_a_short_last_batch(backend: Any, dtype: str, program: str) -> None:
    steps = Steps(backend, "classes", "adam", dtype)
    for batch in (BATCH, 5, BATCH):
        steps.check(2, batch)


@on_gpu
@pytest.mark.parametrize(
    "name", [*sorted(set(OPTIMIZERS) - {"rmsprop"}), "rmsprop:epsilon=0.01", "adam:beta_1=0,epsilon=0.01"]
)
def test_every_optimizer(name: str, backend: Any, dtype: str) -> None:
    steps = Steps(backend, "long rows", name, dtype, clip_norm=3.0)
    steps.check(20)


@on_gpu
@pytest.mark.parametrize("dtype", ["float32"], indirect=True)
@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_a_rounded_step_is_not_refused(precision: str, device: str, backend: Any) -> None:
    rounded = get_backend(f"{device}@{precision}")
    for optimizer in ("adam", "sgd", "rmsprop"):
        run = Steps(rounded, "long rows", optimizer, "float32")
        order = rounded.asarray(np.arange(BATCH, dtype=np.int32).reshape(1, BATCH))
        with rounded.scope("float32"), warnings.catch_warnings():
            warnings.simplefilter("error", XpnetWarning)  # a step that is refused warns
            run.compiled(*run.own, run.data, order)
    assert backend.precision == "float32"


# What only the double can show.


@pytest.fixture
def gpu() -> Any:
    if COMPILER is None:
        pytest.skip("no g++ to compile kernels for the host")
    with cuda_double.installed() as state:
        yield state


def graphs() -> Any:
    return sys.modules["xpnet_backends.cuda.graph"]


def without_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let graphs do what one kernel would do."""
    monkeypatch.setattr(graphs(), "persistent", lambda program, state: None)


@pytest.fixture
def only_graphs(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    get_backend("gpu")
    without_kernel(monkeypatch)


def test_a_run_waits_for_nothing(gpu: Any) -> None:
    steps = Steps(get_backend("gpu"), "penalties", "adam", "float32")
    steps.check(3)
    order = steps.backend.asarray(np.zeros((40, BATCH), np.int32))
    before = gpu.waits
    steps.own = steps.compiled(*steps.own, steps.data, order)[:2]
    assert gpu.waits == before


class Wrong:
    """Sources whose kernels compute something else."""

    def __init__(self, make: Any, right: str = "exp(", wrong: str = "0.9f * exp(") -> None:
        self.make, self.right, self.wrong = make, right, wrong

    def __call__(self, *args: Any) -> Any:
        made = self.make(*args)
        made.text = made.text.replace(self.right, self.wrong)
        return made


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_a_step_that_diverges_is_not_refused(value: float, gpu: Any) -> None:
    steps = Steps(get_backend("gpu"), "penalties", "adam", "float32")
    x = steps.host_data[0].copy()
    x[:3] = value
    data = steps.backend.asarray(x), *steps.data[1:]
    order = steps.backend.asarray(np.arange(BATCH, dtype=np.int32).reshape(1, BATCH))
    with warnings.catch_warnings():
        warnings.simplefilter("error", XpnetWarning)  # a step that is refused warns
        steps.compiled(*steps.own, data, order)


def test_a_change_within_rounding_is_not_refused(gpu: Any) -> None:
    get_backend("gpu")
    before, loss = np.full(100, 0.5, np.float32), np.array(1, np.float32)
    after, expected = before.copy(), before.copy()
    after[0] += np.spacing(after[0])
    expected[1] += np.spacing(expected[1])
    check = graphs().Captured("tf32")._check
    check([before, 0 * loss], [after, loss], [expected, loss])
    with pytest.raises(RuntimeError, match="a captured step with an error of"):
        check([before, 0 * loss], [after * 1.01, loss], [expected, loss])


def test_what_wrong_kernels_compute_is_refused(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Steps(get_backend("gpu"), "classes", "adam", "float32")
    module = sys.modules["xpnet_backends.cuda.persistent"]
    monkeypatch.setattr(module, "persistent_source", Wrong(module.persistent_source))
    monkeypatch.setattr(graphs(), "CudaSource", Wrong(graphs().CudaSource))
    with pytest.warns(XpnetWarning) as warned:
        steps.check(20)
    slower = "training is slower than it could be: expected {}; received a captured step with an error of"
    assert [str(each.message).partition(" of ")[0] + " of" for each in warned] == [
        slower.format("one kernel that does whole steps"),
        "training runs uncompiled, and slower: expected a step that can be compiled; received a captured step with an "
        "error of",
    ]


def test_graphs_take_the_place_of_a_wrong_kernel(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Steps(get_backend("gpu"), "classes", "adam", "float32")
    module = sys.modules["xpnet_backends.cuda.persistent"]
    monkeypatch.setattr(module, "persistent_source", Wrong(module.persistent_source))
    with pytest.warns(XpnetWarning, match="expected one kernel that does whole steps; .* Please report this"):
        steps.check(20)
    (program,) = steps.compiled._programs.values()
    assert type(program).__name__ == "CudaGraph"


def test_a_kernel_whose_later_steps_are_wrong(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Steps(get_backend("gpu"), "classes", "adam", "float32")
    module = sys.modules["xpnet_backends.cuda.persistent"]
    wrong = Wrong(module.persistent_source, "(step + 2ll)", "(step + 1ll)")
    monkeypatch.setattr(module, "persistent_source", wrong)
    with pytest.warns(XpnetWarning, match="expected one kernel that does whole steps; received a captured step with"):
        steps.check(20)


@pytest.mark.parametrize("error", [TypeError, ValueError, MemoryError, RuntimeError])
def test_a_step_that_cannot_be_captured(
    error: type[Exception], gpu: Any, only_graphs: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = Steps(get_backend("gpu"), "classes", "adam", "float64")

    def fail(*_: Any, **__: Any) -> None:
        raise error("no such\nargument " + 1000 * "long ")

    monkeypatch.setattr(graphs().CudaGraph, "capture", fail)
    with pytest.warns(XpnetWarning, match=r"runs uncompiled.*; received no such argument (long ){30,60}\.\.\.\.$"):
        steps.check(3)
    steps.check(3)  # on the current stream, which waits for what was begun on the other


def test_an_error_within_a_run(gpu: Any, only_graphs: None, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Steps(get_backend("gpu"), "classes", "adam", "float64")
    steps.check(3)
    monkeypatch.setattr(graphs().CudaGraph, "_steps", lambda self, n: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        steps.check(3)
    for array in arrays_in(steps.own):
        array += 0  # no race: the current stream waits for the other


def test_orders_that_do_not_fit_at_once(gpu: Any, only_graphs: None, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Steps(get_backend("gpu"), "classes", "adam", "float64")
    monkeypatch.setattr(graphs(), "_ORDER_BYTES", 7 * 4 * BATCH)
    steps.check(33)  # of 7 steps at once
    monkeypatch.setattr(graphs(), "_ORDER_BYTES", 4)
    steps.check(3, batch=BATCH + 1)  # no step fits, and one is done all the same


def test_shapes_of_batches_share_a_workspace(gpu: Any, only_graphs: None) -> None:
    steps = Steps(get_backend("gpu"), "classes", "adam", "float64")
    steps.check(3)
    used = gpu.used(0)
    steps.check(3, batch=5)
    assert gpu.used(0) - used < 1 << 20


def test_products_alone_keep_their_memory(gpu: Any) -> None:
    backend = get_backend("gpu")
    factors = backend.asarray(np.ones((3, 4), "f4")), backend.asarray(np.ones((4, 2), "f4"))
    multiply = backend.captured_products([factors])
    del factors
    multiply(2)  # the double finds what is freed


def test_two_gpus_in_two_threads(gpu: Any) -> None:
    results: dict[str, Any] = {}

    def train(device: str) -> None:
        backend = get_backend(device)
        with backend.scope("float64"):  # for the arrays that are made here
            steps = Steps(backend, "dropout and slopes", "adam", "float64")
        for _ in range(3):
            steps.check(19)
        results[device] = [backend.to_numpy(array) for array in arrays_in(steps.own)]

    threads = [threading.Thread(target=train, args=(device,)) for device in ("gpu", "gpu:1")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(results["gpu"], results["gpu:1"], strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_capture_is_alone(gpu: Any) -> None:
    import gc

    get_backend("gpu")
    import xpnet_backends.cuda.graph as module

    with module._alone():
        assert not gc.isenabled()
        assert not module._CAPTURES.acquire(blocking=False)
    assert gc.isenabled()
