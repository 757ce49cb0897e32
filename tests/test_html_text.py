"""How objects show themselves in notebooks."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from tests.models import CASES, X
from xpnet import Model, Network, Trainer
from xpnet.nn.parameters import Parameters


def tables(html: str) -> list[list[list[str]]]:
    """Return the texts of the cells of each table; the HTML must be well-formed."""
    root = ElementTree.fromstring(f"<div>{html}</div>")
    return [[["".join(cell.itertext()) for cell in row] for row in table.iter("tr")] for table in root.iter("table")]


@pytest.mark.parametrize("name", CASES)
def test_the_layers_of_a_network(name: str) -> None:
    network = CASES[name].network
    ((head, *rows),) = tables(network._repr_html_())
    assert head[-1] == "parameters"
    assert [int(row[1].replace(",", "")) for row in rows] == list(network.layer_sizes[:-1])
    assert [int(row[2].replace(",", "")) for row in rows] == list(network.layer_sizes[1:])
    assert sum(int(row[-1].replace(",", "")) for row in rows) == network.n_parameters
    assert rows[-1][3] == network.output


def test_a_model_names_its_classes_escaped() -> None:
    network = Network([4, 3])
    vector = np.zeros(network.n_parameters)
    html = Model(network, vector, "classification", np.asarray(["<b>", "a&b", "c"]), target_name="<i>")._repr_html_()
    assert tables(html)
    assert "<b>'" not in html
    assert "&lt;b&gt;" in html
    assert "&lt;i&gt;" in html


@pytest.mark.parametrize("epochs", [1, 3, 30])
def test_a_run_shows_its_last_epochs(epochs: int) -> None:
    network = Network([4, 5, 3])
    x, y = X, np.arange(len(X)) % 3
    run = Trainer(network, epochs=epochs).fit(x, y, validation=(x, y))
    ((head, *rows),) = tables(run._repr_html_())
    assert head == ["epoch", "loss", "validation loss", "validation accuracy"]
    last = run.history[-10:]
    assert [int(row[0]) for row in rows] == [record.epoch for record in last]
    np.testing.assert_allclose([float(row[1]) for row in rows], [record.loss for record in last], rtol=1e-3)
    lines = re.findall(r'points="([^"]*)"', run._repr_html_())
    assert [len(line.split()) for line in lines] == ([epochs] * 2 if epochs > 1 else [])


def test_a_run_without_epochs() -> None:
    network = Network([4, 3])
    run: Any = Trainer(network, epochs=1).fit(X, np.arange(len(X)) % 3)
    empty = run._replace(state=run.state._replace(history=()))
    assert tables(empty._repr_html_()) == [[["epoch", "loss"]]]
    assert isinstance(run.params, Parameters)
