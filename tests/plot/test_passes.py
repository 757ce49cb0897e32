"""A sample's way through the network: the numbers in the pictures, against the gradient of the network."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from tests.models import CASES, X, make
from tests.runs import job_of
from xpnet import plot
from xpnet.errors import DataError
from xpnet.estimators.classifier import MLPClassifier
from xpnet.model.model import Model
from xpnet.nn.network import Network
from xpnet.plot.figures import look, new_figure, svg
from xpnet.plot.passes import passes_size, values_of
from xpnet.plot.predictions import Predictions


@pytest.fixture
def ax() -> Any:
    return Figure().subplots()


def texts(ax: Any) -> list[str]:
    return [text.get_text() for text in ax.texts]


def tiny(**more: Any) -> Model:
    network = Network((2, 2, 2), "tanh")
    layers = [
        (np.asarray([[1.0, -2.0], [0.5, 3.0]]), np.asarray([0.25, -0.75])),
        (np.asarray([[2.0, -1.5], [0.4, 0.9]]), np.asarray([0.0, 0.6])),
    ]
    return Model(network, network.pack(layers).vector, "classification", np.asarray(["$a$", "b"]), **more)


@pytest.mark.parametrize("name", CASES)
def test_the_values_are_those_of_the_network(name: str) -> None:
    model, y = make(name, "float64"), CASES[name].y
    network = replace(model.network, l2=0.0, l1=0.0)
    for row in (0, 7):
        values = values_of(model, X[row], y[row])
        x, t = model.features(X[row : row + 1]), model.targets(y[row : row + 1])
        loss, grads = network.loss_and_grads(model.params, x, t)
        assert values.loss == pytest.approx(float(loss), rel=1e-12)
        for layer, (W, b) in zip(values.layers, grads, strict=True):
            np.testing.assert_allclose(layer.grad_W, W, rtol=1e-12, atol=1e-12)
            np.testing.assert_allclose(layer.delta[0], b, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(np.asarray(values.layers[-1].out), network.predict(model.params, x), rtol=1e-12)
        without = values_of(model, X[row : row + 1])
        np.testing.assert_array_equal(np.asarray(without.layers[0].z), np.asarray(values.layers[0].z))
        assert (without.loss, without.target, without.layers[0].delta) == (None, None, None)


def test_the_numbers_of_the_forward_pass(ax: Any) -> None:
    plot.forward_pass(tiny(feature_names=("left", "right")), [1.0, 0.0], ax)
    shown = texts(ax)
    z = np.asarray([1.25, -2.75])
    a = np.tanh(z)
    logits = a @ [[2.0, -1.5], [0.4, 0.9]] + [0.0, 0.6]
    p = np.exp(logits) / np.exp(logits).sum()
    for value in (*z, *a, *logits, *p, 0.25, -0.75, 0.5, -1.5):
        assert f"{value:.2f}" in shown
    assert {"left", "right", "$a$", "b", "hidden layer 1: tanh", "output: softmax"} <= set(shown)
    assert f"forward pass: predicted $a$ with probability {p[0]:.3f}" in shown
    assert "z⁽¹⁾ = x W⁽¹⁾ + b⁽¹⁾" in shown
    assert "y = softmax(z⁽²⁾)" in shown
    plain = [text for text in ax.texts if "$a$" in text.get_text()]
    assert plain
    assert not any(text.get_parse_math() for text in plain)  # a label is no formula


def test_the_numbers_of_the_backward_pass(ax: Any) -> None:
    model = tiny()
    plot.backward_pass(model, [1.0, -1.0], "b", ax)
    shown = texts(ax)
    values = values_of(model, [1.0, -1.0], "b")
    for layer in values.layers:
        for table in (layer.delta, layer.grad_W):
            largest = np.abs(table).max()
            assert largest > 0.1  # so that it has two digits
            for value in np.ravel(table):
                assert f"{value:.2f}" in shown or value == 0
    assert "δ⁽²⁾ = y - t" in shown
    assert "∂L/∂W⁽²⁾ = a⁽¹⁾ᵀ δ⁽²⁾" in shown
    assert shown[0].startswith(f"backward pass: loss {values.loss:.4f}, predicted ")
    assert shown[0].endswith("true b")


@pytest.mark.parametrize("name", ["booleans", "slopes", "labels", "values", "one value"])
def test_models_of_each_kind_are_drawn(name: str) -> None:
    model, y = make(name), CASES[name].y
    with look():
        figure = new_figure(*passes_size(model))
        plot.backward_pass(model, X[3], y[3], figure.subplots())
        text = svg(figure, "backward")
        figure = new_figure(*passes_size(model))
        plot.forward_pass(Predictions.of(model, X, y), ax=figure.subplots())
        svg(figure, "forward")
    assert text.count("<path") + text.count("<text") + text.count("<use") < 500


def test_a_large_network_is_a_map(ax: Any) -> None:
    network = Network((784, 100, 10))
    model = Model(network, network.init().vector, "classification", image_shape=(28, 28))
    x = np.random.default_rng(0).random(784)
    plot.backward_pass(model, x, 3, ax)
    assert len(texts(ax)) < 40
    values = values_of(model, x, 3)
    image = ax.images[3]  # after three rows: the column of the inputs
    np.testing.assert_allclose(image.get_array()[:, 0, 3], np.abs(values.layers[0].a[0]) / np.abs(x).max(), rtol=1e-6)
    pictures = [image for image in ax.images if image.get_array().shape == (28, 28)]
    np.testing.assert_allclose(pictures[0].get_array(), (x.reshape(28, 28) - x.min()) / np.ptp(x))
    table = next(image for image in ax.images if image.get_array().shape[:2] == (784, 100))
    gradient = np.abs(values.layers[0].grad_W)
    np.testing.assert_allclose(table.get_array()[..., 3], gradient / gradient.max(), rtol=1e-6)


def test_a_row_of_a_table(tmp_path: Any, ax: Any) -> None:
    frame = pd.DataFrame({"n": np.arange(60.0), "kind": ["x", "y", "z"] * 20, "label": ["no", "yes"] * 30})
    frame.to_csv(tmp_path / "table.csv", index=False)
    job = job_of(str(tmp_path / "table.csv"), "--target", "label", "--hidden", "3", "--device", "cpu")
    plot.forward_pass(job.model, {"n": [3.0], "kind": ["y"]}, ax)
    row = frame.iloc[[3]]
    out = np.asarray(values_of(job.model, row, "yes").layers[-1].out)
    np.testing.assert_allclose(out, job.model.predict_proba(row), rtol=1e-5)
    assert "n" in texts(ax)


def test_an_estimator_is_drawn(ax: Any) -> None:
    clf = MLPClassifier((3,), solver="lbfgs", max_iter=50, random_state=0).fit(X[:, :2], CASES["text"].y)
    plot.backward_pass(clf, X[0, :2], "Öl", ax)
    assert texts(ax)[0].endswith("true Öl")


def test_there_must_be_one_sample() -> None:
    with pytest.raises(DataError, match=r"x: expected one sample; received 3\. Choose one row\."):
        plot.forward_pass(tiny(), np.ones((3, 2)))
    with pytest.raises(DataError, match="unknown label"):
        plot.backward_pass(tiny(), np.ones(2), "c")
