"""``xpnet gradcheck``, ``xpnet devices`` and ``xpnet datasets``."""

from __future__ import annotations

import builtins
import sys
from typing import Any

import pytest

from tests.command_line import xpnet
from xpnet.backend.registry import BUILTIN, list_backends
from xpnet.data.named import DATASETS
from xpnet.errors import DeviceUnavailableError
from xpnet.nn import activations
from xpnet.nn.losses import LOSSES
from xpnet.subnormals import can_flush


@pytest.fixture(autouse=True)
def width(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


def rows(out: str) -> dict[str, list[str]]:
    """The rows of a table by their first word; a cell's second line has none."""
    return {words[0]: words[1:] for line in out.splitlines() if (words := line.split())}


# gradcheck


def test_gradcheck():
    code, out, err = xpnet("gradcheck")
    assert (code, err) == (0, "")
    n = len(activations.ACTIVATIONS) * len(LOSSES)
    assert f"{n} of {n} below 1e-06" in out
    table = rows(out)
    for name in activations.ACTIVATIONS:
        assert len(table[name]) == len(LOSSES)
        assert all(0 < float(error) < 1e-6 for error in table[name])
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.slow
def test_gradcheck_of_another_seed():
    assert xpnet("gradcheck", "--seed", 0).out != xpnet("gradcheck", "--seed", 1).out


def test_gradcheck_with_a_broken_derivative(monkeypatch):
    right = activations.ACTIVATIONS["tanh"]()
    wrong = right._replace(backward=lambda *arguments: 1.001 * right.backward(*arguments))
    monkeypatch.setitem(activations.ACTIVATIONS, "tanh", lambda: wrong)
    code, out, _ = xpnet("gradcheck")
    assert code == 1
    assert out.count("FAILED") == len(LOSSES)
    assert all(float(error) > 1e-4 for error in rows(out)["tanh"])
    assert all(float(error) < 1e-6 for error in rows(out)["sigmoid"])
    assert f"{len(LOSSES) * (len(activations.ACTIVATIONS) - 1)} of" in out


# devices


def test_devices():
    code, out, err = xpnet("devices")
    assert (code, err) == (0, "")
    table = rows(out)
    assert table["numpy:cpu"] == ["yes", "flushed" if can_flush() else "kept"]
    for name in list_backends():
        assert any(device.partition(":")[0] == name for device in table), out
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("library", "backend", "command"),
    [
        ("torch", "torch", "pip install torch"),
        ("jax", "jax", "pip install jax"),
        ("cupy", "cupy", "pip install 'cupy-cuda13x[ctk]'"),
        ("array_api_strict", "strict", "pip install array-api-strict"),
    ],
)
def test_a_missing_package_shows_the_command_that_installs_it(monkeypatch, library, backend, command):
    monkeypatch.setenv("COLUMNS", "300")
    real = builtins.__import__

    def missing(name: str, *arguments: Any, **keywords: Any) -> Any:
        if name.partition(".")[0] == library:
            raise ModuleNotFoundError(f"No module named {library!r}", name=library)
        return real(name, *arguments, **keywords)

    monkeypatch.delitem(sys.modules, f"xpnet_backends.{backend}", raising=False)
    monkeypatch.setattr(builtins, "__import__", missing)
    code, out, _ = xpnet("devices")
    line = next(line for line in out.splitlines() if line.split()[:1] == [backend])
    assert code == 0
    assert line.split()[1] == "no"
    assert command in line
    assert "numpy:cpu" in out


def test_the_commands_work_without_an_index_that_has_this_library():
    assert [entry.install for entry in BUILTIN.values() if "xpnet" in entry.install] == []


def test_a_device_that_is_not_there_says_why(monkeypatch):
    def devices(name: str) -> Any:
        yield f"{name}:gpu", DeviceUnavailableError("no driver [bold]at all[/bold]")

    monkeypatch.setattr("xpnet.cli.listings.probe_devices", devices)
    assert rows(xpnet("devices").out)["cupy:gpu"] == ["no", "no", "driver", "[bold]at", "all[/bold]"]


# datasets


def test_datasets():
    code, out, err = xpnet("datasets")
    assert (code, err) == (0, "")
    table = rows(out)
    for info in DATASETS.values():
        size = [f"{info.samples:,}", str(info.features), str(info.classes or "-")]
        assert table[info.name][:3] == size
        assert info.licence in out
        assert info.origin in out
    assert "--data-dir" in out
