"""Calls of functions within a compiled step, as ranks sum their gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from xpnet.backend import get_backend
from xpnet.backend.steps import call_in_place, run_steps
from xpnet_backends.compiler.cuda_codegen import CudaSource, HostCall, passes
from xpnet_backends.compiler.ops import Op, UntraceableError
from xpnet_backends.compiler.trace import trace

X = np.random.default_rng(0).random((20, 3))
ORDER = np.arange(20, dtype=np.int32).reshape(4, 5)
HOST = ["numpy:cpu", pytest.param("numba:cpu", marks=pytest.mark.needs("numba"))]
Call = Callable[[np.ndarray], None]


def step_with(*calls: Call) -> Any:
    """Return a step that calls functions between its gradient and its update, and on its parameters."""

    def step(params: Any, state: Any, batch: Any, xp: Any = np) -> Any:
        (x,) = batch
        gradient = xp.concat([xp.reshape(xp.matmul(x.T, x), (-1,)), xp.sum(x, axis=0)])
        for call in calls:
            call_in_place(call, gradient)
        piece = params[2:6]
        piece -= 0.1 * gradient[2:6]
        call_in_place(calls[0], params)
        return params, state, xp.sum(gradient * gradient)

    return step


def double(array: np.ndarray) -> None:
    array *= 2


def shift(array: np.ndarray) -> None:
    array += np.arange(array.size)


def compiled(device: str, step: Any) -> tuple[np.ndarray, np.ndarray]:
    run = get_backend(device).compile(step, 1000)
    params, _, losses = run(np.ones(12), (), (X,), ORDER)
    assert run._programs, "the step was not compiled"  # type: ignore[attr-defined]
    return params, losses


@pytest.mark.parametrize("device", HOST)
@pytest.mark.parametrize("calls", [(double,), (double, shift), (shift, double)])
def test_functions_are_called_where_the_step_calls_them(device: str, calls: tuple[Call, ...]) -> None:
    step = step_with(*calls)
    params, _, losses = run_steps(np, step, np.ones(12), (), (X,), ORDER)
    found_params, found_losses = compiled(device, step)
    np.testing.assert_allclose(found_params, params, rtol=1e-12)
    np.testing.assert_allclose(found_losses, losses, rtol=1e-12)


@pytest.mark.parametrize("device", HOST)
def test_the_function_gives_the_memory(device: str) -> None:
    given, seen = np.empty(12), list[int]()

    class InPlace:
        def __call__(self, array: np.ndarray) -> None:
            seen.append(array.ctypes.data)

        def empty(self, size: int, dtype: Any) -> np.ndarray:
            assert (size, dtype) == (12, np.float64)
            return given

    params = np.ones(12)
    get_backend(device).compile(step_with(InPlace()), 1000)(params, (), (X,), ORDER)
    assert seen == [given.ctypes.data, params.ctypes.data] * len(ORDER)


@pytest.mark.parametrize("device", HOST)
def test_an_error_of_the_function_is_raised(device: str) -> None:
    calls = 0

    def fails(array: np.ndarray) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise OSError("the network is down")

    run = get_backend(device).compile(step_with(fails), 1000)
    with pytest.raises(OSError, match="the network is down"):
        run(np.ones(12), (), (X,), ORDER)
    assert calls == 3


def test_on_a_gpu_a_call_is_a_launch_of_its_own_between_others() -> None:
    program = passes(trace(step_with(double, shift), np.ones(12), (), [X[:5]]))
    launches = CudaSource(program, 4).launches
    functions = [each.function for each in launches if isinstance(each, HostCall)]
    assert functions == [double, shift, double]
    assert not isinstance(launches[0], HostCall)
    assert [i.op for i in program.instructions].count(Op.CALL) == 3


def test_a_part_of_an_array_that_is_not_contiguous_is_refused() -> None:
    def step(params: Any, state: Any, batch: Any) -> Any:
        call_in_place(double, batch[0][:, 0])
        return params, state, np.sum(batch[0])

    with pytest.raises(UntraceableError, match="a call with an array that is not contiguous"):
        trace(step, np.ones(3), (), [X])
