"""Whether the first row of a table holds names, judged by the rows below it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from xpnet.data.readers.common import join_names
from xpnet.errors import DataError

__all__ = ["MISSING", "is_number", "judge_header"]

MISSING: tuple[str, ...] = (
    *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A"),
    *("NA", "NULL", "NaN", "None", "n/a", "nan", "null", "?"),
)
"""Markers of missing values: those of pandas, and ``?`` of the UCI repository."""

_MISSING = frozenset(MISSING)
_NUMBER = re.compile(
    r"[-+(]?\s*[$€£¥]?\s*[-+]?(?:\d[\d.,'\u00a0\u202f]*|[.,]\d+)(?:[eE][-+]?\d+)?\s*[%$€£¥)]?|[-+]?inf(?:inity)?",
    re.IGNORECASE,
)
_MOST = 0.9


def is_number(cell: str) -> bool:
    """Return whether a cell looks like a number, also with thousands separators, a currency or a per cent sign."""
    return _NUMBER.fullmatch(cell) is not None


def judge_header(first: Sequence[str], body: Sequence[Sequence[str]], names: frozenset[str]) -> bool:
    """Return whether the first row is a header.

    Parameters
    ----------
    first : sequence of str
        The cells of the first row.
    body : sequence of sequences of str
        Rows below it.
    names : frozenset of str
        Names that a header should have.

    Raises
    ------
    DataError
        It is a header by the names and a sample by its form.
    """
    if not any(map(_is_name, first)):
        return _is_header_of_numbers(first, body, names)
    if not names.isdisjoint(first):
        return True
    columns = [[row[i] for row in body if i < len(row) and row[i] not in _MISSING] for i in range(len(first))]
    named = [i for i, cell in enumerate(first) if _is_name(cell)]
    # A name above values.
    if any(columns[i] and _share_of_values(columns[i]) >= _MOST for i in named):
        return True
    # Only text below the names. A label occurs again in its column, and a name does not.
    if any(first[i] in columns[i] for i in named):
        return False
    if len(named) < sum(cell not in _MISSING for cell in first):  # the others are numbers
        return any(columns[i] and len(set(columns[i])) <= len(columns[i]) / 2 for i in named)
    return True


def _is_name(cell: str) -> bool:
    return cell not in _MISSING and not is_number(cell) and any(map(str.isalpha, cell))


def _share_of_values(column: Sequence[str]) -> float:
    """Return the share of cells that are no names: numbers, dates and times."""
    return sum(not _is_name(cell) for cell in column) / len(column)


def _is_header_of_numbers(first: Sequence[str], body: Sequence[Sequence[str]], names: frozenset[str]) -> bool:
    cells = list(first if first[0] else first[1:])  # pandas writes row numbers in a first column without a name
    if not body or len(set(cells)) < len(cells) or list(first) in (list(row) for row in body):
        return False
    matching = names.intersection(cells)
    if matching - {str(i + 1) for i in range(len(first))}:
        return True
    if len(cells) > 1 and cells == [str(i) for i in range(len(cells))]:  # what pandas writes for an array
        return True
    if matching and all(map(str.isdecimal, cells)):
        raise DataError(
            f"header: expected a first row of names or of values; received {join_names(first, 8)}, which may be "
            f"either, as a column is to be called {join_names(sorted(matching), 8)}; give --header or --no-header"
        )
    return False
