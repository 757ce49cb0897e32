"""Inputs in bytes, and inputs that are too large for the device: training and evaluation are those of float arrays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import cuda_double
from tests.cuda_double.runtime import state
from xpnet.backend import Backend, get_backend
from xpnet.data.scaled_bytes import ScaledBytes
from xpnet.nn.network import Network
from xpnet.training import outputs as outputs_module
from xpnet.training import step_chunks
from xpnet.training.checkpoint import Checkpoint
from xpnet.training.evaluation import assess, evaluate
from xpnet.training.input_rows import InputRows
from xpnet.training.outputs import host_outputs, outputs
from xpnet.training.samples import host_inputs, to_samples
from xpnet.training.trainer import Run, Trainer

N, N_IN, BATCH = 43, 6, 5  # the last batch is short
NETWORK = Network([N_IN, 7, 3], dropout=0.2, l2=1e-3)
_rng = np.random.default_rng(3)
X = _rng.standard_normal((N, N_IN))
BYTES = _rng.integers(0, 256, (N, N_IN)).astype(np.uint8)
Y = _rng.integers(0, 3, N)
WEIGHTS = _rng.random(N)


def fit(x: Any, device: Backend | str = "cpu", dtype: str = "float32", **options: Any) -> Run:
    """Train with weights and a validation part, and so many steps that a step is compiled."""
    held_out = x._replace(values=x.values[:11]) if isinstance(x, ScaledBytes) else x[:11]
    settings = {"epochs": 3, "batch_size": BATCH, "optimizer": "momentum", "seed": 4, "class_weight": "balanced"}
    trainer = Trainer(NETWORK, device=device, dtype=dtype, **settings | options)
    return trainer.fit(x, Y, sample_weight=WEIGHTS, validation=(held_out, Y[:11]))


def same(run: Run, expected: Run, backend: Backend, close: Any) -> None:
    close(run.params.vector, backend.to_numpy(expected.params.vector), terms=N)
    for record, other in zip(run.history, expected.history, strict=True):
        assert record.loss == pytest.approx(other.loss, rel=1e-4)
        assert record.validation == pytest.approx(other.validation, rel=1e-4)


@pytest.fixture
def small(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the device have memory for fewer than the samples, and bring two batches there at a time."""
    monkeypatch.setattr(backend, "free_bytes", lambda: 100, raising=False)
    monkeypatch.setattr(step_chunks, "_UPLOADED_ELEMENTS", 2 * BATCH * N_IN)
    monkeypatch.setattr(outputs_module, "_CHUNK_ELEMENTS", 4 * N_IN)


@pytest.mark.parametrize("x", [X, BYTES, ScaledBytes(BYTES, 255.0)], ids=["floats", "bytes", "scaled"])
def test_too_large_for_the_device(
    x: Any, backend: Backend, dtype: str, close: Any, request: pytest.FixtureRequest
) -> None:
    expected = fit(x, backend, dtype)
    request.getfixturevalue("small")
    samples = to_samples(NETWORK, backend, dtype, x, Y)
    assert isinstance(samples.x, InputRows)
    assert samples.x.on_host
    same(fit(x, backend, dtype), expected, backend, close)


@pytest.mark.parametrize("scaled", [False, True])
def test_bytes_are_trained_on_as_floats_are(scaled: bool, backend: Backend, dtype: str, close: Any) -> None:
    x = ScaledBytes(BYTES, 255.0) if scaled else BYTES
    samples = to_samples(NETWORK, backend, dtype, x, Y)
    assert samples.arrays[0].dtype == backend.xp.uint8
    assert samples.divisor == (255 if scaled else 1)
    floats = (BYTES / 255 if scaled else BYTES).astype(dtype)
    options = {"learning_rate": 0.1 if scaled else 1e-4}
    same(fit(x, backend, dtype, **options), fit(floats, backend, dtype, **options), backend, close)


@pytest.mark.parametrize("device", ["numpy:cpu", pytest.param("numba:cpu", marks=pytest.mark.needs("numba"))])
def test_scaled_bytes_change_no_bit(device: str) -> None:
    run, expected = fit(ScaledBytes(BYTES, 255.0), device), fit((BYTES / 255).astype(np.float32), device)
    np.testing.assert_array_equal(run.params.vector, expected.params.vector)
    assert [record[:4] for record in run.history] == [record[:4] for record in expected.history]


