"""Peers: scikit-learn's MLPClassifier, and xpnet's estimator of that name.

Each timed call is one call of the public method `fit`, as users train them. The work that `fit` does once is spread
over the epochs of the call. With `partial_fit` each epoch would validate the data and binarize the labels again, a
quarter of the time on small data. Only the loss of the first call is compared, because each `fit` starts with a new
optimizer.

``make_NAME(kind)`` returns the class of the estimator, with the device set.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from xpnet.errors import DeviceUnavailableError

__all__ = [
    "create_estimator",
    "create_sklearn",
    "make_estimator",
    "make_sklearn",
    "parameters",
    "predict_estimator",
    "predict_sklearn",
]

# The library's optimizers as scikit-learn's solver and momentum.
_SOLVERS = {"sgd": ("sgd", 0.0), "momentum": ("sgd", 0.9), "adam": ("adam", 0.0)}
Run = Callable[[np.ndarray, int], float]
Predict = Callable[[np.ndarray], np.ndarray]


def make_sklearn(kind: str) -> Callable[..., Any]:
    """Return scikit-learn's `MLPClassifier`."""
    from sklearn.neural_network import MLPClassifier

    if kind != "cpu":
        raise DeviceUnavailableError("peer 'sklearn' runs on the CPU only: expected sklearn; received sklearn:gpu.")
    make: Callable[..., Any] = MLPClassifier
    return make


def make_estimator(kind: str) -> Callable[..., Any]:
    """Return xpnet's `MLPClassifier` on a device."""
    from xpnet.backend import get_backend
    from xpnet.estimators import MLPClassifier

    return partial(MLPClassifier, device=get_backend(kind))


def create_sklearn(kind: str) -> Callable[..., Run]:
    """Return a function that starts scikit-learn's MLPClassifier; see `xpnet_backends.peers`."""
    from sklearn.exceptions import ConvergenceWarning

    make = make_sklearn(kind)

    def start(*, x: np.ndarray, y: np.ndarray, layers: list[tuple[np.ndarray, np.ndarray]], **settings: Any) -> Run:
        model = make(**parameters([b.size for _, b in layers[:-1]], **settings))
        _set_weights(model, layers)

        def run(order: np.ndarray, seed: int) -> float:
            model.set_params(max_iter=len(order), random_state=seed, warm_start=True)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # all epochs are run, as intended
                model.fit(x, y)
            return float(model.loss_curve_[-1])

        return run

    return start


def create_estimator(kind: str) -> Callable[..., Run]:
    """Return a function that starts xpnet's `MLPClassifier`; see `xpnet_backends.peers`."""
    make = make_estimator(kind)

    def start(*, x: np.ndarray, y: np.ndarray, layers: list[tuple[np.ndarray, np.ndarray]], **settings: Any) -> Run:
        model = make(**parameters([b.size for _, b in layers[:-1]], **settings))
        # A first step draws the weights, as above, so that the first timed fit draws only the order of the samples.
        model.partial_fit(x[: settings["batch"]], y[: settings["batch"]], classes=np.arange(layers[-1][1].size))
        initial: dict[str, Any] = {"coefs_init": [W for W, _ in layers], "intercepts_init": [b for _, b in layers]}

        def run(order: np.ndarray, seed: int) -> float:
            model.set_params(max_iter=len(order), random_state=seed, warm_start=True)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model.fit(x, y, **initial)
            initial.clear()
            return float(model.loss_curve_[-1])

        return run

    return start


def _set_weights(model: Any, layers: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """Give weights to an estimator that accepts none: a step creates its arrays, which are overwritten."""
    n_classes = layers[-1][1].size
    classes = np.arange(n_classes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the batch is smaller than the batch size
        model.partial_fit(np.zeros((n_classes, layers[0][0].shape[0]), np.float32), classes, classes=classes)
    for i, (W, b) in enumerate(layers):
        model.coefs_[i][...], model.intercepts_[i][...] = W, b


def predict_sklearn(kind: str) -> Callable[..., Predict]:
    """Return a function that makes scikit-learn's MLPClassifier for predictions; see `xpnet_backends.peers`."""
    return partial(_start_predictions, make_sklearn(kind))


def predict_estimator(kind: str) -> Callable[..., Predict]:
    """Return a function that makes xpnet's MLPClassifier for predictions; see `xpnet_backends.peers`."""
    return partial(_start_predictions, make_estimator(kind))


def _start_predictions(
    make: Callable[..., Any], *, layers: list[tuple[np.ndarray, np.ndarray]], activation: str
) -> Predict:
    from xpnet.estimators.solvers import scikit_learns_name

    hidden = tuple(b.size for _, b in layers[:-1])
    model = make(hidden_layer_sizes=hidden, activation=scikit_learns_name(activation))
    _set_weights(model, layers)
    predict: Predict = model.predict_proba
    return predict


def parameters(
    hidden_layer_sizes: Sequence[int], *, activation: str, optimizer: str, learning_rate: float, batch: int
) -> dict[str, Any]:
    """Return the parameters of an estimator that trains as a workload does, and runs all of its epochs."""
    from xpnet.estimators.solvers import scikit_learns_name

    solver, momentum = _SOLVERS[optimizer]
    return {
        "hidden_layer_sizes": tuple(hidden_layer_sizes),
        "activation": scikit_learns_name(activation),
        "solver": solver,
        "momentum": momentum,
        "nesterovs_momentum": False,
        "learning_rate_init": learning_rate,
        "batch_size": batch,
        "alpha": 0.0,
        "tol": 0.0,
        "n_iter_no_change": np.inf,  # no early stopping
    }
