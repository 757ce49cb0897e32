"""Tables of results on the terminal, and files of results."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich import box
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


def show(text: TextTable) -> None:
    """Print a table; without a terminal it is plain and as wide as needed."""
    console = make_console(wide=True)
    table = Table(*text.columns, box=box.SIMPLE_HEAD)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in text.rows:
        if len(row) == len(text.columns):
            table.add_row(*map(Text, row))
    console.print(Text(text.title))
    console.print(table)
    for row in text.rows:  # a long reason in a column would make the table too wide
        if len(row) < len(text.columns):
            console.print(Text("  " + ": ".join(row)), soft_wrap=True)


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
    if (out / f"{name}.json").exists():
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
) -> None:
    """Write ``NAME.json``, ``NAME.md`` and, if there is a picture, ``NAME.png``; the first two describe the machine."""
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
        write_atomically(out / file, data)
        print(f"  {out / file}", file=sys.stderr)
