"""The format of a table of text, found from its first rows: delimiter, decimal sign, header and encoding.

Each delimiter is tried. As in CleverCSV (van den Burg, Nazabal and Sutton, 2019, "Wrangling messy CSV files by
detecting row and type patterns"), the best one gives rows of equal length whose cells look like values.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from xpnet.data.tables.text_header import MISSING, is_number, judge_header
from xpnet.data.tables.text_rows import BLANKS, ONE_COLUMN, find_quoted, row_bounds, split_cells, unquote
from xpnet.errors import DataError, InvalidParameterError

__all__ = ["DELIMITERS", "TableOptions", "TextFormat", "check_options", "find_encoding", "find_format"]

DELIMITERS = (",", ";", "\t", "|")
"""The delimiters that are tried."""

_SPELLED = {"tab": "\t", "\\t": "\t"}
_SIGNS = (".", ",")

# What is judged of the sample.
_ROWS, _CELLS, _CLEAN_CELLS = 1000, 200_000, 5000
# Runs of blanks are a delimiter only where nothing else gives clean cells.
_BLANKS_PENALTY = 0.3

_MAX_COLUMNS = 1 << 17  # a column takes about 16 kB while it is looked at, however short it is

_MISSING = frozenset(MISSING)
_OTHER_DELIMITER = re.compile(r"[,;\t|](?! )")
_SEVERAL_NUMBERS = re.compile(r"\s*[-+\d.]+(?:\s+[-+\d.?][\d.eE]*){3,}\s*")
_DECIMAL = {
    sign: re.compile(rf"(?:\d*|\d{{1,3}}(?:[{other}'\s]\d{{3}})+){re.escape(sign)}\d+(?:[eE][-+]?\d+)?")
    for sign, other in ((".", ","), (",", "."))
}
_THOUSANDS = {sign: re.compile(rf"[1-9]\d{{0,2}}(?:{re.escape(sign)}\d{{3}})+") for sign in _SIGNS}
# The line with which Excel states the delimiter.
_STATED = re.compile(rb'"?sep=([^\r\n"])"?(?:\r\n|\r|\n)')


@dataclass(frozen=True)
class TableOptions:
    """What the user states about a table instead of letting it be found.

    Attributes
    ----------
    delimiter : str or None
        One character, or ``tab``; a blank stands for runs of blanks and tabs.
    decimal : str or None
        The decimal sign, ``.`` or ``,``.
    encoding : str or None
        The name of a text encoding.
    header : bool or None
        Whether the first row holds the names of the columns.
    missing : tuple of str
        Markers of missing values beside the usual ones.
    names : frozenset of str
        Names that a header should have: the target's, or those of a model that was trained on a table with a header.
    """

    delimiter: str | None = None
    decimal: str | None = None
    encoding: str | None = None
    header: bool | None = None
    missing: tuple[str, ...] = ()
    names: frozenset[str] = frozenset()


@dataclass(frozen=True)
class TextFormat:
    """How a table is written as text.

    Attributes
    ----------
    delimiter : str
        One character; `text_rows.BLANKS` for runs of blanks, `text_rows.ONE_COLUMN` for a table of one column.
    decimal : str or None
        The decimal sign; None if no number has one.
    has_header : bool
    names : tuple of str
        A name for each cell of a row; duplicates are kept. Without a header 1, 2, ...
    ends_with_delimiter : bool
        Whether each row ends with a delimiter. The empty cell behind it has the last name.
    start : int
        The position of the first sample in bytes.
    first_row : str
        The first row, for messages.
    """

    delimiter: str
    decimal: str | None
    has_header: bool
    names: tuple[str, ...]
    ends_with_delimiter: bool
    start: int
    first_row: str


def check_options(options: TableOptions) -> TableOptions:
    """Return options in which the delimiter is the character itself.

    Raises
    ------
    InvalidParameterError
        The delimiter is not one ASCII character, or the decimal sign is neither a point nor a comma.
    """
    delimiter, decimal = options.delimiter, options.decimal
    if delimiter is not None:
        delimiter = _SPELLED.get(delimiter.lower(), delimiter)
        if len(delimiter) != 1 or not delimiter.isascii() or delimiter.isalnum() or delimiter in '"\r\n\0':
            raise InvalidParameterError(
                "delimiter: expected one character (no letter, digit or quote) or tab; "
                f"received {options.delimiter!r:.60}."
            )
    if decimal is not None and decimal not in _SIGNS:
        raise InvalidParameterError(f"decimal: expected a point or a comma; received {decimal!r:.60}.")
    return replace(options, delimiter=delimiter)


def find_encoding(head: bytes) -> tuple[str, int]:
    """Return the encoding of a text by its first bytes, and the length of its byte order mark.

    UTF-16 without a mark is recognised by zero bytes: those of the characters below 256 are all on one side.
    """
    for mark, encoding in ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")):
        if head.startswith(mark):
            return encoding, len(mark)
    pairs = head[: len(head) // 2 * 2]
    high, low = pairs[::2].count(0), pairs[1::2].count(0)
    if max(high, low) > 0.25 * len(pairs) and min(high, low) == 0:
        return ("utf-16-be" if high else "utf-16-le"), 0
    return "utf-8", 0


def find_format(sample: bytes, options: TableOptions) -> TextFormat | None:
    """Find the format of a table; what the options state is not searched for.

    Parameters
    ----------
    sample : bytes
        The first rows in UTF-8; no row is cut.
    options : TableOptions

    Returns
    -------
    TextFormat or None
        None if all rows are blank.

    Raises
    ------
    DataError
        The first row may be a header or a sample, or it has too many cells.
    """
    line = re.split(rb"[\r\n]", sample.lstrip(), maxsplit=1)[0]
    if max(line.count(delimiter.encode()) for delimiter in (*DELIMITERS, " ")) >= _MAX_COLUMNS:
        raise DataError(f"line 1: expected at most {_MAX_COLUMNS:,} columns; received more; save the numbers as .npy")
    stated, skip = options.delimiter, 0
    if (line := _STATED.match(sample)) and stated in (None, line[1].decode("latin-1")):
        stated, skip = line[1].decode("latin-1"), line.end()
    if stated is None:
        judged = [_judge(_split(sample, skip, delimiter)) for delimiter in (*DELIMITERS, BLANKS)]
        rows = max((each for each in judged if each), key=lambda each: each[0], default=(0, None))[1]
    else:
        rows = _split(sample, skip, stated)
    rows = rows or _split(sample, skip, ONE_COLUMN)
    if not rows.cells:
        return None
    first, *body = ([unquote(cell) for cell in row] for row in rows.cells)
    shorter = rows.header_is_shorter
    at_end = (shorter or first[-1:] == [""]) and len(first) + shorter > 1 and all(row[-1] == "" for row in body)
    has_header = options.header
    if has_header is None:
        has_header = shorter or judge_header(first, body, options.names)
    decimal = options.decimal or _find_decimal(body if has_header else [first, *body], rows.delimiter)
    names = [*first, ""] if shorter and at_end else ["", *first] if shorter else first
    if not has_header:
        names = [str(i + 1) for i in range(len(first))]
    return TextFormat(
        rows.delimiter,
        decimal,
        has_header,
        tuple(names),
        has_header and at_end and bool(body),
        rows.second if has_header else rows.first,
        rows.text,
    )


@dataclass
class _Rows:
    """The rows of a sample, split by a delimiter.

    Attributes
    ----------
    delimiter : str
    cells : list of lists of str
        The cells of each row that is not blank, with their quotes.
    text : str
        The first row.
    first, second : int
        The positions of the first row and of the one after it.
    """

    delimiter: str
    cells: list[list[str]]
    text: str = ""
    first: int = 0
    second: int = 0

    @property
    def width(self) -> int:
        """The most frequent number of cells below the first row."""
        counts = Counter(map(len, self.cells[1:] or self.cells))
        return max(counts, key=lambda n: (counts[n], n == len(self.cells[0]), n))

    @property
    def header_is_shorter(self) -> bool:
        """Whether the first row has a cell less than all others: a delimiter ends these, or row names begin them."""
        first, body = self.cells[0], self.cells[1:]
        if not body or {len(row) for row in body} != {len(first) + 1}:
            return False
        if all(not row[-1].strip() for row in body):
            return True
        # R's write.table gives no name to the row names.
        row_names = {row[0] for row in body}
        return 1 < len(body) == len(row_names) and len(first) > 1 and not any(is_number(unquote(c)) for c in first)


def _split(sample: bytes, skip: int, delimiter: str) -> _Rows:
    data, n_cells = sample[skip:], 0
    rows, quoted = _Rows(delimiter, []), find_quoted(data, delimiter)
    for start, end, following in row_bounds(data, quoted):
        text = data[start:end].decode("utf-8")
        if not text.strip(" " if delimiter == "\t" else " \t"):
            continue
        if not rows.cells:
            rows.text, rows.first, rows.second = text, skip + start, skip + following
        rows.cells.append(split_cells(text, delimiter))
        n_cells += len(rows.cells[-1])
        if len(rows.cells) > _ROWS or (n_cells > _CELLS and len(rows.cells) > 3):
            break
    if quoted.is_open and len(rows.cells) > 1:  # the sample ends within quotes
        rows.cells.pop()
    return rows


def _judge(rows: _Rows) -> tuple[tuple[float, int], _Rows] | None:
    """Return the quality of a delimiter's rows, or None if they speak against the delimiter."""
    if not rows.cells:
        return None
    first, width = rows.cells[0], rows.width
    same = [row for row in rows.cells if len(row) == width]
    consistency = (len(same) + rows.header_is_shorter) / len(rows.cells)
    if width == 1 or consistency < 0.5 or (len(first) == 1 and width == 2 and not rows.header_is_shorter):
        return None
    if rows.delimiter == BLANKS and (consistency < 1 or not _has_numbers(same[1:] or same, width)):
        return None
    cells = list(islice((cell for row in same for cell in row), _CLEAN_CELLS))
    clean = sum(_is_clean(cell, rows.delimiter) for cell in cells) / len(cells)
    return (consistency * clean - _BLANKS_PENALTY * (rows.delimiter == BLANKS), width), rows


