"""What the scripts beside share: a table on the terminal, and with ``--out FOLDER`` Markdown, JSON and a picture."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from xpnet.bench.machine import machine
from xpnet.bench.report import Grid, markdown
from xpnet.files import write_atomically


def show(grid: Grid) -> None:
    """Print a table, column under column."""
    rows = [grid.columns, *grid.rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(grid.columns))]
    print(f"\n{grid.title}")
    for row in rows:
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)), flush=True)


def write(
    out: Path | None,
    name: str,
    grids: Sequence[Grid],
    remarks: Sequence[str],
    values: dict[str, Any],
    draw: Callable[[Any], None] | None = None,
) -> None:
    """Write NAME.md, NAME.json and, with the extra ``plot``, NAME.png; `draw` fills a Matplotlib figure."""
    for line in remarks:
        print(line)
    if out is None:
        return
    out.mkdir(parents=True, exist_ok=True)
    about = machine()
    write_atomically(out / f"{name}.md", markdown(name.replace("_", " "), about, grids, remarks).encode())
    write_atomically(out / f"{name}.json", json.dumps({**values, "machine": about}, indent=1).encode())
    if draw is not None:
        try:
            from matplotlib.figure import Figure
        except ImportError:
            return
        figure = Figure(figsize=(9, 3.5), dpi=120, layout="constrained")
        draw(figure)
        figure.savefig(out / f"{name}.png")
