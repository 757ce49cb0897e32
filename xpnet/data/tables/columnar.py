"""Tables in Parquet files, read by row groups, and in Arrow files, read by record batches."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from xpnet.data.readers.common import check_content, make_read_error, max_array_bytes, max_content_bytes, reading
from xpnet.data.tables.arrow_sizes import batch_sizes
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
            schema, sizes, self._bytes = self._describe(file)
            names = schema.names  # fails for names that are no UTF-8
        self.n_bytes = sum(self._bytes)
        self._check(self.n_bytes, in_pieces=True)
        first: dict[str, int] = {}
        for i, name in enumerate(names):
            first.setdefault(name, i)
        repeated = (name for i, name in enumerate(names) if first[name] != i)
        self.duplicates = tuple(dict.fromkeys(repeated))
        self.schema = pa.schema([_plain_field(schema.field(i)) for i in first.values()])
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
            self._check(self._bytes[number])
            return self._select(self._read_block(file, number, self._names(columns)), columns)

    def read(self, columns: Sequence[int] | None = None) -> pa.Table:
        """Return all rows, with some of the columns."""
        self.block_sizes()
        with self._open() as file:
            self._check(self.n_bytes)
            return self._select(self._read(file, self._names(columns)), columns)

    def reader(self) -> ColumnarTable:
        """Return a reader of the same table for another thread."""
        return self

    def where(self, row: int) -> str:
        """Return the number of a row, counted from 1, as ``"row 138"``."""
        return f"row {row + 1}"

    def _check(self, n_bytes: int, in_pieces: bool = False) -> None:
        check_content(self._path, n_bytes, self.source.size, in_pieces=in_pieces)

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
        """Put columns in order; of columns with one name take the first, and of views the text."""
        first: dict[str, int] = {}
        for i, name in enumerate(table.column_names):
            first.setdefault(name, i)
        schema = self.schema if columns is None else pa.schema([self.schema.field(i) for i in columns])
        selected = table.select([first[name] for name in schema.names])
        selected.validate(full=True)  # else a damaged file could make later code read foreign memory
        self._check(sum(map(_text_bytes, selected.columns)))
        return selected.cast(schema)

    @contextmanager
    def _open(self) -> Iterator[Any]:
        damage = f"broken: expected {self.what} ({{:.200}}); write it again"
        with self.source.open_native() as raw, reading(self._path, _DAMAGE, damage), self._reader(raw) as file:
            yield file

    @abstractmethod
    def _reader(self, raw: pa.NativeFile) -> Any: ...

    @abstractmethod
    def _describe(self, file: Any) -> tuple[pa.Schema, list[int], list[int]]:
        """Return the schema, and the rows and the bytes in memory of each block; 8 bytes at least for a cell."""

    @abstractmethod
    def _read_block(self, file: Any, block: int, names: list[str] | None) -> pa.Table: ...

    @abstractmethod
    def _read(self, file: Any, names: list[str] | None) -> pa.Table: ...


def _plain_field(field: pa.Field) -> pa.Field:
    """Return a field without metadata, and with text in place of views, for which pyarrow lacks functions."""
    kind = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}.get(field.type, field.type)
    return pa.field(field.name, kind, field.nullable)


def _text_bytes(column: pa.ChunkedArray) -> int:
    """Return the bytes of the text of dictionaries and views, where one text may stand for many rows."""
    return sum(map(_chunk_bytes, column.chunks))


def _chunk_bytes(chunk: pa.Array) -> int:
    if _is_view(chunk.type):
        return int(_lengths(chunk).sum())
    if not pa.types.is_dictionary(chunk.type):
        return 0
    lengths = _lengths(chunk.dictionary)
    return int(np.bincount(chunk.indices.drop_null().to_numpy(zero_copy_only=False), minlength=len(lengths)) @ lengths)


def _lengths(texts: pa.Array) -> NDArray[np.int64]:
    if _is_view(texts.type):  # of 16 bytes, the first four are the length
        views = np.frombuffer(texts.buffers()[1], np.int32)[4 * texts.offset : 4 * (texts.offset + len(texts)) : 4]
        return np.maximum(views, 0).astype(np.int64)
    if pa.types.is_primitive(texts.type) or pa.types.is_null(texts.type):
        return np.full(len(texts), 8, dtype=np.int64)
    return np.asarray(pc.binary_length(texts).fill_null(0).to_numpy(zero_copy_only=False), dtype=np.int64)


def _is_view(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string_view(kind) or pa.types.is_binary_view(kind))


class ParquetTable(ColumnarTable):
    """A table in a Parquet file; its blocks are row groups."""

    what = "a Parquet file"

    def _reader(self, raw: pa.NativeFile) -> Any:
        return pq.ParquetFile(raw, page_checksum_verification=True)

    def _describe(self, file: Any) -> tuple[pa.Schema, list[int], list[int]]:
        groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
        n_bytes = [max(group.total_byte_size, 8 * group.num_rows * group.num_columns) for group in groups]
        return file.schema_arrow, [group.num_rows for group in groups], n_bytes

    def _read_block(self, file: Any, block: int, names: list[str] | None) -> pa.Table:
        return self._read_groups(file, [block], names, use_threads=False)

    def _read(self, file: Any, names: list[str] | None) -> pa.Table:
        return self._read_groups(file, list(range(file.metadata.num_row_groups)), names, use_threads=True)

    def _read_groups(self, file: Any, groups: list[int], names: list[str] | None, use_threads: bool) -> pa.Table:
        """Read row groups. Only the text itself tells how long it becomes, so it is read some rows at a time."""
        rows = self._safe_rows(file, groups, names)
        if rows >= sum(file.metadata.row_group(group).num_rows for group in groups):
            return file.read_row_groups(groups, names, use_threads=use_threads)
        batches, n_bytes = [], 0
        for batch in file.iter_batches(rows, groups, names, use_threads=use_threads):
            batches.append(batch)
            n_bytes += sum(column.nbytes for column in batch.columns if not pa.types.is_dictionary(column.type))
            self._check(n_bytes)
        return pa.Table.from_batches(batches).combine_chunks()

    def _safe_rows(self, file: Any, groups: list[int], names: list[str] | None) -> int:
        """Return how many rows keep to the budget, even if each text is the longest that is not stored for each row.

        Such are the texts of dictionaries, and those that begin like the text before.
        """
        columns = map(file.schema.column, range(len(file.schema)))
        places = {c.path: i for i, c in enumerate(columns) if c.physical_type == "BYTE_ARRAY"}
        places = {name: i for name, i in places.items() if names is None or name in names}
        if not places:
            return max_array_bytes()
        longest = dict.fromkeys(places, 0)
        encoded: dict[str, int] = {}
        for group in groups:
            # Reading raises an error if the metadata of a column are damaged; asking for them ends the process.
            next(file.iter_batches(1, [group], list(places)), None)
            for name, i in places.items():
                chunk = file.metadata.row_group(group).column(i)
                if "DELTA_BYTE_ARRAY" in chunk.encodings:
                    longest[name] = max(longest[name], chunk.total_uncompressed_size)
                elif chunk.has_dictionary_page:
                    encoded[name] = max(encoded.get(name, 0), chunk.total_uncompressed_size)
        stored = {name: size for name, size in encoded.items() if not longest[name]}
        for name, length in self._dictionary_lengths(file, groups, list(stored)):
            longest[name] = max(longest[name], stored[name] if length is None else length)
        return max(1, max_content_bytes(self.source.size) // (4 * max(1, sum(longest.values()))))

    def _dictionary_lengths(self, file: Any, groups: list[int], names: list[str]) -> Iterator[tuple[str, int | None]]:
        """Yield the longest text of the dictionary of each column in each row group, or None if none is found."""
        if not names:
            return
        with (
            self.source.open_native() as raw,
            pq.ParquetFile(raw, metadata=file.metadata, read_dictionary=names) as encoded,
        ):
            for group in groups:
                for row in itertools.islice(encoded.iter_batches(1, [group], names), 1):
                    for name, column in zip(row.schema.names, row.columns, strict=True):
                        yield name, int(_lengths(column.dictionary).max()) if len(column.dictionary) else None


class ArrowTable(ColumnarTable):
    """A table in an Arrow file (Feather 2); its blocks are record batches."""

    what = "an Arrow file"

    def _reader(self, raw: pa.NativeFile) -> Any:
        return pa.ipc.open_file(raw)

    def _describe(self, file: Any) -> tuple[pa.Schema, list[int], list[int]]:
        with self.source.open_raw() as raw:
            dictionaries, declared = batch_sizes(raw)
        self._check(sum(dictionaries) + sum(declared), in_pieces=True)
        sizes = []
        for i, size in enumerate(declared):
            self._check(sum(dictionaries) + size)
            batch = file.get_batch(i)
            batch.validate(full=True)
            sizes.append(batch.num_rows)
        n_bytes = [max(n, 8 * rows * len(file.schema)) for n, rows in zip(declared, sizes, strict=True)]
        return file.schema, sizes, n_bytes

    def _read_block(self, file: Any, block: int, names: list[str] | None) -> pa.Table:
        return pa.Table.from_batches([file.get_batch(block)])

    def _read(self, file: Any, names: list[str] | None) -> pa.Table:
        return file.read_all()


COLUMNAR_TABLES: dict[str, type[ColumnarTable]] = {"arrow": ArrowTable, "parquet": ParquetTable}
"""The tables by the kind of their file."""
