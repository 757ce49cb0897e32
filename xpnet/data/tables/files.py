"""Tables in files, in folders of files and on standard input: from a path to record batches, in memory or in pieces."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from xpnet.data.readers.common import join_names, make_read_error, reading
from xpnet.data.tables.byte_source import ByteSource
from xpnet.data.tables.parallel import check_threads
from xpnet.data.tables.paths import COLUMNAR_KINDS, STANDARD_INPUT, TABLE_SUFFIXES, find_files, find_suffix, is_table
from xpnet.data.tables.text_format import TableOptions
from xpnet.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

    from xpnet.data.tables.columnar import ColumnarTable
    from xpnet.data.tables.text_table import TextTable

    Part: TypeAlias = TextTable | ColumnarTable

__all__ = ["STANDARD_INPUT", "TABLE_SUFFIXES", "TableFile", "TableOptions", "is_table"]


class TableFile:
    """A table in a file, a folder of files of one kind, or standard input (``-``), which is read once.

    Text stays text: each column is a string, without blanks around it, and missing values are null. Columns of Parquet
    and Arrow files keep their types.

    Parameters
    ----------
    path : str or Path
    options : TableOptions
        What is not to be found from the file.

    Attributes
    ----------
    name : str
        For messages and run folders.
    schema : pyarrow.Schema
        The columns, whose names are unique. Its metadata say ``decimal`` = ``,`` if that is the decimal sign of the
        text.
    has_header : bool
        If False, the columns are called 1, 2, ...
    duplicates : tuple of str
        Names that occur more than once. Only the first column of each is read.
    is_sequential : bool
        Whether blocks can only be read in order, because the text is compressed or not in UTF-8. A block that was
        passed is read by starting again.

    Raises
    ------
    DataError
        The file is missing, damaged or no table. The message begins with its path.
    InvalidParameterError
        An option has an invalid value.
    """

    def __init__(self, path: str | Path, options: TableOptions = TableOptions()) -> None:  # noqa: B008
        self.path = Path(path)
        with reading(self.path):
            is_input, is_folder = str(self.path) == STANDARD_INPUT, self.path.is_dir()
            is_file, exists = self.path.is_file(), is_folder or self.path.exists()
        if not exists and not is_input:
            raise make_read_error(self.path, "no such file or folder: expected a table")
        if not (is_folder or is_file or is_input):
            raise make_read_error(
                self.path, "not a regular file: expected a file or a folder; send a pipe to standard input and give -"
            )
        try:
            check_threads()
        except DataError as exc:
            raise make_read_error(self.path, str(exc)) from exc
        suffix = find_suffix(self.path) or self.path.suffix
        self.name = "stdin" if is_input else self.path.name if is_folder else self.path.name.removesuffix(suffix)
        self.name = self.name or self.path.resolve().name
        self._parts: list[Part] = []
        for file in find_files(self.path) if is_folder else [self.path]:
            self._parts.append(_open_part(file, options))
            if len(self._parts) == 1:  # the first file tells what to expect of the others
                first = self._parts[0]
                names = options.names.union(first.schema.names) if first.has_header else options.names
                options = replace(options, header=options.header if first.has_header else False, names=names)
        if not self._parts:
            raise make_read_error(self.path, f"no tables: expected files ending in {join_names(TABLE_SUFFIXES)}")
        self._schemas = [part.schema for part in self._parts]
        self.schema = _unite(self._parts)
        self.has_header, self.duplicates = self._parts[0].has_header, self._parts[0].duplicates
        self.is_sequential = any(part.source.is_sequential for part in self._parts)
        self._index = {name: i for i, name in enumerate(self.schema.names)}

    @property
    def n_bytes(self) -> int:
        """The memory of the table in bytes, estimated before it is read."""
        return sum(part.n_bytes for part in self._parts)

    def block_sizes(self) -> NDArray[np.int64]:
        """Return the number of rows in each block: of a Parquet file its row groups, of an Arrow file its batches.

        Text is read once for that, and checked.

        Returns
        -------
        ndarray of int64, shape (n_blocks,)

        Raises
        ------
        DataError
            The text has uneven rows, or there are no rows.
        """
        return np.concatenate([part.block_sizes() for part in self._parts])

    def read_block(self, block: int, columns: Sequence[str] | None = None) -> pa.Table:
        """Return the rows of a block.

        Parameters
        ----------
        block : int
        columns : sequence of str, optional
            The columns in the order in which they are returned; the default is all.

        Raises
        ------
        DataError
            A column is missing or not of single values, the file is damaged, or it has changed.
        """
        part, own = self._locate(block, [len(part.block_sizes()) for part in self._parts])
        return self._finish(self._parts[part].read_block(own, self._columns_of(part, columns)), columns)

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return all rows: the blocks one after the other.

        Parameters
        ----------
        columns : sequence of str, optional
            The columns in the order in which they are returned; the default is all.

        Raises
        ------
        DataError
            As for `read_block`; also if the table does not fit into memory.
        """
        import pyarrow as pa

        parts = (part.read(self._columns_of(i, columns)) for i, part in enumerate(self._parts))
        return pa.concat_tables([self._finish(table, columns) for table in parts])

    def where(self, row: int) -> str:
        """Return the place of a row, which is counted from 0: ``"line 139"`` of text, otherwise ``"row 138"``."""
        part, own = self._locate(row, [int(part.block_sizes().sum()) for part in self._parts])
        place = self._parts[part].where(own)
        return place if len(self._parts) == 1 else f"{self._parts[part].source.path.name}, {place}"

    def reader(self) -> TableFile:
        """Return an independent reader of the same table, so that two threads can read at the same time."""
        other = copy.copy(self)
        other._parts = [part.reader() for part in self._parts]
        return other

    def _locate(self, index: int, sizes: Sequence[int]) -> tuple[int, int]:
        """Return the file that an index lies in, and its index there."""
        ends = np.cumsum(sizes)
        part = int(np.searchsorted(ends, index, "right"))
        return part, index - int(ends[part] - sizes[part])

    def _columns_of(self, part: int, columns: Sequence[str] | None) -> list[int] | None:
        """Return the indices of columns in a file; None for all in their own order."""
        own = self._schemas[part].names
        if columns is None and own == self.schema.names:
            return None
        index = self._index if part == 0 else {name: i for i, name in enumerate(own)}
        wanted = self.schema.names if columns is None else columns
        if missing := [name for name in wanted if name not in index]:
            raise make_read_error(
                self.path, f"missing columns: expected {join_names(missing)}; received {join_names(own)}"
            )
        return [index[name] for name in wanted]

    def _finish(self, table: pa.Table, columns: Sequence[str] | None) -> pa.Table:
        """Give a table of one file the types of all."""
        import pyarrow as pa

        if len(self._parts) == 1:
            return table
        fields = self.schema if columns is None else [self.schema.field(name) for name in columns]
        return table.cast(pa.schema(fields, self.schema.metadata))


