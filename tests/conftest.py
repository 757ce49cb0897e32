"""One fixture runs the mathematics over every backend; tolerances come from the dtype, in one function.

A test asks for `backend` and gets it once for each device and dtype, inside its scope; `put` brings host values to
the device, `close` compares a device array with host values. ``pytest --device torch --device gpu`` runs only the
tests of those devices. Where a library or a GPU is missing, one skipped test says so for all of that device's tests.
"""

from __future__ import annotations

import importlib.util
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

# Before NumPy is imported, here and in the processes that tests start: with a BLAS thread for each core in each of
# xdist's workers, the workers would wait for one another; and sums would depend on the number of cores.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

import numpy as np
import pytest

# The dtypes in which each device runs a test that names none of its own. Two devices of array-api-strict suffice:
# "device1" refuses to mix with arrays of the default device, and "no_float64" refuses to make float64.
DEVICES = {
    "numpy:cpu": ("float32", "float64"),
    "strict:cpu:1": ("float64",),
    "strict:cpu:3": ("float32",),
    "torch:cpu": ("float32", "float64"),
    "jax:cpu": ("float32", "float64"),
    "cupy:gpu": ("float32", "float64"),
    "torch:gpu": ("float32", "float64"),
    "jax:gpu": ("float32", "float64"),
}
DTYPES = ("float32", "float64")

