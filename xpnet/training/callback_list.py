"""The callbacks of a run, called together: by the training loop, and by the L-BFGS solver of the estimators."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from xpnet.constraints import real
from xpnet.errors import InvalidParameterError, shown
from xpnet.subnormals import UserState, in_user_state
from xpnet.training.callbacks import Callback
from xpnet.training.history import EpochRecord
from xpnet.training.state import Run

__all__ = ["CallbackList", "check_callbacks"]

_AT_LEAST_0 = real(0)
_HOOKS = ("learning_rate", "on_steps", "on_epoch", "on_state")


def check_callbacks(callbacks: Any) -> None:
    """Check that `callbacks` is a sequence of callbacks.

    Raises
    ------
    InvalidParameterError
        It is another object, or one of its elements is not a `Callback`.
    """
    if not isinstance(callbacks, Sequence) or not all(isinstance(each, Callback) for each in callbacks):
        raise InvalidParameterError(f"callbacks: expected a sequence of xpnet.Callback; received {shown(callbacks)}.")


class CallbackList(ExitStack):
    """Call each hook of several callbacks in their order.

    It is a context manager. On exit it calls `on_end` of every callback that was started, the last one first, even if
    one of them raises. Hooks run in the user's state for subnormal numbers.

    Parameters
    ----------
    callbacks : sequence of Callback
    """

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        super().__init__()
        self._callbacks = callbacks
        # The callbacks that were started and override a hook: one that none overrides costs nothing.
        self._overriding: dict[str, list[Callback]] = {hook: [] for hook in _HOOKS}

    def on_start(self, n_steps: int, epochs: int) -> None:
        """Start each callback."""
        started: list[Callback] = []
        try:
            for callback in self._callbacks:
                started.append(callback)
                self.callback(in_user_state(callback.on_end))
                with UserState():
                    callback.on_start(n_steps, epochs)
        finally:  # afterwards, because a callback may get its hooks when it starts
            for hook, callbacks in self._overriding.items():
                callbacks += [each for each in started if _overrides(each, hook)]

    def learning_rate(self, epoch: int, rate: float) -> float:
        """Return the learning rate of an epoch: each callback may change that of the one before it.

        Raises
        ------
        InvalidParameterError
            A callback returned something else than a finite number of at least 0.
        """
        for callback in self._overriding["learning_rate"]:
            with UserState():
                given = callback.learning_rate(epoch, rate)
            if not _AT_LEAST_0.holds(given):
                raise InvalidParameterError(
                    f"learning_rate: expected {_AT_LEAST_0.expected} from {type(callback).__name__} for epoch {epoch}; "
                    f"received {shown(given)}."
                )
            rate = float(given)
        return rate

    def need_state(self, run: Run) -> bool:
        """Tell whether a callback will read the optimizer's state."""
        saving = {*self._overriding["on_epoch"], *self._overriding["on_state"]}
        with UserState():
            return any(callback.needs_state(run) for callback in saving)

    def on_steps(self, run: Run) -> None:
        """Report some steps of an epoch, then the new state."""
        self._call("on_steps", run.state.epoch + 1, run.state.position)
        self._call("on_state", run)

    def on_epoch(self, record: EpochRecord, run: Run) -> None:
        """Report an epoch, then the new state."""
        self._call("on_epoch", record, run)
        self._call("on_state", run)

    def on_state(self, run: Run) -> None:
        """Report a state."""
        self._call("on_state", run)

    def _call(self, hook: str, *arguments: Any) -> None:
        if callbacks := self._overriding[hook]:
            with UserState():
                for callback in callbacks:
                    getattr(callback, hook)(*arguments)


def _overrides(callback: Callback, hook: str) -> bool:
    return getattr(getattr(callback, hook), "__func__", None) is not getattr(Callback, hook)