@pytest.mark.parametrize("options", [{"drop_last": True}, {"batch_size": None}, {"micro_batch": 2}, {"shuffle": False}])
def test_settings_with_too_large_inputs(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    expected = fit(X, **options)
    monkeypatch.setattr(get_backend("cpu"), "free_bytes", lambda: 100, raising=False)
    np.testing.assert_array_equal(fit(X, **options).params.vector, expected.params.vector)


@pytest.mark.parametrize("x", [X, ScaledBytes(BYTES, 255.0)], ids=["floats", "scaled"])
def test_a_resumed_run(x: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = fit(x)
    monkeypatch.setattr(get_backend("cpu"), "free_bytes", lambda: 100, raising=False)
    monkeypatch.setattr(step_chunks, "_STEPS_PER_CHUNK", 2)
    fit(x, callbacks=[Checkpoint(tmp_path, "4steps", keep=100)])
    for path in sorted(tmp_path.glob("*.safetensors"))[1:5]:
        trainer = Trainer(NETWORK, epochs=3, batch_size=BATCH, optimizer="momentum", seed=4, class_weight="balanced")
        run = trainer.resume(path, x, Y, sample_weight=WEIGHTS)
        np.testing.assert_array_equal(run.params.vector, expected.params.vector)


def test_the_host_has_no_limit_of_a_device(backend: Backend) -> None:
    free = backend.free_bytes()
    assert free is None or backend.name.endswith("gpu")


@pytest.mark.parametrize("y", [Y, _rng.standard_normal((N, 3))], ids=["classes", "values"])
def test_evaluation_and_outputs(
    y: np.ndarray, backend: Backend, dtype: str, close: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = NETWORK if y.ndim == 1 else Network([N_IN, 7, 3], loss="squared_error")
    params = network.init(1, backend, dtype)
    for floats, stored in ((X, X), (BYTES / 255, ScaledBytes(BYTES, 255.0))):
        samples = to_samples(network, backend, dtype, floats, y)
        expected = evaluate(network, params, samples.x, samples.y, backend)
        output = backend.to_numpy(outputs(network, params, samples.x, backend))
        for elements in (1 << 22, 5 * N_IN):
            monkeypatch.setattr(outputs_module, "_CHUNK_ELEMENTS", elements)
            monkeypatch.setattr(outputs_module, "_COPIED_ELEMENTS", elements)
            monkeypatch.setattr(outputs_module, "_CACHE_ELEMENTS", {})
            rows = host_inputs(backend, stored, dtype)
            targets = y.astype(dtype if y.ndim > 1 else np.int32)
            scores, found = assess(network, params, rows, targets, backend)
            assert scores == pytest.approx(expected, rel=1e-5)
            close(backend.asarray(found), output, terms=N_IN)
            close(backend.asarray(host_outputs(network, params, rows, backend)), output, terms=N_IN)


def test_inputs_with_negative_strides(backend: Backend, dtype: str) -> None:
    rows = host_inputs(backend, X[::-1], dtype)
    (found,) = rows.floats([slice(2, 9)])
    np.testing.assert_array_equal(backend.to_numpy(found), X[::-1][2:9].astype(dtype), strict=True)


@pytest.fixture
def gpu() -> Iterator[Backend]:
    with cuda_double.installed():
        yield get_backend("cupy:gpu")


@pytest.mark.parametrize("x", [X, ScaledBytes(BYTES, 255.0)], ids=["floats", "scaled"])
@pytest.mark.parametrize("fits", [False, True])
@pytest.mark.parametrize("epochs", [2, 12])
def test_training_on_a_gpu(x: Any, fits: bool, epochs: int, gpu: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few epochs run step by step, many as graphs or in one kernel."""
    expected = fit(x, epochs=epochs)
    monkeypatch.setattr(step_chunks, "_UPLOADED_ELEMENTS", 2 * BATCH * N_IN)
    if not fits:
        monkeypatch.setattr(gpu, "free_bytes", lambda: 100, raising=False)
    run = fit(x, gpu, epochs=epochs)
    np.testing.assert_allclose(gpu.to_numpy(run.params.vector), expected.params.vector, rtol=1e-3, atol=1e-5)


def test_bytes_on_a_gpu_take_the_memory_of_bytes(gpu: Backend) -> None:
    x = np.zeros((4096, N_IN), np.uint8)
    with gpu.scope("float32"):
        before = state.used(0)
        samples = to_samples(NETWORK, gpu, "float32", ScaledBytes(x, 255.0), np.zeros(4096, np.int32))
        assert state.used(0) - before == x.nbytes + 4 * 4096
        assert isinstance(samples.x, InputRows)
        assert not samples.x.on_host


def test_inputs_that_fill_three_quarters_of_a_gpu(gpu: Backend) -> None:
    with gpu.scope("float32"):
        for capacity, fits in ((int(X.size * 4 / 0.75) + 2, True), (int(X.size * 4 / 0.75) - 2, False)):
            state.capacity = state.used(0) + capacity
            samples = to_samples(NETWORK, gpu, "float32", X, Y.astype(np.int32))
            assert isinstance(samples.x, InputRows) is not fits
            del samples
