"""Conversion of estimators from and to scikit-learn's estimators and `Model`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from sklearn import neural_network
from sklearn.preprocessing import LabelBinarizer

from xpnet.backend import to_host
from xpnet.data.targets import Task
from xpnet.errors import InvalidParameterError, shown
from xpnet.estimators.fitting import begin_history
from xpnet.estimators.solvers import scikit_learns_name
from xpnet.model.folding import folded
from xpnet.model.model import Model
from xpnet.nn.activations import IDENTITY

__all__ = ["from_model", "from_sklearn", "to_model", "to_sklearn"]

_ATTRIBUTES = (
    *("loss_", "best_loss_", "loss_curve_", "validation_scores_", "best_validation_score_", "_no_improvement_count"),
    *("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_", "feature_names_in_", "classes_"),
)
_ACTIVATIONS = ("identity", "logistic", "relu", "tanh")
_LOSSES = {"identity": "squared_error", "exp": "poisson"}  # of scikit-learn's regressor, by output


def _theirs(cls: type) -> Any:
    return getattr(neural_network, cls.__name__)


def _copy_attributes(source: Any, target: Any) -> None:
    for name in _ATTRIBUTES:
        if name in vars(source):
            value = vars(source)[name]
            setattr(target, name, list(value) if isinstance(value, list) else value)


def from_sklearn(cls: type, fitted: Any) -> Any:
    """Return an estimator with the parameters and the weights of scikit-learn's estimator of the same name."""
    if not isinstance(fitted, _theirs(cls)) or not hasattr(fitted, "coefs_"):
        raise TypeError(
            f"from_sklearn: expected a fitted sklearn.neural_network.{cls.__name__}; received {shown(fitted):.60}."
        )
    estimator = cls(**fitted.get_params(deep=False))
    _copy_attributes(fitted, estimator)
    if hasattr(fitted, "loss_curve_"):
        estimator.history_ = {"train_loss": list(fitted.loss_curve_)}
    if hasattr(fitted, "classes_"):
        estimator._multilabel = fitted._label_binarizer.y_type_ == "multilabel-indicator"
    sizes = (fitted.n_features_in_, *(b.shape[0] for b in fitted.intercepts_))
    estimator.network_ = estimator._network(sizes)
    layers = zip(fitted.coefs_, fitted.intercepts_, strict=True)
    estimator._set_params(estimator.network_.pack([(W.copy(), b.copy()) for W, b in layers]))
    return estimator


def to_sklearn(estimator: Any) -> Any:
    """Return a scikit-learn estimator of the same name with these weights, on the host.

    Raises
    ------
    InvalidParameterError
        scikit-learn does not have the activation or the output.
    """
    network = estimator.network_
    activations = sorted({scikit_learns_name(name) for name in network.activation_names[:-1]}) or ["identity"]
    if len(activations) > 1 or activations[0] not in _ACTIVATIONS:
        raise InvalidParameterError(
            f"to_sklearn: expected one activation for all hidden layers, one of {', '.join(_ACTIVATIONS)}; "
            f"received {', '.join(activations)}."
        )
    classifies = hasattr(estimator, "classes_")
    usual = estimator._usual_loss() == network.loss if classifies else estimator.out_activation_ in _LOSSES
    if not usual:
        raise InvalidParameterError(
            f"to_sklearn: expected an output that scikit-learn has for its losses; received that of "
            f"{shown(network.loss)}, {shown(estimator.out_activation_)}."
        )
    cls = _theirs(type(estimator))
    twin = cls()
    ours = estimator.get_params(deep=False)
    # Solvers and schedules that scikit-learn does not have matter in training only.
    known = ("constant", "invscaling", "adaptive"), ("sgd", "adam", "lbfgs")
    names = set(twin.get_params(deep=False)) - {"activation", "loss"}
    names -= {name for name, values in zip(("learning_rate", "solver"), known, strict=True) if ours[name] not in values}
    twin.set_params(activation=activations[0], **{name: ours[name] for name in names})
    _copy_attributes(estimator, twin)
    layers = [(to_host(W).copy(), to_host(b).copy()) for W, b in estimator._parameters()]
    twin.coefs_, twin.intercepts_ = [W for W, _ in layers], [b for _, b in layers]
    twin._best_coefs, twin._best_intercepts = list(twin.coefs_), list(twin.intercepts_)
    if classifies:
        labels = np.eye(2, len(estimator.classes_), dtype=int) if estimator._multilabel else estimator.classes_
        twin._label_binarizer = LabelBinarizer().fit(labels)
    else:
        twin.set_params(loss=_LOSSES[estimator.out_activation_])
    return twin


