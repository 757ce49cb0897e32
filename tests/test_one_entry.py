"""One entry in its table suffices for a new activation, loss, optimizer, initializer, schedule, metric or backend.

Each is added to its table and then used by name through the library, an estimator, ``xpnet train``, ``--help`` and the
gradient check.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from tests.command_line import train, xpnet
from xpnet.backend import devices, get_backend, registry
from xpnet.data.streams import ArraySource
from xpnet.estimators import MLPClassifier
from xpnet.model.model_file import load_model
from xpnet.nn.activations import ACTIVATIONS, Activation
from xpnet.nn.gradcheck import check_gradients, gradcheck_table
from xpnet.nn.initializers import INITIALIZERS, Initializer
from xpnet.nn.losses import LOSSES, Loss
from xpnet.nn.network import Network
from xpnet.nn.optimizers import OPTIMIZERS, Optimizer
from xpnet.training.metric_functions import class_counts
from xpnet.training.metrics import METRICS, Metric
from xpnet.training.schedules import SCHEDULES, Schedule
from xpnet.training.trainer import Run, Trainer


def _bent_identity() -> Activation:
    def function(xp: Any, z: Any, _: Any) -> Any:
        return (xp.sqrt(z * z + 1) - 1) / 2 + z

    def backward(xp: Any, grad: Any, z: Any, _: Any) -> Any:
        return grad * (z / (2 * xp.sqrt(z * z + 1)) + 1)

    return Activation(function, backward)


def _log_cosh() -> Loss:
    def value_and_gradient(xp: Any, a: Any, t: Any) -> tuple[Any, Any]:
        size = xp.abs(a - t)
        return xp.sum(size + xp.log1p(xp.exp(-2 * size)) - math.log(2), axis=1), xp.tanh(a - t)

    return Loss(value_and_gradient)


def _sign_descent() -> Optimizer:
    def update(xp: Any, gradient: Any, state: Any, params: Any) -> tuple[Any, Any]:
        return params - state.learning_rate * xp.sign(gradient), state._replace(count=state.count + 1)

    return Optimizer(update, 0.01)


def _lecun_uniform() -> Initializer:
    def weights(rng: np.random.Generator, fan_in: int, fan_out: int) -> np.ndarray:
        return rng.uniform(-math.sqrt(3 / fan_in), math.sqrt(3 / fan_in), (fan_in, fan_out))

    return Initializer(weights)


def _fading() -> Schedule:
    return Schedule(lambda memory, epoch, epochs: 0.97**epoch)


POCKET = """
import array_api_compat.numpy as xp
from xpnet.backend import Backend, check_index


class PocketBackend(Backend):
    name = "pocket:cpu"
    xp = xp
    device = "cpu"


def create(kind, index):
    check_index("pocket", kind, index, 1 if kind == "cpu" else 0)
    return PocketBackend()
"""


class Entry(NamedTuple):
    """A new entry, and how each way of use asks for it by name."""

    table: dict[str, Any]
    name: str
    entry: Any
    network: str | None  # parameter of `Network`, or
    trainer: str | None  # of `Trainer`
    estimator: str
    option: str


ENTRIES = {
    "activation": Entry(ACTIVATIONS, "bent_identity", _bent_identity, "activation", None, "activation", "--activation"),
    "loss": Entry(LOSSES, "log_cosh", _log_cosh, "loss", None, "loss", "--loss"),
    "optimizer": Entry(OPTIMIZERS, "sign_descent", _sign_descent, None, "optimizer", "solver", "--optimizer"),
    "initializer": Entry(INITIALIZERS, "lecun_uniform", _lecun_uniform, "initializer", None, "initializer", "--init"),
    "schedule": Entry(SCHEDULES, "fading", _fading, None, "schedule", "learning_rate", "--schedule"),
    "backend": Entry(
        registry.BUILTIN,
        "pocket",
        registry.BUILTIN["numpy"]._replace(module="pocket_adapter"),
        None,
        "device",
        "device",
        "--backend",
    ),
}
each_kind = pytest.mark.parametrize("kind", ENTRIES)

_rng = np.random.default_rng(0)
X = _rng.standard_normal((60, 4))
Y = (X[:, 0] + X[:, 1] > 0).astype(np.int64) + (X[:, 2] > 1)


def add_entries(folder: Path, set_item: Callable[[dict[str, Any], str, Any], object]) -> None:
    """Add every entry to its table; the adapter's module is written into a folder on ``sys.path``."""
    (folder / "pocket_adapter.py").write_text(POCKET)
    for entry in ENTRIES.values():
        set_item(entry.table, entry.name, entry.entry)


def _forget_backends() -> None:
    registry._registry.cache_clear()
    devices._create.cache_clear()


@pytest.fixture(autouse=True)
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("xpnet.cli.run_pictures.draw_pictures", lambda *_: [])  # they are slow
    monkeypatch.syspath_prepend(tmp_path)
    add_entries(tmp_path, monkeypatch.setitem)
    _forget_backends()
    yield
    _forget_backends()
    sys.modules.pop("pocket_adapter", None)


