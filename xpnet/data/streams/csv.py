"""CSV files, read some lines at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from xpnet.data.readers.common import Array, ReadOptions, make_read_error
from xpnet.data.readers.csv import CsvColumns, numbered_rows, reading_text, type_of
from xpnet.data.streams.file_array import make_changed_file_error
from xpnet.data.streams.source import BLOCK_BYTES, Source

__all__ = ["CsvSource"]


class CsvSource(Source):
    """A CSV file. It is read once at the start, to find where each block begins and which type the targets have."""

    def __init__(self, path: Path, target: str | None) -> None:
        self._path, self._size = path, path.stat().st_size
        self._starts: list[tuple[int, int]] = []  # each block's first byte and line, counted from 0
        options = ReadOptions(training=True, target=target)
        columns: CsvColumns | None = None
        types, sizes = set[str](), list[int]()
        start, line_before = 0, 0
        for line, row, end in self._rows(0, 0):
            if columns is None:
                self._columns = columns = CsvColumns(path, row, options)
                self.n_features, self.row_bytes = columns.n_features, 8 * columns.n_features
                self.feature_names, self.target_name = columns.feature_names, columns.target_name
            if line_before or not columns.has_header:
                if not sizes or start - self._starts[-1][0] >= BLOCK_BYTES:
                    self._starts.append((start, line_before))
                    sizes.append(0)
                sizes[-1] += 1
                types.add(type_of(columns.target_text(line, row) or ""))
            start, line_before = end, line
        if not sizes:
            raise make_read_error(path, "no samples: expected rows of comma-separated values; received none")
        self.sizes, self._type = np.asarray(sizes, dtype=np.int64), max(types)

    def _rows(self, start: int, line: int) -> Iterator[tuple[int, list[str], int]]:
        """Yield the line number, the cells and the position after each row.

        Parameters
        ----------
        start : int
            The position of the first row in bytes.
        line : int
            The number of lines before it.
        """
        end = start

        def decoded(file: Iterable[bytes]) -> Iterator[str]:
            nonlocal end
            for raw in file:
                end += len(raw)
                yield raw.decode("utf-8-sig" if end == len(raw) else "utf-8")

        with reading_text(self._path), self._path.open("rb") as file:
            if (size := file.seek(0, 2)) != self._size:
                raise make_changed_file_error(self._path, self._size, size)
            file.seek(start)
            for number, row in numbered_rows(self._path, decoded(file)):
                yield line + number, row, end

    def read(self, block: int, epoch: int = 0, start: int = 0, stop: int | None = None) -> tuple[Array, Array]:
        """Return rows of a block."""
        columns = self._columns
        columns.clear()
        for count, (line, row, _) in enumerate(self._rows(*self._starts[block]), 1):
            columns.add(line, row)
            if count == self.sizes[block]:
                break
        return columns.features()[start:stop], columns.targets(self._type)[start:stop]

    def where(self, block: int) -> str:
        """Return the file's name and the block's first line."""
        return f"{self._path}, from line {self._starts[block][1] + 1} on"

    def reader(self) -> Source:
        """Return an independent source of the same data, with rows of its own."""
        other = object.__new__(CsvSource)
        vars(other).update(vars(self))
        other._columns = object.__new__(CsvColumns)
        vars(other._columns).update(vars(self._columns))
        return other
