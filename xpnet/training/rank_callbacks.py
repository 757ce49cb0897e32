"""Callbacks of a run of several ranks: rank 0 has them, and all ranks learn what came of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from xpnet.communicator import Communicator, on_rank_0
from xpnet.training.callback_list import CallbackList
from xpnet.training.callbacks import Callback, StopTraining
from xpnet.training.history import EpochRecord
from xpnet.training.state import Run

__all__ = ["RankCallbacks"]

T = TypeVar("T")


class RankCallbacks(CallbackList):
    """Call the hooks on rank 0 while the other ranks wait, so that all stop together or fail together.

    Parameters
    ----------
    callbacks : sequence of Callback
        Those of rank 0 are called.
    communicator : Communicator
    complete : callable
        All ranks call it to gather what of the state is divided among them. That takes time, so it is done where a
        callback needs the state; elsewhere it gets a run that is not complete.
    """

    def __init__(
        self, callbacks: Sequence[Callback], communicator: Communicator, complete: Callable[[Run], None]
    ) -> None:
        super().__init__(callbacks if communicator.rank == 0 else ())
        self._communicator, self._complete = communicator, complete

    def on_start(self, n_steps: int, epochs: int) -> None:
        """Start each callback."""
        self._agree(lambda: super(RankCallbacks, self).on_start(n_steps, epochs))

    def learning_rate(self, epoch: int, rate: float) -> float:
        """Return the learning rate of an epoch."""
        return self._agree(lambda: super(RankCallbacks, self).learning_rate(epoch, rate))

    def on_steps(self, run: Run) -> None:
        """Report some steps of an epoch, then the new state."""
        run = self._completed(run)
        self._agree(lambda: super(RankCallbacks, self).on_steps(run))

    def on_epoch(self, record: EpochRecord, run: Run) -> None:
        """Report an epoch, then the new state."""
        run = self._completed(run)
        self._agree(lambda: super(RankCallbacks, self).on_epoch(record, run))

    def on_state(self, run: Run) -> None:
        """Report a state."""
        run = self._completed(run)
        self._agree(lambda: super(RankCallbacks, self).on_state(run))

    def _completed(self, run: Run) -> Run:
        """Return a run whose state is complete if a callback of rank 0 needs that."""
        needed = self._agree(lambda: self.need_state(run))
        if needed:
            self._complete(run)
        return run._replace(is_complete=needed)

    def _agree(self, call: Callable[[], T]) -> T:
        """Return on all ranks the result of a call on rank 0, or raise what it raises."""

        def outcome() -> tuple[bool, Any]:
            try:
                return False, call()
            except StopTraining:
                return True, None

        stops, value = self._communicator.broadcast(on_rank_0(self._communicator, outcome))
        if stops:
            raise StopTraining
        result: T = value
        return result
