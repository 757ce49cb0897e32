"""What the ranks of a run have to agree on; a single process is a run of one rank, which agrees with itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from xpnet.backend import Array, Backend, kind_of
from xpnet.communicator import Communicator, get_communicator
from xpnet.errors import InvalidParameterError
from xpnet.nn.shared_update import SharedUpdate
from xpnet.training.callback_list import CallbackList
from xpnet.training.callbacks import Callback
from xpnet.training.rank_callbacks import RankCallbacks
from xpnet.training.state import Run

__all__ = ["Ranks", "communicator_for"]

T = TypeVar("T")


def communicator_for(spec: str | Communicator | None, backend: Backend) -> Communicator | None:
    """Return the communicator of a run on a backend; None for a single process.

    Raises
    ------
    InvalidParameterError
        Ranks cannot train with this backend.
    """
    communicator = get_communicator(spec)
    if communicator is not None and not backend.can_share:
        raise InvalidParameterError(
            f"device: expected one whose arrays {communicator.size} ranks can sum, such as cpu or gpu; received "
            f"{backend.name}. Choose another, or train in one process."
        )
    if communicator is not None and kind_of(backend) == "gpu":
        with backend.scope("float32"):  # the first sum connects the GPUs, which no graph may hold
            communicator.sum(backend.asarray(np.zeros(1, np.float32)))
    return communicator


@dataclass(frozen=True)
class Ranks:
    """The ranks of a run. All of them call the same methods in the same order.

    Parameters
    ----------
    communicator : Communicator or None
        None for a single process.
    backend : Backend
    n_parameters : int
    """

    communicator: Communicator | None
    backend: Backend
    n_parameters: int

    @property
    def _shared(self) -> SharedUpdate:
        assert self.communicator is not None
        return SharedUpdate(self.communicator, self.backend, self.n_parameters)

    @property
    def size(self) -> int:
        """Number of ranks."""
        return 1 if self.communicator is None else self.communicator.size

    def callbacks(self, callbacks: Sequence[Callback]) -> CallbackList:
        """Return the callbacks of rank 0, which stop all ranks."""
        if self.communicator is None:
            return CallbackList(callbacks)
        return RankCallbacks(callbacks, self.communicator, self.complete)

    def sum(self, array: Array) -> None:
        """Replace an array by its sum over the ranks."""
        if self.communicator is not None:
            self.communicator.sum(array)

    def that_of_first(self, value: T) -> T:
        """Return the value of rank 0."""
        return value if self.communicator is None else self.communicator.broadcast(value)

    def all(self, holds: Array) -> bool:
        """Tell whether something holds on all ranks; it is a scalar on the device."""
        own = bool(self.backend.to_numpy(holds))
        return own if self.communicator is None else all(self.communicator.gather(own))

    def placed(self, params: Array) -> Array:
        """Return the parameters in the memory in which ranks update them soonest."""
        return params if self.communicator is None else self._shared.placed(params)

    def complete(self, run: Run) -> None:
        """Give each rank the whole state of a run, of which it has updated a part."""
        if self.communicator is not None:
            state = run.state
            for step in (state.step, *([state.rollback.step] if state.rollback else [])):
                self._shared.complete_slots(step.optimizer)

    def finished(self, run: Run) -> Run:
        """Return a run with the whole state in memory of its own."""
        if self.communicator is None:
            return run
        self.complete(run)
        params = self.backend.xp.asarray(run.state.params, copy=True)
        return run._replace(state=run.state._replace(params=params))
