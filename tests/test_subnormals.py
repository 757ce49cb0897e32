"""Subnormal numbers: flushed to zero where xpnet computes, and as the user has it everywhere else."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import functools
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xpnet
from tests.command_line import train
from tests.command_line import xpnet as command
from xpnet import subnormals
from xpnet.backend import Backend, flushes_subnormals, get_backend, to_host
from xpnet.data.streams.iterables import IterableSource
from xpnet.data.streams.source import Source
from xpnet.estimators import MLPClassifier, MLPRegressor
from xpnet.estimators.tabular import TabularClassifier
from xpnet.subnormals import FlushSubnormals, UserState, can_flush, in_user_state
from xpnet_backends.numpy import NumpyBackend

HALF, LEAST = np.float64(0.5), np.finfo(np.float64).tiny

flushing = pytest.mark.skipif(not can_flush(), reason="this system has no call that flushes subnormals")
# A thread's state before xpnet runs: what the user has.
users = pytest.mark.parametrize("user", [False, True], ids=["kept", "flushed"])


def flushed() -> bool:
    """Whether this thread flushes results; and operands, or neither."""
    result = float(LEAST) * float(HALF) == 0
    assert (SUBNORMAL * np.float32(1) == 0).all() == result
    return result


SUBNORMAL = np.asarray([1e-40], np.float32)


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Hold every test to leave the state as it was."""
    assert not flushed()
    yield
    assert subnormals._thread.user is None
    assert not flushed()


