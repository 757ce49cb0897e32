"""A backend from another package: built as a wheel, installed with pip, found by its entry point, trained on."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ADAPTER = """
import array_api_compat.numpy as xp
from xpnet.backend import Backend, check_index

calls = []


class PocketBackend(Backend):
    name = "pocket:cpu"
    xp = xp
    device = "cpu"

    def compile(self, step, n_steps=1):
        run = super().compile(step, n_steps)

        def counted(params, state, data, order):
            calls.append(order.shape[0])
            return run(params, state, data, order)

        return counted


def create(kind, index):
    check_index("pocket", kind, index, 1 if kind == "cpu" else 0)
    return PocketBackend()
"""
FILES = {
    "xpnet_pocket.py": ADAPTER,
    "xpnet_pocket-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: xpnet-pocket\nVersion: 1.0\n",
    "xpnet_pocket-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "xpnet_pocket-1.0.dist-info/entry_points.txt": "[xpnet.backends]\npocket = xpnet_pocket:create\n",
}
USE = """
import sys
import numpy as np
import xpnet

assert "pocket" in xpnet.list_backends()
assert "xpnet_pocket" not in sys.modules  # loaded only when chosen

x = np.asarray([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
y = np.asarray([0, 1, 1, 0])
network = xpnet.Network([2, 8, 2], activation="tanh")


def train(device):
    trainer = xpnet.Trainer(network, learning_rate=0.1, batch_size=None, epochs=100, device=device, dtype="float64")
    return trainer.fit(x, y).params


params = train("pocket:cpu")
import xpnet_pocket

assert sum(xpnet_pocket.calls) == 100  # every step of the training went through the adapter's own compile
np.testing.assert_allclose(params.vector, train("cpu").vector, rtol=0, atol=1e-12)
assert (network.predict(params, x).argmax(axis=1) == y).all()
assert xpnet.get_backend("pocket").name == "pocket:cpu"
try:
    xpnet.get_backend("pocket:cpu:1")
except IndexError as exc:
    assert "expected an index below 1" in str(exc)
else:
    raise AssertionError("there is no second pocket")
try:
    xpnet.get_backend("pocked:cpu")
except ValueError as exc:
    assert "Did you mean 'pocket'?" in str(exc)
else:
    raise AssertionError("there is no pocked")
print("trained on", xpnet.get_backend("pocket:cpu").name)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder where the little package is installed."""
    folder = tmp_path_factory.mktemp("pocket")
    wheel, target = folder / "xpnet_pocket-1.0-py3-none-any.whl", folder / "site"
    record = "xpnet_pocket-1.0.dist-info/RECORD"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in FILES.items():
            archive.writestr(name, text)
        archive.writestr(record, "".join(f"{name},,\n" for name in [*FILES, record]))
    if importlib.util.find_spec("pip"):
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
        options = ["--no-index", "--no-deps", "--target", str(target)]
        subprocess.run([*pip, "install", *options, str(wheel)], check=True, timeout=120)
    else:  # an environment made without pip; to install a pure wheel is to unpack it
        zipfile.ZipFile(wheel).extractall(target)
    return target


def test_it_is_found_and_trained_on(installed: Path, environment: dict[str, str]) -> None:
    path = os.pathsep.join([str(installed), environment["PYTHONPATH"]])
    command = [sys.executable, "-W", "error", "-c", USE]
    result = subprocess.run(
        command, env={**environment, "PYTHONPATH": path}, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == "trained on pocket:cpu\n"


def test_it_is_not_found_where_it_is_not_installed(environment: dict[str, str]) -> None:
    code = "import xpnet; xpnet.get_backend('pocket:cpu')"
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert result.returncode == 1
    assert "UnknownBackendError: unknown backend" in result.stderr
