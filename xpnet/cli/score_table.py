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


def score_table(first: str, rows: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return a table in which no score is cut, however narrow the terminal is.

    Parameters
    ----------
    first : str
        Title of the column with the names of the rows.
    rows : mapping of str to mapping of str to float, int or None
        Scores or counts of each row by name; a row need not have all.
    """
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    cells = [[_cell(row.get(name)) for name in names] for row in rows.values()]
    columns = []
    for name, *column in zip(names, *cells, strict=True):
        label = metric_label(name)
        columns.append(Column(label, justify="right", min_width=max(map(len, [*label.split(), *column]))))
    table = Table(Column(first, overflow="fold"), *columns, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name, row in zip(rows, cells, strict=True):
        table.add_row(Text(name), *row)
    return table


def _cell(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else figure(value)
