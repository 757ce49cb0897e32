"""Tables of text, which the terminal and Markdown share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from xpnet.errors import printable

__all__ = ["TextTable", "markdown_lines", "markdown_text"]

# Characters that would end a cell, or begin HTML.
_MARKUP = str.maketrans({"\\": r"\\", "|": r"\|", "<": "&lt;"})


class TextTable(NamedTuple):
    """A table of text. A row with only one cell after its name has no values but a reason."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]


def markdown_text(text: str) -> str:
    r"""Escape what would end a cell of a table, or begin HTML.

    Examples
    --------
    >>> print(markdown_text("a|b <c>"))
    a\|b &lt;c>
    """
    return printable(text).translate(_MARKUP)


def markdown_lines(table: TextTable) -> list[str]:
    """Return a table as lines of Markdown, with its title as a heading."""
    lines = [f"## {table.title}", "", _line(table.columns), _line(["---"] * len(table.columns))]
    return lines + [_line([*row, *[""] * (len(table.columns) - len(row))]) for row in table.rows]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(markdown_text(cell) for cell in cells) + " |"
