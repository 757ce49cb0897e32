"""One fixture runs the mathematics over every backend; tolerances come from the dtype, in one function.

A test asks for `backend` and gets it once for each device and dtype, inside its scope; `put` brings host values to
the device, `close` compares a device array with host values. ``pytest --device torch --device gpu`` runs only the
tests of those devices.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

DEVICES = (
    "numpy:cpu",
    "strict:cpu",
    "strict:cpu:1",  # "device1", which refuses to mix with the first
    "strict:cpu:3",  # "no_float64"
    "torch:cpu",
    "jax:cpu",
    "cupy:gpu",
    "torch:gpu",
    "jax:gpu",
)
DTYPES = ("float32", "float64")
ROOT = Path(__file__).parents[1]

# As a job in the background, or under nohup, has them; the tests send them.
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


def _selected(wanted: list[str]) -> set[str]:
    chosen = set()
    for name in wanted:
        matching = {device for device in DEVICES if f":{name}:" in f":{device}:"}
        if not matching:
            raise pytest.UsageError(f"--device: expected a part of one of {', '.join(DEVICES)}; received {name!r}.")
        chosen |= matching
    return chosen


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("device"):
        return
    chosen = _selected(config.getoption("device"))
    kept, left_out = [], []
    for item in items:
        device = getattr(item, "callspec", None) and item.callspec.params.get("device")
        (kept if device in chosen else left_out).append(item)
    config.hook.pytest_deselected(items=left_out)
    items[:] = kept


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


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=DTYPES)
def dtype(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def backend(device: str, dtype: str, record_property: Callable[[str, object], None]) -> Iterator[Any]:
    """Yield the backend of a device, within its scope for the dtype; skip with the reason where there is none."""
    from xpnet.backend import get_backend
    from xpnet.errors import BackendNotInstalledError, DeviceUnavailableError

    record_property("device", device)
    try:
        backend = get_backend(device)
    except (BackendNotInstalledError, DeviceUnavailableError) as exc:
        record_property("unavailable", str(exc))
        pytest.skip(str(exc))
    with backend.scope(dtype):
        if device.startswith("strict") and dtype not in backend.xp.__array_namespace_info__().dtypes(
            device=backend.device, kind="real floating"
        ):
            pytest.skip(f"{backend.device} has no {dtype}")
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
def environment() -> dict[str, str]:
    """Return the environment of a subprocess that imports this very xpnet, installed or not."""
    import xpnet.errors
    import xpnet_backends

    roots = {str(Path(module.__file__).parents[1]) for module in (xpnet.errors, xpnet_backends)}
    path = os.pathsep.join([*sorted(roots), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    return {**os.environ, "PYTHONPATH": path}