def _open_part(path: Path, options: TableOptions) -> Part:
    """Open one file by its content; a file that is called Parquet or Arrow must be one."""
    source = ByteSource(path)
    kind = source.kind if source.kind in COLUMNAR_KINDS.values() else COLUMNAR_KINDS.get(path.suffix.lower())
    if kind is None:
        from xpnet.data.tables.text_table import TextTable

        return TextTable(source, options)
    from xpnet.data.tables.columnar import COLUMNAR_TABLES

    return COLUMNAR_TABLES[kind](source)


def _unite(parts: Sequence[Part]) -> pa.Schema:
    """Return the common schema of files.

    Raises
    ------
    DataError
        A file has other columns than the first one, other types, or another decimal sign.
    """
    import pyarrow as pa

    first = parts[0]
    names, schema = set(first.schema.names), first.schema
    for part in parts[1:]:
        path, own = part.source.path, set(part.schema.names)
        wrong = (("missing", names - own), ("extra", own - names))
        if differing := [f"{what} {join_names(sorted(some), 8)}" for what, some in wrong if some]:
            raise make_read_error(
                path, f"columns: expected those of {first.source.path.name}; received {' and '.join(differing)}"
            )
        fields = pa.schema([part.schema.field(name) for name in schema.names])
        try:
            schema = pa.unify_schemas([schema, fields], promote_options="permissive")
        except pa.ArrowException as exc:
            raise make_read_error(path, f"types: expected those of {first.source.path.name}; {exc}") from exc
    signs = {part.decimal: part.source.path for part in parts if part.decimal is not None}
    if len(signs) > 1:
        raise make_read_error(
            signs[","], f"decimal sign: expected a point, as in {signs['.'].name}; received commas; give --decimal"
        )
    return schema.with_metadata({b"decimal": b","} if "," in signs else None)
