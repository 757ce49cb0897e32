"""Callbacks: what a run reports while it lasts, and what a callback may ask of it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

from xpnet.constraints import check_constraints, real
from xpnet.errors import InvalidParameterError, shown
from xpnet.training.history import EpochRecord
from xpnet.training.state import Run

__all__ = ["Callback", "Interrupt", "LearningRateSchedule", "StopTraining", "TimeLimit"]


class StopTraining(Exception):  # noqa: N818 - a request, like StopIteration
    """Raise it in a callback to stop training at once, with the parameters as they are between two batches."""


class Callback:
    """Base class of callbacks: derive from it and override the hooks that you need.

    Every hook is called between two batches. Searches of scikit-learn train with copies, and send them to other
    processes. A callback that holds something else than values while a run lasts, such as an open file, leaves it out
    of its copies with ``__getstate__``.
    """

    def on_start(self, n_steps: int, epochs: int) -> None:
        """Prepare for a run. Called before the first step.

        Parameters
        ----------
        n_steps : int
            Steps of one epoch.
        epochs : int
        """

    def on_steps(self, epoch: int, done: int) -> None:
        """React to some steps. Called several times an epoch.

        Parameters
        ----------
        epoch : int
            Number of the epoch, counted from 1.
        done : int
            Completed steps of this epoch.
        """

    def on_epoch(self, record: EpochRecord, run: Run) -> None:
        """React to an epoch. Called after each epoch and its validation.

        Parameters
        ----------
        record : EpochRecord
        run : Run
            The result if training ended here. The next steps overwrite the arrays in its `state`; those in its
            `params` are copies.
        """

    def learning_rate(self, epoch: int, rate: float) -> float:
        """Return the learning rate of an epoch. Called before each epoch.

        Parameters
        ----------
        epoch : int
            Number of the epoch, counted from 1.
        rate : float
            Learning rate of the schedule. If it changes in each step, its highest value.
        """
        return rate

    def on_state(self, run: Run) -> None:
        """Save the state of a run, which is complete here.

        Called after all other hooks: at the start, after some steps, after each epoch, and at the end unless training
        raised.

        Parameters
        ----------
        run : Run
            As in `on_epoch`. At the end its `stopped` says why training ended.
        """

    def needs_state(self, run: Run) -> bool:
        """Tell whether `on_state` or `on_epoch` will read the optimizer's state.

        Only asked in a run of several ranks, each of which updates a part of that state: it is gathered if one callback
        needs it, else ``run.is_complete`` is false. By default it is gathered after each epoch and at the end.
        """
        return run.state.position == 0 or run.stopped != "running"

    def on_end(self) -> None:
        """Clean up. Called after training, also if `on_start` or another callback raised."""


_ABOVE_0 = real(0, closed=False)


class TimeLimit(Callback):
    """Stop training between two batches after a given time.

    Put it last: the callbacks after it do not see the last epoch.

    Parameters
    ----------
    seconds : float
        Wall-clock time from the start of training.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        check_constraints(self, {"seconds": _ABOVE_0})

    def on_start(self, n_steps: int, epochs: int) -> None:
        """Start the clock."""
        self._end = time.monotonic() + self.seconds

    def on_steps(self, epoch: int, done: int) -> None:
        """Stop if the time is over."""
        if time.monotonic() >= self._end:
            raise StopTraining

    def on_epoch(self, record: EpochRecord, run: Run) -> None:
        """Stop if the time is over; validation takes time too."""
        self.on_steps(record.epoch, 0)


class LearningRateSchedule(Callback):
    """Set the learning rate of each epoch with a function.

    Parameters
    ----------
    function : (epoch, rate) -> float
        Return the learning rate of an epoch, counted from 1, given that of the trainer's schedule.

    Raises
    ------
    InvalidParameterError
        In training, if the function returns something else than a finite number above 0.

    Examples
    --------
    >>> import xpnet
    >>> warm_up = xpnet.LearningRateSchedule(lambda epoch, rate: rate * min(1, epoch / 5))
    >>> warm_up.learning_rate(1, 0.5)
    0.1
    """

    def __init__(self, function: Callable[[int, float], float]) -> None:
        self.function = function

    def learning_rate(self, epoch: int, rate: float) -> float:
        """Return what the function returns."""
        given = self.function(epoch, rate)
        if not _ABOVE_0.holds(given):
            raise InvalidParameterError(
                f"learning_rate: expected {_ABOVE_0.expected} from the function for epoch {epoch}; "
                f"received {shown(given)}."
            )
        return float(given)


class Interrupt(Callback):
    """Stop training between two batches when a signal arrives, instead of in the middle of a batch.

    It works for one run or, as a context manager, for everything in the block. A second Ctrl-C stops the program at
    once. Further signals of other kinds are ignored, because a closing terminal or a cluster may send several.

    It does nothing where a handler cannot or must not be replaced: in a thread other than the main thread, if another
    program has installed its own handler, and for a signal that is ignored, as under nohup.

    Parameters
    ----------
    *signals : signal.Signals
        Signals to listen for; the default is Ctrl-C, ``signal.SIGINT``.

    Attributes
    ----------
    received : int or None
        The first signal that arrived.

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

    def __getstate__(self) -> dict[str, Any]:  # a copy has not replaced the handlers
        return {**vars(self), "_depth": 0, "_previous": {}}

    @property
    def requested(self) -> bool:
        """Whether a signal has arrived."""
        return self.received is not None

    @property
    def exit_code(self) -> int:
        """Exit code of a process that a signal stopped, by the convention of the shells."""
        return 128 + (signal.SIGINT if self.received is None else self.received)

    def __enter__(self) -> Self:
        self._depth += 1
        if self._depth > 1:  # a run within a block: the handlers are installed
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
        """Install the handlers."""
        self.__enter__()

    def on_steps(self, epoch: int, done: int) -> None:
        """Stop if a signal has arrived."""
        if self.requested:
            raise StopTraining

    def on_end(self) -> None:
        """Restore the handlers that were installed before."""
        self.__exit__()
