"""The state of a run as one value, and what training gives."""

from __future__ import annotations

from typing import NamedTuple

from xpnet.backend import Array, Backend
from xpnet.errors import InvalidParameterError
from xpnet.nn.network import Network
from xpnet.nn.optimizers import Optimizer
from xpnet.nn.parameters import Parameters
from xpnet.nn.step import StepState
from xpnet.training.callbacks import EpochRecord
from xpnet.training.early_stopping import StoppingMemory
from xpnet.training.samples import to_device
from xpnet.training.schedules import Memory

__all__ = ["Refuge", "Run", "RunState", "adopt"]


class Refuge(NamedTuple):
    """What a run that diverges goes back to: copies of what there was after the epoch of the lowest loss."""

    params: Array
    step: StepState


class RunState(NamedTuple):
    """All that a run needs to go on, as one value.

    Attributes
    ----------
    params : (n_parameters,)
    step : StepState
        The optimizer's state and the generator's key.
    total : scalar array
        Sum of the samples' losses in this epoch so far.
    epoch, position : int
        Epochs done, and steps done of the next; the order of an epoch follows from the seed and its number.
    schedule : tuple of float
        Memory of the learning-rate schedule.
    stopping : StoppingMemory
        Memory of early stopping.
    best : (n_parameters,) or None
        Parameters of the best epoch, where there is early stopping.
    history : tuple of EpochRecord
    halvings : int
        How often the learning rate was halved after a divergence.
    start : (n_parameters,) or None
        Copy of the parameters that this epoch began with; None before the first step.
    refuge : Refuge or None
        Where the learning rate is to be halved after a divergence.
    """

    params: Array
    step: StepState
    total: Array
    epoch: int = 0
    position: int = 0
    schedule: Memory = ()
    stopping: StoppingMemory = StoppingMemory()
    best: Array | None = None
    history: tuple[EpochRecord, ...] = ()
    halvings: int = 0
    start: Array | None = None
    refuge: Refuge | None = None


class Run(NamedTuple):
    """What training gives.

    Attributes
    ----------
    params : Parameters
        Of the best epoch with early stopping, else of the last; on the device.
    state : RunState
    stopped : str
        Why it ended: ``"epochs"``, ``"early stopping"``, ``"interrupted"`` or ``"diverged"``; ``"running"`` where a
        callback sees it.
    network : Network
    """

    params: Parameters
    state: RunState
    stopped: str
    network: Network

    @property
    def history(self) -> tuple[EpochRecord, ...]:
        """What was known after each epoch, those before a resumption too."""
        return self.state.history


def adopt(state: RunState, network: Network, optimizer: Optimizer, backend: Backend, dtype: str) -> RunState:
    """Bring a state, perhaps from another device, to where and to what a run of this network is.

    Raises
    ------
    InvalidParameterError
        It is the state of another network or optimizer.
    """

    def move(array: Array, shape: tuple[int, ...], what: str, dtype: str = dtype) -> Array:
        if tuple(array.shape) != shape:
            raise InvalidParameterError(
                f"state: expected {what} of shape {shape}, as this network and optimizer have; "
                f"received {tuple(array.shape)}."
            )
        return to_device(backend, array, dtype)

    n = (network.n_parameters,)
    params = move(state.params, n, "parameters")
    n_slots = len(optimizer.slots)

    def move_step(step: StepState) -> StepState:
        given = step.optimizer
        if len(given.slots) != n_slots:
            raise InvalidParameterError(
                f"state: expected an optimizer's state with {n_slots} slots; received {len(given.slots)}. "
                "Resume with the optimizer that the run began with."
            )
        moved = given._replace(
            learning_rate=move(given.learning_rate, (), "a learning rate"),
            count=move(given.count, (), "a counter", "int32"),
            slots=tuple(move(slot, n, "a slot") for slot in given.slots),
        )
        return StepState(moved, move(step.key, (2,), "a generator's key", "int32"))

    refuge = state.refuge
    return state._replace(
        params=params,
        step=move_step(state.step),
        start=None if state.start is None else move(state.start, n, "parameters"),
        refuge=refuge and Refuge(move(refuge.params, n, "parameters"), move_step(refuge.step)),
        total=move(state.total, (), "a total"),
        best=None if state.best is None else move(state.best, n, "best parameters"),
    )
