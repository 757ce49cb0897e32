"""Tables of text, which the terminal and Markdown share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from xpnet.errors import printable

__all__ = ["TextTable", "markdown_lines"]

# Characters that would end a cell, or begin HTML.
_MARKUP = str.maketrans({"\\": r"\\", "|": r"\|", "<": "&lt;"})


class TextTable(NamedTuple):
    """A table of text. A row with only one cell after its name has no values but a reason."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]


def markdown_lines(table: TextTable) -> list[str]:
    """Return a table as lines of Markdown, with its title as a heading."""
    lines = [f"## {table.title}", "", _line(table.columns), _line(["---"] * len(table.columns))]
    return lines + [_line([*row, *[""] * (len(table.columns) - len(row))]) for row in table.rows]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(printable(cell).translate(_MARKUP) for cell in cells) + " |"
