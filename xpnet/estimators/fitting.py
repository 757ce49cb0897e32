"""What one fit works on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpnet.backend import Backend
from xpnet.estimators.monitoring import Part
from xpnet.estimators.solvers import MEAN_OVER_OUTPUTS
from xpnet.nn.network import Network
from xpnet.training.callbacks import Callback

__all__ = ["NOT_FINITE", "Fit"]

NOT_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and need to be preprocessed."
)


@dataclass(frozen=True)
class Fit:
    """What one call of ``fit`` or ``partial_fit`` works on.

    Attributes
    ----------
    estimator : BaseMLP
        Its parameters are read, and its fitted attributes are read and set.
    network : Network
    home, backend : Backend
        Where the user's data lie, and where to train.
    dtype : str
        Of the inputs.
    rng : RandomState
        Drawn from in scikit-learn's order: weights, validation part, shuffles.
    training : Part
    held_out : Part or None
    callbacks : sequence of Callback
    incremental : bool
        One epoch that goes on with the optimizer's state.
    """

    estimator: Any
    network: Network
    home: Backend
    backend: Backend
    dtype: str
    rng: np.random.RandomState
    training: Part
    held_out: Part | None
    callbacks: Sequence[Callback]
    incremental: bool

    @property
    def epochs(self) -> int:
        """Epochs at most."""
        return 1 if self.incremental else int(self.estimator.max_iter)

    @property
    def scale(self) -> float:
        """Factor from the library's losses, which are sums over outputs, to scikit-learn's."""
        return 1 / self.network.layer_sizes[-1] if self.network.loss in MEAN_OVER_OUTPUTS else 1.0
