"""Compiled steps, as calls of NumPy and as Numba's loops, against the steps themselves."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.compiler.training_steps import BACKEND, BATCH, CASES, CLOCKED, N, at_rate, data_of, started
from xpnet.backend.steps import run_steps
from xpnet.errors import XpnetWarning
from xpnet.nn.activations import ACTIVATIONS
from xpnet.nn.network import Network
from xpnet.nn.optimizers import OPTIMIZERS, get_optimizer
from xpnet.nn.step import make_step
from xpnet.training.trainer import Trainer
from xpnet_backends.compiler import numpy_codegen
from xpnet_backends.compiler.ir import Program
from xpnet_backends.compiler.memory_plan import memory_plan
from xpnet_backends.compiler.numpy_codegen import NumpyProgram
from xpnet_backends.compiler.ops import Op, UntraceableError
from xpnet_backends.compiler.program_cache import ProgramCache, on_host
from xpnet_backends.compiler.simplify import simplify
from xpnet_backends.compiler.trace import trace

Make = Callable[[Program, list[np.ndarray]], Any]


def trained(
    run: Callable[..., Any], network: Network, optimizer: str, dtype: str, *, weighted: bool, clocked: bool = False
) -> list[np.ndarray]:
    """Three epochs with a learning rate each, the last batch of each short: the losses, parameters and state."""
    data = data_of(network, dtype, weighted=weighted)
    params, state = started(network, optimizer, dtype)
    rng, results = np.random.default_rng(2), []
    for rate in (0.02, 0.01, 0.005):
        order = rng.permutation(N).astype(np.int32)
        state = at_rate(network, state, rate, dtype, clocked=clocked)
        for rows in (rng.permutation(N).astype(np.int32)[: 2 * BATCH].reshape(2, BATCH),) * 3 + (order[None, -9:],):
            with np.errstate(all="ignore"):
                params, state, losses = run(params, state, data, rows)
            results.append(losses.copy())
    return [*results, params, *state.optimizer.slots, state.optimizer.count, state.key, *state.clock]


def written_out(program: Program, state: list[np.ndarray]) -> Any:
    """The loops as a compiler would be given them, but run as they are: their text is all that can be wrong."""
    numba = pytest.importorskip("xpnet_backends.numba")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numba, "_compile", numba._compile.__wrapped__)  # keeps nothing for other tests
        patch.setattr(numba, "keep_code", lambda dispatcher, _: dispatcher.py_func)
        return numba.NumbaProgram(program, state)


LOOPS = pytest.param("loops", marks=pytest.mark.needs("numba"))


@pytest.fixture(params=["calls", "calls on blocks of 64 bytes", LOOPS])
def make(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Make:
    if request.param == "loops":
        pytest.importorskip("numba")
        return written_out
    if "blocks" in request.param:
        monkeypatch.setattr(numpy_codegen, "_BLOCK", 64)
    return NumpyProgram


def same(
    make: Make,
    network: Network,
    optimizer: str,
    dtype: str,
    *,
    weighted: bool = False,
    n_programs: int = 2,  # one for each shape of the batch
    **options: Any,
) -> None:
    step = make_step(network, get_optimizer(optimizer), BACKEND, **options)
    kind = {"weighted": weighted, "clocked": "rate_factor" in options}
    expected = trained(lambda *arguments: run_steps(BACKEND.xp, step, *arguments), network, optimizer, dtype, **kind)
    made: list[Any] = []

    def note(program: Program, state: list[np.ndarray]) -> Any:
        made.append(make(program, state))
        return made[-1]

    actual = trained(ProgramCache(step, BACKEND.xp, on_host(note)), network, optimizer, dtype, **kind)
    assert len(made) == n_programs
    allowed = {"float64": 1e-11, "float32": 5e-4}[dtype]
    for mine, reference in zip(actual, expected, strict=True):
        assert mine.dtype == reference.dtype
        np.testing.assert_allclose(mine, reference, rtol=allowed, atol=allowed)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_kind_of_network(case: str, weighted: bool, dtype: str, make: Make) -> None:
    same(make, Network(**CASES[case]), "adam", dtype, weighted=weighted)


# RMSprop divides by the root of a square that may be nothing but rounding.
@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        *sorted(set(OPTIMIZERS) - {"rmsprop"}),
        "rmsprop:epsilon=0.01",
        "nesterov:classical=1",
        "adam:epsilon_hat=1e-8",
        "adam:beta_1=0",
    ],
)
def test_every_optimizer(name: str, make: Make) -> None:
    wide = 30 if make is written_out else 300  # what is interpreted is slow
    same(make, Network((7, wide, 200, 5), activation="tanh"), name, "float64", clip_norm=3.0)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation(name: str, make: Make) -> None:
    wide = 30 if make is written_out else 300
    same(make, Network((7, 20, wide, 4), activation=name), "momentum", "float64")


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_rate_for_each_parameter_and_step(optimizer: str, dtype: str, make: Make) -> None:
    same(make, Network(**CASES["forward scaling"]), optimizer, dtype, **CLOCKED)


def test_it_is_traced_once_for_each_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network(**CASES["classes"])
    step = make_step(network, get_optimizer("sgd"), BACKEND)
    calls = []
    run = BACKEND.compile(lambda *arguments: calls.append(1) or step(*arguments), 1000)
    trained(run, network, "sgd", "float32", weighted=False)
    assert len(calls) == 2  # one for each shape of the batch


def test_a_short_run_is_not_worth_it() -> None:
    calls = []
    network = Network(**CASES["classes"])
    step = make_step(network, get_optimizer("sgd"), BACKEND)
    run = BACKEND.compile(lambda *arguments: calls.append(1) or step(*arguments), 10)
    trained(run, network, "sgd", "float32", weighted=False)
    assert len(calls) == 21


def test_a_run_in_parts_is_the_run_bit_for_bit() -> None:
    network = Network(**CASES["dropout and slopes"])
    data, order = data_of(network, "float32", weighted=False), np.arange(N, dtype=np.int32).reshape(9, 10)
    results = []
    for parts in ([order], [order[:1], order[1:5], order[5:]]):
        params, state = started(network, "adam", "float32")
        for part in parts:  # each as by a new process, which compiles anew
            run = BACKEND.compile(make_step(network, get_optimizer("adam"), BACKEND), 1000)
            params, state, _ = run(params.copy(), state, data, part)
        results.append(params)
    np.testing.assert_array_equal(*results)


def test_a_step_that_cannot_be_compiled_is_run_as_it_is_and_said_once() -> None:
    def transform(gradient: np.ndarray) -> np.ndarray:
        return gradient if float(gradient[0]) > 100 else gradient * 0.5

    network, adam = Network(**CASES["classes"]), get_optimizer("adam")
    optimizer = adam._replace(update=lambda xp, g, *others: adam.update(xp, transform(g), *others))
    step = make_step(network, optimizer, BACKEND)
    with pytest.raises(UntraceableError, match="decision"):
        trace(step, *started(network, "adam", "float64"), data_of(network, "float64", weighted=False))
    with pytest.warns(XpnetWarning, match="uncompiled.*received a decision on a value") as seen:
        same(NumpyProgram, network, optimizer, "float64", n_programs=0)
    assert len(seen) == 1


def test_a_step_that_cannot_be_compiled_changes_nothing_until_it_runs() -> None:
    network = Network(**CASES["classes"])
    step = make_step(network, get_optimizer("adam"), BACKEND)

    def late(*arguments: Any) -> Any:
        params, state, loss = step(*arguments)
        return params, state, loss * 2 if loss > 0 else loss  # parameters and moments are updated by then

    def plain(*arguments: Any) -> Any:
        params, state, loss = step(*arguments)
        return params, state, loss * 2

    expected = trained(lambda *a: run_steps(BACKEND.xp, plain, *a), network, "adam", "float64", weighted=False)
    with pytest.warns(XpnetWarning, match="uncompiled"):
        actual = trained(BACKEND.compile(late, 1000), network, "adam", "float64", weighted=False)
    for mine, reference in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(mine, reference)


def test_parameters_and_state_are_updated_in_place() -> None:
    network = Network(**CASES["classes"])
    run = BACKEND.compile(make_step(network, get_optimizer("adam"), BACKEND), 1000)
    params, state = started(network, "adam", "float32")
    order = np.arange(BATCH * 2, dtype=np.int32).reshape(2, BATCH)
    for _ in range(10):
        after, after_state, _ = run(params, state, data_of(network, "float32", weighted=False), order)
        assert after is params
        assert all(a is b for a, b in zip(after_state.optimizer.slots, state.optimizer.slots, strict=True))
        state = after_state


def test_two_runs_by_turns_do_not_meet() -> None:
    network = Network(**CASES["long rows"])
    run = BACKEND.compile(make_step(network, get_optimizer("adam"), BACKEND), 1000)
    data = data_of(network, "float64", weighted=False)
    order = np.arange(20 * 4, dtype=np.int32).reshape(20, 4)
    alone, _, _ = BACKEND.compile(make_step(network, get_optimizer("adam"), BACKEND), 1000)(
        *started(network, "adam", "float64"), data, order
    )
    runs = [started(network, "adam", "float64") for _ in range(2)]
    for part in (order[:10], order[10:]):
        runs = [run(*each, data, part)[:2] for each in runs]
    for params, _ in runs:
        np.testing.assert_allclose(params, alone, rtol=1e-12)


def test_fits_in_threads_do_not_meet() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((200, 7)), rng.integers(0, 4, 200)
    network, results = Network((7, 30, 4)), {}

    def fit(seed: int) -> None:
        trainer = Trainer(network, batch_size=10, epochs=20, seed=seed % 2, dtype="float64")
        results[seed] = trainer.fit(x, y).params.vector

    threads = [threading.Thread(target=fit, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(results[0], results[2])
    np.testing.assert_array_equal(results[1], results[3])


def planned(network: Network) -> Program:
    step = make_step(network, get_optimizer("sgd"), BACKEND)
    batch = [array[:BATCH] for array in data_of(network, "float32", weighted=False)]
    return memory_plan(simplify(trace(step, *started(network, "sgd", "float32"), batch)))


def test_what_is_not_read_again_is_written_over() -> None:
    """An ordinary step holds no more large arrays than the textbook's: one a layer each way."""
    program = planned(Network((7, 300, 300, 4), activation="sigmoid"))
    large = {each.out.buffer for each in program.instructions if each.out.buffer.shape == (BATCH, 300)}
    # The output of each hidden layer, the gradient with respect to it, and 1 - a.
    assert len(large) <= 6
    assert not any(each.op is Op.CONCAT for each in program.instructions)


