"""The pictures of hidden units: which units, weights and samples they show."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from xpnet import plot
from xpnet.errors import InvalidParameterError
from xpnet.estimators.classifier import MLPClassifier
from xpnet.model.model import Model
from xpnet.nn.layer_values import layer_outputs
from xpnet.nn.network import Network
from xpnet.plot.figures import COLOURS
from xpnet.plot.signed import signed_colours

RNG = np.random.default_rng(0)
IMAGES = RNG.random((50, 12))


def model_of(n_hidden: int = 6, shape: tuple[int, ...] | None = (4, 3)) -> Model:
    network = Network((12, n_hidden, 5, 2), "tanh")
    return Model(network, network.init(1).vector, "classification", image_shape=shape)


@pytest.fixture
def ax() -> Any:
    return Figure().subplots()


def tiles(ax: Any, height: int = 4, width: int = 3, gap: int = 1, extra: int = 0) -> list[list[np.ndarray]]:
    """Cut the picture into its tiles."""
    picture = ax.images[0].get_array()
    rows = (len(picture) + gap) // (height + gap)
    columns = (picture.shape[1] - extra + gap) // (width + gap)
    lefts = [j * (width + gap) + (extra if j else 0) for j in range(columns)]
    return [[picture[i * (height + gap) :][:height, left : left + width] for left in lefts] for i in range(rows)]


def test_colours_of_signed_numbers() -> None:
    colours = signed_colours([-4.0, -1.0, 0.0, 1.0, 2.0], 2)
    np.testing.assert_allclose(colours[:, 3], [1, 0.5, 0, 0.5, 1])
    np.testing.assert_allclose(colours[0, :3], to_rgb(COLOURS[1]))
    np.testing.assert_allclose(colours[4, :3], to_rgb(COLOURS[0]))


def test_each_tile_has_the_weights_of_a_unit(ax: Any) -> None:
    model = model_of()
    plot.hidden_units(model, ax=ax, limit=1)
    shown = [tile for row in tiles(ax) for tile in row]
    assert len(shown) == 6
    for tile, weights in zip(shown, model.params[0][0].T, strict=True):
        np.testing.assert_allclose(tile[..., 3].ravel(), np.minimum(np.abs(weights), 1))
        assert ((tile[..., 2] > tile[..., 0]).ravel() == (weights > 0)).all()  # blue


def test_of_many_units_the_most_influential_are_drawn(ax: Any) -> None:
    model = model_of(150)
    model.params[1][0][7] = 0
    model.params[1][0][149] = 9
    plot.hidden_units(model, ax=ax, limit=1)
    assert ax.get_title() == "weights of 100 of the 150 hidden units"
    shown = [tile for row in tiles(ax) for tile in row]
    assert len(shown) == 100
    np.testing.assert_allclose(shown[-1][..., 3].ravel(), np.minimum(np.abs(model.params[0][0][:, 149]), 1))
    unused = np.minimum(np.abs(model.params[0][0][:, 7]), 1)
    assert not any(np.allclose(tile[..., 3].ravel(), unused) for tile in shown)


@pytest.mark.parametrize("shape", [(2, 2, 3), (3, 2, 2), (12, 1, 1)])
def test_units_of_colour_images(shape: tuple[int, ...], ax: Any) -> None:
    model = model_of(4, shape)
    plot.hidden_units(model, ax=ax, limit=1)
    weights = model.params[0][0].T.reshape(4, *shape)
    weights = weights if shape[2] in (1, 3) else np.moveaxis(weights, 1, 3)
    shown = [tile for row in tiles(ax, *weights.shape[1:3], gap=1) for tile in row]
    np.testing.assert_allclose(shown[0][..., 3], np.minimum(np.abs(weights[0].mean(axis=2)), 1))


@pytest.mark.parametrize("layer", [1, 2])
def test_the_samples_that_excite_a_unit_most(layer: int, ax: Any) -> None:
    model = model_of()
    plot.exciting_patterns(model, IMAGES, ax=ax, layer=layer, n_units=3, n_samples=4)
    a = np.asarray(layer_outputs(model.network, model.params, IMAGES.astype(np.float64))[layer])
    rows = tiles(ax, extra=round(0.5 * 3))
    names = [label.get_text() for label in ax.get_yticklabels()]
    spread = a.std(axis=0) * np.linalg.norm(model.params[layer][0], axis=1)
    assert names == [f"unit {unit + 1}" for unit in np.argsort(-spread)[:3]]
    low, high = IMAGES.min(), IMAGES.max()
    best = [np.argsort(-a[:, int(name[5:]) - 1])[:4] for name in names]
    low, high = IMAGES[np.concatenate(best)].min(), IMAGES[np.concatenate(best)].max()
    for row, samples in zip(rows, best, strict=True):
        for tile, sample in zip(row[1:], samples, strict=True):
            np.testing.assert_allclose(tile[..., 0].ravel(), (IMAGES[sample] - low) / (high - low))
            assert (tile[..., 3] == 1).all()


def test_the_first_image_is_the_weights_in_the_first_layer(ax: Any) -> None:
    model = model_of()
    plot.exciting_patterns(model, IMAGES, ax=ax, n_units=1, n_samples=1)
    unit = int(ax.get_yticklabels()[0].get_text()[5:]) - 1
    weights = model.params[0][0][:, unit]
    ((first, _),) = tiles(ax, extra=2)
    limit = np.percentile(np.abs(weights), 99.5)
    np.testing.assert_allclose(first[..., 3].ravel(), np.minimum(np.abs(weights) / limit, 1), rtol=1e-6)


def test_samples_in_colour(ax: Any) -> None:
    plot.exciting_patterns(model_of(shape=(2, 2, 3)), IMAGES, ax=ax, n_units=2, n_samples=2)
    assert len(np.unique(np.ptp(ax.images[0].get_array()[:, 4:, :3], axis=2))) > 5  # not grey


def test_an_estimator_needs_the_shape(ax: Any) -> None:
    clf = MLPClassifier((4,), max_iter=1, random_state=0)
    with pytest.warns(UserWarning, match="converge"):
        clf.fit(IMAGES, RNG.integers(0, 2, 50))
    plot.hidden_units(clf, (4, 3), ax)
    assert ax.get_title() == "weights of the 4 hidden units"
    with pytest.raises(InvalidParameterError, match=r"expected a model of images; received one of 12 features"):
        plot.hidden_units(clf)
    with pytest.raises(InvalidParameterError, match=r"image_shape: expected 12 values.* received \(4, 4\)"):
        plot.hidden_units(clf, (4, 4))


def test_what_has_no_such_layer() -> None:
    network = Network((12, 2))
    linear = Model(network, network.init().vector, "classification", image_shape=(4, 3))
    with pytest.raises(InvalidParameterError, match="expected a network with a hidden layer"):
        plot.hidden_units(linear)
    for layer in (0, 3):
        with pytest.raises(InvalidParameterError, match=f"hidden layer from 1 to 2; received {layer}"):
            plot.exciting_patterns(model_of(), IMAGES, layer=layer)
