"""Estimators on a GPU that has less memory than the data, on the double of CuPy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from tests import cuda_double
from tests.cuda_double.runtime import State
from xpnet import MLPClassifier
from xpnet.backend import get_backend
from xpnet.training import outputs, step_chunks

_rng = np.random.default_rng(5)
X = _rng.standard_normal((4000, 16)).astype(np.float32)
Y = (X[:, 0] + X[:, 1] > 0).astype(int)
SETTINGS: dict[str, Any] = {"hidden_layer_sizes": (5,), "max_iter": 2, "random_state": 0, "batch_size": 50}

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_chunks, "_UPLOADED_ELEMENTS", 100 * 16)
    monkeypatch.setattr(outputs, "_CHUNK_ELEMENTS", 100 * 16)


@contextmanager
def small_gpu() -> Iterator[State]:
    """Let a GPU say that it has less free memory than the data take; a workspace of cuBLAS alone takes more."""
    with cuda_double.installed() as state, pytest.MonkeyPatch.context() as patch:
        patch.setattr(get_backend("cupy:gpu"), "free_bytes", lambda: X.nbytes // 2, raising=False)
        yield state


@pytest.mark.parametrize("options", [{"early_stopping": True}, {"solver": "lbfgs"}], ids=str)
def test_it_fits_and_predicts_as_on_the_cpu(options: dict[str, Any]) -> None:
    cpu, gpu = (MLPClassifier(**SETTINGS, **options, device=device) for device in ("cpu", "cupy:gpu"))
    cpu.fit(X, Y)
    with small_gpu() as state:
        gpu.fit(X, Y)
        np.testing.assert_allclose(gpu.predict_proba(X), cpu.predict_proba(X), rtol=1e-3, atol=1e-4)
        assert state.used(0) < 2048  # the state of the optimizer, for a fit that goes on


def test_sparse_inputs_and_small_steps() -> None:
    cpu, gpu = (MLPClassifier(**SETTINGS, device=device) for device in ("cpu", "cupy:gpu"))
    cpu.partial_fit(X, Y, classes=[0, 1])
    with small_gpu():
        gpu.partial_fit(sparse.csr_matrix(X), Y, classes=[0, 1])
        np.testing.assert_allclose(gpu.predict_proba(sparse.csr_matrix(X)), cpu.predict_proba(X), rtol=1e-3, atol=1e-4)