def test_a_product_takes_the_place_of_an_earlier_one_that_is_not_read_again() -> None:
    products = [each for each in planned(Network((7, 300, 300, 300, 4))).instructions if each.op is Op.MATMUL]
    assert len([each for each in products if each.out.shape == (BATCH, 300)]) == 6
    # Three outputs and, going back, the gradient with respect to one; and three gradients of weights.
    assert len({(each.out.buffer, each.out.offset) for each in products if each.out.shape[1:] == (300,)}) == 4 + 3
    for each in products:  # NumPy would copy first
        assert not any(each.out.overlaps(value) for value in each.reads)


def test_a_product_that_lies_in_a_whole_is_kept() -> None:
    """A concatenation is computed in its place, so the whole is read long after its pieces were."""
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal((6, 6)) for _ in range(2))

    def step(params: Any, state: Any, batch: tuple[Any, ...]) -> Any:
        x, y = batch
        first, second = x @ y, x @ x
        whole = BACKEND.xp.concat([BACKEND.xp.reshape(first, (-1,)), BACKEND.xp.reshape(second, (-1,))])
        third = y @ x
        params -= whole * BACKEND.xp.sum(third)
        return params, state, BACKEND.xp.sum(third)

    params = np.zeros(72)
    expected, _, loss = step(params.copy(), (), (x, y))
    program = NumpyProgram(trace(step, params, (), (x, y)), [params])
    assert not params.any()  # tracing computes nothing
    losses = program.run((x, y), np.arange(6)[None, :])
    np.testing.assert_allclose(params, expected, rtol=1e-12)
    assert losses == pytest.approx(loss)


