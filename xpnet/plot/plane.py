"""Data with two features, and what a model answers at each point of their plane."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from xpnet.data.checks import check_data, check_lengths, feature_array, target_array
from xpnet.data.scaling import fit_scaler
from xpnet.data.tables.encoders import NumberColumn
from xpnet.data.targets import infer_task
from xpnet.errors import DataError, InvalidParameterError, shown
from xpnet.model.model import Model
from xpnet.nn.network import Network
from xpnet.plot.fitted import as_model
from xpnet.plot.predictions import Predictions, raw_features, spread_rows, taken
from xpnet.training.trainer import Trainer

__all__ = ["Plane", "is_plane", "linear_model", "plane_of", "predictions_of", "raw_targets"]

_MOST_POINTS = 1000
_LINEAR_STEPS = 1500
_LINEAR_SAMPLES = 5000
_NAMES = ("feature 1", "feature 2")


class Plane(NamedTuple):
    """Samples with two features, and a model of them.

    Attributes
    ----------
    names : (str, str)
        Names of the features.
    target : str
        Name of the target, or "value".
    labels : (n_classes,) ndarray or None
        None for values.
    points : (n_samples, 2) ndarray
        At most 1000 samples.
    true : (n_samples,) ndarray
        Class indices or values.
    answers : (points) -> (n_points, n_classes) or (n_points,)
        The confidence in each class, or the value, at points (n_points, 2).
    """

    names: tuple[str, str]
    target: str
    labels: np.ndarray | None
    points: np.ndarray
    true: np.ndarray
    answers: Callable[[np.ndarray], np.ndarray]


def is_plane(model: Model) -> bool:
    """Return whether a model takes two numbers, so that its decisions can be drawn on a plane."""
    if model.task == "multilabel":
        return False
    if model.encoding is not None:
        columns = model.encoding.columns
        return len(columns) == 2 and all(map(_is_plain_number, columns))
    return model.network.layer_sizes[0] == 2


def _is_plain_number(column: Any) -> bool:
    return isinstance(column, NumberColumn) and column.reading.kind == "number" and not column.reading.percent


def plane_of(model: Any, x: Any = None, y: Any = None) -> Plane:
    """Return what a model says about samples with two features.

    Parameters
    ----------
    model : Model, fitted estimator, Predictions, or any object with `predict`
    x, y
        Raw features and raw targets; not needed with `Predictions`.

    Raises
    ------
    DataError
        The data do not have two features that are numbers.
    InvalidParameterError
        The model has labels of which several may be true, or is no model.
    """
    if not isinstance(model, Model | Predictions) and not hasattr(model, "to_model"):
        return _of_any(model, x, y)
    each = predictions_of(model, x, y)
    model, rows = each.model, spread_rows(len(each.rows), _MOST_POINTS)
    points, true, names = taken(each.x, rows), each.true[rows], model.feature_names or _NAMES
    if model.encoding is not None:
        names = model.encoding.input_names
        points = np.stack([_numbers(points, column, i) for i, column in enumerate(model.encoding.columns)], axis=1)
    known = np.isfinite(points).all(axis=1)
    classifies = model.task == "classification"
    return Plane(
        names=(names[0], names[1]),
        target=model.target_name or "value",
        labels=each.labels if classifies else None,
        points=points[known],
        true=true[known] if classifies else true[known, 0],
        answers=partial(_answers, model, names),
    )


def predictions_of(model: Any, x: Any = None, y: Any = None) -> Predictions:
    """Return the predictions of a model for samples with two features; parameters and errors as for `plane_of`."""
    if isinstance(model, Predictions):
        _check_plane(model.model)
        return model
    model = as_model(model)
    _check_plane(model)
    return Predictions.of(model, x, y)


def _check_plane(model: Model) -> None:
    if model.task == "multilabel":
        raise InvalidParameterError(
            "decision_regions: expected a model for classification or regression; received one for multilabel."
        )
    if not is_plane(model):
        names = model.network.layer_sizes[0] if model.encoding is None else ", ".join(model.encoding.input_names)
        raise DataError(
            f"decision_regions: expected a model of two features that are numbers; received one of {names!s:.60}. "
            "Choose two columns, and train on them."
        )


def _numbers(table: Any, column: NumberColumn, position: int) -> np.ndarray:
    """Return the numbers of a column, which is text in a table of a text file, perhaps with decimal commas."""
    from xpnet.data.tables.values import as_numbers, as_values, decimal_sign

    found = table.column(column.name if column.name in table.column_names else position)
    return as_numbers(as_values([found], [column.name]), column.reading_for(decimal_sign(table.schema)))


def _answers(model: Model, names: Sequence[str], points: np.ndarray) -> np.ndarray:
    """Return what a model answers at points; see `Plane`."""
    x: Any = points
    if model.encoding is not None:
        x = raw_features(model, dict(zip(names, points.T, strict=True)))
    output = model.outputs(x)
    if model.task == "regression":
        return model.decide(output).reshape(len(output), -1)[:, 0]
    by_class = Predictions(model, x, np.arange(len(points)), np.zeros(len(points)), output).by_class
    return by_class if model.gives_probabilities else np.eye(by_class.shape[1])[by_class.argmax(axis=1)]


def _of_any(model: Any, x: Any, y: Any) -> Plane:
    """Return the plane of an object with `predict`, such as a pipeline of scikit-learn."""
    if not hasattr(model, "predict"):
        raise InvalidParameterError(
            f"model: expected a Model, a fitted estimator or an object with `predict`; received {shown(model):.60}."
        )
    names = tuple(map(str, getattr(x, "columns", _NAMES)))
    points, true = feature_array(x), target_array(y)
    check_lengths(points, true)
    if points.ndim != 2 or points.shape[1] != 2 or true.ndim != 1:
        raise DataError(
            "decision_regions: expected samples with two features and one target; received the shapes "
            f"{points.shape} and {true.shape}."
        )
    check_data(points)
    rows = spread_rows(len(points), _MOST_POINTS)
    labels = getattr(model, "classes_", None)
    if labels is None and infer_task(true) != "regression":
        labels = np.unique(true)

    def at(points: np.ndarray) -> Any:
        if hasattr(x, "columns"):
            return type(x)(dict(zip(x.columns, points.T, strict=True)))
        return points

    def answers(points: np.ndarray) -> np.ndarray:
        if labels is None:
            return np.asarray(model.predict(at(points)), np.float64).reshape(-1)
        if hasattr(model, "predict_proba"):
            return np.asarray(model.predict_proba(at(points)))
        return np.asarray(np.eye(len(labels))[np.searchsorted(labels, model.predict(at(points)))])

    indices = true if labels is None else np.searchsorted(labels, true)
    return Plane((names[0], names[1]), "value", labels, points[rows].astype(np.float64), indices[rows], answers)


def linear_model(each: Predictions) -> Model:
    """Return a model without hidden layers, trained on the same samples with the same loss."""
    model, rows = each.model, spread_rows(len(each.rows), _LINEAR_SAMPLES)
    features, targets = model.encode((taken(each.x, rows), raw_targets(each)[rows]))
    scaler = fit_scaler("standard", features)
    given = model.network
    network = Network((given.layer_sizes[0], given.layer_sizes[-1]), output=given.output, loss=given.loss)
    epochs = max(1, _LINEAR_STEPS * 32 // len(rows))
    trainer = Trainer(network, learning_rate=0.03, schedule="cosine", epochs=epochs, dtype="float64")
    ((W, b),) = trainer.fit(scaler.transform(features, "float64"), targets).params
    W = W / scaler.scale[:, None]  # what was trained on scaled features is made one of the features
    return replace(model, network=network, vector=network.pack([(W, b - scaler.shift @ W)]).vector)


def raw_targets(each: Predictions) -> np.ndarray:
    """Return the targets as the user gave them."""
    classifies = each.model.task == "classification"
    return np.asarray(each.labels[each.true] if classifies else each.true)
