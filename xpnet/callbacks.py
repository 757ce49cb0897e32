"""Callbacks: what a run tells to whoever watches it, and what they may ask of it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, NamedTuple, Self

from xpnet.constraints import check_constraints, real
from xpnet.errors import InvalidParameterError

__all__ = ["Callback", "EpochRecord", "Interrupt", "LearningRateSchedule", "StopTraining", "TimeLimit"]


class EpochRecord(NamedTuple):
    """What is known after an epoch.

    Attributes
    ----------
    epoch : int
        Counted from 1.
    loss : float
        Objective, the mean over the epoch's batches as they were trained.
    validation : dict or None
        ``loss`` and ``accuracy`` or ``r2`` of the validation part, or whatever a function gave in their place.
    learning_rate : float
    seconds : float
        Of the epoch's steps, without validation.
    samples_per_second : float
    """

    epoch: int
    loss: float
    validation: dict[str, float] | None
    learning_rate: float
    seconds: float
    samples_per_second: float


class StopTraining(Exception):  # noqa: N818 - a request, like StopIteration
    """Raised by a callback: training ends at once, with the parameters as they are between two batches."""


class Callback:
    """Base of callbacks: derive and override what is needed. Each is called between two batches."""

    def on_start(self, n_steps: int, epochs: int) -> None:
        """Before the first step of a run with `n_steps` steps an epoch."""

    def on_steps(self, epoch: int, done: int) -> None:
        """After some steps; `done` is their number in this epoch."""

    def on_epoch(self, record: EpochRecord, run: Any) -> None:
        """After each epoch and its validation.

        Parameters
        ----------
        record : EpochRecord
        run : Run
            As if training ended here. The arrays in its `state` are overwritten by the next steps; those in its
            `params` are copies.
        """

    def learning_rate(self, epoch: int, rate: float) -> float:
        """Before each epoch, counted from 1: return the learning rate, given that of the schedule."""
        return rate

    def on_end(self) -> None:
        """After training, however it ended: also where `on_start` or another callback raised."""


_ABOVE_0 = real(0, closed=False)


class TimeLimit(Callback):
    """Stops training between two batches when it has taken too long.

    Put it behind the callbacks that are to see the last epoch: those after it do not.

    Parameters
    ----------
    seconds : float
        Of wall time, from the start of training.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        check_constraints(self, {"seconds": _ABOVE_0})

    def on_start(self, n_steps: int, epochs: int) -> None:
        """Start the clock."""
        self._end = time.monotonic() + self.seconds

    def on_steps(self, epoch: int, done: int) -> None:
        """Look at the clock."""
        if time.monotonic() >= self._end:
            raise StopTraining

    def on_epoch(self, record: EpochRecord, run: Any) -> None:
        """Look again: the validation takes its time too."""
        self.on_steps(record.epoch, 0)


class LearningRateSchedule(Callback):
    """A learning rate of one's own for each epoch.

    Parameters
    ----------
    function : (epoch, rate) -> float
        Learning rate of an epoch, counted from 1, given that of the trainer's schedule.

    Examples
    --------
    >>> import xpnet
    >>> warm_up = xpnet.LearningRateSchedule(lambda epoch, rate: rate * min(1, epoch / 5))
    >>> warm_up.learning_rate(1, 0.5)
    0.1

    Raises
    ------
    InvalidParameterError
        In training: the function gives no finite number above 0.
    """

    def __init__(self, function: Callable[[int, float], float]) -> None:
        self.function = function

    def learning_rate(self, epoch: int, rate: float) -> float:
        """Ask the function."""
        given = self.function(epoch, rate)
        if not _ABOVE_0.holds(given):
            raise InvalidParameterError(
                f"learning_rate: expected {_ABOVE_0.expected} from the function for epoch {epoch}; received {given!r}."
            )
        return float(given)


class Interrupt(Callback):
    """On Ctrl-C, stop between two batches instead of in the midst of one; a second Ctrl-C stops at once.

    It holds for a run, or, as a context manager, for all that is done in the block. It does nothing where Python's
    handlers are not to be had: in a thread other than the main one, or where another program has set its own; and
    where Ctrl-C is ignored, as under nohup.

    Attributes
    ----------
    requested : bool
        Ctrl-C has been pressed.

    Examples
    --------
    >>> import numpy as np, xpnet
    >>> with xpnet.Interrupt() as interrupt:
    ...     for seed in range(3):
    ...         trainer = xpnet.Trainer(xpnet.Network([2, 2]), epochs=1, seed=seed, callbacks=[interrupt])
    ...         run = trainer.fit(np.eye(2), np.asarray([0, 1]))
    ...         if interrupt.requested:
    ...             break
    """

    exit_code = 128 + signal.SIGINT  # of a process that it stopped, by the shells' convention

    def __init__(self) -> None:
        self.requested = False
        self._depth = 0
        self._previous: Any = None

    def __enter__(self) -> Self:
        self._depth += 1
        if self._depth > 1:  # a run within a block
            return self
        self.requested = False
        ours = signal.getsignal(signal.SIGINT) not in (None, signal.SIG_IGN)
        if ours and threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._request)
        return self

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if self._depth == 0 and self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
            self._previous = None

    def _request(self, signum: int, frame: FrameType | None) -> None:
        self.requested = True
        signal.signal(signal.SIGINT, self._previous)

    def on_start(self, n_steps: int, epochs: int) -> None:
        """Listen."""
        self.__enter__()

    def on_steps(self, epoch: int, done: int) -> None:
        """Stop if it was asked for."""
        if self.requested:
            raise StopTraining

    def on_end(self) -> None:
        """Put back the handler that was there."""
        self.__exit__()
