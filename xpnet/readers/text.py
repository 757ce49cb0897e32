"""CSV and LIBSVM."""

from __future__ import annotations

import csv
import math
import re
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn, TextIO

import numpy as np

from xpnet.errors import DataError
from xpnet.readers.common import Array, Request, Table, check_memory, choose_columns, listed, read_error

__all__ = ["read_csv", "read_libsvm"]

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


def _read_rows(path: Path, stream: TextIO, request: Request) -> Table:
    rows = _numbered_rows(path, stream)
    line, first = next(rows, (0, []))
    if not first:
        raise read_error(path, "empty file: expected rows of comma-separated values; received none")
    header = any(_number(cell) is None for cell in first)
    names = [cell.strip() for cell in first] if header else [str(i + 1) for i in range(len(first))]
    features, target = choose_columns(path, names, header, request)
    values, targets, target_lines = array("d"), list[str](), array("q")

    def take(line: int, row: list[str]) -> None:
        if len(row) != len(names):
            raise read_error(path, f"line {line}: uneven rows: expected {len(names)} cells; received {len(row)}")
        cells = [row[i] for i in features]
        try:
            numbers = [float(cell) for cell in cells]
        except ValueError:
            numbers = [math.nan]
        # float() takes 1_000; nobody who writes that in a table means a number.
        if not all(map(math.isfinite, numbers)) or "_" in "".join(cells):
            _refuse(path, line, [(names[i], row[i]) for i in features])
        values.extend(numbers)
        if target is not None:
            if not (text := row[target].strip()):
                raise read_error(path, f"line {line}, column {names[target]!r}: missing target: expected a value")
            targets.append(text)
            target_lines.append(line)

    if not header:
        take(line, first)
    for line, row in rows:
        take(line, row)
    if not values:
        raise read_error(path, f"no samples: expected rows below the header; received only {listed(names)}")
    x = np.frombuffer(values, np.float64).reshape(-1, len(features))
    y = None if target is None else _typed(path, names[target], targets, target_lines)
    feature_names = tuple(names[i] for i in features) if header else None
    return Table(x, y, feature_names, None if target is None else names[target])


def _numbered_rows(path: Path, stream: TextIO) -> Iterator[tuple[int, list[str]]]:
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


def _typed(path: Path, name: str, texts: Sequence[str], lines: Sequence[int]) -> Array:
    """Return the targets as integers, else as floats, else as the text that they are."""
    if all(map(_INTEGER.fullmatch, texts)):
        return np.array([int(text) for text in texts], dtype=np.int64)
    numbers = [_number(text) for text in texts]
    if any(number is None for number in numbers):
        return np.array(texts, dtype=str)
    y = np.array(numbers, dtype=np.float64)
    if not np.isfinite(y).all():
        row = int(np.argmin(np.isfinite(y)))
        raise read_error(
            path,
            f"line {lines[row]}, column {name!r:.60}: expected a finite target; received {texts[row]!r:.60}; "
            "remove the line",
        )
    return y


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
