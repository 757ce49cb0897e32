"""What equal initial weights do: the units stay equal, and the network is one of a single unit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from sklearn.datasets import load_iris, make_moons

from xpnet import plot
from xpnet.errors import InvalidParameterError
from xpnet.nn.network import Network
from xpnet.plot.equal_weights import symmetry_runs

X, Y = make_moons(200, noise=0.15, random_state=0)


@pytest.mark.parametrize("activation", ["tanh", "relu", "prelu"])
def test_units_with_equal_weights_stay_equal(activation: str) -> None:
    network = Network((2, 6, 5, 2), activation)
    equal, random = symmetry_runs(network, X, Y, epochs=60)
    for W, _ in equal.model.params[:-1]:
        np.testing.assert_allclose(W, W[:, :1] * np.ones(W.shape[1]), atol=1e-12)
    assert max(equal.spread) < 1e-12
    assert min(random.spread) > 0.1
    assert len(equal.losses) == 60
    assert equal.losses[-1] < equal.losses[0]  # it does learn


def test_the_equal_start_is_as_good_as_one_unit() -> None:
    equal, random = symmetry_runs(Network((2, 8, 2), "tanh"), X, Y)
    W, b = equal.model.params[0]
    V, c = equal.model.params[1]
    one = Network((2, 1, 2), "tanh")
    params = one.pack([(W[:, :1], b[:1]), (V.sum(axis=0, keepdims=True), c)])
    np.testing.assert_allclose(one.predict(params, X), equal.model.outputs(X), atol=1e-10)
    assert random.losses[-1] < 0.5 * equal.losses[-1]


def test_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    ax: Any = Figure().subplots()
    plot.symmetry(Network((2, 4, 2), "tanh"), X, Y, ax)
    losses, spreads, left, right, *_ = ax.child_axes
    assert [line.get_label() for line in losses.lines] == ["equal start", "random start"]
    assert max(spreads.lines[0].get_ydata()) < 1e-12 < min(spreads.lines[1].get_ydata())
    assert (left.get_title(), right.get_title()) == ("equal start", "random start")


def test_other_data_have_curves_only() -> None:
    x, y = load_iris(return_X_y=True)
    ax: Any = Figure().subplots()
    plot.symmetry(Network((4, 3, 3), "tanh"), x, y, ax)
    assert len(ax.child_axes) == 2


def test_values_have_one_scale() -> None:
    ax: Any = Figure().subplots()
    plot.symmetry(Network((2, 4, 1), "tanh", loss="squared_error"), X, X[:, :1] ** 2, ax)
    left, right = (child.images[0] for child in ax.child_axes[2:4])
    assert left.get_clim() == right.get_clim()


def test_one_unit_is_always_symmetric() -> None:
    for sizes in ((2, 2), (2, 1, 2)):
        with pytest.raises(InvalidParameterError, match="expected a network with a hidden layer of at least two units"):
            plot.symmetry(Network(sizes), X, Y)