@pytest.fixture
def state(user: bool) -> Iterator[bool]:
    """The state that the user has in this thread."""
    if not user:
        yield user
        return
    control = subnormals._control()
    assert control is not None
    control.swap(control.flush)
    try:
        yield user
        assert flushed()
    finally:
        control.swap(0)


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A system without a call for it."""
    monkeypatch.setattr(subnormals.platform, "machine", lambda: "sparc64")
    clear()
    assert not can_flush()  # found once; code that asks for the system later gets the right answer
    monkeypatch.undo()
    yield
    clear()


def clear() -> None:
    subnormals._control.cache_clear()
    flushes_subnormals.cache_clear()


# The contexts.


@flushing
def test_subnormals_are_flushed_inside_and_kept_outside() -> None:
    with FlushSubnormals():
        assert flushed()
    assert not flushed()


@flushing
@users
def test_an_exception_restores_the_state(state: bool) -> None:
    with contextlib.suppress(ZeroDivisionError), FlushSubnormals():
        with contextlib.suppress(KeyError), UserState():
            assert flushed() == state
            raise KeyError
        assert flushed()
        raise ZeroDivisionError
    assert flushed() == state


@flushing
@users
def test_contexts_nest(state: bool) -> None:
    with FlushSubnormals():
        with FlushSubnormals():
            assert flushed()
        assert flushed()
        with UserState():
            assert flushed() == state
            with UserState():
                assert flushed() == state
            with FlushSubnormals():  # code of the user that uses xpnet
                assert flushed()
                with UserState():
                    assert flushed() == state
                assert flushed()
            assert flushed() == state
        assert flushed()
    assert flushed() == state


@users
def test_outside_the_user_state_changes_nothing(state: bool) -> None:
    with UserState():
        assert flushed() == state
    assert flushed() == state


@flushing
def test_a_state_that_the_user_sets_meanwhile_stays() -> None:
    control = subnormals._control()
    assert control is not None
    with FlushSubnormals():
        with UserState():
            control.swap(control.flush)
        with UserState():
            assert flushed()
    assert flushed()
    control.swap(0)


@flushing
def test_other_threads_are_not_changed() -> None:
    enter, leave, seen = threading.Event(), threading.Event(), []

    def other() -> None:
        enter.wait()
        seen.append(flushed())
        with FlushSubnormals():
            seen.append(flushed())
            leave.wait()
        seen.append(flushed())

    thread = threading.Thread(target=other)
    thread.start()
    with FlushSubnormals():
        enter.set()
        while len(seen) < 2:
            pass
    assert not flushed()
    with FlushSubnormals():
        leave.set()
        thread.join()
        assert flushed()
    assert seen == [False, True, False]


@flushing
def test_a_generator_that_ends_in_another_thread_changes_no_state() -> None:
    def numbers() -> Iterator[bool]:
        with FlushSubnormals():
            yield flushed()

    generator = numbers()
    assert next(generator)
    seen = []

    def end() -> None:
        control = subnormals._control()
        assert control is not None
        control.swap(0)  # on Linux the thread starts with the state of its parent
        with FlushSubnormals():
            generator.close()
            seen.append(flushed())
        seen.append(flushed())

    thread = threading.Thread(target=end)
    thread.start()
    thread.join()
    assert seen == [True, False]
    assert flushed()  # as this thread is still in the context
    subnormals._thread.user = None
    subnormals._control().swap(0)


@flushing
def test_a_function_of_the_user_keeps_its_result_and_its_name() -> None:
    @in_user_state
    def asked(a: int, *, b: int) -> tuple[int, bool]:
        return a + b, flushed()

    with FlushSubnormals():
        assert asked(1, b=2) == (3, False)
    assert asked.__name__ == "asked"
    assert in_user_state(functools.partial(int, "3"))() == 3


# Other systems.


class Register:
    """A C library whose register is a variable, amid other words that it keeps."""

    def __init__(self, word: int, value: int) -> None:
        self.words = np.arange(100, 116, dtype=np.uint32)
        self.words[word] = value

    def fegetenv(self, environment: Any) -> None:
        environment._obj[:] = self.words.tolist()

    def fesetenv(self, environment: Any) -> None:
        self.words[:] = environment._obj


@pytest.mark.parametrize("system", subnormals._LAYOUTS)
def test_only_the_bits_of_the_layout_change(system: tuple[str, str]) -> None:
    layout = subnormals._LAYOUTS[system]
    others = 0x1F80 if layout.flush == 0x8040 else 0x0040_0000  # masks of exceptions, a rounding mode
    library = Register(layout.word, others)
    before = library.words.copy()
    swap = subnormals._fenv_swap(library, layout)
    assert swap(layout.flush) == 0
    assert library.words[layout.word] == others | layout.flush
    assert swap(0) == layout.flush
    assert (library.words == before).all()


@pytest.mark.parametrize(
    ("system", "fields", "register", "flush"),
    [
        # From <fenv.h> of glibc and musl, and of macOS; the bits are those of the processors' manuals.
        ([("linux", "x86_64")], [("x87", ctypes.c_uint32 * 7), ("mxcsr", ctypes.c_uint32)], "mxcsr", 1 << 15 | 1 << 6),
        ([("linux", "aarch64")], [("fpcr", ctypes.c_uint32), ("fpsr", ctypes.c_uint32)], "fpcr", 1 << 24),
        (
            [("darwin", "x86_64")],
            [("control", ctypes.c_uint16), ("status", ctypes.c_uint16), ("mxcsr", ctypes.c_uint32)],
            "mxcsr",
            1 << 15 | 1 << 6,
        ),
        ([("darwin", "arm64")], [("fpsr", ctypes.c_uint64), ("fpcr", ctypes.c_uint64)], "fpcr", 1 << 24),
    ],
)
def test_the_layouts(system: list[tuple[str, str]], fields: list[Any], register: str, flush: int) -> None:
    environment = type("fenv_t", (ctypes.Structure,), {"_fields_": fields})
    assert ctypes.sizeof(environment) <= ctypes.sizeof(subnormals._thread.environment)
    for each in system:
        assert subnormals._LAYOUTS[each] == (getattr(environment, register).offset // 4, flush)


def test_windows() -> None:
    word = 0x0009_001F

    class Library:
        @staticmethod
        def _controlfp_s(current: Any, new: int, mask: int) -> int:
            nonlocal word
            word = word & ~mask | new & mask
            current._obj.value = word
            return 0

    swap = subnormals._windows_swap(Library)
    assert swap(subnormals._WINDOWS_FLUSH) == 0
    assert word == 0x0109_001F
    assert swap(0) == subnormals._WINDOWS_FLUSH
    assert word == 0x0009_001F


@pytest.mark.parametrize("broken", [lambda bits: 0, lambda bits: bits])
def test_a_call_that_does_nothing_is_not_used(monkeypatch: pytest.MonkeyPatch, broken: Callable[[int], int]) -> None:
    monkeypatch.setattr(subnormals, "_find", lambda system, machine: subnormals._Control(broken, 1))
    clear()
    assert not can_flush()
    monkeypatch.undo()
    clear()


@flushing
@users
def test_the_first_use_restores_the_state(state: bool) -> None:
    clear()
    assert can_flush()
    assert flushed() == state


@pytest.mark.parametrize("error", [OSError, AttributeError])
def test_a_system_without_the_library_or_the_function(monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    def fail(name: str | None) -> Any:
        raise error

    monkeypatch.setattr(subnormals, "_open", fail)
    for system in ("win32", sys.platform):
        monkeypatch.setattr(subnormals.sys, "platform", system)
        clear()
        assert not can_flush()
    monkeypatch.undo()
    clear()


@pytest.mark.usefixtures("nowhere")
def test_elsewhere_nothing_happens() -> None:
    with FlushSubnormals():
        assert not flushed()
        with UserState():
            assert not flushed()
    assert in_user_state(lambda: 3)() == 3
    x, y = DATA
    run = xpnet.Trainer(NETWORK, epochs=2).fit(x, y)
    assert not run.state.flushes_subnormals
    code, out, _ = command("devices")
    assert code == 0
    assert "numpy:cpu      yes      kept" in out


# NumPy's limits.


@pytest.mark.subprocess
def test_the_limits_of_numpy_are_right_in_a_new_process() -> None:
    """Also those that are first asked for inside, and in a thread."""
    code = """
