"""Parity: the same run from the same seed on several devices, compared with the first epoch by epoch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from xpnet.backend import Backend
from xpnet.errors import DivergenceError
from xpnet.nn.activations import ACTIVATIONS
from xpnet.nn.losses import LOSSES, get_loss
from xpnet.nn.network import Network
from xpnet.nn.optimizers import OPTIMIZERS
from xpnet.training.callbacks import Callback, EpochRecord
from xpnet.training.evaluation import outputs
from xpnet.training.trainer import Run, Trainer

__all__ = ["TOLERANCES", "Case", "Comparison", "Difference", "compare", "relative_difference", "sweep_cases"]

TOLERANCES = {"float64": 1e-10, "float32": 1e-4}
"""Largest relative difference after each epoch, by dtype."""

_MOST_PREDICTIONS = 1000  # samples: enough to see a difference, and little to keep after each epoch
_SWEEP_SAMPLES, _SWEEP_BATCH, _SWEEP_HIDDEN, _SWEEP_DROPOUT = 256, 32, (16, 12), 0.25


class Case(NamedTuple):
    """A run to train on each device; the trainer's own device and dtype are replaced."""

    name: str
    trainer: Trainer
    x: np.ndarray
    y: np.ndarray


class Difference(NamedTuple):
    """Relative differences after an epoch, see `relative_difference`.

    Attributes
    ----------
    loss : float
        Of the loss curve up to this epoch.
    params, predictions : float
        Of the parameter vector, and of the network's outputs on (at most 1,000) training samples.
    """

    loss: float
    params: float
    predictions: float


class Comparison(NamedTuple):
    """What a device's run differs by from the first device's.

    Attributes
    ----------
    case, device, reference, dtype : str
    tolerance : float
        For each difference. Training may amplify rounding without bound, so it is meant for few epochs.
    differences : tuple of Difference
        One an epoch.
    reason : str
        Why there are none or fewer; else empty.
    """

    case: str
    device: str
    reference: str
    dtype: str
    tolerance: float
    differences: tuple[Difference, ...]
    reason: str = ""

    @property
    def agrees(self) -> bool:
        """Whether the run went through, and every epoch of it is within the tolerance."""
        return not self.reason and self.worst <= self.tolerance

    @property
    def worst(self) -> float:
        """The largest difference of all; 0 where there is none."""
        return max((max(each) for each in self.differences), default=0.0)


class _Trace(Callback):
    """Keeps what a run came to after each epoch, on the host in float64."""

    def __init__(self, case: Case, backend: Backend) -> None:
        self.losses: list[float] = []
        self.params: list[np.ndarray] = []
        self.predictions: list[np.ndarray] = []
        self.failure = ""
        self._backend = backend
        self._x = case.x[:_MOST_PREDICTIONS]

    def on_epoch(self, record: EpochRecord, run: Run) -> None:
        backend = self._backend
        x = backend.asarray(np.asarray(self._x, dtype=backend.to_numpy(run.params.vector).dtype))
        self.losses.append(record.loss)
        self.params.append(_host(backend, run.params.vector))
        self.predictions.append(_host(backend, outputs(run.network, run.params, x, backend)))


def _host(backend: Backend, array: Any) -> np.ndarray:
    return backend.to_numpy(array).astype(np.float64)  # a copy: the library may use its memory again


def compare(case: Case, backends: Sequence[Backend], dtype: str) -> Iterator[Comparison]:
    """Train a case on each backend, and yield how each but the first differs from the first.

    Parameters
    ----------
    backends : sequence of Backend
        The first is the reference.
    dtype : {"float32", "float64"}

    Raises
    ------
    DivergenceError
        On the first backend; on another it is the reason why that one does not agree.
    """
    reference, *others = backends
    expected = _train(case, reference, dtype)
    for backend in others:
        reason, trace = "", _Trace(case, backend)
        try:
            _train(case, backend, dtype, trace)
        except DivergenceError as exc:
            reason = str(exc)
        differences = tuple(_differences(trace, expected))
        yield Comparison(case.name, backend.name, reference.name, dtype, TOLERANCES[dtype], differences, reason)


def _train(case: Case, backend: Backend, dtype: str, trace: _Trace | None = None) -> _Trace:
    trace = trace or _Trace(case, backend)
    replace(case.trainer, device=backend, dtype=dtype, callbacks=(trace,)).fit(case.x, case.y)
    return trace


def _differences(actual: _Trace, expected: _Trace) -> Iterator[Difference]:
    for epoch in range(len(actual.losses)):
        yield Difference(
            relative_difference(actual.losses[: epoch + 1], expected.losses[: epoch + 1]),
            relative_difference(actual.params[epoch], expected.params[epoch]),
            relative_difference(actual.predictions[epoch], expected.predictions[epoch]),
        )


def relative_difference(actual: Any, expected: Any) -> float:
    """``max|actual - expected| / max|expected|``: the normwise relative error in the maximum norm.

    Higham, *Accuracy and Stability of Numerical Algorithms* (2002), section 6.2. An entry by itself has no bounded one:
    where an exact result is zero, or nearly so by cancellation, rounding is all that is left of it.

    Parameters
    ----------
    actual, expected : array_like of one shape

    Examples
    --------
    >>> relative_difference([1.0, 2.5], [1.0, 2.0])
    0.25
    """
    a, b = (np.asarray(each, dtype=np.float64) for each in (actual, expected))
    difference, size = float(np.max(np.abs(a - b))), float(np.max(np.abs(b)))
    if math.isnan(difference):
        return math.inf  # which no tolerance takes for a small one
    return difference / size if size else (math.inf if difference else 0.0)


def sweep_cases(x: np.ndarray, y: np.ndarray, seed: int = 0) -> Iterator[Case]:
    """Yield small runs, an epoch each, that cover every activation, loss and optimizer, and dropout with half of them.

    Parameters
    ----------
    x : (n_samples, n_in)
        Scaled features; the first 256 are taken.
    y : (n_samples,) integers or (n_samples, n_out)
        Class indices, or targets: those of several columns become the class of the largest, a single column's values
        two classes, below and above the median.
    """
    x, y = x[:_SWEEP_SAMPLES], y[:_SWEEP_SAMPLES]
    if y.ndim == 1 and y.dtype.kind in "iu":
        labels = np.unique(y, return_inverse=True)[1]
    else:
        y = y.reshape(len(y), -1)
        labels = np.argmax(y, axis=1) if y.shape[1] > 1 else y[:, 0] > np.median(y)
    n_out = max(int(labels.max()) + 1, 2)
    one_hot = np.eye(n_out)[labels.astype(np.int64)]
    for i in range(max(len(ACTIVATIONS), len(LOSSES), len(OPTIMIZERS))):
        activation, loss, optimizer = (_nth(table, i) for table in (ACTIVATIONS, LOSSES, OPTIMIZERS))
        dropout = _SWEEP_DROPOUT * (i % 2)
        network = Network((x.shape[1], *_SWEEP_HIDDEN, n_out), activation, loss=loss, dropout=dropout)
        trainer = Trainer(network, optimizer=optimizer, batch_size=min(_SWEEP_BATCH, len(x)), epochs=1, seed=seed)
        targets = labels.astype(np.int32) if get_loss(loss).targets.sum_to_one else one_hot
        name = ", ".join(filter(None, (activation, loss, optimizer, "dropout" if dropout else "")))
        yield Case(name, trainer, x, targets)


def _nth(names: Iterable[str], i: int) -> str:
    known = list(names)
    return known[i % len(known)]
