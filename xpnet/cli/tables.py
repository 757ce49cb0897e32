"""Tables of results on the terminal, and files of results."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

import xpnet
from xpnet.bench.machine import machine
from xpnet.bench.report import TextTable, markdown
from xpnet.cli.console import make_console
from xpnet.errors import InvalidParameterError
from xpnet.files import write_atomically, writing
from xpnet.json_text import json_text

__all__ = ["open_results", "say", "show", "write_results"]


# A terminal too narrow for a table is not shown the first of these columns, which the files keep. The others are never
# cut, because they say what the row is and whether it is right.
_SPARED, _WHOLE = "quartiles", ("device", "loss")
_ANY_WIDTH = 10_000


def show(text: TextTable) -> None:
    """Print a table; without a terminal it is plain and as wide as needed."""
    console = make_console(wide=True)
    table = _table(text)
    if Measurement.get(console, console.options.update(max_width=_ANY_WIDTH), table).maximum > console.width:
        table = _narrow_table(text)
    console.print(Text(text.title))
    console.print(table, crop=False)
    for row in text.rows:  # a long reason in a column would make the table too wide
        if len(row) < len(text.columns):
            console.print(Text("  " + ": ".join(row)), soft_wrap=True)


def _table(text: TextTable, padding: int = 1) -> Table:
    """Return the rows of a table that were measured."""
    table = Table(*text.columns, box=box.SIMPLE_HEAD, padding=(0, padding))
    for column in table.columns[1:]:
        column.justify = "right"
    for row in text.rows:
        if len(row) == len(text.columns):
            table.add_row(*map(Text, row))
    return table


def _narrow_table(text: TextTable) -> Table:
    kept = [i for i, title in enumerate(text.columns) if title != _SPARED]
    rows = [tuple(row[i] for i in kept) if len(row) == len(text.columns) else row for row in text.rows]
    table = _table(TextTable(text.title, tuple(text.columns[i] for i in kept), rows), padding=0)
    for column in table.columns:
        column.overflow = "fold"
        if column.header in _WHOLE:
            column.no_wrap = True
            column.min_width = max((cell.cell_len for cell in column.cells if isinstance(cell, Text)), default=0)
    return table


def say(lines: Sequence[str]) -> None:
    """Print lines without wrapping them."""
    for line in lines:
        make_console(wide=True).print(Text(line), soft_wrap=True)


def open_results(out: Path | None, name: str) -> None:
    """Create the folder of the results, before the work starts.

    Raises
    ------
    InvalidParameterError
        The folder already has results of this name.
    """
    if out is None:
        return
    if any(os.path.lexists(out / f"{name}.{ending}") for ending in ("json", "md", "png")):
        raise InvalidParameterError(f"--out: expected a folder without results; received {out}. Choose another.")
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)


def write_results(
    out: Path | None,
    name: str,
    values: dict[str, Any],
    tables: Sequence[TextTable],
    remarks: Sequence[str],
    png: bytes | None,
    *,
    exclusive: bool = True,
) -> None:
    """Write ``NAME.json``, ``NAME.md`` and, if there is a picture, ``NAME.png``; the first two describe the machine.

    `exclusive` is False if this process has written these files before; otherwise an existing file is an error.
    """
    if out is None:
        return
    about = machine()
    files = {
        f"{name}.json": json_text({**values, "xpnet": xpnet.__version__, "machine": about}, indent=1).encode(),
        f"{name}.md": markdown(f"xpnet {name}", about, tables, remarks).encode(),
    }
    if png is not None:
        files[f"{name}.png"] = png
    for file, data in files.items():
        write_atomically(out / file, data, exclusive=exclusive)
        print(f"  {out / file}", file=sys.stderr)
