"""Baselines that a network has to beat: a constant, and a linear model."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet.data.scaling import fit_scaler
from xpnet.model.model import Model
from xpnet.nn.network import Network
from xpnet.plot.predictions import class_labels, encoded_targets, raw_features, spread_rows, taken
from xpnet.training.metrics import constant_decision
from xpnet.training.trainer import Trainer

__all__ = ["baselines"]

# Limits of what the linear model takes, so that it is fitted in a moment.
_MOST_SAMPLES = 10_000
_MOST_VALUES = 10_000_000  # features
_MOST_PRODUCTS = 500_000_000  # of samples, features and outputs, in an epoch
_MOST_WORK = 1_000_000_000  # of all epochs
_MOST_EPOCHS = 40
_RIDGE = 1.0  # as scikit-learn's Ridge


def baselines(model: Model, x: Any, y: np.ndarray, scored: Any) -> dict[str, np.ndarray]:
    """Fit the baselines to raw training data and return their predictions for other raw features, by name.

    Parameters
    ----------
    model : Model
        Gives the features and the task.
    x, y
        Raw features and raw targets of the training part.
    scored
        Raw features.

    Returns
    -------
    dict
        "linear model", unless there are fewer training samples than it needs, and "majority class", "majority", of
        each label, or "mean". Predictions are class indices, (n_samples,), 0/1 labels or raw values,
        (n_samples, n_outputs).
    """
    n = len(scored)
    true = encoded_targets(model, y)
    name, decision = constant_decision(model.task, true)
    constant = {name: np.broadcast_to(decision, (n, *decision.shape))}
    n_in, n_out = model.network.layer_sizes[0], model.network.layer_sizes[-1]
    rows = spread_rows(len(y), min(_MOST_SAMPLES, _MOST_VALUES // n_in, _MOST_PRODUCTS // (n_in * n_out)))
    if len(rows) < 2 * n_out:
        return constant
    features = model.features(taken(raw_features(model, x), rows))
    scaler = fit_scaler("standard", features)
    features, others = (scaler.transform(each, "float64") for each in (features, model.features(scored)))
    fit = _ridge if model.task == "regression" else _logistic
    return {"linear model": fit(model, features, true[rows], others), **constant}


def _ridge(model: Model, x: np.ndarray, y: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the predictions of the linear least squares with the penalty ``|W|^2`` on scaled weights.

    Hoerl, Kennard (1970), Technometrics 12, 55-67. With fewer samples than features, the dual form is solved.
    """
    shift, mean = x.mean(axis=0), y.mean(axis=0)
    x = x - shift
    n, d = x.shape
    if n < d:
        W = x.T @ np.linalg.solve(x @ x.T + _RIDGE * np.eye(n), y - mean)
    else:
        W = np.linalg.solve(x.T @ x + _RIDGE * np.eye(d), x.T @ (y - mean))
    predicted: np.ndarray = (others - shift) @ W + mean
    return predicted


def _logistic(model: Model, x: np.ndarray, y: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the predictions of the model's network without its hidden layers, which is a logistic regression."""
    sizes = model.network.layer_sizes[0], model.network.layer_sizes[-1]
    network = Network(sizes, output=model.network.output, loss=model.network.loss, initializer="zeros")
    work = len(x) * sizes[0] * sizes[1]
    epochs = min(_MOST_EPOCHS, max(1, _MOST_WORK // work))
    run = Trainer(network, learning_rate=0.01, schedule="cosine", epochs=epochs).fit(x.astype(np.float32), y)
    linear = Model(network, run.params.vector, model.task, np.arange(len(class_labels(model))))
    return linear.predict(others)
