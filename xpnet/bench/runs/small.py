"""Small data and many epochs: from the first call to the fitted model, with validation and early stopping."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from xpnet.backend import Backend
from xpnet.bench.caches import place
from xpnet.bench.implementations import Implementation
from xpnet.bench.overhead import timed_backend
from xpnet.bench.results import agrees
from xpnet.bench.runs.request import Request
from xpnet.bench.runs.results import Column, RunResults, RunRow, as_loss, as_ratio, as_share, as_time
from xpnet.bench.runs.whole import short_steps
from xpnet.bench.sklearn_peers import parameters
from xpnet.bench.timing import interleave, seconds
from xpnet.bench.workloads import Workload
from xpnet.data.named import load_dataset
from xpnet.data.split import split
from xpnet.training.callbacks import Callback
from xpnet.training.early_stopping import EarlyStopping
from xpnet.training.progress import Progress
from xpnet.training.state import Run
from xpnet.training.trainer import Trainer

__all__ = ["CASES", "COLUMNS", "measure"]

COLUMNS = (
    Column("first", "first fit", as_time, "time of the first fit in the process, which may import and compile"),
    Column(
        "outside", "outside the steps", as_share,
        "share of the time that is not spent in steps: set-up, compilation, shuffling, checks, validation, progress",
    ),
    Column("per_step", "per step", as_time, "time of the fit divided by its number of steps"),
    Column("to_short", "x short", as_ratio, "that time relative to the short runs of `xpnet bench`"),
    Column("loss", "loss", as_loss, "mean training loss of the last epoch; equal for xpnet, and for the estimators"),
)  # fmt: skip
_WORKLOADS = {
    each.name: each
    for each in (
        Workload("digits", (64, 100, 10), "relu", 200, "adam", 0.001, 1),
        Workload("iris", (4, 10, 3), "relu", 32, "adam", 0.01, 1),
    )
}
CASES = tuple(_WORKLOADS)
"""The data sets."""
_EPOCHS, _QUICK_EPOCHS = 200, 3
_VALIDATION = 0.1


class _Data(NamedTuple):
    workload: Workload
    x: np.ndarray  # training and validation part, for estimators, which split it themselves
    y: np.ndarray
    train: tuple[np.ndarray, np.ndarray]
    validation: tuple[np.ndarray, np.ndarray]


def measure(request: Request[Implementation]) -> RunResults:
    """Fit each data set on each device and with each peer, interleaved."""
    all_data = [_load(_WORKLOADS[name]) for name in request.cases or CASES]
    rows = [row for data in all_data for row in _rows(data, request)]
    remarks = tuple(
        f"{data.workload.name}: {len(data.train[0]):,} training samples in float32, {place(data.train[0].nbytes)}; "
        f"{len(data.validation[0])} validation samples"
        for data in all_data
    )
    return request.results(
        run="small",
        title=f"{_epochs(request)} epochs on small data, with validation and early stopping",
        case="data",
        timed="per fit",
        columns=COLUMNS,
        rows=rows,
        remarks=remarks,
    )


def _epochs(request: Request[Implementation]) -> int:
    return _QUICK_EPOCHS if request.quick else _EPOCHS


def _load(workload: Workload) -> _Data:
    """Return a data set in float32, standardized."""
    dataset = load_dataset(workload.name)
    x = np.asarray(dataset.x, np.float32)
    x = (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-6)
    y = np.asarray(dataset.y, np.int32)
    parts: Any = split(x, y, validation_fraction=_VALIDATION, test_fraction=0.0, stratify=True, seed=0)
    train, validation = (parts.x_train, parts.y_train), (parts.x_validation, parts.y_validation)
    return _Data(workload._replace(steps=-(-len(train[0]) // workload.batch)), x, y, train, validation)


class _StepSeconds(Callback):
    """Note how many runs of steps there were at the end of each epoch."""

    def __init__(self, in_steps: list[float]) -> None:
        self._in_steps = in_steps
        self.ends: list[int] = []

    def on_epoch(self, record: Any, run: Run) -> None:
        """Note the number."""
        self.ends.append(len(self._in_steps))


def _fit(backend: Backend, data: _Data, epochs: int, *callbacks: Callback) -> float:
    workload = data.workload
    trainer = Trainer(
        workload.network,
        optimizer=workload.optimizer,
        learning_rate=workload.learning_rate,
        batch_size=workload.batch,
        epochs=epochs,
        early_stopping=EarlyStopping("loss", patience=epochs),  # it keeps the best epoch, and all epochs are run
        device=backend,
        callbacks=[Progress(len(data.train[0])), *callbacks],
    )
    with redirect_stderr(io.StringIO()):
        return trainer.fit(*data.train, validation=data.validation).history[-1].loss


def _outside(backend: Backend, data: _Data, epochs: int) -> float:
    """Return the share of a fit that is not spent in steps; the first epoch, which compiles, counts as the median."""
    in_steps: list[float] = []
    ends = _StepSeconds(in_steps)
    whole = seconds(partial(_fit, timed_backend(backend, in_steps), data, epochs, ends))
    per_epoch = [sum(in_steps[begin:end]) for begin, end in zip([0, *ends.ends], ends.ends, strict=False)]
    per_epoch[0] = float(np.median(per_epoch))
    return 1 - sum(per_epoch) / whole


def _fit_estimator(make: Callable[..., Any], data: _Data, epochs: int) -> float:
    workload = data.workload
    settings = parameters(
        workload.sizes[1:-1],
        activation=workload.activation,
        optimizer=workload.optimizer,
        learning_rate=workload.learning_rate,
        batch=workload.batch,
    )
    model = make(
        **settings,
        max_iter=epochs,
        early_stopping=True,
        validation_fraction=_VALIDATION,
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # all epochs are run, as intended
        model.fit(data.x, data.y)
    return float(model.loss_curve_[-1])


def _rows(data: _Data, request: Request[Implementation]) -> Iterator[RunRow]:
    epochs, case = _epochs(request), data.workload.name
    found = request.available
    fits = [_fit_of(each, data, epochs) for each in found]
    losses: list[float] = []
    firsts = [seconds(lambda fit=fit: losses.append(fit())) for fit in fits]  # type: ignore[misc]
    taken = interleave([lambda turn, fit=fit: fit() for fit in fits], request.rounds)  # type: ignore[misc]
    short = short_steps(data.workload, found, quick=request.quick) if found else []
    for i, each in enumerate(found):
        outside = None
        if each.backend is not None:
            outside = float(np.median([_outside(each.backend, data, epochs) for _ in range(request.rounds)]))
        step = float(np.median(taken[i])) / (epochs * data.workload.steps)
        figures = {
            "first": firsts[i], "outside": outside, "per_step": step, "to_short": step / short[i], "loss": losses[i]
        }  # fmt: skip
        # The estimators draw their own weights and parts, so each kind is compared with its own first row.
        same_kind = (losses[j] for j, other in enumerate(found) if (other.backend is None) == (each.backend is None))
        yield RunRow(case, each.name, tuple(taken[i]), figures, agrees(losses[i], next(same_kind)))


def _fit_of(implementation: Implementation, data: _Data, epochs: int) -> Callable[[], float]:
    if implementation.backend is not None:
        return partial(_fit, implementation.backend, data, epochs)
    assert implementation.estimator is not None
    return partial(_fit_estimator, implementation.estimator, data, epochs)
