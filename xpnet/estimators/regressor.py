"""The regressor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from sklearn.base import RegressorMixin, _fit_context
from sklearn.metrics import r2_score
from sklearn.utils import column_or_1d
from sklearn.utils.metaestimators import available_if

from xpnet.backend import Array, Backend
from xpnet.estimators.base import BaseMLP
from xpnet.estimators.inputs import host
from xpnet.estimators.parameters import store
from xpnet.estimators.solvers import is_stochastic
from xpnet.training.schedules import Schedule

__all__ = ["MLPRegressor"]


class MLPRegressor(RegressorMixin, BaseMLP):
    """Multilayer perceptron for one or several numbers, a replacement for scikit-learn's ``MLPRegressor``.

    Parameters
    ----------
    loss : str
        ``"squared_error"``, ``"poisson"`` (for counts and rates; the output is ``exp``) or a name in
        `xpnet.nn.losses.LOSSES` for numbers, e.g. ``"huber:delta=2"``.
    hidden_layer_sizes, activation, ...
        As in `MLPClassifier`, without `class_weight` and `label_smoothing`. `early_stopping` uses R2 in place of the
        accuracy.

    Attributes
    ----------
    coefs_, intercepts_, ...
        As in `MLPClassifier`, without `classes_`. With several outputs, the loss is the mean over the outputs for
        ``"squared_error"``, and the sum for other losses.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from xpnet import MLPRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> reg = MLPRegressor(solver="lbfgs", alpha=100, max_iter=1000, random_state=0).fit(X, y)
    >>> bool(reg.score(X, y) > 0.5)
    True
    """

    _y_numeric = True
    _task = "regression"

    def __init__(
        self,
        loss: str = "squared_error",
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: str | Sequence[str] = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str | Schedule = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        device: str | Backend | None = None,
        dtype: str | None = None,
        dropout: float | Sequence[float] = 0.0,
        l1: float = 0.0,
        clip_norm: float | None = None,
        initializer: str | None = None,
        scoring: Any = None,
        callbacks: Sequence[Any] | None = None,
    ) -> None:
        store(self, locals())

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        eval_set: Sequence[Any] | None = None,
        coefs_init: Sequence[Any] | None = None,
        intercepts_init: Sequence[Any] | None = None,
    ) -> Self:
        """Fit the network; see `MLPClassifier.fit`. The targets are (n_samples,) or (n_samples, n_outputs)."""
        return self._fit(X, y, sample_weight, eval_set=eval_set, coefs_init=coefs_init, intercepts_init=intercepts_init)

    @available_if(is_stochastic)
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train for one more epoch, with the state of the optimizer from the last call."""
        return self._fit(X, y, sample_weight, incremental=True)

    def _learn_targets(self, y: np.ndarray, *, incremental: bool) -> None:
        self.n_outputs_ = 1 if y.ndim == 1 else y.shape[1]

    def _encode(self, y: np.ndarray) -> np.ndarray:
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return y.astype(np.float64).reshape(len(y), -1)

    def _objective(self) -> dict[str, Any]:
        return {"loss": self.loss}

    def predict(self, X: Any) -> Array:
        """Return values, (n_samples,) or (n_samples, n_outputs), where `X` lies."""
        output, _ = self._output(X, "predict")
        return output[:, 0] if output.shape[1] == 1 else output

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return R2, averaged over the outputs."""
        return float(r2_score(host(y), host(self.predict(X)), sample_weight=host(sample_weight)))
