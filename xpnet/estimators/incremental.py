"""The epoch of `partial_fit`: compiled steps and arrays stay on the device from one call to the next."""

from __future__ import annotations

import time
import warnings
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np

from xpnet.backend import map_arrays
from xpnet.backend.steps import RunSteps
from xpnet.estimators.course import Course, batch_size_of, course_of, keep_state, record_course, trainer_of
from xpnet.estimators.fitting import NOT_FINITE, Fit
from xpnet.estimators.solvers import in_order, shuffled
from xpnet.nn.network import Parameters
from xpnet.nn.optimizers import get_optimizer
from xpnet.nn.step import StepState, compile_steps
from xpnet.training.auto_threads import AutoThreads
from xpnet.training.batch_source import MemoryBatches
from xpnet.training.callbacks import Interrupt
from xpnet.training.history import EpochRecord
from xpnet.training.schedules import Schedule
from xpnet.training.state import Run, RunState, adopt, all_finite

__all__ = ["fit_incremental", "is_plain"]


class _Session(NamedTuple):
    """What one call of `partial_fit` leaves on the device for the next.

    Attributes
    ----------
    key : tuple
        Everything that the compiled steps depend on, and the parameters that a new session checks.
    run_steps : RunSteps
    params : Parameters
        The steps update them in place; the estimator's ``coefs_`` and ``intercepts_`` are these arrays.
    state : RunState
        Its `params` is the vector of the parameters; its `step` is in the estimator's ``_state`` too.
    """

    key: tuple[Any, ...]
    run_steps: RunSteps
    params: Parameters
    state: RunState

    def belongs_to(self, est: Any) -> bool:
        """Return whether nothing else has trained the estimator, or set its weights, since the last call."""
        layers = zip(self.params, est.coefs_, est.intercepts_, strict=True)
        return est._state.step is self.state.step and all(W is w and b is v for (W, b), w, v in layers)


def is_plain(fit: Fit) -> bool:
    """Return whether a fit is one of `partial_fit` that nobody watches, on the device where the data lie."""
    est = fit.estimator
    watched = fit.callbacks or est.verbose or est.scoring is not None or est.early_stopping
    return fit.incremental and not watched and fit.backend is fit.data_backend


def fit_incremental(fit: Fit) -> None:
    """Do the epoch of a `partial_fit` that `is_plain`; `fit_stochastic` would give the same result, to rounding."""
    est, backend, n_samples = fit.estimator, fit.backend, fit.training.x.shape[0]
    course, seed = course_of(fit, "training_loss"), fit.seed()
    order = shuffled(fit.rng()) if est.shuffle and n_samples > 1 else in_order
    batch_size = batch_size_of(est.batch_size, n_samples)
    rate = float(est.learning_rate_init) * course.schedule.factor(course.schedule_state, 0, 1)
    interrupt = Interrupt()
    with interrupt if n_samples > batch_size else nullcontext(), backend.scope(fit.dtype):  # it acts between batches
        session = _session(fit, course, batch_size, seed)
        batches = MemoryBatches(fit.network, backend, fit.samples(fit.dtype), batch_size, order)
        step = _set_rate(fit, session.state.step, rate, batches, course.schedule)
        started = time.perf_counter()
        session, loss = _run_epoch(fit, session, step, batches, interrupt)
        seconds = time.perf_counter() - started
    rate *= course.schedule.middle_factor(0, 1)
    _record(fit, course, session, EpochRecord(1, loss, None, rate, seconds, n_samples / seconds), interrupt)


