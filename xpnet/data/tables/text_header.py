"""Whether the first row of a table holds names, judged by the rows below it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import pairwise

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
_DATE = re.compile(r"\d+([-/.:])\d+\1\d+.*|\d{4}-\d{2}")
_FEW = 0.1


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
    if _has_names(first, names):
        return True
    columns = [[row[i] for row in body if i < len(row) and row[i] not in _MISSING] for i in range(len(first))]
    named = [i for i, cell in enumerate(first) if _is_name(cell)]
    # A name above values, or a date above numbers.
    if any(columns[i] and _share(_is_name, columns[i]) <= _FEW for i in named) or any(
        _DATE.fullmatch(cell) and column and _share(is_number, column) >= 1 - _FEW
        for cell, column in zip(first, columns, strict=True)
    ):
        return True
    if not named:
        return _is_header_of_numbers(first, body, names)
    # Only text below the names. A label occurs again in its column, and a name does not.
    if any(first[i] in columns[i] for i in named):
        return False
    others = [cell for cell in first if cell not in _MISSING and not _is_name(cell)]
    # Beside numbers, it is a header if below the name are labels that occur again, or if the numbers are years.
    return not others or _is_sequence(others) or any(len(set(columns[i])) <= len(columns[i]) / 2 for i in named if body)


def _has_names(first: Sequence[str], names: frozenset[str]) -> bool:
    """Return whether a row has a name that it should have: a text, or numbers that can only be names.

    A number up to that of the cells may stand for a column without a name, and one of many numbers may be a value.
    """
    matching = names.intersection(first)
    positions = {str(i + 1) for i in range(len(first))}
    return any(map(_is_name, matching)) or (not matching <= positions and 2 * len(matching) >= len(names))


def _is_name(cell: str) -> bool:
    return cell not in _MISSING and not is_number(cell) and any(map(str.isalpha, cell))


def _share(condition: Callable[[str], bool], column: Sequence[str]) -> float:
    return sum(map(condition, column)) / len(column)


def _is_sequence(cells: Sequence[str]) -> bool:
    """Return whether at least three cells are whole numbers in equal steps."""
    if len(cells) < 3 or not all(cell.isdecimal() for cell in cells):
        return False
    steps = {int(after) - int(before) for before, after in pairwise(cells)}
    return len(steps) == 1 and steps.pop() > 0


def _is_header_of_numbers(first: Sequence[str], body: Sequence[Sequence[str]], names: frozenset[str]) -> bool:
    cells = list(first if first[0] else first[1:])  # pandas writes row numbers in a first column without a name
    if not body or len(set(cells)) < len(cells) or list(first) in (list(row) for row in body):
        return False
    if len(cells) > 1 and cells == [str(i) for i in range(len(cells))]:  # what pandas writes for an array
        return True
    if (matching := names.intersection(cells)) and all(map(str.isdecimal, cells)):
        raise DataError(
            f"header: expected a first row of names or of values; received {join_names(first, 8)}, which may be "
            f"either, as a column is to be called {join_names(sorted(matching), 8)}; give --header or --no-header"
        )
    return False
