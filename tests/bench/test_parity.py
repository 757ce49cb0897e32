"""Parity: the comparison, its tolerances, and ``xpnet parity``."""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.command_line import refused, xpnet
from xpnet.backend import devices as backends
from xpnet.backend import get_backend, run_steps
from xpnet.bench.parity import TOLERANCES, Case, compare, relative_difference, sweep_cases
from xpnet.nn.activations import ACTIVATIONS
from xpnet.nn.losses import LOSSES
from xpnet.nn.network import Network
from xpnet.nn.optimizers import OPTIMIZERS
from xpnet.training.trainer import Trainer

_rng = np.random.default_rng(3)
X = _rng.standard_normal((40, 5))
Y = _rng.integers(0, 3, 40)
MAIN = Case("main", Trainer(Network([5, 6, 3], "tanh"), batch_size=8, epochs=3, seed=1), X, Y)
SWEEP = list(sweep_cases(X, Y))


pytestmark = pytest.mark.usefixtures("folder")


def _off_by(relative: float, name: str = "off:cpu") -> Any:
    """Return NumPy with a small error after each run of steps."""
    numpy = get_backend("cpu")

    class Off(type(numpy)):  # type: ignore[misc]
        def compile(self, step: Any, n_steps: int = 1) -> Any:
            run = super().compile(step, n_steps)

            def beside(*arguments: Any) -> Any:
                params, state, losses = run(*arguments)
                params *= 1 + relative
                return params, state, losses

            return beside

    double = Off()
    double.name = name
    return double


# The definition.


@pytest.mark.parametrize(
    ("actual", "expected", "difference"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0.0),
        ([1.0, 2.5], [1.0, 2.0], 0.25),
        ([1e-9, 2.0], [-1e-9, 2.0], 1e-9),  # relative to the largest entry
        ([1.0, -4.0], [1.0, -2.0], 1.0),
        ([0.0], [0.0], 0.0),
        ([1e-300], [0.0], math.inf),
        ([math.nan, 1.0], [1.0, 1.0], math.inf),
    ],
)
def test_relative_difference(actual: Any, expected: Any, difference: float) -> None:
    assert relative_difference(actual, expected) == pytest.approx(difference, rel=1e-12)


# The comparison, on every backend.


def test_every_backend_is_in_parity_with_numpy(backend: Any, dtype: str) -> None:
    (found,) = compare(MAIN._replace(is_compiled=True), [get_backend("cpu"), backend], dtype)
    assert (found.device, found.reference, found.dtype) == (backend.name, "numpy:cpu", dtype)
    assert len(found.differences) == 3
    assert found.agrees
    assert found.worst < TOLERANCES[dtype] / 10


@pytest.mark.parametrize("case", SWEEP, ids=[case.name for case in SWEEP])
def test_the_sweep_is_in_parity_with_numpy(case: Case, backend: Any, dtype: str) -> None:
    (found,) = compare(case, [get_backend("cpu"), backend], dtype)
    assert found.agrees, found


def test_a_short_run_is_compiled_if_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    backend, asked = get_backend("cpu"), []

    def compiled(self: Any, step: Any, n_steps: int | None = 1) -> Any:
        asked.append(n_steps)
        return partial(run_steps, self.xp, step)

    monkeypatch.setattr(type(backend), "compile", compiled)
    for is_compiled in (False, True):
        list(compare(MAIN._replace(is_compiled=is_compiled), [backend], "float64"))
    assert asked == [3 * 5, 1_000_000]
    assert "compile" not in vars(backend)  # the backend itself is as it was


def test_the_sweep_covers_everything() -> None:
    seen = {part for case in SWEEP for part in case.name.split(", ")}
    assert seen == {*ACTIVATIONS, *LOSSES, *OPTIMIZERS, "dropout"}
    for case in SWEEP:  # the name says what is trained
        trainer, network = case.trainer, case.trainer.network
        parts = [network.activation, network.loss, trainer.optimizer]
        assert case.name.split(", ") == parts + (["dropout"] if network.dropout else [])


@pytest.mark.parametrize(
    ("y", "n_out"),
    [(Y, 3), (Y * 7, 3), (X[:, 0], 2), (X[:, :1], 2), (np.eye(4)[np.arange(40) % 4], 4)],
    ids=["classes", "gaps", "values", "column", "labels"],
)
def test_the_sweep_takes_any_targets(y: np.ndarray, n_out: int) -> None:
    cases = list(sweep_cases(X, y))
    assert {case.trainer.network.layer_sizes[-1] for case in cases} == {n_out}
    numpy = get_backend("cpu")
    for case in cases[:5]:  # one of each loss
        assert next(compare(case, [numpy, numpy], "float32")).worst == 0


