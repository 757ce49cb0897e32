"""The loop of training: epochs of steps, validation, early stopping."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any, NamedTuple

import numpy as np

from xpnet.backend import Backend
from xpnet.backend.steps import RunSteps
from xpnet.constraints import real
from xpnet.errors import DivergenceError, InvalidParameterError, XpnetWarning
from xpnet.nn.network import Network, Parameters
from xpnet.training.batch_source import Feed
from xpnet.training.callbacks import Callback, EpochRecord, StopTraining
from xpnet.training.early_stopping import EarlyStopping
from xpnet.training.schedules import Schedule
from xpnet.training.state import Refuge, Run, RunState

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
    halvings: int
    callbacks: tuple[Callback, ...]


def run_epochs(plan: Plan, state: RunState) -> Run:
    """Train from a state, which is consumed, until the plan's last epoch or until something stops it.

    Raises
    ------
    DivergenceError
        The loss or the parameters are no longer finite.
    """
    if state.position > plan.feed.n_steps:
        raise InvalidParameterError(
            f"state: expected at most the {plan.feed.n_steps} steps that an epoch has; received {state.position}. "
            "Resume with the data and the batch size that the run began with."
        )
    if state.position == 0 or state.start is None:
        state = state._replace(start=_copy(plan, state.params))  # for steps consume the original
    if not plan.halvings:
        state = state._replace(refuge=None)
    elif state.refuge is None:
        state = _take_refuge(plan, state)
    with ExitStack() as ends:  # it calls all of them, also where one raises
        try:
            for callback in plan.callbacks:
                ends.callback(callback.on_end)
                callback.on_start(plan.feed.n_steps, plan.epochs)
            run = _result(plan, state, "running")
            _tell(plan, run)
            while state.epoch < plan.epochs and not _is_over(plan, state):
                rate = _learning_rate(plan, state)
                first, started = state.position, time.perf_counter()
                for state in _steps(plan, state, rate):  # noqa: B020 - it goes on from it
                    for callback in plan.callbacks:
                        callback.on_steps(state.epoch + 1, state.position)
                    _tell(plan, run._replace(state=state))
                loss = float(plan.backend.to_numpy(state.total)) / plan.feed.n_samples
                seconds = time.perf_counter() - started
                if not (math.isfinite(loss) and _is_finite(plan, state)):
                    state = _go_back(plan, state, loss, rate)
                    _tell(plan, run._replace(state=state))
                    continue
                del run  # and the copy of the epoch before, so that no more than one is held
                state = state._replace(start=None)
                start = _copy(plan, state.params)
                state = state._replace(start=start)
                scores = plan.scores(Parameters(start, plan.network)) if plan.scores else None
                trained = max(
                    0, plan.feed.n_samples - first * plan.feed.batch_size
                )  # fewer where an interrupted epoch went on
                record = EpochRecord(state.epoch + 1, loss, scores, rate, seconds, trained / seconds)
                state = _close_epoch(plan, state, record)
                run = _result(plan, state, "running")
                for callback in plan.callbacks:
                    callback.on_epoch(record, run)
                _tell(plan, run)
            stopped = "early stopping" if _is_over(plan, state) else "epochs"
        except StopTraining:
            stopped = "interrupted"
        run = _result(plan, state, stopped)
        with suppress(StopTraining):  # it has
            _tell(plan, run)
        return run


def _tell(plan: Plan, run: Run) -> None:
    for callback in plan.callbacks:
        callback.on_state(run)


def _learning_rate(plan: Plan, state: RunState) -> float:
    """Return the learning rate of the next epoch: the schedule's, perhaps halved, as the callbacks change it."""
    rate = plan.learning_rate * plan.schedule.factor(state.schedule, state.epoch, plan.epochs) * 0.5**state.halvings
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


def _close_epoch(plan: Plan, state: RunState, record: EpochRecord) -> RunState:
    """Return the state after an epoch: what the schedule and early stopping remember, and a new sum of losses."""
    stopping, best = state.stopping, state.best
    if plan.stopping is not None:
        stopping = plan.stopping.observe(stopping, record)
        best = state.start if stopping.improved else best
    if plan.halvings and record.loss < min((earlier.loss for earlier in state.history), default=math.inf):
        state = _take_refuge(plan, state)
    return state._replace(
        epoch=state.epoch + 1,
        position=0,
        total=plan.backend.xp.zeros_like(state.total),
        schedule=plan.schedule.observe(state.schedule, record),
        stopping=stopping,
        best=best,
        history=(*state.history, record),
    )


def _go_back(plan: Plan, state: RunState, loss: float, rate: float) -> RunState:
    """Return the state with which to begin an epoch again that diverged, if that was not done too often.

    The last epoch may have been beyond help already, so it goes back to that of the lowest loss.

    Raises
    ------
    DivergenceError
    """
    losses = [record.loss for record in state.history]
    good = 1 + losses.index(min(losses)) if losses and plan.halvings else state.epoch
    what = f"training diverged in epoch {state.epoch + 1}: expected a finite loss and finite parameters; received a "
    what += f"loss of {loss:g} at learning rate {rate:g}."
    if state.refuge is not None:
        state = state._replace(start=state.refuge.params)
    if state.halvings >= plan.halvings or state.refuge is None:
        often = f", {state.halvings} halvings were not enough" if state.halvings else ""
        raise DivergenceError(
            f"{what} Try a smaller learning rate, clipping the gradient or scaling the inputs. The parameters after "
            f"epoch {good} are kept{often}.",
            _result(plan, state, "diverged"),
        )
    warnings.warn(
        f"{what} Going on from the parameters after epoch {good} with half the learning rate "
        f"({state.halvings + 1} of {plan.halvings} times).",
        XpnetWarning,
        stacklevel=4,
    )
    params, step = _copy(plan, state.refuge)
    return state._replace(
        params=params,
        step=step,
        total=plan.backend.xp.zeros_like(state.total),
        position=0,
        halvings=state.halvings + 1,
    )


def _take_refuge(plan: Plan, state: RunState) -> RunState:
    return state._replace(refuge=Refuge(*_copy(plan, (state.params, state.step))))


def _result(plan: Plan, state: RunState, stopped: str) -> Run:
    """Return what there is: the parameters of the best epoch where there is one, else the last good ones."""
    good = state.start
    if good is None or (stopped == "interrupted" and _is_finite(plan, state)):
        good = _copy(plan, state.params)
    return Run(Parameters(good if state.best is None else state.best, plan.network), state, stopped, plan.network)


def _is_over(plan: Plan, state: RunState) -> bool:
    return plan.stopping is not None and state.stopping.stale >= plan.stopping.patience


def _copy(plan: Plan, value: Any) -> Any:
    """Copy an array, or all those in a state: the next steps consume the originals."""
    if not isinstance(value, tuple):
        return plan.backend.xp.asarray(value, copy=True)
    parts = (_copy(plan, part) for part in value)
    return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)


def _is_finite(plan: Plan, state: RunState) -> bool:
    xp = plan.backend.xp
    arrays = (state.params, *state.step.optimizer.slots)  # an infinite second moment would freeze Adam unseen
    return bool(plan.backend.to_numpy(xp.all(xp.stack([xp.all(xp.isfinite(array)) for array in arrays]))))
