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
        Of the epoch's steps and of what callbacks do between them, without validation.
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

    def on_state(self, run: Any) -> None:
        """Behind the other hooks: at the start, after some steps, after each epoch, and at the end but for errors.

        It is for what keeps the state of a run, which is whole here.

        Parameters
        ----------
        run : Run
            As in `on_epoch`; at the end `stopped` says how it ended.
        """

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
    """On a signal, stop between two batches instead of in the midst of one.

    It holds for a run, or, as a context manager, for all that is done in the block. A second Ctrl-C stops at once;
    further signals of other kinds are ignored, for a terminal that goes or a cluster may send several. It does nothing
    where Python's handlers are not to be had: in a thread other than the main one, or where another program has set
    its own; and for a signal that is ignored, as under nohup.

    Parameters
    ----------
    *signals : signal.Signals
        None stands for Ctrl-C, ``signal.SIGINT``.

    Attributes
    ----------
    received : int or None
        The first of the signals that came.

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

    def __init__(self, *signals: int) -> None:
        self.signals = signals or (signal.SIGINT,)
        self.received: int | None = None
        self._depth = 0
        self._previous: dict[int, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether one has come."""
        return self.received is not None

    @property
    def exit_code(self) -> int:
        """Of a process that it stopped, by the shells' convention."""
        return 128 + (signal.SIGINT if self.received is None else self.received)

    def __enter__(self) -> Self:
        self._depth += 1
        if self._depth > 1:  # a run within a block
            return self
        self.received = None
        if threading.current_thread() is threading.main_thread():
            for number in self.signals:
                if signal.getsignal(number) not in (None, signal.SIG_IGN):
                    self._previous[number] = signal.signal(number, self._request)
        return self

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if self._depth == 0:
            while self._previous:
                signal.signal(*self._previous.popitem())

    def _request(self, signum: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received = signum
        if signal.SIGINT in self._previous:
            signal.signal(signal.SIGINT, self._previous[signal.SIGINT])

    def on_start(self, n_steps: int, epochs: int) -> None:
        """Listen."""
        self.__enter__()

    def on_steps(self, epoch: int, done: int) -> None:
        """Stop if it was asked for."""
        if self.requested:
            raise StopTraining

    def on_end(self) -> None:
        """Put back the handlers that were there."""
        self.__exit__()