def test_a_difference_is_found_and_grows() -> None:
    numpy = get_backend("cpu")
    (found,) = compare(MAIN, [numpy, _off_by(1e-7)], "float64")
    assert not found.agrees
    sizes = [each.params for each in found.differences]
    assert sizes[0] == pytest.approx(1e-7, rel=0.01)
    assert sizes == sorted(sizes)
    assert found.differences[0].loss == 0  # it was computed before the error
    assert found.differences[0].predictions > 1e-10
    assert found.differences[1].loss > 1e-10
    (found,) = compare(MAIN, [numpy, _off_by(1e-7)], "float32")
    assert found.agrees


def test_a_difference_in_a_later_epoch_counts() -> None:
    late = _off_by(0.0)
    calls = iter([0.0, 0.0, 1e-3])
    run_of = late.compile

    def compile_(step: Any, n_steps: int = 1) -> Any:
        run = run_of(step, n_steps)

        def beside(*arguments: Any) -> Any:
            params, state, losses = run(*arguments)
            params *= 1 + next(calls)
            return params, state, losses

        return beside

    late.compile = compile_
    (found,) = compare(MAIN, [get_backend("cpu"), late], "float64")
    assert [max(each) <= 1e-10 for each in found.differences] == [True, True, False]
    assert not found.agrees


def test_one_that_diverges_does_not_agree() -> None:
    found, after = compare(MAIN, [get_backend("cpu"), _off_by(math.nan), get_backend("cpu")], "float64")
    assert not found.agrees
    assert "diverged" in found.reason
    assert found.differences == ()
    assert after.agrees  # the other backends are still compared


# The command.


@pytest.fixture
def other(monkeypatch):
    """Register a device ``off:cpu`` beside NumPy."""

    def register(relative: float) -> None:
        double = _off_by(relative)
        create = backends._create

        def with_double(name: str, kind: str, index: int, *rest: Any) -> Any:
            return double if (name, kind) == ("off", "cpu") else create(name, kind, index, *rest)

        monkeypatch.setattr(backends, "_create", with_double)
        monkeypatch.setattr(backends, "list_backends", lambda: ("numpy", "cupy", "off"))

    return register


def test_command(other, folder) -> None:
    other(1e-13)
    code, out, err = xpnet("parity", "iris", "--devices", "cpu,off:cpu,cupy:gpu:99", "--epochs", 2, "--out", "p")
    assert code == 0, err
    runs = 2 * (1 + len(SWEEP))
    assert f"{runs} of {runs} runs agree with the first device within 1e-10 in float64, 0.0001 in float32" in out
    assert sum(line.split()[:1] == ["off:cpu"] and line.split()[-1] == "ok" for line in out.splitlines()) == 4
    assert out.count("\n  cupy:gpu:99: ") == 2
    assert "FAILED" not in out
    values = json.loads((folder / "p" / "parity.json").read_text())
    assert len(values["comparisons"]) == runs
    assert all(0 < row["differences"][0]["params"] < 1e-4 for row in values["comparisons"] if row["dtype"] == "float64")
    assert [each["name"] for each in values["missing"]] == ["cupy:gpu:99"]
    text = (folder / "p" / "parity.md").read_text()
    assert text.startswith("# xpnet parity\n")
    assert "| off:cpu | 2 |" in text
    assert {path.suffix for path in (folder / "p").iterdir()} >= {".json", ".md"}
    assert "without results" in refused("parity", "iris", "--devices", "cpu,off:cpu", "--out", "p")


def test_command_where_one_does_not_agree(other) -> None:
    other(1e-7)
    code, out, _ = xpnet("parity", "iris", "--devices", "cpu,off:cpu", "--epochs", 1)
    assert code == 1
    assert out.count("FAILED") == 1 + len(SWEEP)  # all of float64, none of float32
    assert f"{1 + len(SWEEP)} of {2 + 2 * len(SWEEP)} runs agree" in out


def test_command_as_json(other) -> None:
    other(0.5)
    code, out, _ = xpnet("parity", "iris", "--devices", "cpu,off:cpu", "--epochs", 1, "--json")
    assert code == 1
    values = json.loads(out)
    assert not any(row["agrees"] for row in values["comparisons"])
    assert values["reference"] == "numpy:cpu"


def test_nothing_to_compare() -> None:
    code, out, err = xpnet("parity", "iris", "--devices", "cpu,cupy:gpu:99")
    assert code == 2
    assert "cupy:gpu:99: " in out
    assert "nothing was compared" in err
    assert "unknown backend" in refused("parity", "iris", "--devices", "cpu,nonsense:cpu")
    refused("parity", "iris", "--devices", "cupy:gpu:99,cpu")  # without the first there is nothing to compare with
    assert "--devices" in refused("parity", "iris", "--devices", ",")


def test_data_that_is_read_in_pieces_is_refused(folder: Path) -> None:
    (folder / "parts").mkdir()
    (folder / "parts" / "a.csv").write_text("x,label\n" + "1,0\n2,1\n" * 20)
    assert "parts: expected data that is read into memory;" in refused("parity", "parts", "--devices", "cpu,strict:cpu")
