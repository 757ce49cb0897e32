"""What one fit works on: the estimator, its network, the data, and where to train."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from xpnet.backend import Backend
from xpnet.estimators.solvers import MEAN_OVER_OUTPUTS
from xpnet.nn.network import Network
from xpnet.training.callbacks import Callback

__all__ = ["NOT_FINITE", "Fit", "FitData"]

NOT_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and need to be preprocessed."
)


class FitData(NamedTuple):
    """Samples of a fit, to train on or to validate with.

    Attributes
    ----------
    x : (n_samples, n_features)
        On the device of the user's data.
    y : ndarray, (n_samples,) int32 or (n_samples, n_outputs)
        Targets, encoded for the loss.
    raw_y : ndarray
        Targets as the user gave them.
    sample_weight : (n_samples,) ndarray or None
    """

    x: Any
    y: np.ndarray
    raw_y: np.ndarray
    sample_weight: np.ndarray | None


@dataclass(frozen=True)
class Fit:
    """One call of ``fit`` or ``partial_fit``.

    Attributes
    ----------
    estimator : BaseMLP
        The solvers read its parameters and set its fitted attributes.
    network : Network
    data_backend, backend : Backend
        Where the user's data lies, and where to train.
    dtype : str
        Type of the inputs.
    rng : RandomState
        Used in scikit-learn's order: weights, validation part, shuffles.
    training : FitData
    validation : FitData or None
    callbacks : sequence of Callback
    incremental : bool
        Whether this is ``partial_fit``: one epoch that continues with the state of the optimizer.
    """

    estimator: Any
    network: Network
    data_backend: Backend
    backend: Backend
    dtype: str
    rng: np.random.RandomState
    training: FitData
    validation: FitData | None
    callbacks: Sequence[Callback]
    incremental: bool

    @property
    def epochs(self) -> int:
        """Largest number of epochs."""
        return 1 if self.incremental else int(self.estimator.max_iter)

    @property
    def scale(self) -> float:
        """Factor from the library's losses, which are sums over outputs, to scikit-learn's, which are means."""
        return 1 / self.network.layer_sizes[-1] if self.network.loss in MEAN_OVER_OUTPUTS else 1.0