import threading
from xpnet.subnormals import FlushSubnormals
import numpy as np

def ask():
    for dtype in (np.float16, np.float32, np.float64, np.longdouble, np.complex64, "f4", "c16"):
        info = np.finfo(dtype)
        assert info.smallest_subnormal.tobytes().strip(b"\\0"), dtype
        assert info.tiny.tobytes().strip(b"\\0"), dtype
        str(info), repr(info)

with FlushSubnormals():
    ask()
    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    import scipy.optimize, scipy.stats, sklearn.linear_model, sklearn.metrics
    sklearn.linear_model.LogisticRegression().fit(np.eye(4), [0, 1, 0, 1])
ask()
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_the_limits_exist_before_subnormals_are_flushed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Older versions of NumPy find them by computing."""
    asked: list[Any] = []

    def finfo(dtype: Any) -> Any:
        assert not flushed()
        asked.append(dtype)
        return real(dtype)

    real = np.finfo
    monkeypatch.setattr(subnormals.np, "finfo", finfo)
    clear()
    with FlushSubnormals():
        assert not can_flush() or {np.float32, np.float64, np.longdouble, np.complex64} <= set(asked)
    clear()


# Training. Some inputs are zero but in a few samples, so that their velocities and moments decay.

RNG = np.random.default_rng(0)
DATA = RNG.random((64, 8)), RNG.integers(0, 2, 64)
NETWORK = xpnet.Network([8, 4, 2])
CPU = ["numpy:cpu", "strict:cpu", "torch:cpu", "numba:cpu", "jax:cpu"]


def backend_or_skip(device: str) -> Any:
    try:
        return get_backend(device)
    except xpnet.XpnetError as exc:
        pytest.skip(str(exc))


def subnormal_count(arrays: Any) -> int:
    """The number of subnormal elements, counted by their bits."""
    values = np.concatenate([np.asarray(array, np.float32).reshape(-1) for array in arrays]).view(np.uint32)
    return int(((values << 1 != 0) & (values & 0x7F80_0000 == 0)).sum())


def decayed(device: str, optimizer: str) -> xpnet.Run:
    """Train for 1,300 steps on data whose first inputs are not zero in the first step alone."""
    x, y = RNG_FREE.copy(), DATA[1]
    x[8:, :4] = 0
    trainer = xpnet.Trainer(
        NETWORK, optimizer=optimizer, learning_rate=1e-3, batch_size=8, epochs=163, shuffle=first_once, device=device
    )
    return trainer.fit(x, y)


RNG_FREE = np.random.default_rng(1).random((64, 8)).astype(np.float32)


def first_once(epoch: int, n_samples: int) -> np.ndarray:
    """The samples in their order in the first epoch; later those of the first batch are left out."""
    order = np.arange(n_samples)
    return order if epoch == 0 else np.where(order < 8, order + 8, order)


OPTIMIZERS = ["momentum", "nesterov", "adam:beta_2=0.9", "rmsprop:rho=0.8"]


@flushing
@pytest.mark.parametrize("device", ["numpy:cpu", "numba:cpu", "torch:cpu"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_leaves_no_subnormals_in_the_state(device: str, optimizer: str) -> None:
    backend_or_skip(device)
    run = decayed(device, optimizer)
    assert subnormal_count([run.params.vector, *run.state.step.optimizer.slots]) == 0
    assert run.state.flushes_subnormals


@flushing
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_without_the_call_the_result_is_the_same_to_rounding(request: pytest.FixtureRequest, optimizer: str) -> None:
    with_call = decayed("numpy:cpu", optimizer)
    request.getfixturevalue("nowhere")
    without = decayed("numpy:cpu", optimizer)
    assert subnormal_count(without.state.step.optimizer.slots) > 0
    np.testing.assert_allclose(to_host(with_call.params.vector), to_host(without.params.vector), rtol=1e-6)
    assert [each.loss for each in with_call.history] == pytest.approx([each.loss for each in without.history])


@pytest.mark.parametrize("device", CPU)
def test_a_backend_knows_whether_it_flushes(device: str) -> None:
    backend = backend_or_skip(device)
    xla = device.startswith("jax")  # it flushes without the call
    assert flushes_subnormals(backend) == (can_flush() or xla)


@pytest.mark.parametrize("device", CPU)
def test_a_scope_restores_the_state(device: str) -> None:
    backend = backend_or_skip(device)
    with contextlib.suppress(ZeroDivisionError), backend.scope("float32"):
        assert flushed() == (can_flush() and not device.startswith("jax"))
        raise ZeroDivisionError
    assert not flushed()


def test_jax_computes_the_same_in_the_context() -> None:
    backend_or_skip("jax:cpu")
    x, y = DATA
    trainer = xpnet.Trainer(NETWORK, epochs=3, device="jax:cpu")
    outside = trainer.fit(x, y)
    with FlushSubnormals():
        inside = trainer.fit(x, y)
    assert np.asarray(outside.params.vector).tobytes() == np.asarray(inside.params.vector).tobytes()


# Code of the user.


class Asking(xpnet.Callback):
    """Note in each hook what the state is."""

    def __init__(self) -> None:
        self.seen: dict[str, bool] = {}

    def on_start(self, n_steps: int, epochs: int) -> None:
        self.seen["on_start"] = flushed()

    def learning_rate(self, epoch: int, rate: float) -> float:
        self.seen["learning_rate"] = flushed()
        return rate

    def on_steps(self, epoch: int, done: int) -> None:
        self.seen["on_steps"] = flushed()

    def on_epoch(self, record: Any, run: Any) -> None:
        self.seen["on_epoch"] = flushed()

    def on_state(self, run: Any) -> None:
        self.seen["on_state"] = flushed()

    def on_end(self) -> None:
        self.seen["on_end"] = flushed()


HOOKS = {"on_start", "learning_rate", "on_steps", "on_epoch", "on_state", "on_end"}


@flushing
@users
@pytest.mark.parametrize("device", ["numpy:cpu", "torch:cpu"])
def test_functions_of_the_user_have_the_state_of_the_user(state: bool, device: str) -> None:
    backend_or_skip(device)
    asking, seen = Asking(), {}

    def shuffle(epoch: int, n_samples: int) -> np.ndarray:
        seen["shuffle"] = flushed()
        return np.arange(n_samples)

    def validate(params: Any) -> dict[str, float]:
        seen["validation"] = flushed()
        return {"score": 1.0}

    x, y = DATA
    trainer = xpnet.Trainer(NETWORK, epochs=2, shuffle=shuffle, callbacks=[asking], device=device)
    trainer.fit(x, y, validation=validate)
    assert asking.seen == dict.fromkeys(HOOKS, state)
    assert seen == {"shuffle": state, "validation": state}


@flushing
def test_a_callback_that_raises_leaves_the_state() -> None:
    class Failing(xpnet.Callback):
        def on_epoch(self, record: Any, run: Any) -> None:
            raise ZeroDivisionError

    x, y = DATA
    with pytest.raises(ZeroDivisionError):
        xpnet.Trainer(NETWORK, callbacks=[Failing()]).fit(x, y)


@flushing
def test_a_run_within_a_callback() -> None:
    inner = []

    class Inner(xpnet.Callback):
        def on_epoch(self, record: Any, run: Any) -> None:
            asking = Asking()
            xpnet.Trainer(NETWORK, epochs=1, callbacks=[asking]).fit(*DATA)
            inner.extend([flushed(), *asking.seen.values()])

        def on_steps(self, epoch: int, done: int) -> None:
            inner.append(flushed())

    xpnet.Trainer(NETWORK, epochs=2, callbacks=[Inner()]).fit(*DATA)
    assert inner == [False] * len(inner)


@flushing
@users
@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_iterables_and_sources_of_the_user(state: bool, class_weight: str | None) -> None:
    x, y = DATA
    seen: set[bool] = set()

    def blocks() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in (0, 32):
            seen.add(flushed())
            yield x[start : start + 32], y[start : start + 32]
            seen.add(flushed())

    class Own(Source):
        sizes, n_features, row_bytes = np.asarray([32, 32]), 8, 64

        def read(self, block: int, epoch: int = 0, start: int = 0, stop: int | None = None) -> Any:
            seen.add(flushed())
            rows = slice(32 * block, 32 * block + 32)
            return x[rows][start:stop], y[rows][start:stop]

        def where(self, block: int) -> str:
            return f"block {block}"

    trainer = xpnet.Trainer(NETWORK, epochs=3, class_weight=class_weight)
    # On Linux a thread starts with the state of its parent, elsewhere with the default.
    expected = {state} if sys.platform == "linux" else {state, False}
    for source in (IterableSource(blocks), Own()):
        seen.clear()
        trainer.fit(source, validation=source)
        assert {state} <= expected >= seen
        assert seen
    model = xpnet.Model(NETWORK, trainer.fit(*DATA).params.vector, "classification")
    seen.clear()
    model.evaluate(Own())
    assert seen <= expected


@flushing
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_estimators() -> None:
    x, y = DATA
    seen: dict[str, bool] = {}

    def scorer(estimator: Any, x: Any, y: Any) -> float:
        seen["scorer"] = flushed()
        return 1.0

    for solver in ("adam", "lbfgs"):
        asking = Asking()
        MLPClassifier((4,), solver=solver, max_iter=3, callbacks=[asking]).fit(x, y)
        assert asking.seen == dict.fromkeys(HOOKS, False), solver
    MLPRegressor(hidden_layer_sizes=(4,), max_iter=3, scoring=scorer, early_stopping=True).fit(x, x[:, 0])
    assert seen == {"scorer": False}


@pytest.fixture
def products(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Note at each product whether subnormals are flushed. Nothing is compiled, so each product is a call."""
    seen: list[bool] = []

    def matmul(a: np.ndarray, b: np.ndarray, /) -> np.ndarray:
        seen.append(flushed())
        return np.matmul(a, b)

    monkeypatch.setattr(NumpyBackend.xp, "matmul", matmul)
    monkeypatch.setattr(NumpyBackend, "compile", Backend.compile)
    monkeypatch.setattr(NumpyBackend, "jit", lambda self, function, **options: function, raising=False)
    return seen


