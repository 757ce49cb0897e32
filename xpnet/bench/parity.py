"""Parity: the same run from the same seed on several devices, compared with the first device after each epoch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from xpnet.backend import Backend, dtype_name
from xpnet.errors import DivergenceError
from xpnet.nn.activations import ACTIVATIONS
from xpnet.nn.losses import LOSSES, get_loss
from xpnet.nn.network import Network
from xpnet.nn.optimizers import OPTIMIZERS
from xpnet.training.callbacks import Callback
from xpnet.training.history import EpochRecord
from xpnet.training.outputs import outputs
from xpnet.training.trainer import Run, Trainer

__all__ = [
    "TOLERANCES",
    "Case",
    "Comparison",
    "Difference",
    "Recorder",
    "compare",
    "comparison",
    "relative_difference",
    "sweep_cases",
    "train",
]

TOLERANCES = {"float64": 1e-10, "float32": 1e-4}
"""Largest allowed relative difference after each epoch, by dtype."""

_MANY_STEPS = 1_000_000
_MAX_PREDICTIONS = 1000  # samples whose outputs are kept and compared after each epoch
_SWEEP_SAMPLES, _SWEEP_BATCH, _SWEEP_HIDDEN, _SWEEP_DROPOUT = 256, 32, (16, 12), 0.25


class Case(NamedTuple):
    """A run that is trained on each device, in place of the device and dtype of `trainer`.

    Attributes
    ----------
    name : str
    trainer : Trainer
    x, y : arrays
    is_compiled : bool
        Whether the steps are compiled however few they are, so that long runs are compared too.
    """

    name: str
    trainer: Trainer
    x: np.ndarray
    y: np.ndarray
    is_compiled: bool = False


class Difference(NamedTuple):
    """The relative differences after an epoch, see `relative_difference`.

    Attributes
    ----------
    loss : float
        Difference of the loss curves up to this epoch.
    params, predictions : float
        Difference of the parameter vectors, and of the outputs for at most 1,000 training samples.
    """

    loss: float
    params: float
    predictions: float


class Comparison(NamedTuple):
    """The differences of a run from the same run on the first device.

    Attributes
    ----------
    case, device, reference, dtype : str
    tolerance : float
        Limit for each difference. It is meant for a few epochs, because training can amplify rounding without bound.
    differences : tuple of Difference
        One for each epoch.
    reason : str
        Why the run failed; empty if it did not.
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
        """Whether the run finished and every difference is within the tolerance."""
        return not self.reason and self.worst <= self.tolerance

    @property
    def worst(self) -> float:
        """The largest difference, or 0 if there are none."""
        return max((max(each) for each in self.differences), default=0.0)


class Recorder(Callback):
    """Keeps loss, parameters and outputs after each epoch, on the host in float64."""

    def __init__(self, case: Case, backend: Backend) -> None:
        self.losses: list[float] = []
        self.params: list[np.ndarray] = []
        self.predictions: list[np.ndarray] = []
        self._backend = backend
        self._x = case.x[:_MAX_PREDICTIONS]

    def on_epoch(self, record: EpochRecord, run: Run) -> None:
        """Keep what the epoch gave."""
        backend = self._backend
        x = backend.asarray(np.asarray(self._x, dtype=dtype_name(run.params.vector)))
        self.losses.append(record.loss)
        self.params.append(_host(backend, run.params.vector))
        self.predictions.append(_host(backend, outputs(run.network, run.params, x, backend)))


def _host(backend: Backend, array: Any) -> np.ndarray:
    return backend.to_numpy(array).astype(np.float64)  # a copy, because the library may reuse the memory


def compare(case: Case, backends: Sequence[Backend], dtype: str) -> Iterator[Comparison]:
    """Train a case on each backend, and yield the comparison of each further backend with the first.

    Parameters
    ----------
    backends : sequence of Backend
        The first is the reference.
    dtype : {"float32", "float64"}

    Raises
    ------
    DivergenceError
        The run diverged on the first backend. On another backend this is the `reason` of its comparison.
    """
    reference, *others = backends
    expected = train(case, reference, dtype)
    for backend in others:
        reason, recorder = "", Recorder(case, backend)
        try:
            train(case, backend, dtype, recorder)
        except DivergenceError as exc:
            reason = str(exc)
        yield comparison(case, backend.name, reference.name, dtype, recorder, expected, reason)


def comparison(
    case: Case, device: str, reference: str, dtype: str, found: Recorder, expected: Recorder, reason: str = ""
) -> Comparison:
    """Return the comparison of what was recorded on a device with what is expected."""
    differences = tuple(_differences(found, expected))
    return Comparison(case.name, device, reference, dtype, TOLERANCES[dtype], differences, reason)


def _compiling(backend: Backend) -> Backend:
    """Return a twin of a backend that compiles each run as if it were a long one."""
    twin: Backend = object.__new__(type(backend))
    vars(twin).update(vars(backend), compile=lambda step, n_steps=None: backend.compile(step, _MANY_STEPS))
    return twin


def train(case: Case, backend: Backend, dtype: str, recorder: Recorder | None = None) -> Recorder:
    """Train a case, and return the recorder with what each epoch gave."""
    recorder = recorder or Recorder(case, backend)
    device = _compiling(backend) if case.is_compiled else backend
    replace(case.trainer, device=device, dtype=dtype, callbacks=(recorder,)).fit(case.x, case.y)
    return recorder


def _differences(actual: Recorder, expected: Recorder) -> Iterator[Difference]:
    for epoch in range(len(actual.losses)):
        yield Difference(
            relative_difference(actual.losses[: epoch + 1], expected.losses[: epoch + 1]),
            relative_difference(actual.params[epoch], expected.params[epoch]),
            relative_difference(actual.predictions[epoch], expected.predictions[epoch]),
        )


def relative_difference(actual: Any, expected: Any) -> float:
    """Return ``max|actual - expected| / max|expected|``, the relative error in the maximum norm.

    See Higham, *Accuracy and Stability of Numerical Algorithms* (2002), section 6.2. The relative error of a single
    entry has no bound: where the exact result is zero, or close to it by cancellation, only rounding is left.

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
        return math.inf  # exceeds every tolerance, which NaN would not
    return difference / size if size else (math.inf if difference else 0.0)


def sweep_cases(x: np.ndarray, y: np.ndarray, seed: int = 0) -> Iterator[Case]:
    """Yield small runs of one epoch that cover every activation, loss and optimizer; half of them use dropout.

    Parameters
    ----------
    x : (n_samples, n_in)
        Scaled features; the first 256 samples are used.
    y : (n_samples,) integers or (n_samples, n_out)
        Class indices, or targets, which are converted to classes: the largest of several columns gives the class, and
        a single column is cut into two classes at the median.
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