def test_a_trace_leaves_nothing_behind() -> None:
    network = Network(**CASES["long rows"])
    step = make_step(network, get_optimizer("adam"), BACKEND)
    gc.collect()
    gc.disable()
    try:
        data = data_of(network, "float32", weighted=True)
        program = trace(step, *started(network, "adam", "float32"), data)
        outs = [weakref.ref(each.out.buffer) for each in program.instructions]
        del program
        assert not [ref for ref in outs if ref() is not None]
    finally:
        gc.enable()


def test_an_extreme_over_rows_is_none_of_their_sums() -> None:
    def step(params: Any, state: Any, batch: tuple[Any, ...]) -> Any:
        (x,) = batch
        highest = BACKEND.xp.max(x, axis=0)
        params += highest
        return params, state, BACKEND.xp.sum(highest)

    params, x = np.zeros(3), np.arange(12.0).reshape(4, 3)
    program = NumpyProgram(trace(step, params, (), (x,)), [params])
    program.run((x,), np.arange(4)[None, :])
    np.testing.assert_array_equal(params, [9, 10, 11])


def test_what_is_seen_in_part_is_not_written_over() -> None:
    def step(params: Any, state: Any, batch: tuple[Any, ...]) -> Any:
        (x,) = batch
        z = x * 2.0
        y = z - z[:, :1]
        params += BACKEND.xp.sum(y)
        return params, state, BACKEND.xp.sum(y)

    first, second, *_ = memory_plan(trace(step, np.zeros(()), (), (np.ones((4, 3)),))).instructions
    assert first.out.buffer is not second.out.buffer
