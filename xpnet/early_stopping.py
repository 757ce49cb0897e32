"""Early stopping on a chosen metric: a pure function of what it remembers."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from xpnet.constraints import check_constraints, real
from xpnet.names import lookup

__all__ = ["EARLY_STOPPING", "EarlyStopping", "StoppingMemory", "get_early_stopping"]


class StoppingMemory(NamedTuple):
    """Best value so far, signed so that higher is better, and the epochs since."""

    best: float = -math.inf
    stale: int = 0


class EarlyStopping(NamedTuple):
    """Stop when a metric of the validation part has not become better by `tolerance` for `patience` epochs."""

    metric: str
    patience: float = 10
    tolerance: float = 0.0

    def observe(self, memory: StoppingMemory, metrics: dict[str, float]) -> StoppingMemory:
        """Return the memory after an epoch; ``stale == 0`` says that it was the best so far."""
        value = -metrics["loss"] if self.metric == "loss" else metrics[self.metric]
        if value > memory.best + self.tolerance:
            return StoppingMemory(value, 0)
        return StoppingMemory(memory.best, memory.stale + 1)


EARLY_STOPPING: dict[str, Callable[..., EarlyStopping]] = {
    metric: partial(EarlyStopping, metric) for metric in ("loss", "accuracy", "r2")
}


def get_early_stopping(name: str) -> EarlyStopping:
    """Return the early stopping of a metric, with options after a colon: ``"accuracy:patience=5"``."""
    stopping: EarlyStopping = lookup("metric for early stopping", name, EARLY_STOPPING)
    check_constraints(stopping, {"patience": real(1), "tolerance": real(0)})
    return stopping
