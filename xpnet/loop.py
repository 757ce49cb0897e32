"""The loop of training: epochs of steps, validation, early stopping."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import NamedTuple

import numpy as np

from xpnet.backend import Array, Backend
from xpnet.callbacks import Callback, EpochRecord, StopTraining
from xpnet.constraints import real
from xpnet.early_stopping import EarlyStopping
from xpnet.errors import DivergenceError, InvalidParameterError
from xpnet.feed import Feed
from xpnet.kernels import RunSteps
from xpnet.network import Network, Parameters
from xpnet.run import Run, RunState
from xpnet.schedules import Schedule

__all__ = ["Plan", "Scores", "run_epochs"]

# parameters -> scores by name
Scores = Callable[[Parameters], dict[str, float]]

_AT_LEAST_0 = real(0)


class Plan(NamedTuple):
    """What stays the same through a run."""

    network: Network
    backend: Backend
    dtype: str
    run_steps: RunSteps
    learning_rate: float
    schedule: Schedule
    stopping: EarlyStopping | None
    feed: Feed
    scores: Scores | None
    epochs: int
    callbacks: tuple[Callback, ...]


def run_epochs(plan: Plan, state: RunState) -> Run:
    """Train from a state, which is consumed, until the plan's last epoch or until something stops it.

    Raises
    ------
    DivergenceError
        The loss or the parameters are no longer finite.
    """
    good = _copy(plan, state)
    ends = ExitStack()  # it calls all of them, also where one raises
    try:
        for callback in plan.callbacks:
            ends.callback(callback.on_end)
            callback.on_start(plan.feed.n_steps, plan.epochs)
        while state.epoch < plan.epochs and not _is_over(plan, state):
            rate = _learning_rate(plan, state)
            first, started = state.position, time.perf_counter()
            for state in _steps(plan, state, rate):  # noqa: B020 - it goes on from it
                for callback in plan.callbacks:
                    callback.on_steps(state.epoch + 1, state.position)
            loss = float(plan.backend.to_numpy(state.total)) / plan.feed.n_samples
            seconds = time.perf_counter() - started
            if not (math.isfinite(loss) and _is_finite(plan, state)):
                raise _divergence(plan, good, state, loss, rate)
            good = _copy(plan, state)
            trained = plan.feed.n_samples - first * plan.feed.batch_size  # fewer where an interrupted epoch went on
            scores = plan.scores(Parameters(good, plan.network)) if plan.scores else None
            record = EpochRecord(state.epoch + 1, loss, scores, rate, seconds, trained / seconds)
            state = _close_epoch(plan, state, record, good)
            for callback in plan.callbacks:
                callback.on_epoch(record, _result(plan, good, state, "running"))
    except StopTraining:
        return _result(plan, _copy(plan, state) if _is_finite(plan, state) else good, state, "interrupted")
    finally:
        ends.close()
    return _result(plan, good, state, "early stopping" if _is_over(plan, state) else "epochs")


def _learning_rate(plan: Plan, state: RunState) -> float:
    """Return the learning rate of the next epoch: the schedule's, as the callbacks change it."""
    rate = plan.learning_rate * plan.schedule.factor(state.schedule, state.epoch, plan.epochs)
    for callback in plan.callbacks:
        given = callback.learning_rate(state.epoch + 1, rate)
        if not _AT_LEAST_0.holds(given):
            raise InvalidParameterError(
                f"learning_rate: expected {_AT_LEAST_0.expected} from {type(callback).__name__} for epoch "
                f"{state.epoch + 1}; received {given!r}."
            )
        rate = float(given)
    return rate


def _steps(plan: Plan, state: RunState, rate: float) -> Iterator[RunState]:
    """Do the rest of an epoch, and yield the state after each call of the compiled run."""
    backend = plan.backend
    learning_rate = backend.asarray(np.asarray(rate, dtype=plan.dtype))
    step = state.step._replace(optimizer=state.step.optimizer._replace(learning_rate=learning_rate))
    total = state.total
    for data, rows in plan.feed.batches(state.epoch, state.position):
        params, step, losses = plan.run_steps(state.params, step, data, rows)
        total += backend.xp.sum(losses) * (rows.shape[1] if plan.network.reduction == "mean" else 1)
        state = state._replace(params=params, step=step, total=total, position=state.position + rows.shape[0])
        yield state


def _close_epoch(plan: Plan, state: RunState, record: EpochRecord, params: Array) -> RunState:
    """Return the state after an epoch: what the schedule and early stopping remember, and a new sum of losses."""
    stopping, best = state.stopping, state.best
    if plan.stopping is not None:
        stopping = plan.stopping.observe(stopping, record)
        best = params if stopping.improved else best
    return state._replace(
        epoch=state.epoch + 1,
        position=0,
        total=plan.backend.xp.zeros_like(state.total),
        schedule=plan.schedule.observe(state.schedule, record),
        stopping=stopping,
        best=best,
        history=(*state.history, record),
    )


def _result(plan: Plan, good: Array, state: RunState, stopped: str) -> Run:
    """Return what there is: the parameters of the best epoch where there is one, else the last good ones."""
    return Run(Parameters(good if state.best is None else state.best, plan.network), state, stopped, plan.network)


def _divergence(plan: Plan, good: Array, state: RunState, loss: float, rate: float) -> DivergenceError:
    return DivergenceError(
        f"training diverged in epoch {state.epoch + 1}: expected a finite loss and finite parameters; received a "
        f"loss of {loss:g} at learning rate {rate:g}. Try a smaller learning rate, clipping the gradient "
        f"or scaling the inputs. The parameters after epoch {state.epoch} are kept.",
        _result(plan, good, state, "diverged"),
    )


def _is_over(plan: Plan, state: RunState) -> bool:
    return plan.stopping is not None and state.stopping.stale >= plan.stopping.patience


def _copy(plan: Plan, state: RunState) -> Array:
    return plan.backend.xp.asarray(state.params, copy=True)  # for the next steps consume the original


def _is_finite(plan: Plan, state: RunState) -> bool:
    xp = plan.backend.xp
    arrays = (state.params, *state.step.optimizer.slots)  # an infinite second moment would freeze Adam unseen
    return bool(plan.backend.to_numpy(xp.all(xp.stack([xp.all(xp.isfinite(array)) for array in arrays]))))
