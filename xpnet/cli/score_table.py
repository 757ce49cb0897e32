"""The table of scores that several commands print: a row for each part or class, a column for each score."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Column, Table
from rich.text import Text

from xpnet.training.metrics import metric_label
from xpnet.training.progress import figure

__all__ = ["score_table"]


def score_table(first: str | None, rows: Mapping[str, Mapping[str, Any]], width: int) -> Table:
    """Return a table in which no score is cut: in a narrow terminal titles have several lines, and names are folded.

    Parameters
    ----------
    first : str or None
        Title of the column with the names of the rows; None leaves it out.
    rows : mapping of str to mapping of str to float, int or None
        Scores or counts of each row by name; a row need not have all.
    width : int
        Columns of the terminal.
    """
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    labels = [metric_label(name) for name in names]
    cells = [[_cell(row.get(name)) for name in names] for row in rows.values()]
    needed = sum(max(map(len, column)) + 1 for column in zip(labels, *cells, strict=True))
    is_narrow = needed + len(names) + max(map(len, rows)) + 3 > width
    if is_narrow:
        labels = [label.replace(" ", "\n") for label in labels]
    columns = [Column(label, justify="right", no_wrap=True) for label in labels]
    named = [] if first is None else [Column(first, overflow="fold")]
    padding = 0 if is_narrow else (0, 1, 0, 0)
    table = Table(*named, *columns, box=box.SIMPLE_HEAD, padding=padding, show_edge=not is_narrow)
    for name, row in zip(rows, cells, strict=True):
        table.add_row(*([] if first is None else [Text(name)]), *row)
    return table


def _cell(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else figure(value)
