"""The layers of a network as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xpnet.html_text import html_table

if TYPE_CHECKING:
    from xpnet.nn.network import Network

__all__ = ["COLUMNS", "layer_rows", "layers_html"]


COLUMNS = ("layer", "inputs", "units", "activation", "dropout", "parameters")


def layer_rows(network: Network) -> list[tuple[str, ...]]:
    """Return the values of `COLUMNS` for each layer, as text."""
    rows: list[tuple[str, ...]] = []
    for i, activation in enumerate(network.activation_names):
        n_in, n_out = network.layer_sizes[i : i + 2]
        name = network.output if i == network.n_layers - 1 else activation
        size = sum(segment.size for segment in network.segments if segment.layer == i)
        dropout = 1 - network.keep_probabilities[i]
        rows.append((str(i + 1), f"{n_in:,}", f"{n_out:,}", str(name), f"{dropout:g}", f"{size:,}"))
    return rows


def layers_html(network: Network, title: str = "Network", *below: str) -> str:
    """Return the layers as a table in HTML, and lines of text below it; notebooks show it."""
    total = f"{network.n_parameters:,} parameters; loss {network.loss}"
    return html_table(title, COLUMNS, layer_rows(network), (total, *below))
