"""CSV."""

from __future__ import annotations

import csv
import math
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NoReturn

import numpy as np

from xpnet.data.readers.common import Array, RawData, ReadOptions, choose_columns, join_names, make_read_error, reading

__all__ = ["CsvColumns", "numbered_rows", "read_csv", "reading_text", "type_of"]

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_OTHER_SEPARATOR = re.compile(r"[;\t|]")


def read_csv(path: Path, options: ReadOptions) -> RawData:
    """Read a comma-separated table in UTF-8; the first row is a header if any of its cells is not a number."""
    with reading_text(path), path.open(encoding="utf-8-sig", newline="") as file:
        rows = numbered_rows(path, file)
        line, first = next(rows, (0, []))
        if not first:
            raise make_read_error(path, "empty file: expected rows of comma-separated values; received none")
        columns = CsvColumns(path, first, options)
        if not columns.has_header:
            columns.add(line, first)
        for line, row in rows:
            columns.add(line, row)
        x = columns.features()
        if not len(x):
            raise make_read_error(
                path, f"no samples: expected rows below the header; received only {join_names(columns.names)}"
            )
        y = None if columns.target_name is None else columns.targets()
        return RawData(x, y, columns.feature_names, columns.target_name)


def reading_text(path: Path) -> AbstractContextManager[None]:
    """Return `reading` for a file of text."""
    return reading(path, (UnicodeDecodeError,), "expected text in UTF-8 ({}); save it as UTF-8")


class CsvColumns:
    """Features and targets of a table that is read row by row.

    Parameters
    ----------
    path : Path
        For messages.
    first : list of str
        The cells of the first row.
    options : ReadOptions

    Attributes
    ----------
    names : list of str
        The header, or 1, 2, ...
    has_header : bool
    """

    def __init__(self, path: Path, first: list[str], options: ReadOptions) -> None:
        self._path = path
        self.has_header = any(_number(cell) is None for cell in first)
        self.names = [cell.strip() for cell in first] if self.has_header else [str(i + 1) for i in range(len(first))]
        if options.training and len(first) == 1 and _OTHER_SEPARATOR.search(first[0]):
            raise make_read_error(
                path,
                f"one column: expected columns separated by commas; received the row {join_names(first)}; "
                "replace the separators by commas",
            )
        self._columns = choose_columns(path, self.names, self.has_header, options)
        self.clear()

    def clear(self) -> None:
        """Forget the rows that were added."""
        self._values, self._texts, self._lines = array("d"), list[str](), array("q")

    @property
    def n_features(self) -> int:
        """Number of feature columns."""
        return len(self._columns.features)

    @property
    def feature_names(self) -> tuple[str, ...] | None:
        """Names of the features, or None if the table has no header."""
        return tuple(self.names[i] for i in self._columns.features) if self.has_header else None

    @property
    def target_name(self) -> str | None:
        """Name of the target's column, or None if there is none."""
        return None if self._columns.target is None else self.names[self._columns.target]

    def target_text(self, line: int, row: list[str]) -> str | None:
        """Return the target of a row as text, or None if there is no target.

        Raises
        ------
        DataError
            The row has another number of cells than the first one, or its target is empty.
        """
        if len(row) != len(self.names):
            raise make_read_error(
                self._path, f"line {line}: uneven rows: expected {len(self.names)} cells; received {len(row)}"
            )
        if self._columns.target is None:
            return None
        if not (text := row[self._columns.target].strip()):
            raise make_read_error(
                self._path, f"line {line}, column {self.target_name!r}: missing target: expected a value"
            )
        return text

    def add(self, line: int, row: list[str]) -> None:
        """Add a row.

        Raises
        ------
        DataError
            As for `target_text`; also if a feature is not a finite number.
        """
        text = self.target_text(line, row)
        cells = [row[i] for i in self._columns.features]
        try:
            numbers = [float(cell) for cell in cells]
        except ValueError:
            numbers = [math.nan]
        # float() accepts 1_000, which is not a number in a table.
        if not all(map(math.isfinite, numbers)) or "_" in "".join(cells):
            _refuse(self._path, line, [(self.names[i], row[i]) for i in self._columns.features])
        self._values.extend(numbers)
        if text is not None:
            self._texts.append(text)
            self._lines.append(line)

    def features(self) -> Array:
        """Return the features of the added rows, (n_samples, n_features)."""
        return np.frombuffer(self._values, np.float64).reshape(-1, self.n_features)

    def targets(self, kind: str | None = None) -> Array:
        """Return the targets of the added rows, (n_samples,).

        Parameters
        ----------
        kind : {"integer", "number", "text"}, optional
            The default is the first of these that fits all targets.

        Raises
        ------
        DataError
            A target is NaN or infinite.
        """
        kind = kind or max(map(type_of, self._texts))
        if kind == "integer":
            return np.array([int(text) for text in self._texts], dtype=np.int64)
        if kind == "text":
            return np.array(self._texts, dtype=str)
        y = np.array([_number(text) for text in self._texts], dtype=np.float64)
        if not np.isfinite(y).all():
            row = int(np.argmin(np.isfinite(y)))
            raise make_read_error(
                self._path,
                f"line {self._lines[row]}, column {self.target_name!r:.60}: expected a finite target; received "
                f"{self._texts[row]!r:.60}; remove the line",
            )
        return y


def numbered_rows(path: Path, lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield the line number and the cells of each row that is not blank; for a row of several lines, the last number.

    Raises
    ------
    DataError
        The lines are not comma-separated values.
    """

    def checked() -> Iterator[str]:
        for number, line in enumerate(lines, 1):
            if "\0" in line:
                raise make_read_error(path, f"line {number}: expected text; received a NUL byte; is it a CSV file?")
            yield line

    rows = csv.reader(checked(), strict=True, skipinitialspace=True)
    try:
        for row in rows:
            if row:
                yield rows.line_num, row
    except csv.Error as exc:
        raise make_read_error(path, f"line {rows.line_num}: expected comma-separated values; {exc}") from exc


def type_of(text: str) -> str:
    """Return ``"integer"``, ``"number"`` or ``"text"``; the type of several targets is the maximum of theirs."""
    if _INTEGER.fullmatch(text):
        return "integer"
    return "text" if _number(text) is None else "number"


def _number(cell: str) -> float | None:
    try:
        return None if "_" in cell else float(cell)
    except ValueError:
        return None


def _refuse(path: Path, line: int, cells: Sequence[tuple[str, str]]) -> NoReturn:
    """Raise the error for the first cell that is not a finite number."""
    name, cell = next((name, cell) for name, cell in cells if not math.isfinite(_number(cell) or 0) or _is_text(cell))
    what, remedy = "a finite number", "remove the line or fill in the value"
    if cell.strip() and _is_text(cell):
        what, remedy = "a number, as a feature must be", "encode text as numbers or drop the column"
    raise make_read_error(path, f"line {line}, column {name!r:.60}: expected {what}; received {cell!r:.60}; {remedy}")


def _is_text(cell: str) -> bool:
    return _number(cell) is None
