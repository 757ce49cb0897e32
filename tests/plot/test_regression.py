"""The pictures of how well values are predicted: what they show, against scikit-learn's metrics."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from sklearn import metrics

from tests.models import CASES, X, make
from xpnet import plot
from xpnet.errors import InvalidParameterError
from xpnet.estimators.regressor import MLPRegressor
from xpnet.plot.figures import look, new_figure, svg
from xpnet.plot.predictions import Predictions

PICTURES = (plot.predicted_against_true, plot.residuals, plot.error_histogram)


@pytest.fixture
def ax() -> Any:
    return Figure().subplots()


@pytest.mark.parametrize("output", [0, 1])
def test_predicted_against_true(output: int, ax: Any) -> None:
    model, y = make("values", "float64"), CASES["values"].y
    assert plot.predicted_against_true(model, X, y, output, ax) is ax
    predicted = model.predict(X)
    np.testing.assert_allclose(ax.lines[0].get_xydata(), np.stack([y[:, output], predicted[:, output]], axis=1))
    score = metrics.r2_score(y[:, output], predicted[:, output])
    assert ax.get_legend().get_texts()[0].get_text() == f"perfect; R2: {score:.3f}"
    assert ax.get_xlabel() == f"true Größe {output + 1}"


def test_residuals_and_their_running_mean(ax: Any) -> None:
    model, y = make("one value"), CASES["one value"].y
    plot.residuals(model, X, y, ax=ax)
    predicted = model.predict(X)
    points, running = (line.get_xydata() for line in ax.lines[:2])
    np.testing.assert_allclose(points, np.stack([predicted, y - predicted], axis=1), rtol=1e-6)
    ordered = points[np.argsort(points[:, 0])].reshape(6, 5, 2)
    np.testing.assert_allclose(running, ordered.mean(axis=1), rtol=1e-6)
    assert ax.get_xlabel() == "predicted price"


def test_errors_are_named_in_the_targets_units(ax: Any) -> None:
    model, y = make("one value"), CASES["one value"].y
    plot.error_histogram(model, X, y, ax=ax)
    predicted = model.predict(X)
    mae, rmse = metrics.mean_absolute_error(y, predicted), metrics.root_mean_squared_error(y, predicted)
    assert [float(number) for number in re.findall(r": (\S+?)(?:,|$)", ax.get_title())] == pytest.approx(
        [mae, rmse], rel=1e-3
    )
    assert sum(bar.get_height() for bar in ax.patches) == 30
    assert ax.lines[1].get_xdata()[0] == pytest.approx(np.mean(predicted - y))


@pytest.mark.parametrize("draw", PICTURES)
def test_many_points_are_one_image_and_a_name_is_plain_text(draw: Any) -> None:
    model = make("one value")
    object.__setattr__(model, "target_name", "$x^2$ <b>")
    many = Predictions(model, np.zeros((3000, 4)), np.arange(3000), np.arange(3000.0)[:, None], np.ones((3000, 1)))
    with look():
        figure = new_figure(4, 4)
        draw(many, ax=figure.subplots())
        text = svg(figure, "picture")
    assert text.count("<use") + text.count("<path") < 500
    assert "$x^2$ &lt;b&gt;" in text


@pytest.mark.parametrize("draw", PICTURES)
def test_an_estimator_a_single_sample_and_a_constant(draw: Any) -> None:
    reg = MLPRegressor(solver="lbfgs", random_state=0).fit(X, X[:, 0])
    draw(reg, X[:1], X[:1, 0], ax=Figure().subplots()).figure.canvas.draw()
    draw(reg, np.ones((9, 4)), np.full(9, 2.5), ax=Figure().subplots()).figure.canvas.draw()


@pytest.mark.parametrize("draw", PICTURES)
def test_what_is_refused(draw: Any) -> None:
    with pytest.raises(InvalidParameterError, match="expected a model for regression; received one for classification"):
        draw(make("text"), X, CASES["text"].y)
    with pytest.raises(InvalidParameterError, match="output: expected a number from 0 to 1; received 2"):
        draw(make("values"), X, CASES["values"].y, 2)