def to_model(estimator: Any) -> Model:
    """Return the model that `xpnet.save_model` writes and ``xpnet predict`` reads.

    Raises
    ------
    InvalidParameterError
        There is only one class.
    """
    classes: Any = getattr(estimator, "classes_", None)
    task: Task = "regression"
    if classes is not None:
        task = "multilabel" if estimator._multilabel else "classification"
    if classes is not None and len(classes) < 2 and task == "classification":
        raise InvalidParameterError(f"to_model: expected at least two classes; received only {shown(classes[0])}.")
    names = getattr(estimator, "feature_names_in_", None)
    return Model(
        estimator.network_,
        estimator._parameters().map(to_host).vector,
        task,
        classes if task == "classification" else None,
        feature_names=None if names is None else tuple(map(str, names)),
    )


def from_model(cls: type, model: Model) -> Any:
    """Return an estimator with the weights of a model.

    The scaling of the features is folded into the first layer, that of the targets into the last layer, and the
    parametrization into all layers. The folded weights are float64, because the large biases that scaled features far
    from zero lead to would leave float32 too few digits.

    Raises
    ------
    InvalidParameterError
        The model is for another task, or has a part that no layer can do: an encoding of tables, several members, a
        scaling with a clip, a range of outputs, scaled targets with an output that is not linear, or a scaling that
        float64 cannot fold.
    """
    for part, given in (
        ("an encoding of tables", model.encoding is not None),
        ("an ensemble", model.vector.ndim > 1),
        ("a scaling with a clip", model.scaler is not None and not model.scaler.is_linear),
        ("a range of outputs", model.network.output_range is not None),
    ):
        if given:
            raise InvalidParameterError(
                f"from_model: expected a model of one network on numbers; received one with {part}. Predict with "
                "the model itself."
            )
    network = replace(model.network, parametrization="standard", input_scale=False)
    classifies = cls.__name__ == "MLPClassifier"
    if classifies != (model.task != "regression"):
        raise InvalidParameterError(f"from_model: expected a model for {cls.__name__}; received a {model.task}.")
    if model.target_scaler is not None and network.activations[-1] != IDENTITY:
        raise InvalidParameterError(
            f"from_model: expected the output identity where targets are scaled; received {shown(network.output)}."
        )
    estimator = cls(
        hidden_layer_sizes=network.layer_sizes[1:-1],
        activation=network.activation,
        alpha=network.l2,
        l1=network.l1,
        loss=network.loss,
        dropout=network.dropout,
        initializer=network.initializer if isinstance(network.initializer, str) else None,
    )
    estimator._set_network(network)
    estimator.n_features_in_, estimator.n_outputs_ = network.layer_sizes[0], network.layer_sizes[-1]
    if model.feature_names is not None:
        estimator.feature_names_in_ = np.asarray(model.feature_names, dtype=object)
    if classifies:
        estimator.set_params(label_smoothing=network.label_smoothing)
        estimator._multilabel = model.task == "multilabel"
        count = max(network.layer_sizes[-1], 1 if estimator._multilabel else 2)
        estimator.classes_ = np.arange(count) if model.classes is None else model.classes
        if estimator._usual_loss() == network.loss:
            estimator.set_params(loss="log_loss")
    estimator._set_params(folded(model.params, model.network.gains, model.scaler, model.target_scaler))
    begin_history(estimator, anew=True)
    return estimator
