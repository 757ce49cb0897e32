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
_QUOTED = re.compile(rb'"[^"]*(?:""[^"]*)*(?:"|\Z)')
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

    @property
    def last_opening(self) -> int:
        """The position of the quote that opens the last cell, in which doubled quotes may end and begin stretches."""
        i = len(self.starts) - 1
        while i > 0 and self.ends[i - 1] + 1 == self.starts[i]:
            i -= 1
        return int(self.starts[i])

    def end_around(self, position: int) -> int | None:
        """Return the end of the stretch that a position lies in, or None if it lies in none."""
        if not len(self.starts):
            return None
        i = int(np.searchsorted(self.starts, position)) - 1
        return int(self.ends[i]) if i >= 0 and self.ends[i] > position else None


_NOTHING = Quoted(np.empty(0, np.int64), np.empty(0, np.int64), False)


def find_quoted(data: bytes, delimiter: str) -> Quoted:
    """Return the stretches within quotes of a text that begins at the start of a row."""
    if b'"' not in data:
        return _NOTHING
    text = np.frombuffer(data, np.uint8)
    quotes = np.flatnonzero(text == _QUOTE)
    separators = b"\r\n" + (b" \t" if delimiter == BLANKS else delimiter.encode())
    before, after = text[quotes - 1], text[np.minimum(quotes + 1, len(text) - 1)]
    opens, closes = _is_among(before, separators), _is_among(after, separators)
    opens[0] |= quotes[0] == 0
    closes[-1] |= quotes[-1] == len(text) - 1
    if (stretches := _pair_quotes(quotes, opens, closes, len(text))) is not None:
        return stretches
    may_open = quotes[opens | _is_among(before, b" \t")].tolist()
    return _match_quotes(data, may_open, separators)


def _is_among(text: NDArray[np.uint8], chars: bytes) -> NDArray[np.bool_]:
    table = np.zeros(256, bool)
    table[list(chars)] = True
    return table[text]


def _pair_quotes(
    quotes: NDArray[np.int64], opens: NDArray[np.bool_], closes: NDArray[np.bool_], size: int
) -> Quoted | None:
    """Pair quotes by their parity; return None if any quote could be a character of an unquoted cell.

    The quotes of even index must open a cell, or follow the quote before directly. Those of odd index must close one,
    or be followed by the next directly.
    """
    adjacent = np.diff(quotes) == 1
    opens, closes = opens.copy(), closes.copy()
    opens[1:] |= adjacent
    closes[:-1] |= adjacent
    if not (opens[::2].all() and closes[1::2].all()):
        return None
    is_open = len(quotes) % 2 == 1
    return Quoted(quotes[::2], np.append(quotes, size)[1::2] if is_open else quotes[1::2], is_open)


def _match_quotes(data: bytes, may_open: list[int], separators: bytes) -> Quoted:
    """Find the quoted cells one by one, where some quotes are characters of unquoted cells."""
    starts, ends, end, is_open = list[int](), list[int](), -1, False
    for start in may_open:
        if start <= end:
            continue
        before = start - 1
        while before > end and data[before] in b" \t" and data[before] not in separators:
            before -= 1
        if before >= 0 and (data[before] not in separators or before == end):
            continue
        match = _QUOTED.match(data, start)
        assert match is not None
        # The closing quote is the last byte, unless the text ended before it.
        is_open = data.count(b'"', start, match.end()) % 2 == 1
        end = match.end() - (not is_open)
        starts.append(start)
        ends.append(end)
    return Quoted(np.asarray(starts, np.int64), np.asarray(ends, np.int64), is_open)


def normalize(data: bytes, delimiter: str) -> bytes:
    """Return a text without blanks before opening quotes; runs of blanks become tabs if they are the delimiter."""
    if delimiter == BLANKS:
        return _BLANKS.sub(lambda match: match[1] or (b"\t" if match[2] else b""), data)
    if b'"' not in data or (b' "' not in data and b'\t"' not in data):
        return data
    parts, position = [], 0
    for start in find_quoted(data, delimiter).starts.tolist():
        before = start
        while before > position and data[before - 1] in b" \t" and data[before - 1] != ord(delimiter):
            before -= 1
        if before < start:
            parts.append(data[position:before])
            position = start
    return b"".join([*parts, data[position:]])


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
    return re.compile(rf'([^\S{mark}]*"[^"]*(?:""[^"]*)*"?[^{mark}]*|[^{mark}]*){mark}')


def unquote(cell: str) -> str:
    """Return the text of a cell, without the quotes and the blanks around it."""
    cell = cell.strip()
    if not cell.startswith('"'):
        return cell
    end = re.match(r'"((?:[^"]|"")*)"?', cell)
    assert end is not None
    return (end[1].replace('""', '"') + cell[end.end() :]).strip()
