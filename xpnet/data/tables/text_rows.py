"""Rows and cells of delimited text: which newlines end a row, and which quotes open a cell.

The rules are those of pyarrow's parser: a quote opens a cell only at the cell's start, and a doubled quote within such
a cell is one quote. Blanks before the opening quote are allowed here and are removed before pyarrow parses the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["BLANKS", "ONE_COLUMN", "Quoted", "find_quoted", "normalize", "row_bounds", "split_cells", "unquote"]

BLANKS = " "
"""The delimiter that stands for runs of blanks and tabs."""

ONE_COLUMN = "\x1f"
"""The delimiter of a table of one column: the unit separator, which does not occur in text."""

_QUOTE = ord('"')
_NEWLINE = re.compile(rb"\r\n|\r|\n")
# A quoted cell; blanks at the ends of a row; blanks between cells.
_BLANKS = re.compile(rb'(?<![^\r\n \t])("[^"]*(?:""[^"]*)*(?:"|\Z))|(?<![^\r\n])[ \t]+|[ \t]+(?=[\r\n]|\Z)|([ \t]+)')


class Quoted(NamedTuple):
    """Stretches of text within quotes.

    Attributes
    ----------
    starts, ends : ndarray of int64
        Positions of the opening and of the closing quotes, in ascending order.
    is_open : bool
        Whether the last stretch has no closing quote; its end is then the length of the text.
    """

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    is_open: bool

    def end_around(self, position: int) -> int | None:
        """Return the end of the stretch that a position lies in, or None if it lies in none."""
        i = int(np.searchsorted(self.starts, position)) - 1
        return int(self.ends[i]) if i >= 0 and self.ends[i] > position else None


_NOTHING = Quoted(np.empty(0, np.int64), np.empty(0, np.int64), False)


def find_quoted(data: bytes, delimiter: str) -> Quoted:
    """Return the stretches within quotes of a text that begins at the start of a row."""
    if b'"' not in data:
        return _NOTHING
    if (stretches := _pair_quotes(data, delimiter)) is not None:
        return stretches
    found = [match.span(1) for match in _quoted_cell(delimiter).finditer(data)]
    if not found:
        return _NOTHING
    starts, ends = np.asarray(found, dtype=np.int64).T
    # The closing quote is the last byte, unless the text ended before it.
    is_open = data.count(b'"', found[-1][0], found[-1][1]) % 2 == 1
    return Quoted(starts, np.append(ends[:-1] - 1, ends[-1] - (not is_open)), is_open)


def _pair_quotes(data: bytes, delimiter: str) -> Quoted | None:
    """Pair quotes by their parity; return None if any quote could be a character of an unquoted cell.

    The quotes of even index must open a cell, or follow the quote before directly. Those of odd index must close one,
    or be followed by the next directly.
    """
    text = np.frombuffer(data, np.uint8)
    quotes = np.flatnonzero(text == _QUOTE)
    separates = np.zeros(256, bool)
    separates[list(b"\r\n" + (b" \t" if delimiter == BLANKS else delimiter.encode()))] = True
    opens, closes = separates[text[quotes - 1]], separates[text[np.minimum(quotes + 1, len(text) - 1)]]
    opens[0] |= quotes[0] == 0
    closes[-1] |= quotes[-1] == len(text) - 1
    adjacent = np.diff(quotes) == 1
    opens[1:] |= adjacent
    closes[:-1] |= adjacent
    if not (opens[::2].all() and closes[1::2].all()):
        return None
    is_open = len(quotes) % 2 == 1
    return Quoted(quotes[::2], np.append(quotes, len(text))[1::2] if is_open else quotes[1::2], is_open)


@cache
def _quoted_cell(delimiter: str) -> re.Pattern[bytes]:
    """Return the pattern of a quoted cell; its group 1 has the quotes, but no blanks before them."""
    separators = b" \t" if delimiter == BLANKS else re.escape(delimiter.encode())
    blanks = b"" if delimiter == BLANKS else b" *" if delimiter == "\t" else b"[ \t]*"
    return re.compile(rb'(?<![^\r\n%s])%s("[^"]*(?:""[^"]*)*(?:"|\Z))' % (separators, blanks))


def normalize(data: bytes, delimiter: str) -> bytes:
    """Return a text without blanks before opening quotes; runs of blanks become tabs if they are the delimiter."""
    if delimiter == BLANKS:
        return _BLANKS.sub(lambda match: match[1] or (b"\t" if match[2] else b""), data)
    if b'"' in data and _pair_quotes(data, delimiter) is None:
        return _quoted_cell(delimiter).sub(rb"\1", data)
    return data


def row_bounds(data: bytes, quoted: Quoted) -> Iterator[tuple[int, int, int]]:
    """Yield the start of each row, the end of its text, and the start of the next row; blank rows are included."""
    start = 0
    position = 0
    while match := _NEWLINE.search(data, position):
        if (end := quoted.end_around(match.start())) is not None:
            position = end
            continue
        yield start, match.start(), match.end()
        start = position = match.end()
    if start < len(data):
        yield start, len(data), len(data)


def split_cells(row: str, delimiter: str) -> list[str]:
    """Split a row into its cells; quoted cells keep their quotes."""
    if delimiter == BLANKS:
        return [match[0] for match in re.finditer(r'"[^"]*(?:""[^"]*)*"?[^ \t]*|[^ \t]+', row)]
    if '"' not in row:
        return row.split(delimiter)
    return [match[1] for match in _cell(delimiter).finditer(row + delimiter)]


@cache
def _cell(delimiter: str) -> re.Pattern[str]:
    mark = re.escape(delimiter)
    return re.compile(rf'(\s*"[^"]*(?:""[^"]*)*"?[^{mark}]*|[^{mark}]*){mark}')


def unquote(cell: str) -> str:
    """Return the text of a cell, without the quotes and the blanks around it."""
    cell = cell.strip()
    if not cell.startswith('"'):
        return cell
    end = re.match(r'"((?:[^"]|"")*)"?', cell)
    assert end is not None
    return (end[1].replace('""', '"') + cell[end.end() :]).strip()
