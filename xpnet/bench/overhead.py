"""The overhead of a fit: the share of its time that is not spent in training steps."""

from __future__ import annotations

import io
import math
import time
from contextlib import redirect_stderr
from typing import Any, NamedTuple

import numpy as np

from xpnet.backend import Array, Backend
from xpnet.backend.steps import RunSteps, Step
from xpnet.bench.workloads import Workload, make_data
from xpnet.nn.network import Parameters
from xpnet.training.evaluation import evaluate
from xpnet.training.progress import Progress
from xpnet.training.samples import to_samples
from xpnet.training.trainer import Trainer

__all__ = ["Overhead", "measure_overhead", "timed_backend"]

_VALIDATION = 1 / 9  # of the training part: a tenth of all samples, as in `xpnet train`


class Overhead(NamedTuple):
    """Shares of a fit's time.

    Attributes
    ----------
    total : float
        Everything but the steps: validation, shuffling, copying, checks, progress.
    validation : float
        Validation alone.
    """

    total: float
    validation: float


def timed_backend(backend: Backend, seconds: list[float]) -> Backend:
    """Return a copy of a backend that appends the seconds of each run of steps, with the wait for the device."""

    def compile_(self: Any, step: Step, n_steps: int = 1) -> RunSteps:
        run = type(backend).compile(self, step, n_steps)

        def timed(params: Array, state: Any, data: tuple[Array, ...], order: Array) -> tuple[Array, Any, Array]:
            started = time.perf_counter()
            params, state, losses = run(params, state, data, order)
            backend.to_numpy(losses)
            seconds.append(time.perf_counter() - started)
            return params, state, losses

        return timed

    derived: Any = type("TimedBackend", (type(backend),), {"compile": compile_})
    copy: Backend = derived.__new__(derived)
    copy.__dict__.update(backend.__dict__)
    return copy


def measure_overhead(
    workload: Workload, backend: Backend, epoch: float, rounds: int, *, min_seconds: float = 0.5
) -> Overhead:
    """Fit with validation and progress bar, and return the medians of the overhead over the rounds.

    The initial weights are given, because a long fit draws them only once. The first fit, which compiles, is not
    counted.

    Parameters
    ----------
    workload : Workload
    backend : Backend
    epoch : float
        Seconds of the steps of an epoch. The number of epochs follows from it.
    rounds : int
        Number of fits.
    min_seconds : float
        How long a fit should take; it has 2 to 20 epochs in any case.
    """
    in_steps: list[float] = []
    in_validation: list[float] = []
    timed = timed_backend(backend, in_steps)
    data = make_data(workload)
    network = workload.network
    params = data.layers()
    with backend.scope("float32"):
        held_out = to_samples(
            network, backend, "float32", *(array[: math.ceil(len(array) * _VALIDATION)] for array in (data.x, data.y))
        )

    def validate(parameters: Parameters) -> dict[str, float]:
        started = time.perf_counter()
        scores = evaluate(network, parameters, held_out.x, held_out.y, backend)
        in_validation.append(time.perf_counter() - started)
        return scores

    trainer = Trainer(
        network,
        optimizer=workload.optimizer,
        learning_rate=workload.learning_rate,
        batch_size=workload.batch,
        epochs=min(20, max(2, math.ceil(min_seconds / epoch))),
        device=timed,
        callbacks=(Progress(workload.n_samples),),
    )
    shares = []
    for _ in range(1 + rounds):
        in_steps.clear()
        in_validation.clear()
        started = time.perf_counter()
        with redirect_stderr(io.StringIO()):
            trainer.fit(data.x, data.y, validation=validate, params=params)
        whole = time.perf_counter() - started
        shares.append((1 - sum(in_steps) / whole, sum(in_validation) / whole))
    return Overhead(*(float(share) for share in np.median(shares[1:], axis=0)))