@flushing
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_all_products_of_a_fit_and_of_a_prediction_flush(products: list[bool]) -> None:
    def check() -> None:
        assert set(products) == {True}
        products.clear()

    # A network of its own: compiled functions of others are kept.
    x, y = DATA
    network = xpnet.Network([8, 5, 3, 2])
    trainer = xpnet.Trainer(network, epochs=2)
    trainer.fit(x, y, validation=(x, y))
    check()
    run = trainer.fit(IterableSource([(x, y)]), validation=IterableSource([(x, y)]))
    check()
    model = xpnet.Model(network, to_host(run.params.vector), "classification")
    for use in (model.predict, model.outputs):
        use(x)
        check()
    for data in ((x, y), (IterableSource([(x, y)]),)):
        model.evaluate(*data)
        check()
    for solver in ("sgd", "adam", "lbfgs"):
        stopping = solver != "lbfgs"
        classifier = MLPClassifier((5, 3), solver=solver, max_iter=2, early_stopping=stopping).fit(x, y)
        check()
        classifier.predict_proba(x)
        check()
        if stopping:
            classifier.set_params(early_stopping=False).partial_fit(x, y)
            check()
    table = TabularClassifier(max_iter=2, n_ensemble=1).fit(x, y)
    check()
    table.predict(x)
    check()


