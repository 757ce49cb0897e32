"""scikit-learn's MLPClassifier as a peer, and xpnet's own in its place.

Each is timed through its public `fit`, for as many epochs as one timed call has. That is how its users train it:
`partial_fit` would validate the data and binarize the labels anew for each epoch, a quarter of the time on small data.
What `fit` does once is so spread over the epochs of the call. No loss is compared after the first call, for each
`fit` begins with a fresh optimizer.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from xpnet.errors import DeviceUnavailableError

__all__ = ["create_estimator", "create_sklearn"]

# The library's optimizers as scikit-learn's solver and momentum.
_SOLVERS = {"sgd": ("sgd", 0.0), "momentum": ("sgd", 0.9), "adam": ("adam", 0.0)}
Run = Callable[[np.ndarray, int], float]


def create_sklearn(kind: str) -> Callable[..., Run]:
    """Return what starts scikit-learn's."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    if kind != "cpu":
        raise DeviceUnavailableError("peer 'sklearn' runs on the CPU only: expected sklearn; received sklearn:gpu.")

    def start(*, x: np.ndarray, y: np.ndarray, layers: list[tuple[np.ndarray, np.ndarray]], **settings: Any) -> Run:
        model = MLPClassifier(**_parameters(layers, **settings))
        # It takes no initial weights; a first step makes the arrays that they are written to.
        model.partial_fit(x[: settings["batch"]], y[: settings["batch"]], classes=np.arange(layers[-1][1].size))
        for i, (W, b) in enumerate(layers):
            model.coefs_[i][...], model.intercepts_[i][...] = W, b

        def run(order: np.ndarray, seed: int) -> float:
            model.set_params(max_iter=len(order), random_state=seed, warm_start=True)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # it runs all its epochs, as it should
                model.fit(x, y)
            return float(model.loss_curve_[-1])

        return run

    return start


def create_estimator(kind: str) -> Callable[..., Run]:
    """Return what starts xpnet's own `MLPClassifier`, in place of scikit-learn's."""
    from xpnet.backend import get_backend
    from xpnet.estimators import MLPClassifier

    device = get_backend(kind)

    def start(*, x: np.ndarray, y: np.ndarray, layers: list[tuple[np.ndarray, np.ndarray]], **settings: Any) -> Run:
        model = MLPClassifier(**_parameters(layers, **settings), device=device)
        # A first step, as above: what it draws for weights of its own must not move the shuffles of the first fit.
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


def _parameters(
    layers: list[tuple[np.ndarray, np.ndarray]], *, activation: str, optimizer: str, learning_rate: float, batch: int
) -> dict[str, Any]:
    from xpnet.estimators.solvers import scikit_learns_name

    solver, momentum = _SOLVERS[optimizer]
    return {
        "hidden_layer_sizes": tuple(b.size for _, b in layers[:-1]),
        "activation": scikit_learns_name(activation),
        "solver": solver,
        "momentum": momentum,
        "nesterovs_momentum": False,
        "learning_rate_init": learning_rate,
        "batch_size": batch,
        "alpha": 0.0,
        "tol": 0.0,
        "n_iter_no_change": np.inf,  # never stops early
    }
