"""Tables that are read in pieces: CSV some lines at a time, Parquet by row groups, Arrow by record batches."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from xpnet.data.readers.common import Array, Request, Table, choose_columns, read_error
from xpnet.data.readers.parquet import broken_table, convert
from xpnet.data.readers.text import CsvRows, kind_of, numbered_rows
from xpnet.data.streams.source import BLOCK_BYTES, Source

__all__ = ["ArrowSource", "CsvSource"]


class CsvSource(Source):
    """A CSV file, read through once to find the beginning of each block and the type of the targets."""

    def __init__(self, path: Path, target: str | None) -> None:
        self._path, self._size = path, path.stat().st_size
        self._starts: list[tuple[int, int]] = []  # byte and line, both from 0
        request = Request(training=True, target=target)
        table: CsvRows | None = None
        kinds, sizes = set[str](), list[int]()
        before, line_before = 0, 0
        for line, row, end in self._rows(0, 0):
            if table is None:
                self._table = table = CsvRows(path, row, request)
                self.n_features = len(table.columns.features)
                self.feature_names, self.target_name = table.feature_names, table.target_name
                self.row_bytes = 8 * self.n_features
            if line_before or not table.has_header:
                if not sizes or before - self._starts[-1][0] >= BLOCK_BYTES:
                    self._starts.append((before, line_before))
                    sizes.append(0)
                sizes[-1] += 1
                kinds.add(kind_of(table.target(line, row) or ""))
            before, line_before = end, line
        if not sizes:
            raise read_error(path, "no samples: expected rows of comma-separated values; received none")
        self.sizes, self._kind = np.asarray(sizes, dtype=np.int64), max(kinds)

    def _rows(self, start: int, line: int) -> Iterator[tuple[int, list[str], int]]:
        """Yield lines' numbers, rows, and the byte after each, from a byte on, which begins the line after `line`."""
        end = start

        def lines(stream: Any) -> Iterator[str]:
            nonlocal end
            for raw in stream:
                end += len(raw)
                yield raw.decode("utf-8-sig" if end == len(raw) else "utf-8")

        try:
            with self._path.open("rb") as stream:
                if (size := stream.seek(0, 2)) != self._size:
                    raise read_error(
                        self._path,
                        f"changed while it was read: expected {self._size} bytes, as at the start; received {size}; "
                        "leave the data alone during a run",
                    )
                stream.seek(start)
                for number, row in numbered_rows(self._path, lines(stream)):
                    yield line + number, row, end
        except UnicodeDecodeError as exc:
            raise read_error(self._path, f"expected text in UTF-8 ({exc}); save it as UTF-8") from exc
        except OSError as exc:
            raise read_error(self._path, f"cannot be read: {exc.strerror or exc}") from exc

    def read(self, block: int, epoch: int = 0, start: int = 0, stop: int | None = None) -> tuple[Array, Array]:
        """Return some rows of a block."""
        table = self._table
        table.clear()
        for count, (line, row, _) in enumerate(self._rows(*self._starts[block]), 1):
            table.take(line, row)
            if count == self.sizes[block]:
                break
        return table.features()[start:stop], table.targets(self._kind)[start:stop]

    def where(self, block: int) -> str:
        """Return the file's name and the block's first line."""
        return f"{self._path}, from line {self._starts[block][1] + 1} on"

    def reader(self) -> Source:
        """Return another to read from: the rows being read are its own."""
        other = object.__new__(CsvSource)
        vars(other).update(vars(self))
        other._table = object.__new__(CsvRows)
        vars(other._table).update(vars(self._table))
        return other


class ArrowSource(Source):
    """A Parquet file by its row groups, or an Arrow file by its record batches."""

    def __init__(self, path: Path, target: str | None) -> None:
        self._path, self._size = path, path.stat().st_size
        self._parquet = path.suffix.lower() == ".parquet"
        self._request = Request(training=True, target=target)
        with broken_table(path, "a Parquet or an Arrow file"), self._open() as file:
            if self._parquet:
                names = file.schema_arrow.names
                sizes = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
            else:
                names = file.schema.names
                sizes = [file.get_batch(i).num_rows for i in range(file.num_record_batches)]
            self._groups = [i for i, size in enumerate(sizes) if size]
        if not self._groups:
            raise read_error(path, "no samples: expected rows; received none")
        features, target_column = choose_columns(path, names, True, self._request)
        self.sizes = np.asarray([sizes[i] for i in self._groups], dtype=np.int64)
        self.n_features, self.row_bytes = len(features), 8 * len(features)
        self.feature_names = tuple(names[i] for i in features)
        self.target_name = None if target_column is None else names[target_column]

    def _open(self) -> Any:
        if self._parquet:
            import pyarrow.parquet as pq

            return pq.ParquetFile(self._path)
        import pyarrow as pa

        return pa.ipc.open_file(pa.OSFile(str(self._path)))

    def read(self, block: int, epoch: int = 0, start: int = 0, stop: int | None = None) -> tuple[Array, Array]:
        """Return some rows of a block."""
        if self._path.stat().st_size != self._size:
            raise read_error(
                self._path, f"changed while it was read: expected {self._size} bytes; leave the data alone during a run"
            )
        with broken_table(self._path, "a Parquet or an Arrow file"), self._open() as file:
            group = self._groups[block]
            if self._parquet:
                table = file.read_row_group(group, use_threads=False)
            else:
                import pyarrow as pa

                table = pa.Table.from_batches([file.get_batch(group)])
            read: Table = convert(self._path, table, self._request)
        assert read.y is not None
        return read.x[start:stop], read.y[start:stop]

    def where(self, block: int) -> str:
        """Return the file's name and the number of the row group or record batch, from 1."""
        return f"{self._path}, {'row group' if self._parquet else 'record batch'} {self._groups[block] + 1}"