@flushing
@pytest.mark.usefixtures("folder")
def test_the_command_line_computes_with_subnormals_flushed(products: list[bool]) -> None:
    train("--checkpoint-every", 1, "--out", "run", "--hidden", "5,3")
    assert set(products) == {True}
    assert xpnet.load_state(sorted(Path("run/checkpoints").iterdir())[-1])[1].flushes_subnormals
    for arguments in (("predict", "run/model.safetensors", "iris"), ("evaluate", "run/model.safetensors", "iris")):
        products.clear()
        assert command(*arguments).code == 0
        assert set(products) == {True}


def test_hooks_that_no_callback_overrides_are_not_called(monkeypatch: pytest.MonkeyPatch) -> None:
    from xpnet.training import callback_list

    class Counted(UserState):
        entered = 0

        def __enter__(self) -> None:
            Counted.entered += 1
            super().__enter__()

    monkeypatch.setattr(callback_list, "UserState", Counted)
    run: Any = xpnet.Trainer(NETWORK, epochs=1).fit(*DATA)
    Counted.entered = 0
    with callback_list.CallbackList([xpnet.Callback()]) as callbacks:
        callbacks.on_start(1, 1)
        assert Counted.entered == 1
        callbacks.learning_rate(1, 0.1)
        callbacks.on_steps(run)
        callbacks.on_epoch(run.history[0], run)
    assert Counted.entered == 1


