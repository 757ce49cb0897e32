"""The importance of features: of columns that matter and that do not, in arrays and in tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from sklearn.base import BaseEstimator
from sklearn.inspection import permutation_importance

from tests.models import CASES, X, make
from xpnet import plot
from xpnet.estimators.tabular import TabularClassifier, TabularRegressor
from xpnet.model.model import Model
from xpnet.nn.network import Network
from xpnet.plot.predictions import Predictions


@pytest.fixture
def ax() -> Any:
    return Figure().subplots()


def bars(ax: Any) -> dict[str, float]:
    """Return the bars by name, from the top."""
    names = [label.get_text() for label in ax.get_yticklabels()]
    return dict(zip(names[::-1], [bar.get_width() for bar in ax.patches][::-1], strict=True))


class Plain(BaseEstimator):  # type: ignore[misc]
    """A model as scikit-learn takes it."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def fit(self, *_: Any) -> None:
        """Do nothing."""

    def score(self, x: np.ndarray, y: np.ndarray) -> float:
        return self.model.evaluate(x, y)[self.model.metric]


@pytest.mark.parametrize("name", ["text", "booleans", "labels", "values", "counts"])
def test_the_importance_is_scikit_learns(name: str, ax: Any) -> None:
    model, y = make(name, "float64"), CASES[name].y
    assert plot.feature_importance(model, X, y, ax) is ax
    expected = permutation_importance(Plain(model), X, y, n_repeats=3, random_state=0)
    names = model.feature_names or [f"feature {i}" for i in range(1, 5)]
    found = bars(ax)
    assert [*found.values()] == sorted(found.values(), reverse=True)
    for column, mean in zip(names, expected.importances_mean, strict=True):
        assert found[column] == pytest.approx(mean, abs=1e-9)
    assert ax.get_xlabel() == f"decrease in {'R2' if model.task == 'regression' else 'accuracy'}"


def penguins(n: int = 120) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    island, sex = rng.choice([*"abc", None], n), rng.choice(["m", "f"], n)
    return pd.DataFrame({"island": island, "mass": rng.standard_normal(n), "sex": sex})


def test_columns_of_a_table_are_shuffled_whole(ax: Any) -> None:
    table = penguins()
    y = np.where(table["island"] == "a", "yes", "no")
    clf = TabularClassifier(hidden_layer_sizes=(16,), max_iter=30, random_state=0).fit(table, y)
    plot.feature_importance(clf, table, y, ax)
    found = bars(ax)
    assert [*found] == ["island", "mass", "sex"]
    assert found["island"] > 0.3 > 0.05 > abs(found["mass"])
    assert len(clf.encoding_.feature_names) > 3


def test_many_columns(ax: Any) -> None:
    network = Network((60, 1), loss="squared_error")
    W = np.zeros((60, 1))
    W[5:50, 0] = np.arange(1, 46)
    model = Model(
        network, network.pack([(W, np.zeros(1))]).vector, "regression", feature_names=tuple(f"c{i}" for i in range(60))
    )
    x = np.random.default_rng(0).standard_normal((200, 60))
    plot.feature_importance(model, x, model.predict(x), ax)
    found = bars(ax)
    assert len(found) == 20
    assert next(iter(found)) in {"c49", "c48", "c47"}
    assert {*found} <= {f"c{i}" for i in range(25, 50)}
    assert ax.get_title() == "the first 20 of 60 columns"


def test_pictures_take_tabular_estimators() -> None:
    table = penguins()
    label, value = np.where(table["island"] == "a", "yes", "no"), table["mass"].to_numpy() * 3 + 1
    small: Any = {"hidden_layer_sizes": (8,), "max_iter": 3, "random_state": 0}
    clf = TabularClassifier(n_ensemble=2, **small).fit(table, label)
    reg = TabularRegressor(**small).fit(table, value)
    for draw in (plot.confusion_matrix, plot.roc, plot.precision_recall, plot.reliability_diagram, plot.gradient_norms):
        draw(clf, table, label, ax=Figure().subplots())
    for draw in (plot.predicted_against_true, plot.residuals, plot.error_histogram, plot.gradient_norms):
        draw(reg, table, value, ax=Figure().subplots())
    for estimator in (clf, reg):
        plot.activation_distributions(estimator, table, Figure().subplots())
        plot.weight_distributions(estimator, Figure().subplots())
        plot.network_diagram(estimator, Figure().subplots())
    each = Predictions.of(clf, table, label)
    np.testing.assert_array_equal(each.labels[each.predicted], clf.predict(table))
