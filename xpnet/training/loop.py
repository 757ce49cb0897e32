"""The training loop: epochs of steps, validation, early stopping, and what happens when the loss diverges."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import Any, NamedTuple

import numpy as np

from xpnet.backend import Array, Backend, map_arrays
from xpnet.backend.steps import RunSteps
from xpnet.errors import DivergenceError, InvalidParameterError, XpnetWarning
from xpnet.nn.network import Network, Parameters
from xpnet.nn.step import StepState
from xpnet.training.auto_threads import AutoThreads
from xpnet.training.batch_source import BatchSource
from xpnet.training.callbacks import Callback, StopTraining
from xpnet.training.early_stopping import EarlyStopping
from xpnet.training.history import EpochRecord, Scores
from xpnet.training.ranks import Ranks
from xpnet.training.schedules import Schedule
from xpnet.training.state import Rollback, Run, RunState, all_finite

__all__ = ["Evaluate", "TrainingLoop"]

# Scores of the validation part for given parameters.
Evaluate = Callable[[Parameters], Scores]


@dataclass(frozen=True)
class TrainingLoop:
    """The loop of a run: `run` takes the state of a run from epoch to epoch.

    Parameters
    ----------
    network : Network
    backend : Backend
    dtype : str
    run_steps : RunSteps
        The compiled training step, for several batches at a time.
    batches : BatchSource
    epochs : int
        Number of the last epoch.
    learning_rate : float
    rate_factors : (n_parameters,) or None
        Factor on the learning rate of each parameter; None if they are all 1.
    schedule : Schedule
    evaluate : Evaluate or None
        Evaluates the parameters after each epoch.
    stopping : EarlyStopping or None
    max_halvings : int
        How often a divergence may halve the learning rate, at most. With 0 a divergence ends the run.
    callbacks : sequence of Callback
    ranks : Ranks
        They decide alike, because they have the same losses and parameters.
    """

    network: Network
    backend: Backend
    dtype: str
    run_steps: RunSteps
    batches: BatchSource
    epochs: int
    learning_rate: float
    rate_factors: np.ndarray | None
    schedule: Schedule
    evaluate: Evaluate | None
    stopping: EarlyStopping | None
    max_halvings: int
    callbacks: Sequence[Callback]
    ranks: Ranks

    def run(self, state: RunState) -> Run:
        """Train from a state until the last epoch, or until early stopping or a callback ends the run.

        The state is consumed: the steps overwrite its arrays.

        Raises
        ------
        DivergenceError
            The loss or the parameters are no longer finite.
        """
        state = self._begin(state)
        with self._threads() as threads, self.ranks.callbacks(self.callbacks) as callbacks:
            run_steps = threads.steps(self.run_steps)
            try:
                callbacks.on_start(self.batches.steps_per_epoch, self.epochs)
                run = self._result(state, "running")
                callbacks.on_state(run)
                rate_of_state = None  # the learning rate that the state has
                while state.epoch < self.epochs and not self._is_over(state):
                    learning_rate = callbacks.learning_rate(state.epoch + 1, self._scheduled_learning_rate(state))
                    if learning_rate != rate_of_state:
                        state = self._set_learning_rate(state, learning_rate)
                        rate_of_state = learning_rate
                    learning_rate *= self.schedule.middle_factor(state.epoch, self.epochs)
                    first_step, started = state.position, time.perf_counter()
                    for data, rows, size in self.batches.epoch(state.epoch, state.position):
                        state = self._advance(state, size, *run_steps(state.params, state.step, data, rows))
                        callbacks.on_steps(run._replace(state=state))
                    finite = self._all_finite(state)  # before the loop waits for the device
                    loss = float(self.backend.to_numpy(state.total)) / self.batches.n_samples
                    seconds = time.perf_counter() - started

                    if not (math.isfinite(loss) and self.ranks.all(finite)):
                        state = self._roll_back(state, loss, learning_rate)
                        rate_of_state = None
                        callbacks.on_state(run._replace(state=state))
                        continue
                    # Free the previous copy before making the next one, to save memory.
                    del run
                    state = state._replace(start=None)
                    state = state._replace(start=self._copy(state.params))

                    scores = self._scores(state.start)
                    speed = self._samples_since(first_step) / seconds
                    record = EpochRecord(state.epoch + 1, loss, scores, learning_rate, seconds, speed)
                    record = self.ranks.that_of_first(record)
                    state = self._close_epoch(state, record)
                    run = self._result(state, "running")
                    callbacks.on_epoch(record, run)
                stopped = "early stopping" if self._is_over(state) else "epochs"
            except StopTraining:
                stopped = "interrupted"
            run = self._result(state, stopped)._replace(threads=threads.fewest)
            with suppress(StopTraining):  # training has stopped
                callbacks.on_state(run)
            return run

    def _threads(self) -> AutoThreads:
        n_steps = self.epochs * self.batches.steps_per_epoch
        size = -(-self.batches.batch_size // self.ranks.size)
        return AutoThreads(self.network, self.backend, size, n_steps, self.dtype)

    def _begin(self, state: RunState) -> RunState:
        """Check the position, and make the copies that a run needs before its first step."""
        steps = self.batches.steps_per_epoch
        if state.position > steps:
            raise InvalidParameterError(
                f"state: expected at most the {steps} steps of an epoch; received {state.position}. "
                "Resume with the data and the batch size that the run began with."
            )
        if state.position == 0 or state.start is None:
            state = state._replace(start=self._copy(state.params))
        state = state._replace(params=self.ranks.placed(state.params))
        factors = [] if self.rate_factors is None else [self.backend.asarray(self.rate_factors.astype(self.dtype))]
        state = state._replace(step=state.step._replace(rate_factors=tuple(factors)))
        if not self.max_halvings:
            return state._replace(rollback=None)
        return state if state.rollback is not None else self._set_rollback(state)

    @cached_property
    def _zero(self) -> Array:
        return self.backend.asarray(np.zeros((), self.dtype))

    def _is_over(self, state: RunState) -> bool:
        return self.stopping is not None and self.stopping.is_over(state.stopping)

    def _scheduled_learning_rate(self, state: RunState) -> float:
        """Return the learning rate of the schedule, halved after each divergence."""
        return self.learning_rate * self.schedule.factor(state.schedule, state.epoch, self.epochs) * 0.5**state.halvings

    def _set_learning_rate(self, state: RunState, learning_rate: float) -> RunState:
        array = self.backend.asarray(np.asarray(learning_rate, dtype=self.dtype))
        optimizer = state.step.optimizer._replace(learning_rate=array)
        return state._replace(step=state.step._replace(optimizer=optimizer, clock=self._clock(state)))

    def _clock(self, state: RunState) -> tuple[Array, ...]:
        """Return the clock of the next step: an epoch that is repeated after a divergence has its own time again."""
        if self.schedule.step_factor is None:
            return ()
        steps = self.batches.steps_per_epoch
        times = (state.epoch * steps + state.position, self.epochs * steps)
        return tuple(self.backend.asarray(np.asarray(time, dtype=np.int32)) for time in times)

    def _advance(self, state: RunState, batch_size: int, params: Array, step: StepState, losses: Array) -> RunState:
        """Return the state after the steps of a chunk; `losses` is (n_steps,)."""
        n_steps = losses.shape[0]
        self.ranks.sum(losses)
        weight = batch_size if self.network.reduction == "mean" else 1
        total = _on_device(self.backend).add(state.total, losses, weight)
        return state._replace(params=params, step=step, total=total, position=state.position + n_steps)

    def _scores(self, params: Any) -> Scores | None:
        return self.evaluate(Parameters(params, self.network)) if self.evaluate else None

    def _samples_since(self, first_step: int) -> int:
        """Return the number of samples from step `first_step` to the end of the epoch.

        A resumed run starts in the middle of an epoch.
        """
        return max(0, self.batches.n_samples - first_step * self.batches.batch_size)

    def _close_epoch(self, state: RunState, record: EpochRecord) -> RunState:
        """Return the state after an epoch, with the new states of the schedule and of early stopping."""
        stopping, best = state.stopping, state.best
        if self.stopping is not None:
            stopping = self.stopping.observe(stopping, record)
            best = state.start if stopping.improved and self.stopping.restore else best
        if self.max_halvings and record.loss < min((earlier.loss for earlier in state.history), default=math.inf):
            state = self._set_rollback(state)
        return state._replace(
            epoch=state.epoch + 1,
            position=0,
            total=self._zero,
            schedule=self.schedule.observe(state.schedule, record),
            stopping=stopping,
            best=best,
            history=(*state.history, record),
        )

    def _result(self, state: RunState, stopped: str) -> Run:
        """Return the result with the parameters of the best epoch if there is one, else with the last finite ones."""
        params: Any = state.start
        if stopped == "interrupted" and self.ranks.all(self._all_finite(state)):
            params = self._copy(state.params)
        params = Parameters(params if state.best is None else state.best, self.network)
        run = Run(params, state, stopped, self.network)
        return run if stopped == "running" else self.ranks.finished(run)

    # Divergence.

    def _all_finite(self, state: RunState) -> Array:
        return _on_device(self.backend).all_finite(state.vectors)

    def _set_rollback(self, state: RunState) -> RunState:
        return state._replace(rollback=Rollback(*self._copy((state.params, state.step))))

    def _roll_back(self, state: RunState, loss: float, learning_rate: float) -> RunState:
        """Return the state that begins a diverged epoch again with half the learning rate.

        It takes the parameters after the epoch of the lowest loss: in the last one they may have begun to diverge.

        Raises
        ------
        DivergenceError
            The learning rate was halved as often as is allowed.
        """
        losses = [record.loss for record in state.history]
        good = 1 + losses.index(min(losses)) if losses and self.max_halvings else state.epoch
        stopping = None if state.best is None else self.stopping
        kept = good if stopping is None else stopping.best(state.history, state.stopping).epoch
        problem = (
            f"training diverged in epoch {state.epoch + 1}: expected a finite loss and finite parameters; "
            f"received a loss of {loss:g} at learning rate {learning_rate:g}."
        )
        if state.rollback is not None:
            state = state._replace(start=state.rollback.params)
        if state.halvings >= self.max_halvings or state.rollback is None:
            often = f", {state.halvings} halvings were not enough" if state.halvings else ""
            raise DivergenceError(
                f"{problem} Try a smaller learning rate, clipping the gradient or scaling the inputs. The parameters "
                f"after epoch {kept} are kept{often}.",
                self._result(state, "diverged"),
            )
        warnings.warn(
            f"{problem} Going on from the parameters after epoch {good} with half the learning rate "
            f"({state.halvings + 1} of {self.max_halvings} times).",
            XpnetWarning,
            stacklevel=4,
        )
        params, step = self._copy(state.rollback)
        return state._replace(
            params=params,
            step=step,
            total=self._zero,
            position=0,
            halvings=state.halvings + 1,
        )

    def _copy(self, arrays: Any) -> Any:
        """Copy an array, or all arrays in a tuple: the next steps overwrite the originals."""
        return _on_device(self.backend).copy(arrays)


class _OnDevice(NamedTuple):
    """The work between two runs of steps, as functions that a backend may compile."""

    add: Callable[[Array, Array, float], Array]  # (total, losses, weight)
    all_finite: Callable[[tuple[Array, ...]], Array]
    copy: Callable[[Any], Any]


@lru_cache(maxsize=16)
def _on_device(backend: Backend) -> _OnDevice:
    xp = backend.xp

    def add(total: Array, losses: Array, weight: float) -> Array:
        return xp.asarray(total + xp.sum(losses) * weight)

    def copy(arrays: Any) -> Any:
        return map_arrays(lambda array: xp.asarray(array, copy=True), arrays)

    return _OnDevice(backend.jit(add), backend.jit(partial(all_finite, xp)), backend.jit(copy))