# Worker threads that other libraries start inside and keep.


@flushing
def test_pytorchs_worker_threads_keep_the_state_of_the_user() -> None:
    torch = pytest.importorskip("torch")
    backend = get_backend("torch:cpu")
    before, seen = torch.get_num_threads(), []
    torch.set_num_threads(2)

    def work() -> None:  # in a new thread, for which PyTorch has no workers yet
        x = torch.from_numpy(np.full(1 << 20, 1e-40, np.float32))
        with backend.scope("float32"):
            x * 1.0
        seen.append(subnormal_count([(x * 1.0).numpy()]))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    torch.set_num_threads(before)
    assert seen == [1 << 20]


@flushing
@pytest.mark.subprocess
def test_the_worker_threads_of_blas_keep_the_state_of_the_user() -> None:
    pytest.importorskip("numba")
    code = """
import numpy as np, sys
import xpnet
x = np.random.default_rng(0).random((64, 8), np.float32)
xpnet.Trainer(xpnet.Network([8, 4, 2]), epochs=2, device="numba:cpu").fit(x, np.arange(64) % 2)
from scipy.linalg.blas import sgemm
a = np.full((512, 512), 1e-40, np.float32, order="F")
for product in (sgemm(1.0, a, np.eye(512, dtype=np.float32)), a @ np.eye(512, dtype=np.float32)):
    assert (product.view(np.uint32) != 0).all()
"""
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "OPENBLAS_NUM_THREADS": "2"})


# The record of a run.


def test_a_checkpoint_says_whether_subnormals_were_flushed(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    folder = tmp_path / "checkpoints"
    trainer = xpnet.Trainer(NETWORK, epochs=2, callbacks=[xpnet.Checkpoint(folder)], optimizer="momentum")
    run = trainer.fit(*DATA)
    assert run.state.flushes_subnormals == can_flush()
    [*_, newest] = sorted(folder.iterdir())
    assert xpnet.load_state(newest)[1].flushes_subnormals == can_flush()
    xpnet.save_state(tmp_path / "by_hand.safetensors", NETWORK, run.state)  # outside the run
    assert xpnet.load_state(tmp_path / "by_hand.safetensors")[1].flushes_subnormals == can_flush()
    whole = dataclasses.replace(trainer, epochs=4, callbacks=()).fit(*DATA)
    # On a system without the call the run goes on, and says so.
    request.getfixturevalue("nowhere")
    resumed = dataclasses.replace(trainer, epochs=4).resume(folder, *DATA)
    assert not resumed.state.flushes_subnormals
    np.testing.assert_allclose(to_host(resumed.params.vector), to_host(whole.params.vector), rtol=1e-5)
