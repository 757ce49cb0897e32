"""Tables of results in the terminal, and the files that keep them."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

import xpnet
from xpnet.bench.machine import machine
from xpnet.bench.report import Grid, markdown
from xpnet.errors import InvalidParameterError
from xpnet.files import write_atomically, writing

__all__ = ["open_results", "say", "show", "write_results"]

_WIDE = 240  # columns, where no terminal says how many: a file or a pipe has no edge


def show(grid: Grid) -> None:
    """Print a table, plain and as wide as it is where there is no terminal."""
    console = _console()
    table = Table(*grid.columns, box=box.SIMPLE_HEAD)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in grid.rows:
        if len(row) == len(grid.columns):
            table.add_row(*map(Text, row))
    console.print(Text(grid.title))
    console.print(table)
    for row in grid.rows:  # a reason would make a column as wide as itself
        if len(row) < len(grid.columns):
            console.print(Text("  " + ": ".join(row)), soft_wrap=True)


def say(lines: Sequence[str]) -> None:
    """Print lines, which wrap nowhere."""
    for line in lines:
        _console().print(Text(line), soft_wrap=True)


def _console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_WIDE)


def open_results(out: Path | None, name: str) -> None:
    """Make the folder of the results: before the work, not after it.

    Raises
    ------
    InvalidParameterError
        It has results of that name already.
    """
    if out is None:
        return
    if (out / f"{name}.json").exists():
        raise InvalidParameterError(f"--out: expected a folder without results; received {out}. Choose another.")
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)


def write_results(
    out: Path | None,
    name: str,
    values: dict[str, Any],
    grids: Sequence[Grid],
    remarks: Sequence[str],
    png: bytes | None,
) -> None:
    """Write ``NAME.json``, ``NAME.md`` and, where it is given, ``NAME.png``, each with what the machine is."""
    if out is None:
        return
    about = machine()
    files = {
        f"{name}.json": json.dumps({**values, "xpnet": xpnet.__version__, "machine": about}, indent=1).encode(),
        f"{name}.md": markdown(f"xpnet {name}", about, grids, remarks).encode(),
    }
    if png is not None:
        files[f"{name}.png"] = png
    for file, data in files.items():
        write_atomically(out / file, data)
        print(f"  {out / file}", file=sys.stderr)
