"""Tables in Parquet files, read by row groups, and in Arrow files, read by record batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from xpnet.data.readers.common import check_matrix_shape, make_read_error, reading
from xpnet.data.tables.byte_source import ByteSource

__all__ = ["COLUMNAR_TABLES", "ArrowTable", "ColumnarTable", "ParquetTable"]

_DAMAGE = (pa.ArrowException, OSError, ValueError, TypeError, KeyError, OverflowError, MemoryError)


class ColumnarTable(ABC):
    """A table whose columns have types, in one file or on standard input.

    Attributes
    ----------
    schema : pyarrow.Schema
        The first column of each name.
    has_header : bool
    duplicates : tuple of str
        The names of the other columns.
    """

    has_header = True
    decimal = None
    what: str

    def __init__(self, source: ByteSource) -> None:
        self.source, self._path = source, source.path
        with self._open() as file:
            schema, sizes, self.n_bytes = self._describe(file)
        first: dict[str, int] = {}
        for i, name in enumerate(schema.names):
            first.setdefault(name, i)
        self._kept = list(first.values())
        repeated = (name for i, name in enumerate(schema.names) if first[name] != i)
        self.duplicates = tuple(dict.fromkeys(repeated))
        self.schema = pa.schema([schema.field(i).remove_metadata() for i in self._kept])
        self._blocks = np.flatnonzero(sizes)
        self._sizes = np.asarray(sizes, dtype=np.int64)[self._blocks]

    def block_sizes(self) -> NDArray[np.int64]:
        """Return the number of rows of each block that has any."""
        if not self.schema.names or not len(self._sizes):
            raise make_read_error(self._path, "no samples: expected rows; received none")
        return self._sizes

    def read_block(self, block: int, columns: Sequence[int] | None = None) -> pa.Table:
        """Return the rows of a block, with some of the columns."""
        number = int(self._blocks[block])
        with self._open() as file:
            self._check_memory(file, number)
            return self._select(self._read_block(file, number, self._names(columns)), columns)

    def read(self, columns: Sequence[int] | None = None) -> pa.Table:
        """Return all rows, with some of the columns."""
        self.block_sizes()
        with self._open() as file:
            for number in self._blocks.tolist():
                self._check_memory(file, number)
            check_matrix_shape(self._path, self.n_bytes // 8, 1)
            return self._select(self._read(file, self._names(columns)), columns)

    def reader(self) -> ColumnarTable:
        """Return a reader of the same table for another thread."""
        return self

    def where(self, row: int) -> str:
        """Return the number of a row, counted from 1, as ``"row 138"``."""
        return f"row {row + 1}"

    def _names(self, columns: Sequence[int] | None) -> list[str] | None:
        """Return the names of columns, after a check of their types."""
        fields = list(self.schema) if columns is None else [self.schema.field(i) for i in columns]
        for field in fields:
            kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
            kind = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
            if pa.types.is_nested(kind):
                raise make_read_error(
                    self._path,
                    f"column {field.name!r:.60}: expected one value in each row; received type {field.type!s:.60}; "
                    "write its parts as columns, or remove it",
                )
        return None if columns is None else [field.name for field in fields]

    def _select(self, table: pa.Table, columns: Sequence[int] | None) -> pa.Table:
        """Put columns in order; of columns with one name take the first."""
        first: dict[str, int] = {}
        for i, name in enumerate(table.column_names):
            first.setdefault(name, i)
        schema = self.schema if columns is None else pa.schema([self.schema.field(i) for i in columns])
        selected = table.select([first[name] for name in schema.names]).cast(schema)
        selected.validate(full=True)  # else a damaged file could make later code read foreign memory
        return selected

    @contextmanager
    def _open(self) -> Iterator[Any]:
        damage = f"broken: expected {self.what} ({{:.200}}); write it again"
        with self.source.open_native() as raw, reading(self._path, _DAMAGE, damage), self._reader(raw) as file:
            yield file

    @abstractmethod
    def _reader(self, raw: pa.NativeFile) -> Any: ...

    @abstractmethod
    def _describe(self, file: Any) -> tuple[pa.Schema, list[int], int]:
        """Return the schema, the number of rows of each block, and the memory of the table in bytes."""

    @abstractmethod
    def _check_memory(self, file: Any, block: int) -> None: ...

    @abstractmethod
    def _read_block(self, file: Any, block: int, names: list[str] | None) -> pa.Table: ...

    @abstractmethod
    def _read(self, file: Any, names: list[str] | None) -> pa.Table: ...


class ParquetTable(ColumnarTable):
    """A table in a Parquet file; its blocks are row groups."""

    what = "a Parquet file"

    def _reader(self, raw: pa.NativeFile) -> Any:
        return pq.ParquetFile(raw)

    def _describe(self, file: Any) -> tuple[pa.Schema, list[int], int]:
        groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
        # Dictionaries make text small in the file: at least 8 bytes are counted for a cell.
        n_bytes = sum(max(group.total_byte_size, 8 * group.num_rows * group.num_columns) for group in groups)
        return file.schema_arrow, [group.num_rows for group in groups], n_bytes

    def _check_memory(self, file: Any, block: int) -> None:
        group = file.metadata.row_group(block)
        check_matrix_shape(self._path, group.num_rows, group.num_columns)
        check_matrix_shape(self._path, group.total_byte_size // 8, 1)

    def _read_block(self, file: Any, block: int, names: list[str] | None) -> pa.Table:
        return file.read_row_group(block, names, use_threads=False)

    def _read(self, file: Any, names: list[str] | None) -> pa.Table:
        return file.read(names)


class ArrowTable(ColumnarTable):
    """A table in an Arrow file (Feather 2); its blocks are record batches."""

    what = "an Arrow file"

    def _reader(self, raw: pa.NativeFile) -> Any:
        return pa.ipc.open_file(raw)

    def _describe(self, file: Any) -> tuple[pa.Schema, list[int], int]:
        sizes, n_bytes = [], 0
        for i in range(file.num_record_batches):
            batch = file.get_batch(i)
            batch.validate(full=True)
            sizes.append(batch.num_rows)
            n_bytes += batch.nbytes
        return file.schema, sizes, n_bytes

    def _check_memory(self, file: Any, block: int) -> None:
        pass  # the declared sizes were met when the batches were counted

    def _read_block(self, file: Any, block: int, names: list[str] | None) -> pa.Table:
        return pa.Table.from_batches([file.get_batch(block)])

    def _read(self, file: Any, names: list[str] | None) -> pa.Table:
        return file.read_all()


COLUMNAR_TABLES: dict[str, type[ColumnarTable]] = {"arrow": ArrowTable, "parquet": ParquetTable}
"""The tables by the kind of their file."""
