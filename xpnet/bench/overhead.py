"""The share of a fit's time that passes outside its steps."""

from __future__ import annotations

import io
import math
import time
from contextlib import redirect_stderr
from typing import Any, NamedTuple

import numpy as np

from xpnet.backend import Array, Backend
from xpnet.backend.steps import RunSteps, Step
from xpnet.bench.workloads import Rung, make_work
from xpnet.nn.network import Parameters
from xpnet.training.evaluation import evaluate
from xpnet.training.progress import Progress
from xpnet.training.samples import place
from xpnet.training.trainer import Trainer

__all__ = ["Outside", "clocked", "outside"]

_VALIDATION = 1 / 9  # beside the training part: a tenth of all samples, as `xpnet train` holds out


class Outside(NamedTuple):
    """Shares of a fit's time.

    Attributes
    ----------
    total : float
        Outside its steps: validation, shuffling, copying, checks, progress.
    validation : float
        Of these, validation.
    """

    total: float
    validation: float


def clocked(backend: Backend, spent: list[float]) -> Backend:
    """Return a backend that adds the seconds in its compiled steps, until the device is done, to a list."""

    def compile_(self: Any, step: Step, n_steps: int = 1) -> RunSteps:
        run = type(backend).compile(self, step, n_steps)

        def timed(params: Array, state: Any, data: tuple[Array, ...], order: Array) -> tuple[Array, Any, Array]:
            started = time.perf_counter()
            params, state, losses = run(params, state, data, order)
            backend.to_numpy(losses)
            spent.append(time.perf_counter() - started)
            return params, state, losses

        return timed

    derived: Any = type("Clocked", (type(backend),), {"compile": compile_})
    twin: Backend = derived.__new__(derived)
    twin.__dict__.update(backend.__dict__)
    return twin


def outside(rung: Rung, backend: Backend, epoch: float, rounds: int, *, least: float = 0.5) -> Outside:
    """Fit with validation and progress, and return the medians of the shares outside the steps.

    Initial weights are given, for drawing them is no part of a long fit, and the first fit, which compiles, is not
    counted.

    Parameters
    ----------
    epoch : float
        Seconds of an epoch's steps, which tell how many epochs to fit.
    least : float
        Seconds that a fit should take, within 2 to 20 epochs.
    """
    spent: list[float] = []
    validating: list[float] = []
    twin = clocked(backend, spent)
    work = make_work(rung)
    network = rung.network
    params = work.layers()
    with backend.scope("float32"):
        held_out = place(
            network, backend, "float32", *(part[: math.ceil(len(part) * _VALIDATION)] for part in work[1:])
        )

    def scores(parameters: Parameters) -> dict[str, float]:
        started = time.perf_counter()
        found = evaluate(network, parameters, held_out.x, held_out.y, backend)
        validating.append(time.perf_counter() - started)
        return found

    trainer = Trainer(
        network,
        optimizer=rung.optimizer,
        learning_rate=rung.learning_rate,
        batch_size=rung.batch,
        epochs=min(20, max(2, math.ceil(least / epoch))),
        device=twin,
        callbacks=(Progress(rung.n_samples),),
    )
    shares = []
    for _ in range(1 + rounds):
        spent.clear()
        validating.clear()
        started = time.perf_counter()
        with redirect_stderr(io.StringIO()):
            trainer.fit(work.x, work.y, validation=scores, params=params)
        whole = time.perf_counter() - started
        shares.append((1 - sum(spent) / whole, sum(validating) / whole))
    return Outside(*(float(share) for share in np.median(shares[1:], axis=0)))
