"""Output that the benchmark scripts share: a table on the terminal, and with ``--out FOLDER`` files of the results."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from xpnet.bench.machine import machine
from xpnet.bench.report import TextTable, markdown
from xpnet.files import write_atomically


def show(table: TextTable) -> None:
    """Print a table with aligned columns."""
    rows = [table.columns, *table.rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(table.columns))]
    print(f"\n{table.title}")
    for row in rows:
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)), flush=True)


def write(
    out: Path | None,
    name: str,
    tables: Sequence[TextTable],
    remarks: Sequence[str],
    values: dict[str, Any],
    draw: Callable[[Any], None] | None = None,
) -> None:
    """Print the remarks, and write NAME.md, NAME.json and, with the extra ``plot``, NAME.png.

    `draw` draws into an empty Matplotlib figure.
    """
    for line in remarks:
        print(line)
    if out is None:
        return
    out.mkdir(parents=True, exist_ok=True)
    about = machine()
    write_atomically(out / f"{name}.md", markdown(name.replace("_", " "), about, tables, remarks).encode())
    write_atomically(out / f"{name}.json", json.dumps({**values, "machine": about}, indent=1).encode())
    if draw is not None:
        try:
            from matplotlib.figure import Figure
        except ImportError:
            return
        figure = Figure(figsize=(9, 3.5), dpi=120, layout="constrained")
        draw(figure)
        figure.savefig(out / f"{name}.png")
