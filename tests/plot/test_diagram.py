"""The drawing of a network."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from tests.models import CASES, make
from xpnet import plot
from xpnet.model.model import Model
from xpnet.nn.network import Network
from xpnet.plot.figures import COLOURS, look, new_figure, svg


@pytest.fixture
def ax() -> Any:
    return Figure().subplots()


def words(ax: Any) -> list[str]:
    return [label.get_text() for label in ax.get_xticklabels()]


def lines(ax: Any) -> list[LineCollection]:
    return [each for each in ax.collections if isinstance(each, LineCollection)]


def test_a_small_network_is_drawn_in_full(ax: Any) -> None:
    assert plot.network_diagram(Network((2, 3, 1), "tanh", loss="binary_cross_entropy"), ax) is ax
    assert words(ax) == ["input\n2", "hidden 1\n3 tanh\n9 parameters", "output\n1 sigmoid\n4 parameters"]
    assert [len(each.get_segments()) for each in lines(ax)] == [6, 3]
    assert [len(each.get_offsets()) for each in ax.collections if each not in lines(ax)] == [2, 3, 1]


def test_a_large_one_is_abridged(ax: Any) -> None:
    plot.network_diagram(Network((784, 512, 10), "leaky_relu:slope=0.3"), ax)
    assert words(ax)[1] == "hidden 1\n512 leaky_relu\n401,920 parameters"
    assert [len(each.get_segments()) for each in lines(ax)] == [36, 36]
    assert ax.get_title() == "407,050 parameters"


def test_a_long_one_is_abridged() -> None:
    with look():
        figure = new_figure(9, 3)
        ax = plot.network_diagram(Network([5000] * 21), figure.subplots())
        assert svg(figure, "network").count("<path") < 500
    assert [word.partition("\n")[0] for word in words(ax)] == [
        "input", "hidden 1", "hidden 2", "hidden 3", "14 more", "hidden 18", "hidden 19", "output",
    ]  # fmt: skip
    assert words(ax)[1].endswith("25.0 M parameters")


@pytest.mark.parametrize("name", CASES)
def test_the_parameters_of_the_layers_sum_to_all(name: str, ax: Any) -> None:
    model = make(name)
    plot.network_diagram(model, ax)
    counts = [int(word.split()[-2]) for word in words(ax)[1:]]
    assert sum(counts) == model.network.n_parameters == model.vector.size
    assert ax.get_title() == f"{model.vector.size} parameters"


def test_lines_are_weights(ax: Any) -> None:
    network = Network((2, 2))
    model = Model(network, np.asarray([1.0, -2.0, 0.0, 4.0, 0.0, 0.0]), "classification")
    plot.network_diagram(model, ax)
    (drawn,) = lines(ax)
    colours = [to_hex(colour) for colour in drawn.get_colors()]
    assert [COLOURS.index(colour) for colour in colours] == [0, 1, 1, 0]
    assert np.argsort(drawn.get_linewidths()).tolist() == [2, 0, 1, 3]
    assert [segment[0][1] > segment[1][1] for segment in drawn.get_segments()] == [False, True, False, False]


def test_names_of_inputs_and_classes_are_plain_text() -> None:
    model = replace(make("text"), feature_names=("$a^2$", "<b>", "数", "x" * 90))
    with look():
        figure = new_figure(9, 3)
        ax = plot.network_diagram(model, figure.subplots())
        text = svg(figure, "network")
    assert [each.get_text() for each in ax.texts] == ["$a^2$", "<b>", "数", "x" * 12 + "…", "Öl", "été", "犬"]
    assert "$a^2$" in text
    assert "&lt;b&gt;" in text
    assert "<b>" not in text


def test_an_ensemble(ax: Any) -> None:
    model = make("text")
    plot.network_diagram(replace(model, vector=np.stack([model.vector] * 3)), ax)
    assert ax.get_title() == f"{model.vector.size} parameters, the first of 3 networks"
