"""Callbacks: what a run tells to whoever watches it."""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["Callback", "EpochRecord", "StopTraining"]


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
