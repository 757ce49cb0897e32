"""Steps compiled by Numba, held to the steps themselves, and where the machine code is kept."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xpnet.backend import get_backend
from xpnet.errors import XpnetWarning
from xpnet.nn.network import Network
from xpnet.nn.optimizers import get_optimizer
from xpnet.nn.step import init_state, make_step
from xpnet.training.trainer import Trainer

numba_math = pytest.importorskip("xpnet_backends.compiler.numba_math")

ELEMENTARY = {"exp": (-110, 95), "expm1": (-110, 95), "tanh": (-20, 20)}

# One network for each kind of loop: narrow and wide rows, functions of both precisions, integers, learned slopes.
CASES = {
    "classes": {"layer_sizes": (7, 20, 4)},
    "many classes": {"layer_sizes": (7, 30, 200), "activation": "elu", "dropout": 0.3},
    "slopes": {"layer_sizes": (7, 40, 30, 5), "activation": ("prelu", "rrelu"), "l1": 0.01},
    "labels": {"layer_sizes": (7, 20, 3), "loss": "binary_cross_entropy", "activation": "gelu"},
}


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep machine code of the tests for the tests."""
    folder = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder / "xpnet" / "numba"


def data_of(network: Network) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((90, network.layer_sizes[0]))
    n_out = network.layer_sizes[-1]
    return x, rng.integers(0, n_out, 90) if network.loss == "cross_entropy" else rng.integers(0, 2, (90, n_out))


@pytest.mark.slow
@pytest.mark.parametrize(("case", "dtype"), [*itertools.product(CASES, ["float64"]), ("classes", "float32")])
def test_a_compiled_run_is_the_run_on_numpy(case: str, dtype: str) -> None:
    network = Network(**CASES[case])
    runs = [
        Trainer(network, "adam", batch_size=20, epochs=6, seed=3, dtype=dtype, device=device).fit(*data_of(network))
        for device in ("cpu", "numba:cpu")
    ]
    allowed = {"float64": 1e-10, "float32": 1e-3}[dtype]
    numpy_run, compiled = runs
    np.testing.assert_allclose(compiled.params.vector, numpy_run.params.vector, rtol=allowed, atol=allowed)
    losses = [[record.loss for record in run.history] for run in runs]
    np.testing.assert_allclose(losses[1], losses[0], rtol=allowed)
    assert not np.array_equal(compiled.params.vector, numpy_run.params.vector)  # it is other code that did it


@numba_math.compiled
def mapped(function: Any, x: Any, out: Any) -> None:
    for i in range(len(x)):
        out[i] = function(x[i])


@pytest.mark.parametrize("name", ELEMENTARY)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_elementary_functions(name: str, dtype: str) -> None:
    function = getattr(numba_math, f"{name}_{dtype}")
    low, high = ELEMENTARY[name]
    x = np.concatenate([np.linspace(low, high, 40_001), np.linspace(-1, 1, 20_001), np.logspace(-30, 0, 500)])
    x = x.astype(dtype)
    with np.errstate(over="ignore", under="ignore"):
        expected = getattr(np, name)(x.astype(np.float64)).astype(dtype)
        exact = getattr(np, name)(x.astype(np.longdouble))
    actual = np.empty_like(x)
    mapped(function, x, actual)
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(actual[~finite], expected[~finite])
    error = np.abs(actual[finite] - exact[finite]) / np.spacing(np.abs(expected[finite]))
    assert error.max() < (4 if name == "expm1" else 3)
    assert np.isnan(function(x.dtype.type(np.nan)))
    ends = [x.dtype.type(value) for value in (np.inf, -np.inf)]
    assert [function(end) for end in ends] == [getattr(np, name)(end) for end in ends]


def test_extremes_keep_nan() -> None:
    nan = np.float32(np.nan)
    for extreme in (numba_math.maximum, numba_math.minimum):
        assert np.isnan(extreme(nan, np.float32(0)))
        assert np.isnan(extreme(np.float32(0), nan))
    vector = np.asarray([2, -3, 5, 1], dtype=np.float32)
    assert (numba_math.max_of(vector), numba_math.sum_of(vector)) == (5, 5)
    vector[2] = nan
    assert np.isnan(numba_math.max_of(vector))


TRAIN = """
import numpy as np, xpnet
from numba.core.event import install_recorder
x, y = np.eye(20), np.arange(20) % 2
with install_recorder("numba:compile") as compilations:
    run = xpnet.Trainer(xpnet.Network([20, 3, 2]), epochs=2, batch_size=5, device="numba").fit(x, y)
    xpnet.get_backend("numba").xp.matmul(np.ones((2, 3), np.float32), np.ones((3, 2), np.float32))
print(len(compilations.buffer) > 0, repr(run.params.vector.sum()))
"""


