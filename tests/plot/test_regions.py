"""The decision regions: their colours and lines are what the model predicts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from sklearn.datasets import make_moons
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from tests.models import CASES, X, make
from tests.runs import job_of
from xpnet import plot
from xpnet.data.scaling import fit_scaler
from xpnet.errors import DataError, InvalidParameterError
from xpnet.model.model import Model
from xpnet.nn.network import Network
from xpnet.plot.figures import COLOURS, look, new_figure, svg
from xpnet.plot.plane import is_plane, linear_model, plane_of
from xpnet.plot.predictions import Predictions

POINTS, HALVES = make_moons(120, noise=0.1, random_state=0)
POINTS = POINTS * [1, 40] + [0, 100]
NAMES = np.asarray(["a $x$", "犬"])


@pytest.fixture
def ax() -> Any:
    return Figure().subplots()


def model_of(loss: str = "cross_entropy", task: Any = "classification", n_out: int = 2, **more: Any) -> Model:
    network = Network((2, 8, n_out), "tanh", loss=loss)
    classes = NAMES if task == "classification" else None
    return Model(network, 4 * network.init(3).vector, task, classes, fit_scaler("standard", POINTS), **more)


def at(ax: Any, point: Any) -> np.ndarray:
    """Return the colour of the picture at a point."""
    (image,) = ax.images
    left, right, bottom, top = image.get_extent()
    values = image.get_array()
    column = int((point[0] - left) / (right - left) * values.shape[1])
    row = int((point[1] - bottom) / (top - bottom) * values.shape[0])
    return np.asarray(values[row, column])


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy", "squared_error"])
def test_colours_are_the_predicted_classes(loss: str, ax: Any) -> None:
    model = model_of(loss, n_out=1 if loss == "binary_cross_entropy" else 2)
    assert plot.decision_regions(model, POINTS, NAMES[HALVES], ax) is ax
    predicted = model.predict(POINTS)
    assert set(predicted) == {*NAMES}
    colours = dict(zip(NAMES, map(to_rgb, COLOURS), strict=False))
    outputs = model.outputs(POINTS)
    clear = np.abs(outputs[:, 0] - (0.5 if outputs.shape[1] == 1 else outputs[:, 1])) > 0.1
    assert clear.sum() > 50
    for point, label in zip(POINTS[clear], predicted[clear], strict=True):
        np.testing.assert_allclose(at(ax, point)[:3], colours[label])
    for scatter, label in zip(ax.collections[-2:], NAMES, strict=True):
        np.testing.assert_allclose(scatter.get_offsets(), POINTS[NAMES[HALVES] == label])


def test_the_opacity_is_the_confidence(ax: Any) -> None:
    model = model_of()
    plot.decision_regions(model, POINTS, NAMES[HALVES], ax)
    confidence = model.predict_proba(POINTS).max(axis=1)
    opacity = np.asarray([at(ax, point)[3] for point in POINTS])
    expected = 0.06 + 0.49 * (2 * confidence - 1)
    np.testing.assert_allclose(opacity, expected, atol=0.03)


def test_the_line_is_where_both_classes_are_as_likely(ax: Any) -> None:
    model = model_of()
    plot.decision_regions(model, POINTS, NAMES[HALVES], ax)
    line = np.concatenate([path.vertices for path in ax.collections[0].get_paths()])
    np.testing.assert_allclose(model.predict_proba(line), 0.5, atol=0.01)


def test_values_are_the_predicted_ones(ax: Any) -> None:
    model = model_of("squared_error", "regression", 1, target_name="price $")
    plot.decision_regions(model, POINTS, POINTS[:, 0], ax)
    values = [float(at(ax, point)) for point in POINTS]
    np.testing.assert_allclose(values, model.predict(POINTS), atol=0.06)
    np.testing.assert_allclose(ax.collections[-1].get_array(), POINTS[:, 0])
    assert ax.child_axes[0].get_ylabel() == "price $"


def test_any_object_that_predicts() -> None:
    frame = pd.DataFrame({"first": POINTS[:, 0], "second": POINTS[:, 1]})
    pipe = make_pipeline(StandardScaler(), LogisticRegression()).fit(frame, NAMES[HALVES])
    plane = plane_of(pipe, frame, NAMES[HALVES])
    assert plane.names == ("first", "second")
    np.testing.assert_allclose(plane.answers(POINTS), pipe.predict_proba(frame))
    hard = LinearSVC().fit(POINTS, NAMES[HALVES])
    answers = plane_of(hard, POINTS, NAMES[HALVES]).answers(POINTS)
    assert (NAMES[answers.argmax(axis=1)] == hard.predict(POINTS)).all()
    ridge = Ridge().fit(POINTS, POINTS[:, 0])
    plane = plane_of(ridge, POINTS, POINTS[:, 0])
    assert plane.labels is None
    np.testing.assert_allclose(plane.answers(POINTS), ridge.predict(POINTS))


def test_a_table_of_two_columns(tmp_path: Any) -> None:
    frame = pd.DataFrame({"b": POINTS[:, 0], "a": POINTS[:, 1], "half": NAMES[HALVES]})
    frame.loc[3, "a"] = np.nan
    frame.to_csv(tmp_path / "moons.csv", index=False)
    job = job_of(str(tmp_path / "moons.csv"), "--target", "half", "--hidden", "8", "--device", "cpu")
    x, y = job.parts["train"]  # type: ignore[misc]
    assert is_plane(job.model)
    plane = plane_of(job.model, x, y)
    assert plane.names == ("b", "a")
    assert np.isfinite(plane.points).all()
    expected = job.model.predict_proba({"a": POINTS[:5, 1], "b": POINTS[:5, 0]})
    np.testing.assert_allclose(plane.answers(POINTS[:5]), expected)


def test_the_linear_model_is_that_of_scikit_learn() -> None:
    each = Predictions.of(model_of(), POINTS, NAMES[HALVES])
    linear = linear_model(each)
    assert linear.network.layer_sizes == (2, 2)
    theirs = make_pipeline(StandardScaler(), LogisticRegression(C=1e4)).fit(POINTS, NAMES[HALVES])
    assert np.mean(linear.predict(POINTS) == theirs.predict(POINTS)) > 0.97
    model = model_of("squared_error", "regression", 1)
    y = 3 * POINTS[:, 0] - 0.1 * POINTS[:, 1] + 7
    np.testing.assert_allclose(linear_model(Predictions.of(model, POINTS, y)).predict(POINTS), y, atol=0.05)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_the_linear_model_beside(task: str) -> None:
    n_out, loss = (2, "cross_entropy") if task == "classification" else (1, "squared_error")
    y = NAMES[HALVES] if task == "classification" else POINTS[:, 0]
    with look():
        figure = new_figure(9, 4)
        ax = plot.decision_regions_beside_linear(model_of(loss, task, n_out), POINTS, y, figure.subplots())
        text = svg(figure, "beside")
    assert [child.get_title() for child in ax.child_axes] == ["linear model", "network"]
    left, right = (child.images[0] for child in ax.child_axes)
    assert left.get_extent() == right.get_extent()
    assert task == "classification" or left.get_clim() == right.get_clim()
    assert text.count("<use") + text.count("<path") < 500


def test_many_samples_are_one_image() -> None:
    x, y = make_moons(3000, random_state=0)
    with look():
        figure = new_figure(5, 4)
        plot.decision_regions(model_of(), x, NAMES[y], figure.subplots())
        assert svg(figure, "many").count("<use") < 100
    assert len(plane_of(model_of(), x, NAMES[y]).points) == 1000


def test_data_that_are_not_two_dimensional() -> None:
    with pytest.raises(DataError, match=r"expected a model of two features that are numbers; received one of 4\. "):
        plot.decision_regions(make("text"), X, CASES["text"].y)
    labels = model_of("binary_cross_entropy", "multilabel")
    with pytest.raises(InvalidParameterError, match="received one for multilabel"):
        plot.decision_regions(labels, POINTS, np.eye(2)[HALVES])
    ridge = Ridge().fit(X, X[:, 0])
    with pytest.raises(DataError, match=r"received the shapes \(30, 4\) and \(30,\)"):
        plot.decision_regions(ridge, X, X[:, 0])
    with pytest.raises(InvalidParameterError, match="received 'text'"):
        plot.decision_regions("text", POINTS, HALVES)
    assert not is_plane(labels)


def test_a_constant_model_has_no_lines(ax: Any) -> None:
    network = Network((2, 1), loss="squared_error", initializer="zeros")
    model = Model(network, network.init().vector, "regression")
    plot.decision_regions(model, POINTS, POINTS[:, 0], ax)
    assert len(ax.collections) == 1