def _run_epoch(
    fit: Fit, session: _Session, step: StepState, batches: MemoryBatches, interrupt: Interrupt
) -> tuple[_Session, float]:
    """Do the steps of an epoch, and return the session after it and the mean loss.

    Raises
    ------
    ValueError
        The loss or the parameters are not finite. The estimator has the weights of before.
    """
    est, network, backend, n_samples = fit.estimator, fit.network, fit.backend, fit.training.x.shape[0]
    before = vector = session.state.params
    copy, rate, loss = backend.xp.asarray(before, copy=True), step.optimizer.learning_rate, 0.0
    with AutoThreads(network, backend, batches.batch_size, batches.steps_per_epoch, fit.dtype) as threads:
        run_steps = threads.steps(session.run_steps)
        for data, rows, _ in batches.epoch(0, 0):
            vector, step, losses = run_steps(vector, step, data, rows)
            loss += float(backend.to_numpy(losses).sum(dtype=np.float64)) * rows.shape[1] / n_samples
            if interrupt.requested:
                break
    finite = all_finite(backend.xp, (vector, *step.optimizer.slots))
    if not (np.isfinite(loss) and bool(backend.to_numpy(finite))):
        est._set_params(Parameters(copy, network))
        vars(est).pop("_optimizer", None)  # so that the next call has new moments
        raise ValueError(
            f"{NOT_FINITE} Expected a finite loss and finite parameters; received a loss of {loss:g} at learning rate "
            f"{float(backend.to_numpy(rate)):g}. Try a smaller learning rate, clipping the gradient or scaling the "
            "inputs."
        )
    params = session.params if vector is before else Parameters(vector, network)
    return session._replace(params=params, state=session.state._replace(params=vector, step=step)), loss


def _record(fit: Fit, course: Course, session: _Session, record: EpochRecord, interrupt: Interrupt) -> None:
    """Set the attributes of the estimator after an epoch."""
    records, stopping = [record], course.stopping.observe(course.before, record)
    if interrupt.requested:  # the epoch is not complete
        warnings.warn("Training interrupted by user.", stacklevel=6)
        records, stopping = [], course.before
    schedule = course.schedule.observe(course.schedule_state, record)
    state = session.state._replace(history=tuple(records), schedule=schedule, stopping=stopping)
    record_course(fit, Run(session.params, state, "epochs", fit.network), "training_loss")
    fit.estimator._set_params(session.params)
    keep_state(fit, course, state)
    fit.estimator._session = session


def _set_rate(fit: Fit, step: StepState, rate: float, batches: MemoryBatches, schedule: Schedule) -> StepState:
    """Return the state of the step at the beginning of an epoch with a learning rate."""
    array = fit.backend.asarray(np.asarray(rate, fit.dtype))
    clock = (0, batches.steps_per_epoch) if schedule.step_factor else ()
    times = tuple(fit.backend.asarray(np.asarray(count, np.int32)) for count in clock)
    return step._replace(optimizer=step.optimizer._replace(learning_rate=array), clock=times)


def _session(fit: Fit, course: Course, batch_size: int, seed: int) -> _Session:
    """Return the session of the last call, or a new one with copies of the estimator's arrays.

    It is taken from the estimator, and so it does not outlive a call that fails.
    """
    est, network, backend, dtype = fit.estimator, fit.network, fit.backend, fit.dtype
    checked = est.learning_rate_init, est.batch_size
    key = network, course.optimizer, backend, dtype, est.clip_norm, course.schedule.step_factor, *checked
    session: _Session | None = vars(est).pop("_session", None)
    if session is not None and session.key == key and session.belongs_to(est):
        return session
    trainer = trainer_of(fit, course, batch_size=batch_size, seed=seed)
    state = trainer.initial_state(backend, est._parameters())
    if course.kept is not None:
        kept = state._replace(step=course.kept.step)
        step = adopt(kept, network, get_optimizer(course.optimizer), backend, dtype).step
        state = state._replace(step=map_arrays(lambda array: backend.xp.asarray(array, copy=True), step))
    run_steps = compile_steps(
        network, course.optimizer, backend, est.clip_norm, None, rate_factor=course.schedule.step_factor
    )
    return _Session(key, run_steps, Parameters(state.params, network), state)