def trained_by_a_process(environment: dict[str, str]) -> tuple[str, str]:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", TRAIN],
        env=environment,
        capture_output=True, text=True, check=True, timeout=240,
    )  # fmt: skip
    compiled, result = done.stdout.split()
    return compiled, result


@pytest.mark.slow
def test_what_is_compiled_is_kept_for_the_next_process(environment: dict[str, str], tmp_path: Path) -> None:
    environment |= {"XDG_CACHE_HOME": str(tmp_path)}
    first, result = trained_by_a_process(environment)
    again, same = trained_by_a_process(environment)
    assert (first, again) == ("True", "False")
    assert same == result


@pytest.mark.slow
def test_without_a_folder_it_compiles_each_time(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "xpnet").write_text("no folder")
    for _ in range(2):
        compiled, _ = trained_by_a_process({**environment, "XDG_CACHE_HOME": str(tmp_path), "TMPDIR": str(tmp_path)})
        assert compiled == "True"


def test_it_is_a_device_of_its_own() -> None:
    backend = get_backend("numba")
    assert backend.name == "numba:cpu"
    assert get_backend("cpu").name == "numpy:cpu"


def test_a_step_without_loops_is_run_as_it_is_and_said_once() -> None:
    def transform(gradient: Any) -> Any:
        return gradient + 0.0 * np.max(gradient[:4, None], axis=0)  # a maximum over rows has no loop

    network, optimizer = Network((7, 20, 4)), get_optimizer("adam")
    changed = optimizer._replace(update=lambda xp, g, *others: optimizer.update(xp, transform(g), *others))
    data, order = data_of(network), np.arange(40, dtype=np.int32).reshape(2, 20)

    def trained(device: str) -> Any:
        backend = get_backend(device)
        params = network.init(0, backend, "float64").vector
        state = init_state(network, optimizer, params, 0, backend)
        state.optimizer.learning_rate[...] = 0.01
        run = backend.compile(make_step(network, changed, backend), 2)
        for row in order:
            params, state, _ = run(params, state, data, row[None, :])
        return params

    vectors = [trained("cpu")]
    with pytest.warns(XpnetWarning, match="uncompiled.*the reduction max of float64, axis=0") as seen:
        vectors.append(trained("numba:cpu"))
    assert len(seen) == 1
    assert not np.array_equal(vectors[0], network.init(0, dtype="float64").vector)
    np.testing.assert_allclose(vectors[1], vectors[0], rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_functions_are_the_same_uncompiled(dtype: str) -> None:
    vector = np.asarray([-30, -2, -0.25, 0, 0.5, 3, 40], dtype=dtype)
    for name in ELEMENTARY:
        function = getattr(numba_math, f"{name}_{dtype}")
        plain = [function.py_func(x) for x in vector]
        np.testing.assert_allclose(plain, [function(x) for x in vector], rtol=4 * np.finfo(dtype).eps)
    for function in (numba_math.max_of, numba_math.sum_of):
        assert function.py_func(vector) == pytest.approx(function(vector))
    for function in (numba_math.maximum, numba_math.minimum):
        assert function.py_func(vector[0], vector[1]) == function(vector[0], vector[1])


@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 4, 5), (3, 1, 5), (3, 4, 1), (0, 3, 2), (3, 0, 2), (20, 30, 40)])
@pytest.mark.parametrize("orders", ["CC", "CF", "FC", "FF"])
@pytest.mark.parametrize("result", [None, "C", "F", "strided"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_products_outside_of_steps(shape: tuple[int, int, int], orders: str, result: str | None, dtype: str) -> None:
    m, k, n = shape
    rng = np.random.default_rng(0)
    a, b = (
        np.asarray(rng.integers(-9, 9, size), dtype, order=order)  # type: ignore[call-overload]
        for size, order in zip(((m, k), (k, n)), orders, strict=True)
    )
    outs: dict[str | None, Any] = {
        None: None,
        "C": np.ones((m, n), dtype),
        "F": np.ones((n, m), dtype).T,
        "strided": np.ones((m, 2 * n), dtype)[:, ::2],
    }
    out = outs[result]
    xp: Any = get_backend("numba:cpu").xp
    product = xp.matmul(a, b) if out is None else xp.matmul(a, b, out=out)
    np.testing.assert_array_equal(product, np.matmul(a, b))  # whole numbers, so exact
    assert product.dtype == dtype
    if out is not None:
        np.testing.assert_array_equal(out, np.matmul(a, b))
