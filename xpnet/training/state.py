"""The state of a run as one value, and the result of training."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from xpnet.backend import Array, Backend, Namespace, flushes_subnormals, namespace_of
from xpnet.errors import InvalidParameterError
from xpnet.nn.network import Network
from xpnet.nn.optimizers import Optimizer
from xpnet.nn.parameters import Parameters
from xpnet.nn.step import StepState
from xpnet.training.early_stopping import StoppingState
from xpnet.training.history import EpochRecord, History
from xpnet.training.run_table import run_html
from xpnet.training.samples import to_device
from xpnet.training.schedules import ScheduleState

__all__ = ["Rollback", "Run", "RunState", "adopt", "all_finite"]


def all_finite(xp: Namespace, arrays: Iterable[Array]) -> Array:
    """Return whether all elements of all arrays are finite, as a scalar on the device."""
    return functools.reduce(operator.and_, [xp.all(xp.isfinite(array)) for array in arrays])


class Rollback(NamedTuple):
    """Copies of the parameters and the step's state after the epoch with the lowest loss.

    A run that diverges goes back to them.
    """

    params: Array
    step: StepState


class RunState(NamedTuple):
    """Everything that a run needs to go on, as one value.

    Attributes
    ----------
    params : (n_parameters,)
    step : StepState
        Optimizer state and key of the random generator.
    total : scalar array
        Sum of the samples' losses so far in this epoch.
    epoch : int
        Number of completed epochs. The order of the samples in an epoch follows from this number and the seed.
    position : int
        Number of completed steps in the current epoch.
    schedule : tuple of float
        State of the learning-rate schedule.
    stopping : StoppingState
        State of early stopping.
    best : (n_parameters,) or None
        Parameters of the best epoch; None without early stopping.
    history : tuple of EpochRecord
    halvings : int
        Number of times that the learning rate was halved after a divergence.
    start : (n_parameters,) or None
        Copy of the parameters at the start of this epoch; None before the first step.
    rollback : Rollback or None
        Where to go back to after a divergence; None if a divergence ends the run.
    flushes_subnormals : bool
        Whether the device of the last steps flushed subnormal numbers to zero; see `xpnet.backend.flushes_subnormals`.
    """

    params: Array
    step: StepState
    total: Array
    epoch: int = 0
    position: int = 0
    schedule: ScheduleState = ()
    stopping: StoppingState = StoppingState()
    best: Array | None = None
    history: tuple[EpochRecord, ...] = ()
    halvings: int = 0
    start: Array | None = None
    rollback: Rollback | None = None
    flushes_subnormals: bool = False

    def __repr__(self) -> str:
        steps = f" and {self.position:,} steps" if self.position else ""
        n, n_slots = self.params.shape[0], len(self.step.optimizer.slots)
        return f"<RunState after {self.epoch:,} epochs{steps}: {n:,} parameters, {n_slots} slots of the optimizer>"

    @property
    def vectors(self) -> tuple[Array, ...]:
        """Parameters and optimizer slots. All must be finite: an infinite second moment would freeze Adam unseen."""
        return (self.params, *self.step.optimizer.slots)

    def all_finite(self) -> Array:
        """Return whether parameters and optimizer slots are finite, as a scalar on the device."""
        return all_finite(namespace_of(*self.vectors), self.vectors)


class Run(NamedTuple):
    """Result of training.

    Attributes
    ----------
    params : Parameters
        Parameters of the best epoch with early stopping, else of the last epoch; on the device.
    state : RunState
    stopped : str
        Why training ended: ``"epochs"``, ``"early stopping"``, ``"interrupted"`` or ``"diverged"``. A callback sees
        ``"running"``.
    network : Network
    threads : int or None
        The fewest threads that a step used; None for a run that did not choose their number. See
        `xpnet.training.auto_threads`.
    is_complete : bool
        False within an epoch of several ranks: the optimizer's slots then hold this rank's pieces alone.
    """

    params: Parameters
    state: RunState
    stopped: str
    network: Network
    threads: int | None = None
    is_complete: bool = True

    def __repr__(self) -> str:
        sizes = " -> ".join(map(str, self.network.layer_sizes))
        said = [
            f"{sizes}, {self.network.n_parameters} parameters",
            f"{self.state.epoch} epochs, stopped={self.stopped!r}",
        ]
        for last in self.history[-1:]:
            scores = {"loss": last.loss} | {
                f"validation {name}": each for name, each in (last.validation or {}).items()
            }
            said.append(", ".join(f"{name} {value:.4g}" for name, value in scores.items()))
        return f"<Run of {'; '.join(said)}>"

    def _repr_html_(self) -> str:
        return run_html(self)

    @property
    def history(self) -> History:
        """Return the record of each epoch, including the epochs before a resumption."""
        return History(self.state.history)


def adopt(state: RunState, network: Network, optimizer: Optimizer, backend: Backend, dtype: str) -> RunState:
    """Move a state to the device and the dtype of a run, and check that it fits the network and the optimizer.

    Raises
    ------
    InvalidParameterError
        The state belongs to another network or optimizer.
    """

    def move(array: Array, shape: tuple[int, ...], what: str, dtype: str = dtype) -> Array:
        if tuple(array.shape) != shape:
            raise InvalidParameterError(
                f"state: expected {what} of shape {shape} for this network and optimizer; "
                f"received {tuple(array.shape)}."
            )
        if isinstance(array, np.ndarray) and not array.flags.writeable:  # a memory map, or another library's array
            array = array.copy()  # the steps overwrite the state
        return to_device(backend, array, dtype)

    n = (network.n_parameters,)
    params = move(state.params, n, "parameters")
    n_slots = len(optimizer.slots)

    def move_step(step: StepState) -> StepState:
        given = step.optimizer
        if len(given.slots) != n_slots:
            raise InvalidParameterError(
                f"state: expected an optimizer state with {n_slots} slots; received {len(given.slots)}. "
                "Resume with the optimizer that the run began with."
            )
        moved = given._replace(
            learning_rate=move(given.learning_rate, (), "a learning rate"),
            count=move(given.count, (), "a counter", "int32"),
            slots=tuple(move(slot, n, "a slot") for slot in given.slots),
        )
        return StepState(moved, move(step.key, (2,), "a generator's key", "int32"))

    rollback = state.rollback
    return state._replace(
        params=params,
        step=move_step(state.step),
        start=None if state.start is None else move(state.start, n, "parameters"),
        rollback=rollback and Rollback(move(rollback.params, n, "parameters"), move_step(rollback.step)),
        total=move(state.total, (), "a total"),
        best=None if state.best is None else move(state.best, n, "best parameters"),
        flushes_subnormals=flushes_subnormals(backend),
    )
