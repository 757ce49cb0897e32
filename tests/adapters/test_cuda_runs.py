"""Whole runs on the double of CuPy: nothing on another GPU, nothing that waits within an epoch."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import cuda_double
from tests.command_line import xpnet
from tests.host_compiler import COMPILER
from xpnet.backend import get_backend
from xpnet.estimators import MLPClassifier
from xpnet.nn.network import Network
from xpnet.training.trainer import Run, Trainer

if COMPILER is None:
    pytest.skip("no g++ to compile kernels for the host", allow_module_level=True)

_rng = np.random.default_rng(0)
X = _rng.standard_normal((96, 5)).astype(np.float32)
Y = (X[:, 0] > 0).astype(np.int64)
NETWORK = Network((5, 8, 2), dropout=0.1, l2=0.01)


@pytest.fixture
def gpu() -> Iterator[Any]:
    with cuda_double.installed() as state:
        yield state


def train(device: str, batch_size: int = 4, epochs: int = 4, **options: Any) -> Run:
    trainer = Trainer(NETWORK, batch_size=batch_size, epochs=epochs, device=device, **options)
    return trainer.fit(X[:80], Y[:80], validation=(X[80:], Y[80:]))


def test_the_second_gpu_alone(gpu: Any, folder: Path) -> None:
    run = train("gpu:1", early_stopping="loss")
    assert run.params.vector.device.id == 1
    estimator = MLPClassifier(hidden_layer_sizes=(8,), batch_size=4, max_iter=5, device="gpu:1", early_stopping=True)
    with pytest.warns(UserWarning, match="Maximum iterations"):
        estimator.fit(X, Y)
    assert estimator.predict(X).shape == (96,)
    code, _, err = xpnet("train", "iris", "--device", "gpu:1", "--epochs", 20, "--out", "run")
    assert code == 0, err
    code, out, _ = xpnet("evaluate", "run/model.safetensors", "iris", "--device", "gpu:1", "--json")
    assert code == 0
    assert '"device": "cupy:gpu:1"' in out
    assert gpu.allocations[1] > 0 == gpu.allocations[0]


def test_one_run_on_each_gpu(gpu: Any) -> None:
    runs: dict[str, Run] = {}
    threads = [threading.Thread(target=lambda d=d: runs.update({d: train(d)})) for d in ("gpu", "gpu:1")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    one, other = (runs[device].params.vector for device in ("gpu", "gpu:1"))
    assert (one.device.id, other.device.id) == (0, 1)
    np.testing.assert_array_equal(one.get(), other.get())


def test_the_host_waits_at_the_end_of_an_epoch_only(gpu: Any) -> None:
    def waits(batch_size: int, epochs: int) -> int:
        before = gpu.waits
        train("gpu", batch_size, epochs)
        return int(gpu.waits - before)

    get_backend("gpu")  # which tries whether it can compute
    few, many = (waits(batch_size, 9) - waits(batch_size, 8) for batch_size in (8, 2))  # of 10 and 40 steps an epoch
    assert few == many <= 3
