"""No synchronisation and no host copy inside an epoch: whatever brings a value to the host is caught and counted.

It needs no GPU: array-api-strict's second device refuses to become a NumPy array by itself, and there and on the other
eager backends every way from an array to a Python value is watched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from xpnet.backend import flushes_subnormals
from xpnet.nn.activations import ACTIVATIONS
from xpnet.nn.losses import LOSSES, get_loss
from xpnet.nn.network import Network
from xpnet.nn.optimizers import OPTIMIZERS
from xpnet.training.callbacks import Callback
from xpnet.training.history import EpochRecord
from xpnet.training.trainer import Trainer

N, BATCH, N_IN, K = 50, 8, 6, 3  # the last batch is short
EPOCHS = 3
_rng = np.random.default_rng(4)
X = _rng.standard_normal((N, N_IN))
CLASSES = _rng.integers(0, K, N)
_WAYS = ("__float__", "__int__", "__bool__", "__index__", "__complex__", "__array__", "__buffer__", "__iter__")
_WAYS += ("item", "tolist", "cpu", "numpy", "get", "nonzero")

pytestmark = [
    pytest.mark.parametrize("dtype", ["float32"], indirect=True),
    pytest.mark.parametrize("device", ["strict:cpu:1", "torch:cpu", "torch:gpu", "cupy:gpu"], indirect=True),
]


class Watch(Callback):
    """Counts host accesses by where training is: in an epoch's steps, or after them."""

    def __init__(self) -> None:
        self.place = "before"
        self.seen: Counter[str] = Counter()
        self._inside = False

    def on_start(self, n_steps: int, epochs: int) -> None:
        self._steps = n_steps

    def learning_rate(self, epoch: int, rate: float) -> float:
        self.place = "steps"
        return rate

    def on_steps(self, epoch: int, done: int) -> None:
        if done == self._steps:
            self.place = "after the steps"

    def on_epoch(self, record: EpochRecord, run: Any) -> None:
        self.place = "between epochs"

    def wrap(self, way: Any, *, is_ours: bool = False) -> Any:
        def watched(*args: Any, **kwargs: Any) -> Any:
            if not self._inside:  # what an access itself is made of counts once
                self.seen[self.place] += 1
                if not is_ours:
                    self.seen["by no to_numpy"] += 1
            outer, self._inside = self._inside, True
            try:
                return way(*args, **kwargs)
            finally:
                self._inside = outer

        return watched


@pytest.fixture
def watch(backend: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    watch = Watch()
    flushes_subnormals(backend)  # the first call brings a number to the host; later ones remember the answer
    cls = type(backend.asarray(np.zeros(2, np.float32)))
    for way in _WAYS:
        if hasattr(cls, way):
            monkeypatch.setattr(cls, way, watch.wrap(getattr(cls, way)))
    monkeypatch.setattr(backend, "to_numpy", watch.wrap(backend.to_numpy, is_ours=True))
    yield watch
    monkeypatch.undo()


def _targets(loss: str) -> np.ndarray:
    return CLASSES if get_loss(loss).targets.sum_to_one else np.eye(K, dtype=np.float32)[CLASSES]


def _fit(backend: Any, watch: Watch, *, loss: str = "cross_entropy", validation: bool = True, **options: Any) -> None:
    of_network = {name: options.pop(name) for name in ("activation", "dropout", "l2") if name in options}
    network = Network([N_IN, 5, K], loss=loss, **of_network)
    y = _targets(loss)
    held_out = (X[:20], y[:20]) if validation else None
    Trainer(network, batch_size=BATCH, epochs=EPOCHS, device=backend, callbacks=[watch], **options).fit(
        X, y, validation=held_out
    )


def _hold(watch: Watch, per_epoch: int) -> None:
    assert watch.seen["steps"] == 0
    assert watch.seen["by no to_numpy"] == watch.seen["before"] == 0
    assert watch.seen["after the steps"] == per_epoch * EPOCHS
    assert watch.seen["between epochs"] == 0


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("options", [{}, {"dropout": 0.3, "clip_norm": 0.5, "l2": 0.1}], ids=["plain", "all"])
def test_every_optimizer(optimizer: str, options: Any, backend: Any, watch: Watch) -> None:
    _fit(backend, watch, optimizer=optimizer, learning_rate=0.001, **options)
    _hold(watch, 3)  # the loss, whether all is finite, the validation


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss(loss: str, backend: Any, watch: Watch) -> None:
    _fit(backend, watch, loss=loss)
    _hold(watch, 3)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation(activation: str, backend: Any, watch: Watch) -> None:
    _fit(backend, watch, activation=activation, dropout=0.2)
    _hold(watch, 3)


def test_what_each_part_costs(backend: Any, watch: Watch) -> None:
    _fit(backend, watch, validation=False, schedule="cosine", early_stopping="training_loss")
    _hold(watch, 2)


def test_validation_in_chunks_costs_no_more(backend: Any, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xpnet.training.outputs._CHUNK_ELEMENTS", 30)  # five samples
    for loss in ("cross_entropy", "squared_error"):
        watch.seen.clear()
        watch.place = "before"
        _fit(backend, watch, loss=loss)
        _hold(watch, 3)


def test_an_access_is_seen(backend: Any, watch: Watch) -> None:
    watch.place = "steps"
    array = backend.asarray(np.ones(2, np.float32))
    float(array[0])
    assert watch.seen == {"steps": 1, "by no to_numpy": 1}
    backend.to_numpy(array)
    assert watch.seen == {"steps": 2, "by no to_numpy": 1}
    bool(backend.xp.all(array > 0))
    assert watch.seen["steps"] == 3
