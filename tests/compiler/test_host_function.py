"""Pure functions as programs of NumPy's calls."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from xpnet.backend import get_backend
from xpnet_backends.compiler import host_function
from xpnet_backends.compiler.host_function import HostFunction

RNG = np.random.default_rng(0)
X, W = RNG.normal(size=(5, 3)), RNG.normal(size=(3, 2))


class Counted:
    """A function that counts its calls: a program runs without it."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, weights: tuple[Any, ...], x: Any) -> tuple[Any, ...]:
        self.calls += 1
        z = x @ weights[0]
        return np.max(z, axis=1), np.exp(z)


def test_results_are_those_of_the_function() -> None:
    function, traced = Counted(), Counted()
    compiled = HostFunction(traced)
    for factor in (1.0, 2.0, -1.0):
        for mine, true in zip(compiled((W,), factor * X), function((W,), factor * X), strict=True):
            np.testing.assert_allclose(mine, true, rtol=1e-14)
    assert traced.calls == 1


def test_results_and_arguments_are_not_overwritten() -> None:
    compiled, x = HostFunction(Counted()), X.copy()
    first = compiled((W,), x)
    kept = [each.copy() for each in first]
    compiled((W,), 3 * X)
    np.testing.assert_array_equal(x, X)
    for mine, true in zip(first, kept, strict=True):
        np.testing.assert_array_equal(mine, true)


def test_each_shape_has_its_program() -> None:
    traced = Counted()
    compiled = HostFunction(traced)
    for n in (5, 4, 5, 4):
        assert compiled((W,), X[:n])[1].shape == (n, 2)
    assert traced.calls == 2


def test_the_programs_of_the_last_shapes_are_kept() -> None:
    traced = Counted()
    compiled = HostFunction(traced)
    for n in (5, 4, 3, 2, 1, 1, 2, 3, 4):
        compiled((W,), X[:n])
    assert (len(compiled._programs), traced.calls) == (host_function._PROGRAMS, 5)
    compiled((W,), X)
    assert traced.calls == 6


def test_several_threads_call_the_same_function() -> None:
    x = RNG.normal(size=(400, 300))
    weights = RNG.normal(size=(300, 20))
    compiled, plain = HostFunction(Counted()), Counted()
    expected = [plain((k * weights,), x)[0] for k in (1.0, 2.0)]

    def work(k: int) -> bool:
        return all(np.allclose(compiled(((k + 1.0) * weights,), x)[0], expected[k], rtol=1e-12) for _ in range(200))

    with ThreadPoolExecutor(2) as executor:
        assert all(executor.map(work, range(2)))


def test_large_arguments_run_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_function, "_FEW", 1)
    plain = Counted()
    compiled = HostFunction(plain)
    np.testing.assert_array_equal(compiled((W,), X)[0], np.max(X @ W, axis=1))
    compiled((W,), X)
    assert plain.calls == 2


@pytest.mark.parametrize(
    "function",
    [
        lambda x: (np.argmax(x, axis=1),),
        lambda x: (np.asarray(x, copy=True),),
        lambda x: (np.isfinite(x),),
        lambda x: (np.ones(3),),
    ],
)
def test_what_cannot_be_traced_runs_as_it_is(function: Any) -> None:
    compiled = HostFunction(function)
    for _ in range(2):
        np.testing.assert_array_equal(compiled(X)[0], function(X)[0])


def test_only_what_is_repeated_is_compiled() -> None:
    backend, function = get_backend("cpu"), Counted()
    assert backend.jit(function) is function
    assert isinstance(backend.jit(function, repeated=True), HostFunction)
