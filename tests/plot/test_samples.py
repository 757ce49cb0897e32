"""The images that are most confidently wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

from tests.models import X
from xpnet import plot
from xpnet.errors import InvalidParameterError
from xpnet.model.model import Model
from xpnet.nn.network import Network
from xpnet.plot.figures import look, new_figure, svg
from xpnet.plot.predictions import Predictions, most_wrong


def model_of(shape: tuple[int, ...], *labels: str) -> tuple[Model, np.ndarray, np.ndarray]:
    n = int(np.prod(shape))
    network = Network((n, len(labels)))
    vector = 3 * network.init(0).vector
    rng = np.random.default_rng(0)
    model = Model(network, vector, "classification", np.asarray(sorted(labels)), image_shape=shape)
    return model, rng.integers(0, 256, (40, n)), rng.choice(model.classes, 40)


@pytest.mark.parametrize("shape", [(4, 6), (1, 4, 6), (4, 6, 1), (3, 4, 6), (4, 6, 3), (4, 6, 4)])
def test_the_images_are_those_of_the_most_wrong(shape: tuple[int, ...]) -> None:
    model, x, y = model_of(shape, "a", "b", "c")
    ax = plot.wrong_samples(model, x, y, ax=Figure().subplots())
    wrong = most_wrong(model, x, y, n=16)
    assert len(ax.images) == len(ax.texts) == 16
    low, high = x[[each.row for each in wrong]].min(), x[[each.row for each in wrong]].max()
    for image, text, each in zip(ax.images, ax.texts, wrong, strict=True):
        expected = (x[each.row].reshape(shape) - low) / (high - low)
        expected = np.moveaxis(expected, 0, 2) if len(shape) == 3 and shape[0] < 4 else expected
        np.testing.assert_allclose(np.asarray(image.get_array()).reshape(expected.shape), expected)
        assert text.get_text() == f"{each.true}\n→ {each.predicted} ({each.confidence:.2f})"
    assert len({image.get_extent()[0] for image in ax.images}) == 8


def test_some_rows_of_many_samples_are_found_again() -> None:
    model, x, y = model_of((4, 6), "a", "b")
    each = Predictions.of(model, x, y, most=13)
    ax = plot.wrong_samples(each, ax=Figure().subplots())
    first = most_wrong(each, n=1)[0]
    values = x[first.row].reshape(4, 6)
    assert np.corrcoef(np.asarray(ax.images[0].get_array()).ravel(), values.ravel())[0, 1] == pytest.approx(1)


def test_nothing_is_wrong() -> None:
    model, x, _ = model_of((4, 6), "a", "b")
    ax = plot.wrong_samples(model, x, model.predict(x), ax=Figure().subplots())
    assert [text.get_text() for text in ax.texts] == ["All predictions are right."]


def test_labels_are_plain_text_and_constant_images_are_drawn() -> None:
    model, x, y = model_of((4, 6), "$a^2$", "<script>", "x" * 80)
    with look():
        figure = new_figure(10, 3.4)
        plot.wrong_samples(model, 0 * x, y, ax=figure.subplots())
        text = svg(figure, "samples")
    assert "<script>" not in text
    assert "$a^2$" in text


def test_the_shape_is_needed() -> None:
    model, x, y = model_of((4, 6), "a", "b")
    unknown = replace(model, image_shape=None)
    with pytest.raises(InvalidParameterError, match=r"image_shape: expected the shape of an image, such as \(28, 28\)"):
        plot.wrong_samples(unknown, x, y)
    assert plot.wrong_samples(unknown, x, y, image_shape=(6, 4), ax=Figure().subplots()).images
    network = Network((4, 1), loss="squared_error")
    regression = Model(network, network.init().vector, "regression", image_shape=(2, 2))
    with pytest.raises(InvalidParameterError, match="expected a model for classification"):
        plot.wrong_samples(regression, X, X[:, 0])