def _has_numbers(rows: Sequence[Sequence[str]], width: int) -> bool:
    """Return whether some column is of numbers; text that happens to have equally many words has none."""
    return any(all(row[i] in _MISSING or is_number(row[i]) for row in rows) for i in range(width))


def _is_clean(cell: str, delimiter: str) -> bool:
    """Return whether a cell is quoted, a number, or text without another delimiter."""
    if cell.lstrip().startswith('"'):
        return True
    if is_number(cell.strip()):
        return True
    return not (_OTHER_DELIMITER.search(cell.replace(delimiter, "")) or _SEVERAL_NUMBERS.fullmatch(cell))


def _find_decimal(rows: Iterable[Sequence[str]], delimiter: str) -> str | None:
    """Return the decimal sign that most numbers have, or None if none has any; a comma never beside the delimiter."""
    cells = [cell.strip(" +-$€£%") for row in rows for cell in row if "," in cell or "." in cell]
    thousands = {sign: {cell for cell in cells if _THOUSANDS[sign].fullmatch(cell)} for sign in _SIGNS}
    votes = {
        sign: sum(_DECIMAL[sign].fullmatch(cell) is not None and cell not in thousands[sign] for cell in cells)
        for sign in _SIGNS
    }
    if delimiter == ",":
        return "." if votes["."] else None
    # 1,234 may be either; a table with semicolons comes from where the comma is the decimal sign.
    if not any(votes.values()) and delimiter == ";" and thousands[","]:
        return ","
    return "," if votes[","] > votes["."] else "." if votes["."] else None
