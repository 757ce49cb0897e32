"""Tables in HTML, as notebooks show them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

__all__ = ["html_table"]


def html_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], below: Iterable[str] = ()) -> str:
    """Return a table with a title, and lines of text below it; all text is escaped.

    Examples
    --------
    >>> html_table("scores", ["part", "R2"], [["a < b", 0.5]])
    '<p><b>scores</b></p><table><tr><th>part</th><th>R2</th></tr><tr><td>a &lt; b</td><td>0.5</td></tr></table>'
    """
    lines = [_line(columns, "th"), *(_line(row, "td") for row in rows)]
    more = "".join(f"<p>{escape(line)}</p>" for line in below)
    return f"<p><b>{escape(title)}</b></p><table>{''.join(lines)}</table>{more}"


def _line(cells: Sequence[Any], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(str(cell))}</{tag}>" for cell in cells) + "</tr>"
