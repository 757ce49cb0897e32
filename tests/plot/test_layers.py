"""The pictures of layers: what they show, computed in another way."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from tests.models import CASES, X, make
from xpnet import plot
from xpnet.estimators.classifier import MLPClassifier
from xpnet.model.model import Model
from xpnet.nn.network import Network
from xpnet.plot.figures import look, new_figure, svg
from xpnet.plot.predictions import Predictions


@pytest.fixture
def ax() -> Any:
    return Figure().subplots()


def pictures(y: np.ndarray) -> list[tuple[Any, tuple[Any, ...]]]:
    return [(plot.gradient_norms, (X, y)), (plot.activation_distributions, (X,)), (plot.weight_distributions, ())]


def words(ax: Any) -> list[str]:
    return [label.get_text() for label in ax.get_xticklabels()]


def extent(violin: Any) -> tuple[float, float]:
    y = violin.get_paths()[0].vertices[:, 1]
    return y.min(), y.max()


def test_weights_and_biases(ax: Any) -> None:
    model = make("text", "float64")
    assert plot.weight_distributions(model, ax) is ax
    (W, b), (V, c) = model.params
    assert words(ax) == [f"1\n4-6\nstd {np.std(W):.2g}", f"2\n6-3\nstd {np.std(V):.2g}"]
    for violin, line, values in zip(ax.collections, ax.lines, (W, b, V, c), strict=True):
        low, high = extent(violin)
        assert np.min(values) < low < high < np.max(values)
        assert high - low > 0.7 * np.ptp(values)
        assert line.get_ydata() == pytest.approx([np.mean(values)] * 2)


def test_zeros_and_dead_units(ax: Any) -> None:
    network = Network((1, 4, 2))
    params = network.pack(
        [(np.asarray([[1.0, -1.0, 2.0, 1.0]]), np.asarray([0.0, 0.0, 5.0, -9.0])), (np.eye(4)[:, :2], np.zeros(2))]
    )
    model = Model(network, params.vector, "classification")
    x = np.asarray([[-2.0], [-1.0], [1.0], [2.0]])  # the last unit is zero for all, the third for none
    plot.activation_distributions(model, x, ax)
    assert words(ax) == ["1\nrelu\nzero: 50%\ndead: 25.0%", "2\nbefore softmax"]
    low, high = extent(ax.collections[0])
    assert 0 < low < high < 9


@pytest.mark.parametrize("name", CASES)
def test_the_last_layer_is_drawn_without_its_output_function(name: str, ax: Any) -> None:
    model = make(name, "float64")
    plot.activation_distributions(model, X, ax)
    expected = model.network.forward(model.params, model.features(X))
    assert ax.lines[-1].get_ydata() == pytest.approx([np.mean(expected)] * 2)


@pytest.mark.parametrize(("activation", "said"), [("tanh", "tanh"), ("leaky_relu", "leaky_relu"), ("prelu", "prelu")])
def test_units_of_other_activations_do_not_die(activation: str, said: str, ax: Any) -> None:
    network = Network((4, 3, 2), activation)
    plot.activation_distributions(Model(network, network.init().vector, "classification"), X, ax)
    assert words(ax)[0] == f"1\n{said}"


@pytest.mark.parametrize("name", CASES)
def test_norms_of_the_gradient_by_finite_differences(name: str, ax: Any) -> None:
    model, y = make(name, "float64"), CASES[name].y
    plot.gradient_norms(model, X, y, ax)
    x, targets = model.encode((X, y))

    def loss(vector: np.ndarray) -> float:
        params = replace(model, vector=vector).params
        return float(model.network.loss_and_grads(params, x, targets)[0])

    h = 1e-6
    numbers = [(loss(model.vector + h * e) - loss(model.vector - h * e)) / (2 * h) for e in np.eye(model.vector.size)]
    weights = replace(model, vector=np.asarray(numbers)).params
    norms = np.asarray([[np.linalg.norm(W), np.linalg.norm(b)] for W, b in weights])
    np.testing.assert_allclose(np.transpose([line.get_ydata() for line in ax.lines]), norms, rtol=1e-5, atol=1e-7)


def test_predictions_give_the_same_pictures() -> None:
    model, y = make("values"), CASES["values"].y
    each = Predictions.of(model, X, y)
    for draw, data in (
        (plot.gradient_norms, (X, y)),
        (plot.activation_distributions, (X,)),
        (plot.weight_distributions, ()),
    ):
        one, other = draw(model, *data, ax=Figure().subplots()), draw(each, ax=Figure().subplots())
        assert [line.get_ydata().tolist() for line in one.lines] == [line.get_ydata().tolist() for line in other.lines]
        assert words(one) == words(other)


def test_an_ensemble_shows_its_first_network(ax: Any) -> None:
    model, y = make("text"), CASES["text"].y
    both = replace(model, vector=np.stack([model.vector, np.zeros_like(model.vector)]))
    for draw, data in (
        (plot.gradient_norms, (X, y)),
        (plot.activation_distributions, (X,)),
        (plot.weight_distributions, ()),
    ):
        one, other = draw(model, *data, ax=Figure().subplots()), draw(both, *data, ax=Figure().subplots())
        assert [line.get_ydata().tolist() for line in one.lines] == [line.get_ydata().tolist() for line in other.lines]
        assert other.get_title("left") == "the first of 2 networks"


@pytest.mark.parametrize("vector", ["zeros", "nan", "huge"])
def test_odd_weights_are_drawn(vector: str) -> None:
    network = Network((4, *[5] * 20, 3))
    value = {"zeros": 0.0, "nan": np.nan, "huge": 1e30}[vector]
    model = Model(network, np.full(network.n_parameters, value), "classification")
    for draw, data in (
        (plot.gradient_norms, (X, np.arange(30) % 3)),
        (plot.activation_distributions, (X,)),
        (plot.weight_distributions, ()),
    ):
        with look():
            figure = new_figure(5, 3)
            draw(model, *data, ax=figure.subplots())
            assert svg(figure, "picture").count("<path") < 500


def test_an_estimator(ax: Any) -> None:
    clf = MLPClassifier((3,), solver="lbfgs", alpha=1.0, max_iter=999).fit(X, np.arange(30) % 2)
    plot.weight_distributions(clf, ax)
    assert words(ax)[0] == f"1\n4-3\nstd {clf.coefs_[0].std():.2g}"
    plot.activation_distributions(clf, X, Figure().subplots())
    plot.gradient_norms(clf, X, np.arange(30) % 2, Figure().subplots())
