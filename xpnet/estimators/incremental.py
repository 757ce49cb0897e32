"""The epoch of `partial_fit`: compiled steps and arrays stay on the device from one call to the next."""

from __future__ import annotations

import time
import warnings
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpnet.backend import Array, map_arrays
from xpnet.backend.steps import RunSteps
from xpnet.estimators.course import (
    batch_size_of,
    kept_state,
    optimizer_name,
    record_course,
    schedule_of,
    stopping_of,
    stopping_state,
)
from xpnet.estimators.fitting import NOT_FINITE, Fit
from xpnet.estimators.solvers import in_order, optimizer_spec, shuffled
from xpnet.nn.network import Parameters
from xpnet.nn.optimizers import get_optimizer
from xpnet.nn.step import RateFactor, compile_steps, init_state
from xpnet.training.batch_source import MemoryBatches
from xpnet.training.callbacks import Interrupt
from xpnet.training.history import EpochRecord
from xpnet.training.samples import to_device
from xpnet.training.state import Run, RunState, adopt

__all__ = ["fit_incremental", "is_plain"]


@dataclass
class _Session:
    """What one call of `partial_fit` leaves on the device for the next.

    Attributes
    ----------
    key : tuple
        Everything that the compiled steps depend on.
    run_steps : RunSteps
    params : Parameters
        The steps update them in place; the estimator's ``coefs_`` and ``intercepts_`` are these arrays.
    state : RunState
        The estimator's ``_state``.
    """

    key: tuple[Any, ...]
    run_steps: RunSteps
    params: Parameters
    state: RunState

    def belongs_to(self, est: Any) -> bool:
        """Return whether nothing else has trained the estimator, or set its weights, since the last call."""
        ours = [array for layer in self.params for array in layer]
        theirs = [array for layer in est._parameters() for array in layer]
        return est._state is self.state and all(a is b for a, b in zip(ours, theirs, strict=True))


def is_plain(fit: Fit) -> bool:
    """Return whether a fit is one of `partial_fit` that nobody watches, on the device where the data lie."""
    est = fit.estimator
    watched = fit.callbacks or est.verbose or est.scoring is not None or est.early_stopping
    return fit.incremental and not watched and fit.backend is fit.data_backend


def fit_incremental(fit: Fit) -> None:
    """Do the epoch of a `partial_fit` that `is_plain`; `fit_stochastic` would give the same result, to rounding."""
    est, network, backend, dtype = fit.estimator, fit.network, fit.backend, fit.dtype
    n_samples = fit.training.x.shape[0]
    optimizer = optimizer_spec(vars(est))
    stopping = stopping_of(fit, "training_loss")
    kept, before = kept_state(fit, optimizer), stopping_state(fit, stopping)
    schedule = schedule_of(fit, stopping, before, fresh=kept is None)
    schedule_state = schedule.initial
    if kept is not None and len(kept.schedule) == len(schedule_state):  # else `learning_rate` is another rule now
        schedule_state = kept.schedule
    seed = int(fit.rng().randint(2**31 - 1)) if network.is_random else 0
    order = shuffled(fit.rng()) if est.shuffle and n_samples > 1 else in_order
    batch_size = batch_size_of(est.batch_size, n_samples)
    rate = float(est.learning_rate_init) * schedule.factor(schedule_state, 0, 1)
    interrupt = Interrupt()
    with interrupt if n_samples > batch_size else nullcontext(), backend.scope(dtype):  # it acts between batches
        session = _session(fit, optimizer, schedule.step_factor, kept, seed)
        batches = MemoryBatches(network, backend, fit.samples(), batch_size, order)
        clock = (0, batches.steps_per_epoch) if schedule.step_factor else ()
        step = session.state.step._replace(
            optimizer=session.state.step.optimizer._replace(learning_rate=backend.asarray(np.asarray(rate, dtype))),
            clock=tuple(backend.asarray(np.asarray(count, np.int32)) for count in clock),
        )
        vector = session.params.vector
        copy = backend.xp.asarray(vector, copy=True)
        loss, started = 0.0, time.perf_counter()
        for data, rows in batches.epoch(0, 0):
            vector, step, losses = session.run_steps(vector, step, data, rows)
            loss += float(backend.to_numpy(losses).sum(dtype=np.float64)) * rows.shape[1] / n_samples
            if interrupt.requested:
                break
        seconds = time.perf_counter() - started
        state = RunState(vector, step, losses)
        if not (np.isfinite(loss) and bool(backend.to_numpy(state.all_finite()))):
            est._set_params(Parameters(copy, network))
            del est._session, est._optimizer  # and with it the moments
            raise ValueError(f"{NOT_FINITE} Try a smaller learning rate, clipping the gradient or scaling the inputs.")
        params = session.params if vector is session.params.vector else Parameters(vector, network)
    record = EpochRecord(1, loss, None, rate * schedule.middle_factor(0, 1), seconds, n_samples / seconds)
    state = state._replace(
        params=None, total=None, schedule=schedule.observe(schedule_state, record), stopping=before, history=()
    )
    if interrupt.requested:
        warnings.warn("Training interrupted by user.", stacklevel=5)
    else:
        state = state._replace(stopping=stopping.observe(before, record), history=(record,))
    record_course(fit, Run(params, state, "epochs", network), "training_loss")
    est._set_params(params)
    est._optimizer, est._state = optimizer_name(optimizer), state._replace(history=())
    est._session = _Session(session.key, session.run_steps, params, est._state)


def _session(
    fit: Fit, optimizer: str, rate_factor: RateFactor | None, kept: RunState | None, seed: int
) -> _Session:
    """Return the session of the last call, or a new one with copies of the estimator's arrays."""
    est, network, backend, dtype = fit.estimator, fit.network, fit.backend, fit.dtype
    key = network, optimizer, backend, dtype, est.clip_norm, rate_factor
    session: _Session | None = getattr(est, "_session", None)
    if session is not None and session.key == key and session.belongs_to(est):
        return session

    def copied(array: Array) -> Array:
        return backend.xp.asarray(array, copy=True)

    vector = copied(to_device(backend, est._parameters().vector, dtype))
    rule = get_optimizer(optimizer)
    state = RunState(vector, init_state(network, rule, vector, seed, backend), backend.asarray(np.zeros((), dtype)))
    if kept is not None:
        moved = adopt(state._replace(step=kept.step), network, rule, backend, dtype)
        state = state._replace(step=map_arrays(copied, moved.step))
    run_steps = compile_steps(network, optimizer, backend, est.clip_norm, None, None, rate_factor)
    return _Session(key, run_steps, Parameters(vector, network), state)
