"""Early stopping on a chosen metric: a rule, and the state that it keeps from epoch to epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from xpnet.constraints import Constraint, fraction, real
from xpnet.errors import InvalidParameterError, shown
from xpnet.specs import from_spec
from xpnet.training.history import EpochRecord
from xpnet.training.metrics import METRIC_SYNONYMS, METRICS, is_lower_better

__all__ = ["EarlyStopping", "StoppingState", "early_stopping_metrics", "get_early_stopping"]


class StoppingState(NamedTuple):
    """State of early stopping after an epoch.

    Attributes
    ----------
    best : float
        Best value so far, signed so that higher is better.
    reference : float
        Value that a later epoch must exceed by more than the tolerance. It moves to the value of an epoch that does.
    stale : int
        Number of epochs since `reference` last moved.
    improved : bool
        Whether this epoch is the best so far, by any margin.
    """

    best: float = -math.inf
    reference: float = -math.inf
    stale: int = 0
    improved: bool = False


class EarlyStopping(NamedTuple):
    """Stop when a metric has not improved by more than `tolerance` for `patience` epochs, and restore the best epoch.

    Attributes
    ----------
    metric : str
        ``"loss"``, a name in `xpnet.training.metrics.METRICS` or another score of the validation part, or
        ``"training_loss"``.
    patience : float
        With infinity training never stops early; the best epoch is restored all the same.
    tolerance : float
    latest : float
        0 restores the first of several epochs with the same best value, 1 the last of them.
    restore : float
        1 restores the best epoch, 0 keeps the last.
    """

    metric: str
    patience: float = 10
    tolerance: float = 0.0
    latest: float = 0
    restore: float = 1

    def observe(self, state: StoppingState, record: EpochRecord) -> StoppingState:
        """Return the state after an epoch."""
        value = self.value(record)
        best, reference, stale, _ = state
        if value > reference + self.tolerance:
            reference, stale = value, 0
        else:
            stale += 1
        improved = value >= best if self.latest else value > best
        return StoppingState(value if improved else best, reference, stale, improved)

    def is_over(self, state: StoppingState) -> bool:
        """Return whether training stops in this state."""
        return state.stale >= self.patience

    def best(self, history: Sequence[EpochRecord], state: StoppingState) -> EpochRecord:
        """Return the record of the epoch that is restored.

        A run that began without early stopping and is resumed with it has observed its last epochs only.
        """
        observed = [record for record in history if self.value(record) == state.best]
        return observed[-1 if self.latest else 0]

    def value(self, record: EpochRecord) -> float:
        """Return the metric of an epoch, signed so that higher is better; NaN is the lowest value."""
        if self.metric == "training_loss":
            return -record.loss
        scores = record.validation or {}
        if self.metric not in scores:
            raise InvalidParameterError(
                f"early_stopping: expected one of the scores {', '.join(scores)}; received {shown(self.metric)}."
            )
        value = -scores[self.metric] if is_lower_better(self.metric) else scores[self.metric]
        return -math.inf if math.isnan(value) else value


def early_stopping_metrics() -> tuple[str, ...]:
    """Return the names of what early stopping may watch."""
    return ("loss", *METRICS, "training_loss")


_RANGES = {
    "patience": Constraint("a number of at least 1, or inf", lambda value: value >= 1),
    "tolerance": real(0),
    "latest": fraction(),
    "restore": fraction(),
}


def get_early_stopping(name: str | EarlyStopping) -> EarlyStopping:
    """Return the early stopping on a metric, with options after a colon: ``"loss:patience=5"``.

    An `EarlyStopping` is returned unchanged.
    """
    if isinstance(name, EarlyStopping):
        return name
    table = {metric: partial(EarlyStopping, metric) for metric in early_stopping_metrics()}
    stopping: EarlyStopping = from_spec("early_stopping", name, table, _RANGES, METRIC_SYNONYMS)
    return stopping
