"""Parquet files, read by row groups, and Arrow files, read by record batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from xpnet.data.readers.common import Array, ReadOptions, choose_columns, make_read_error
from xpnet.data.readers.parquet import arrow_data, reading_arrow
from xpnet.data.streams.file_array import make_changed_file_error
from xpnet.data.streams.source import Source

__all__ = ["ArrowSource"]


class ArrowSource(Source):
    """A Parquet file, whose blocks are its row groups, or an Arrow file, whose blocks are its record batches."""

    def __init__(self, path: Path, target: str | None) -> None:
        self._path, self._size = path, path.stat().st_size
        self._parquet = path.suffix.lower() == ".parquet"
        self._options = ReadOptions(training=True, target=target)
        with reading_arrow(path, "a Parquet or an Arrow file"), self._open() as file:
            if self._parquet:
                names = file.schema_arrow.names
                sizes = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
            else:
                names = file.schema.names
                sizes = [file.get_batch(i).num_rows for i in range(file.num_record_batches)]
            self._groups = [i for i, size in enumerate(sizes) if size]
        if not self._groups:
            raise make_read_error(path, "no samples: expected rows; received none")
        features, target_column = choose_columns(path, names, True, self._options)
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
        """Return rows of a block."""
        if (size := self._path.stat().st_size) != self._size:
            raise make_changed_file_error(self._path, self._size, size)
        with reading_arrow(self._path, "a Parquet or an Arrow file"), self._open() as file:
            group = self._groups[block]
            if self._parquet:
                table = file.read_row_group(group, use_threads=False)
            else:
                import pyarrow as pa

                table = pa.Table.from_batches([file.get_batch(group)])
            data = arrow_data(self._path, table, self._options)
        assert data.y is not None
        return data.x[start:stop], data.y[start:stop]

    def where(self, block: int) -> str:
        """Return the file's name and the number of the row group or record batch, counted from 1."""
        return f"{self._path}, {'row group' if self._parquet else 'record batch'} {self._groups[block] + 1}"
