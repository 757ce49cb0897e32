"""NumPy's product raises floating-point flags for finite numbers on some processors; no user sees a warning of it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

import xpnet
from tests.command_line import train
from tests.models import X, make
from xpnet.backend import NUMPY
from xpnet.nn.gradcheck import check_gradients

Y = np.arange(len(X)) % 3
NETWORK = xpnet.Network([4, 5, 3])


@pytest.fixture(autouse=True)
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let every product raise a flag, whatever the processor, and return a list that grows with each call."""
    made: list[int] = []

    def product(*arguments: Any, **options: Any) -> Any:
        made.append(1)
        np.subtract(np.asarray([np.inf]), np.inf)
        return np.matmul(*arguments, **options)

    monkeypatch.setattr(NUMPY, "matmul", product)
    return made


def test_the_product_of_these_tests_warns() -> None:
    with pytest.warns(RuntimeWarning, match="invalid value"):
        NUMPY.matmul(X, X.T)


def test_a_network_on_plain_arrays(calls: list[int]) -> None:
    params = NETWORK.init()
    assert np.isfinite(NETWORK.forward(params, X)).all()
    assert np.isfinite(NETWORK.predict(params, X)).all()
    loss, _ = NETWORK.loss_and_grads(params, X, Y)
    assert np.isfinite(loss)
    assert check_gradients(NETWORK).relative_error < 1e-6
    assert len(calls) > 10


def test_a_model(calls: list[int]) -> None:
    model = make("integers")
    assert model.predict(X).shape == (len(X),)
    assert np.isfinite(model.evaluate(X, model.predict(X))["loss"])
    assert calls


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_estimator(solver: str, dtype: str, calls: list[int]) -> None:
    estimator = xpnet.MLPClassifier(5, solver=solver, max_iter=20, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        estimator.fit(X.astype(dtype), Y)
    assert np.isfinite(estimator.predict_proba(X.astype(dtype))).all()
    assert 0 <= estimator.score(X.astype(dtype), Y) <= 1
    assert calls


def test_the_command_line(tmp_path: Path, calls: list[int]) -> None:
    assert train("--device", "cpu", "--quiet", "--out", tmp_path / "run").err == ""
    assert calls
