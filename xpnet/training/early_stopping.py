"""Early stopping on a chosen metric: a pure function of what it remembers."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from xpnet.constraints import real
from xpnet.errors import InvalidParameterError
from xpnet.specs import from_spec
from xpnet.training.callbacks import EpochRecord

__all__ = ["EARLY_STOPPING", "EarlyStopping", "StoppingMemory", "get_early_stopping"]


class StoppingMemory(NamedTuple):
    """What is known after an epoch.

    Attributes
    ----------
    best : float
        Best value so far, signed so that higher is better.
    reference : float
        The value to beat by more than the tolerance; it moves when that happens.
    stale : int
        Epochs since then.
    improved : bool
        This epoch is the best so far, by however little.
    """

    best: float = -math.inf
    reference: float = -math.inf
    stale: int = 0
    improved: bool = False


class EarlyStopping(NamedTuple):
    """Stop when a metric has not become better by more than `tolerance` for `patience` epochs.

    All metrics are those of the validation part, but for ``"training_loss"``.
    """

    metric: str
    patience: float = 10
    tolerance: float = 0.0

    def observe(self, memory: StoppingMemory, record: EpochRecord) -> StoppingMemory:
        """Return the memory after an epoch."""
        value = self.value(record)
        best, reference, stale, _ = memory
        if value > reference + self.tolerance:
            reference, stale = value, 0
        else:
            stale += 1
        return StoppingMemory(value if value > best else best, reference, stale, improved=value > best)

    def value(self, record: EpochRecord) -> float:
        """Return the metric, signed so that higher is better."""
        if self.metric == "training_loss":
            return -record.loss
        scores = record.validation or {}
        if self.metric not in scores:
            raise InvalidParameterError(
                f"early_stopping: expected one of the scores {', '.join(scores)}; received {self.metric!r}."
            )
        return -scores["loss"] if self.metric == "loss" else scores[self.metric]


EARLY_STOPPING: dict[str, Callable[..., EarlyStopping]] = {
    metric: partial(EarlyStopping, metric) for metric in ("loss", "accuracy", "r2", "training_loss")
}


_RANGES = {"patience": real(1), "tolerance": real(0)}


def get_early_stopping(name: str | EarlyStopping) -> EarlyStopping:
    """Return the early stopping of a metric, with options after a colon: ``"loss:patience=5"``; one itself as it is."""
    if isinstance(name, EarlyStopping):
        return name
    stopping: EarlyStopping = from_spec("metric for early stopping", name, EARLY_STOPPING, _RANGES)
    return stopping
