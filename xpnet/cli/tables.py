"""Tables of results on the terminal, and files of results."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.console import Console
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


# A terminal too narrow for a table is not shown this column, which the files keep.
_SPARED = "quartiles"
_ANY_WIDTH = 10_000


def show(text: TextTable) -> None:
    """Print a table; without a terminal it is plain and as wide as needed."""
    console = make_console(wide=True)
    tables = [_table(text)]
    if Measurement.get(console, console.options.update(max_width=_ANY_WIDTH), tables[0]).maximum > console.width:
        tables = _narrow_tables(text, console.width)
    console.print(Text(text.title))
    for table in tables:
        console.print(table, crop=False)
    for row in text.rows:  # a long reason in a column would make the table too wide
        if len(row) < len(text.columns):
            _say(console, "  " + ": ".join(row))


def _table(text: TextTable, padding: int = 1) -> Table:
    """Return the rows of a table that were measured."""
    table = Table(*text.columns, box=box.SIMPLE_HEAD, padding=(0, padding))
    for column in table.columns[1:]:
        column.justify = "right"
    for row in text.rows:
        if len(row) == len(text.columns):
            table.add_row(*map(Text, row))
    return table


def _narrow_tables(text: TextTable, width: int) -> list[Table]:
    """Return one table, or several below one another, whose words are whole; each names its rows."""
    rows = [row for row in text.rows if len(row) == len(text.columns)]
    widths = [
        max(cell_len(word) for word in (*title.split(), *(row[i] for row in rows), ""))
        for i, title in enumerate(text.columns)
    ]
    n_names = 1 + ("device" in text.columns[1:2])
    names, figures = [*range(n_names)], range(n_names, len(text.columns))
    parts = [[*names]]
    for i in (i for i in figures if text.columns[i] != _SPARED):
        if len(parts[-1]) > n_names and sum(widths[j] + 1 for j in (*parts[-1], i)) >= width:
            parts.append([*names])
        parts[-1].append(i)
    tables = []
    for part in parts:
        columns = tuple(text.columns[i] for i in part)
        table = _table(TextTable(text.title, columns, [tuple(row[i] for i in part) for row in rows]), padding=0)
        for i, column in zip(part, table.columns, strict=True):
            column.width, column.overflow = min(widths[i], width), "fold"
        tables.append(table)
    return tables


def say(lines: Sequence[str]) -> None:
    """Print lines; a terminal wraps them at words, and a file or a pipe gets them whole."""
    for line in lines:
        _say(make_console(wide=True), line)


def _say(console: Console, line: str) -> None:
    console.print(Text(line), soft_wrap=not console.file.isatty())


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
