"""CSV and LIBSVM."""

from __future__ import annotations

import csv
import math
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn, TextIO

import numpy as np

from xpnet.data.readers.common import Array, Request, Table, check_memory, choose_columns, listed, read_error
from xpnet.errors import DataError

__all__ = ["CsvRows", "kind_of", "numbered_rows", "read_csv", "read_libsvm"]

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")


def read_csv(path: Path, request: Request) -> Table:
    """Read a comma-separated table in UTF-8; the first row is a header when any of its cells is no number."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            return _read_rows(path, stream, request)
    except UnicodeDecodeError as exc:
        raise read_error(path, f"expected text in UTF-8 ({exc}); save it as UTF-8") from exc
    except OSError as exc:
        raise read_error(path, f"cannot be read: {exc.strerror or exc}") from exc


class CsvRows:
    """Features and targets from the rows of a table, as they are taken in.

    Attributes
    ----------
    names : list of str
        Of the columns: the header, or 1, 2, ...
    has_header : bool
    columns : Columns
    texts : list of str
        The targets.
    """

    def __init__(self, path: Path, first: list[str], request: Request) -> None:
        self._path = path
        self.has_header = any(_number(cell) is None for cell in first)
        self.names = [cell.strip() for cell in first] if self.has_header else [str(i + 1) for i in range(len(first))]
        self.columns = choose_columns(path, self.names, self.has_header, request)
        self.clear()

    def clear(self) -> None:
        """Forget what was taken in."""
        self._values, self.texts, self._lines = array("d"), list[str](), array("q")

    @property
    def feature_names(self) -> tuple[str, ...] | None:
        """Names of the features, where the table has a header."""
        return tuple(self.names[i] for i in self.columns.features) if self.has_header else None

    @property
    def target_name(self) -> str | None:
        """Name of the target's column, where there is one."""
        return None if self.columns.target is None else self.names[self.columns.target]

    def target(self, line: int, row: list[str]) -> str | None:
        """Return a row's target as text, None where there are none; refuse a row of another length."""
        if len(row) != len(self.names):
            raise read_error(
                self._path, f"line {line}: uneven rows: expected {len(self.names)} cells; received {len(row)}"
            )
        if self.columns.target is None:
            return None
        if not (text := row[self.columns.target].strip()):
            raise read_error(self._path, f"line {line}, column {self.target_name!r}: missing target: expected a value")
        return text

    def take(self, line: int, row: list[str]) -> None:
        """Take a row in."""
        text = self.target(line, row)
        cells = [row[i] for i in self.columns.features]
        try:
            numbers = [float(cell) for cell in cells]
        except ValueError:
            numbers = [math.nan]
        # float() takes 1_000; nobody who writes that in a table means a number.
        if not all(map(math.isfinite, numbers)) or "_" in "".join(cells):
            _refuse(self._path, line, [(self.names[i], row[i]) for i in self.columns.features])
        self._values.extend(numbers)
        if text is not None:
            self.texts.append(text)
            self._lines.append(line)

    def features(self) -> Array:
        """Return what was taken in, (n_samples, n_features)."""
        return np.frombuffer(self._values, np.float64).reshape(-1, len(self.columns.features))

    def targets(self, kind: str | None = None) -> Array:
        """Return the targets as integers, else as floats, else as text; or as the kind that `kind_of` says."""
        kind = kind or max(map(kind_of, self.texts))
        if kind == "integer":
            return np.array([int(text) for text in self.texts], dtype=np.int64)
        if kind == "text":
            return np.array(self.texts, dtype=str)
        y = np.array([_number(text) for text in self.texts], dtype=np.float64)
        if not np.isfinite(y).all():
            row = int(np.argmin(np.isfinite(y)))
            raise read_error(
                self._path,
                f"line {self._lines[row]}, column {self.target_name!r:.60}: expected a finite target; received "
                f"{self.texts[row]!r:.60}; remove the line",
            )
        return y


def _read_rows(path: Path, stream: TextIO, request: Request) -> Table:
    rows = numbered_rows(path, stream)
    line, first = next(rows, (0, []))
    if not first:
        raise read_error(path, "empty file: expected rows of comma-separated values; received none")
    table = CsvRows(path, first, request)
    if not table.has_header:
        table.take(line, first)
    for line, row in rows:
        table.take(line, row)
    x = table.features()
    if not len(x):
        raise read_error(path, f"no samples: expected rows below the header; received only {listed(table.names)}")
    return Table(x, None if table.columns.target is None else table.targets(), table.feature_names, table.target_name)


def numbered_rows(path: Path, stream: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows that are not blank, each with the number of its (last) line."""

    def lines() -> Iterator[str]:
        for number, line in enumerate(stream, 1):
            if "\0" in line:
                raise read_error(path, f"line {number}: expected text; received a NUL byte; is it a CSV file?")
            yield line

    rows = csv.reader(lines(), strict=True, skipinitialspace=True)
    try:
        for row in rows:
            if row:
                yield rows.line_num, row
    except csv.Error as exc:
        raise read_error(path, f"line {rows.line_num}: expected comma-separated values; {exc}") from exc


def _number(cell: str) -> float | None:
    try:
        return None if "_" in cell else float(cell)
    except ValueError:
        return None


def _refuse(path: Path, line: int, cells: Sequence[tuple[str, str]]) -> NoReturn:
    name, cell = next((name, cell) for name, cell in cells if not math.isfinite(_number(cell) or 0) or _is_text(cell))
    what, remedy = "a finite number", "remove the line or fill in the value"
    if cell.strip() and _is_text(cell):
        what, remedy = "a number, as a feature must be", "encode text as numbers or drop the column"
    raise read_error(path, f"line {line}, column {name!r:.60}: expected {what}; received {cell!r:.60}; {remedy}")


def _is_text(cell: str) -> bool:
    return _number(cell) is None


def kind_of(text: str) -> str:
    """Tell what a target is; the kind of several is the greatest of theirs."""
    if _INTEGER.fullmatch(text):
        return "integer"
    return "text" if _number(text) is None else "number"


def read_libsvm(path: Path, request: Request) -> Table:
    """Read ``label index:value ...`` lines into a dense matrix; indices start at 1, or at 0 if a 0 occurs."""
    from sklearn.datasets import load_svmlight_file  # slow to import

    try:
        with path.open("rb") as stream:
            if not stream.read(1):
                raise read_error(path, "empty file: expected lines of 'label index:value ...'; received none")
            stream.seek(0)
            x, y = load_svmlight_file(stream, dtype=np.float64)
    except DataError:
        raise
    except OSError as exc:
        raise read_error(path, f"cannot be read: {exc.strerror or exc}") from exc
    except (ValueError, OverflowError, IndexError, MemoryError) as exc:
        raise read_error(path, f"expected lines of 'label index:value ...' in LIBSVM format; {exc}") from exc
    width = request.n_features if request.feature_names is None else len(request.feature_names)
    # Trailing features that are 0 everywhere are not in the file, so a model's count can only be exceeded.
    if width is not None and x.shape[1] > width:
        raise read_error(path, f"features: expected {width}, as in training; received index {x.shape[1]}")
    shape = (x.shape[0], width or x.shape[1])
    check_memory(path, *shape)
    x.resize(shape)
    whole = np.isfinite(y).all() and (y == np.floor(y)).all() and np.abs(y).max(initial=0) < 2**53
    return Table(x.toarray(), y.astype(np.int64) if whole else y)
