"""What one fit works on: the estimator, its network, the data, and where to train."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from xpnet.backend import Backend
from xpnet.errors import InvalidParameterError, shown
from xpnet.estimators.solvers import MEAN_OVER_OUTPUTS
from xpnet.nn.network import Network
from xpnet.training.callbacks import Callback
from xpnet.training.sample_weights import check_any_weight, with_weights
from xpnet.training.samples import Samples, to_samples

__all__ = ["NOT_FINITE", "Fit", "FitData", "begin_history", "check_continuation", "network_of"]

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
    rng : callable
        Return the random generator, which is made at the first call: that takes longer than a step on a sample. It is
        used in scikit-learn's order: weights, validation part, shuffles.
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
    rng: Callable[[], np.random.RandomState]
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

    def seed(self) -> int:
        """Draw the seed of the network's own random numbers.

        Where it draws none, no seed is drawn: the generator would be ahead of scikit-learn's.
        """
        return int(self.rng().randint(2**31 - 1)) if self.network.is_random else 0

    def samples(self, dtype: str) -> Samples:
        """Return the training part on the device, with its sample weights, in a type."""
        x, y, _, sample_weight = self.training
        samples = to_samples(self.network, self.backend, dtype, x, y, checked=True)
        if sample_weight is None:
            return samples
        if not self.incremental:  # a call of `partial_fit` may see none of the classes that have a weight
            check_any_weight(sample_weight)
        return with_weights(self.backend, dtype, samples, sample_weight)


# The attributes that describe the course of training.
_HISTORY = (
    *("loss_", "loss_curve_", "history_", "best_loss_", "validation_scores_", "best_validation_score_"),
    *("_no_improvement_count", "_state", "_optimizer", "_session"),
)


def begin_history(estimator: Any, *, anew: bool) -> None:
    """Set the attributes that describe the course of training, as they are before the first epoch.

    A fit that continues an earlier one sets only those that the earlier one did not set, because it had the solver
    ``"lbfgs"`` or another `early_stopping`.
    """
    known = vars(estimator)
    if anew:
        for name in _HISTORY:
            known.pop(name, None)
        estimator.n_iter_ = estimator.t_ = 0
    if estimator.solver == "lbfgs":
        return
    known.setdefault("loss_curve_", [])
    known.setdefault("history_", {})
    early_stopping = bool(estimator.early_stopping)
    if "best_loss_" not in known or early_stopping != (estimator.best_loss_ is None):
        estimator._no_improvement_count = 0
        estimator.best_loss_ = None if early_stopping else math.inf
        estimator.validation_scores_ = [] if early_stopping else None
        estimator.best_validation_score_ = -math.inf if early_stopping else None


def network_of(layer_sizes: Sequence[int], **specification: Any) -> Network:
    """Return the network of a specification. The last ones are kept: to check one takes as long as a small step."""
    try:
        return _kept_network(layer_sizes, **specification)
    except TypeError:  # a value that cannot be hashed: the network says what is wrong with it
        return Network(layer_sizes, **specification)


_kept_network = lru_cache(maxsize=16, typed=True)(Network)


def check_continuation(estimator: Any, network: Network) -> None:
    """Check that a network has the shapes of the one whose training it continues.

    Raises
    ------
    InvalidParameterError
        It has not; the message says what changed.
    """
    before = getattr(estimator, "network_", network)  # none where a user has set the weights by hand
    if network.segments == before.segments:
        return
    aspects: dict[str, Callable[[Network], Any]] = {
        "hidden_layer_sizes": lambda network: network.layer_sizes[1:-1],
        "activation": lambda network: network.activation,
        "targets of a sample": lambda network: network.layer_sizes[-1],
    }
    name, aspect = next((name, of) for name, of in aspects.items() if of(network) != of(before))
    raise InvalidParameterError(
        f"{name}: expected {shown(aspect(before))}, as in the fit that warm_start or partial_fit continues; "
        f"received {shown(aspect(network))}. Set warm_start=False and call fit to start anew."
    )
