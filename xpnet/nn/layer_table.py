"""The layers of a network as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xpnet.html_text import html_table

if TYPE_CHECKING:
    from xpnet.nn.network import Network

__all__ = ["layers_html"]


def layers_html(network: Network, title: str = "Network", *below: str) -> str:
    """Return the layers as a table in HTML, and lines of text below it; notebooks show it."""
    rows: list[tuple[Any, ...]] = []
    for i, activation in enumerate(network.activation_names):
        last = i == network.n_layers - 1
        size = sum(segment.size for segment in network.segments if segment.layer == i)
        name = network.output if last else activation
        rows.append(
            (i + 1, *network.layer_sizes[i : i + 2], name, f"{1 - network.keep_probabilities[i]:g}", f"{size:,}")
        )
    total = f"{network.n_parameters:,} parameters; loss {network.loss}"
    columns = ("layer", "inputs", "units", "activation", "dropout", "parameters")
    return html_table(title, columns, rows, (total, *below))
