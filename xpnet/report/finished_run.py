"""A run that has ended, as reports and pictures take it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from xpnet.model.model import Model
from xpnet.training.history import EpochRecord

if TYPE_CHECKING:
    from xpnet.plot.predictions import Predictions

__all__ = ["FinishedRun"]


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """A run that has ended, and its data.

    Attributes
    ----------
    name : str
        Of the data.
    model : Model
        The trained model.
    parts : dict of str to (x, y)
        Raw features and raw targets by part, in memory: those of "train", "validation" and "test" that exist, or
        "data" alone where the report is of other data. The features of a table are a pyarrow table, others an array
        (n_samples, n_features).
    history : sequence of EpochRecord
        May be empty.
    summary : dict of str to object
        The content of ``summary.json``: task, device, precision, seed, command, versions, scores and speed.
    settings : dict of str to object
        The options of the run by name, as in ``config.toml``.
    """

    name: str
    model: Model
    parts: Mapping[str, tuple[Any, np.ndarray]]
    history: Sequence[EpochRecord]
    summary: Mapping[str, Any]
    settings: Mapping[str, Any]

    @property
    def scored_part(self) -> str:
        """The part that the pictures of scores show: the test part, or the next best."""
        return list(self.parts)[-1]

    @cached_property
    def predictions(self) -> Predictions:
        """What the model says about that part, computed once for all scores and pictures."""
        from xpnet.plot.predictions import Predictions  # a run that is not looked at needs none

        return Predictions.of(self.model, *self.parts[self.scored_part])
