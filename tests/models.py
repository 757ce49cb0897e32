"""One model of each kind, with raw data that it takes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from xpnet.data.scaling import fit_scaler
from xpnet.model.model import Model
from xpnet.nn.network import Network

_rng = np.random.default_rng(6)
X = 3 * _rng.standard_normal((30, 4)) + 5


class Case(NamedTuple):
    """What makes a model, beside its parameters, and raw targets for it."""

    network: Network
    task: Any
    y: np.ndarray
    more: dict[str, Any]


def _labels(*labels: Any, dtype: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
    classes = np.asarray(labels, dtype=dtype)
    return np.resize(classes, len(X)), {"classes": classes}


VALUES = _rng.standard_normal((30, 2)) * [10, 200] + [3, -500]
_SIGMOID = Network([4, 1], loss="binary_cross_entropy")
CASES = {
    "text": Case(Network([4, 6, 3]), "classification", *_labels("Öl", "été", "犬")),
    "integers": Case(Network([4, 3], initializer="he_normal"), "classification", *_labels(-5, 0, 7)),
    "bytes": Case(Network([4, 3]), "classification", *_labels(1, 2, 9, dtype="uint8")),
    "floats": Case(Network([4, 3]), "classification", *_labels(0.0, 1.0, 2.0, dtype="float32")),
    "booleans": Case(_SIGMOID, "classification", *_labels(False, True)),
    "large integers": Case(_SIGMOID, "classification", *_labels(-(2**62), 2**62 + 1)),
    "slopes": Case(
        Network([4, 6, 5, 2, 3], activation=("prelu", "rrelu", "prelu"), dropout=(0.1, 0.0, 0.5)),
        "classification",
        *_labels(0, 1, 2),
    ),
    "input scale": Case(
        Network(
            [4, 6, 5, 3],
            ("prelu", "selu"),
            initializer=("normal", "normal", "zeros"),
            input_scale=True,
            parametrization="ntk",
        ),
        "classification",
        *_labels(0, 1, 2),
    ),
    "labels": Case(
        Network([4, 5, 2], "gelu", loss="binary_cross_entropy"), "multilabel", _rng.integers(0, 2, (30, 2)), {}
    ),
    "values": Case(
        Network([4, 5, 2], "leaky_relu:slope=0.3", loss="huber:delta=2", l2=0.1, l1=0.01),
        "regression",
        VALUES,
        {"target_scaler": fit_scaler("standard", VALUES), "target_name": "Größe"},
    ),
    "one value": Case(
        Network([4, 1], loss="squared_error", reduction="sum"), "regression", VALUES[:, 0], {"target_name": "price"}
    ),
    "counts": Case(
        Network([4, 1], loss="poisson"),
        "regression",
        np.abs(VALUES[:, 0]).round(),
        {"feature_names": ("a", "b c", "数", '"')},
    ),
}
for _kind, _name in (("standard", "text"), ("minmax", "values"), ("divide:16", "bytes"), ("none", "counts")):
    CASES[_name].more["scaler"] = fit_scaler(_kind, X)


def make(name: str, dtype: str = "float32") -> Model:
    """Make the model of a case with parameters that are all different."""
    network, task, _, more = CASES[name]
    vector = network.init(3, dtype="float64").vector
    vector += 0.1 * np.random.default_rng(1).standard_normal(vector.size)
    return Model(network, vector.astype(dtype), task, **more)
