"""What an interactive session shows: short representations, and names without those that a module only imports."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import xpnet
import xpnet.estimators
import xpnet.plot

NETWORK = xpnet.Network([4, 5, 3])
DEEP = xpnet.Network([400, *[64] * 40, 300], loss="squared_error", output_range=(np.zeros(300), np.ones(300)))
TRAINER = xpnet.Trainer(
    DEEP, class_weight=dict.fromkeys(range(1000), 1.0), callbacks=[xpnet.Callback()] * 50, target_scale=np.ones(300)
)


@pytest.fixture(scope="module")
def run() -> xpnet.Run:
    x, y = np.random.default_rng(0).random((30, 4)), np.arange(30) % 3
    trainer = xpnet.Trainer(NETWORK, epochs=1000, batch_size=None, on_divergence="halve")
    return trainer.fit(x, y, validation=(x, y))


RESULTS: dict[str, Callable[[xpnet.Run], Any]] = {
    "run": lambda run: run,
    "running": lambda run: run._replace(stopped="running", state=run.state._replace(history=(), position=3)),
    "state": lambda run: run.state,
    "params": lambda run: run.params,
    "history": lambda run: run.history,
    "one epoch": lambda run: run._replace(state=run.state._replace(history=run.history[:1])).history,
    "joined params": lambda run: run.params.map(lambda array: array + 1),
}
SETTINGS: dict[str, Any] = {
    "network": NETWORK,
    "deep network": DEEP,
    "trainer": TRAINER,
    "model": xpnet.Model(
        NETWORK, np.zeros(NETWORK.n_parameters), "classification", np.arange(3), feature_names=tuple("abcd")
    ),
    "wide model": xpnet.Model(
        DEEP,
        np.zeros((2, DEEP.n_parameters)),
        "regression",
        feature_names=tuple(f"a long name of column {i}" for i in range(400)),
    ),
    "estimator": xpnet.MLPClassifier(hidden_layer_sizes=(10,) * 500),
    "tabular estimator": xpnet.TabularClassifier(class_weight=dict.fromkeys(range(1000), 1.0), drop=["x"] * 1000),
}


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_is_shown_on_a_few_lines(name: str, run: xpnet.Run) -> None:
    text = repr(RESULTS[name](run))
    assert len(text) < 300
    assert " object at 0x" not in text


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_are_shown_on_a_few_lines(name: str) -> None:
    assert len(repr(SETTINGS[name])) < 1200


def test_settings_show_what_differs_from_the_defaults() -> None:
    assert repr(NETWORK) == "Network(layer_sizes=(4, 5, 3), output='softmax')"
    trainer = xpnet.Trainer(NETWORK, learning_rate=0.1, epochs=5)
    assert repr(trainer) == f"Trainer(network={NETWORK!r}, learning_rate=0.1, epochs=5)"
    assert repr(replace(trainer, target_scale=np.ones(2))).endswith(", epochs=5, target_scale=array([1., 1.]))")


def test_a_history_is_a_tuple(run: xpnet.Run) -> None:
    assert run.history == run.state.history
    assert repr(run.history).startswith("<History of 1,000 epochs, the last: EpochRecord(epoch=1000, loss=")
    assert repr(run.state) == "<RunState after 1,000 epochs: 43 parameters, 2 slots of the optimizer>"
    assert repr(run.params) == "<Parameters of 2 layers, W of the shapes [(4, 5), (5, 3)], float32>"


@pytest.mark.parametrize("module", [xpnet, xpnet.estimators, xpnet.plot])
def test_the_names_of_a_package_are_its_own(module: Any) -> None:
    assert dir(module) == sorted(module.__all__)
    assert not {"Any", "TYPE_CHECKING", "import_module"} & {*dir(module)}
    assert all(callable(getattr(module, name)) for name in module.__all__ if name != "__version__")
    assert all(getattr(xpnet, name) is getattr(xpnet.estimators, name) for name in xpnet.estimators.__all__)


def test_the_estimators_are_in_the_list() -> None:
    assert {"MLPClassifier", "MLPRegressor", "TabularClassifier", "TabularRegressor", "TableEncoder", "fit"} <= {
        *dir(xpnet)
    }


@pytest.mark.subprocess
def test_a_star_import_and_completion_know_the_same_names(environment: dict[str, str]) -> None:
    code = """
from xpnet import *
assert {"TabularClassifier", "fit", "Trainer"} <= {*globals()}, sorted(globals())
assert not {"Any", "TYPE_CHECKING", "import_module"} & {*globals()}
import rlcompleter, xpnet
completer = rlcompleter.Completer({"xpnet": xpnet})
found = [completer.complete("xpnet.Tab", i) for i in range(3)]
assert [name.rstrip("()") for name in found] == ["xpnet.TableEncoder", "xpnet.TabularClassifier",
                                                 "xpnet.TabularRegressor"], found
"""
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