# A job that runs in the background or under nohup inherits signals that are ignored; the tests send them.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def tolerance(dtype: str, terms: int = 1) -> float:
    """Relative and absolute tolerance of a result of order one that sums `terms` rounded numbers of order one."""
    return 16 * terms * float(np.finfo(dtype).eps)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--device",
        action="append",
        default=[],
        metavar="NAME",
        help="run only the tests of a device, a backend or a kind: torch:cpu, jax, gpu (may be given several times)",
    )
    parser.addoption(
        "--cuda-double",
        action="store_true",
        help="run the tests of CuPy on a double, without a GPU",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Let xdist hand out few tests at a time; in its large chunks, one worker would get most of the slow ones."""
    if config.getoption("--cuda-double"):
        from tests import cuda_double

        cuda_double.install()
    if getattr(config.option, "maxschedchunk", 0) is None:
        config.option.maxschedchunk = 2


def _selected(wanted: list[str]) -> set[str]:
    chosen = set()
    for name in wanted:
        matching = {device for device in DEVICES if f":{name}:" in f":{device}:"}
        if not matching:
            raise pytest.UsageError(f"--device: expected a part of one of {', '.join(DEVICES)}; received {name!r}.")
        chosen |= matching
    return chosen


@cache
def unusable(name: str) -> str:
    """Return why no test can use a device or a library, or an empty string; a device's library is imported."""
    from xpnet.backend import get_backend
    from xpnet.errors import BackendNotInstalledError, DeviceUnavailableError

    if ":" not in name:
        return "" if importlib.util.find_spec(name) else f"{name} is not installed"
    try:
        get_backend(name)
    except (BackendNotInstalledError, DeviceUnavailableError) as exc:
        return str(exc)
    return ""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for a device or a dtype once for each that there is."""
    own = {
        name.strip()
        for mark in metafunc.definition.iter_markers("parametrize")
        for name in (mark.args[0].split(",") if isinstance(mark.args[0], str) else mark.args[0])
    }
    wanted = {"device", "dtype"} & (set(metafunc.fixturenames) - own)
    if wanted == {"device", "dtype"}:
        pairs = [(device, dtype) for device, dtypes in DEVICES.items() for dtype in dtypes]
        metafunc.parametrize(("device", "dtype"), pairs, indirect=True)
    elif wanted == {"device"}:
        metafunc.parametrize("device", DEVICES, indirect=True)
    elif wanted == {"dtype"}:
        metafunc.parametrize("dtype", DTYPES, indirect=True)


def _missing(item: pytest.Item, device: str | None) -> str | None:
    """Return the first device or library that a test needs and that is not there."""
    needs = [device] * (device is not None) + [mark.args[0] for mark in item.iter_markers("needs")]
    return next((name for name in needs if unusable(name)), None)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark tests by what they ask for; of those for which something is missing keep one, which is skipped."""
    chosen = _selected(config.getoption("device"))
    kept, left_out, missing = [], [], set[str]()
    for item in items:
        fixtures = getattr(item, "fixturenames", ())  # a doctest has none
        params = item.callspec.params if hasattr(item, "callspec") else {}
        device = params.get("device") if "backend" in fixtures else None
        if "environment" in fixtures:
            item.add_marker("subprocess")
        if device and device.endswith(":gpu"):
            item.add_marker("gpu")
        if device and device.startswith("jax:"):
            item.add_marker("slow")  # JAX compiles anew in each test
        if chosen and str(params.get("device")) not in chosen:
            left_out.append(item)
        elif device == "strict:cpu:3" and params.get("dtype") == "float64":
            continue  # it has no float64
        elif (what := _missing(item, device)) not in missing:
            kept.append(item)
            missing |= {what} - {None}
    config.hook.pytest_deselected(items=left_out)
    # The fast tests answer first. Of the slow ones the longest come last by name: they begin first, so that no worker
    # is left alone with them at the end.
    slow = [item for item in kept if item.get_closest_marker("slow")]
    items[:] = [*(item for item in kept if not item.get_closest_marker("slow")), *reversed(slow)]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose library is missing, with the reason."""
    if (library := _missing(item, None)) is not None:
        pytest.skip(unusable(library))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    counts: dict[str, Counter[str]] = {}
    reasons: dict[str, str] = {}
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, ()):
            properties = dict(getattr(report, "user_properties", ()))
            if "device" in properties:
                counts.setdefault(properties["device"], Counter())[outcome] += 1
            if "unavailable" in properties:
                reasons[properties["device"]] = properties["unavailable"]
    if not counts:
        return
    terminalreporter.section("tests by backend")
    for device in DEVICES:
        if device in counts:
            line = ", ".join(f"{n} {outcome}" for outcome, n in counts[device].items())
            terminalreporter.line(f"{device:<14}{line}" + (f": {reasons[device]}" if device in reasons else ""))


@pytest.fixture
def device(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def dtype(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def backend(device: str, dtype: str, request: pytest.FixtureRequest) -> Iterator[Any]:
    """Yield the backend of a device, within its scope for the dtype; skip with the reason where there is none."""
    from xpnet.backend import get_backend

    request.node.user_properties.append(("device", device))
    if reason := unusable(device):
        request.node.user_properties.append(("unavailable", reason))
        pytest.skip(reason)
    backend = get_backend(device)
    with backend.scope(dtype):
        yield backend


@pytest.fixture
def xp(backend: Any) -> Any:
    return backend.xp


@pytest.fixture
def put(backend: Any, dtype: str) -> Callable[..., Any]:
    """Return a function that brings host values to the device: floats in the test's dtype, integers as int32."""

    def put(values: Any) -> Any:
        host = np.asarray(values)
        kind = {"f": dtype, "i": "int32"}[host.dtype.kind]
        return backend.asarray(host.astype(kind))

    return put


@pytest.fixture
def close(backend: Any, dtype: str) -> Callable[..., None]:
    """Return a function that holds a device array to host values, to the tolerance of the dtype and its type."""

    def close(actual: Any, expected: Any, terms: int = 1) -> None:
        host = backend.to_numpy(actual)
        assert host.dtype == dtype
        allowed = tolerance(dtype, terms)
        np.testing.assert_allclose(host, expected, rtol=allowed, atol=allowed)

    return close


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the temporary folder of the test the working folder, and return it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def environment() -> dict[str, str]:
    """Return the environment of a subprocess that imports this very xpnet, installed or not."""
    import xpnet.errors
    import xpnet_backends

    roots = {str(Path(module.__file__).parents[1]) for module in (xpnet.errors, xpnet_backends)}
    path = os.pathsep.join([*sorted(roots), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    return {**os.environ, "PYTHONPATH": path}
