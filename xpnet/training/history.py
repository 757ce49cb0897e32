"""The history of a run: one record for each epoch."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["EpochRecord", "History", "Scores"]

# A loss and metrics by name: {"loss": 0.3, "accuracy": 0.9}.
Scores = dict[str, float]


class EpochRecord(NamedTuple):
    """Results of one epoch.

    Attributes
    ----------
    epoch : int
        Number of the epoch, counted from 1.
    loss : float
        Mean training loss with penalties. Each batch counts with the loss that it had when it was trained on.
    validation : dict or None
        ``loss`` and ``accuracy`` or ``r2`` of the validation part, or the scores of a validation function.
    learning_rate : float
        If the schedule changes it in each step, that of the middle of the epoch.
    seconds : float
        Time of the training steps and of the callbacks between them, without validation.
    samples_per_second : float
    """

    epoch: int
    loss: float
    validation: Scores | None
    learning_rate: float
    seconds: float
    samples_per_second: float


class History(tuple[EpochRecord, ...]):
    """The record of each epoch; its representation has the last one only."""

    __slots__ = ()

    def __repr__(self) -> str:
        if len(self) < 2:
            return super().__repr__()
        return f"<History of {len(self):,} epochs, the last: {self[-1]}>"