def _trained(kind: str | None) -> Run:
    options: dict[str, Any] = {"learning_rate": 0.05, "epochs": 4, "dtype": "float64", "device": "cpu"}
    entry = ENTRIES[kind] if kind else None
    network = Network([4, 6, 3], **{entry.network: entry.name} if entry and entry.network else {})
    return Trainer(network, **options | ({entry.trainer: entry.name} if entry and entry.trainer else {})).fit(X, Y)


@each_kind
def test_through_the_library(kind: str) -> None:
    run, usual = _trained(kind), _trained(None)
    assert run.history[-1].loss < run.history[0].loss
    if kind == "backend":
        assert type(get_backend("pocket")).__module__ == "pocket_adapter"
        assert "pocket_adapter" in sys.modules
        np.testing.assert_allclose(run.params.vector, usual.params.vector, rtol=1e-10)
    else:
        assert np.abs(run.params.vector - usual.params.vector).max() > 1e-3


@each_kind
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_through_an_estimator(kind: str) -> None:
    entry = ENTRIES[kind]
    options: dict[str, Any] = {"max_iter": 20, "learning_rate_init": 0.05, "random_state": 0}
    fitted = MLPClassifier((6,), **options, **{entry.estimator: entry.name}).fit(X, Y)
    usual = MLPClassifier((6,), **options).fit(X, Y)
    assert fitted.score(X, Y) > 0.8
    np.testing.assert_allclose(fitted.predict_proba(X).sum(axis=1), 1)
    if kind == "backend":
        np.testing.assert_allclose(fitted.coefs_[0], usual.coefs_[0], rtol=1e-8)
        assert "pocket_adapter" in sys.modules
    else:
        assert np.abs(fitted.coefs_[0] - usual.coefs_[0]).max() > 1e-3


@each_kind
def test_through_the_command_line(kind: str) -> None:
    entry = ENTRIES[kind]
    device = ("--device", "cpu")
    out = json.loads(train(*device, entry.option, entry.name, "--out", "run", "--json").out)
    usual = json.loads(train(*device, "--out", "usual", "--json").out)
    assert out["train"]["accuracy"] > 0
    vectors = [load_model(Path(folder) / "model.safetensors").vector for folder in ("run", "usual")]
    if kind == "backend":
        assert (out["device"], usual["device"]) == ("pocket:cpu", "numpy:cpu")
        np.testing.assert_allclose(*vectors, rtol=1e-4, atol=1e-6)
    else:
        assert np.abs(vectors[0] - vectors[1]).max() > 1e-4


def test_a_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    def lowest_recall(decided: np.ndarray, y: np.ndarray, weight: np.ndarray | None) -> float:
        counts = class_counts(decided, y, 3, weight)
        return float(counts.recall[counts.support > 0].min())

    monkeypatch.setitem(METRICS, "lowest_recall", Metric(lowest_recall, ("classification",), "lowest recall"))
    settings: dict[str, Any] = {"learning_rate": 0.05, "epochs": 40, "early_stopping": "lowest_recall:patience=inf"}
    trainer = Trainer(Network([4, 6, 3]), **settings)
    runs = [trainer.fit(X, Y, validation=validation) for validation in ((X, Y), ArraySource(X, Y))]
    scores = [[record.validation["lowest_recall"] for record in run.history] for run in runs]
    assert scores[0] == pytest.approx(scores[1])
    assert len(set(scores[0])) > 1
    np.savez("data.npz", X=X, y=Y)
    outcome = train("data.npz", "--metric", "lowest_recall", "--epochs", 3, "--out", "run")
    assert "lowest recall" in outcome.out
    assert "lowest recall" in outcome.err
    summary = json.loads(Path("run/summary.json").read_text())
    assert summary["metric"] == "lowest_recall"
    model = load_model("run/model.safetensors")
    for given in ((X, Y), (ArraySource(X, Y),)):
        by_class = [np.mean(model.predict(X[index == Y]) == index) for index in range(3)]
        assert model.evaluate(*given)["lowest_recall"] == pytest.approx(min(by_class))


def test_in_the_help(tmp_path: Path, environment: dict[str, str]) -> None:
    """In a fresh process: the command line keeps the help that it has made."""
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from tests.test_one_entry import add_entries\n"
        "from xpnet.cli import main\n"
        "add_entries(Path(sys.argv[1]), dict.__setitem__)\n"
        "main(['train', '--help'])\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    wide = {**environment, "COLUMNS": "300"}
    result = subprocess.run(command, env=wide, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    for entry in ENTRIES.values():
        (line,) = (line for line in result.stdout.splitlines() if f" {entry.option} " in line)
        listed = line.partition(f" {entry.option} ")[2].replace(",", " ").replace(";", " ").split()
        assert {entry.name, *entry.table} <= set(listed)


@each_kind
def test_through_the_gradient_check(kind: str) -> None:
    run = _trained(kind)
    assert check_gradients(run.network, run.params).relative_error < 1e-6


def test_in_the_table_of_the_gradient_check() -> None:
    rows = gradcheck_table()
    assert {row.activation for row in rows} == set(ACTIVATIONS) >= {"bent_identity"}
    assert {row.loss for row in rows} == set(LOSSES) >= {"log_cosh"}
    assert max(row.relative_error for row in rows) < 1e-6


def test_a_backend_is_among_the_devices() -> None:
    assert "pocket:cpu" in xpnet("devices").out
