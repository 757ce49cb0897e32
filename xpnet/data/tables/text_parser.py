"""The parser of a piece of text: pyarrow's CSV reader, then blanks and missing markers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv

from xpnet.data.tables.text_format import DELIMITERS, TextFormat
from xpnet.data.tables.text_rows import BLANKS, ONE_COLUMN, find_quoted, normalize, row_bounds, split_cells, unquote
from xpnet.errors import DataError

__all__ = ["TextParser"]

_TRIMMED = " \t\r\n\u00a0"
_NO_BREAK_SPACE = "\u00a0".encode()
_NAMES = {"\t": "a tab", " ": "blanks", ONE_COLUMN: "none (one column)"}


class TextParser:
    """Parse pieces of text into tables of strings.

    Parameters
    ----------
    text_format : TextFormat
    missing : sequence of str
        Markers of missing values.

    Attributes
    ----------
    schema : pyarrow.Schema
        The columns that are kept: the first one of each name.
    duplicates : tuple of str
        The names of the others.
    """

    def __init__(self, text_format: TextFormat, missing: Sequence[str]) -> None:
        self._format = text_format
        self._missing = list(missing)
        self._delimiter = "\t" if text_format.delimiter == BLANKS else text_format.delimiter
        self._blanks = b" " if self._delimiter == "\t" else b" \t"
        first: dict[str, int] = {}
        duplicates: dict[str, None] = {}
        for i, name in enumerate(_fill_names(text_format.names[: -1 if text_format.ends_with_delimiter else None])):
            if first.setdefault(name, i) != i:
                duplicates[name] = None
        self._keys = [str(i) for i in range(len(text_format.names))]
        self._kept = list(first.values())
        self.duplicates = tuple(duplicates)
        metadata = {b"decimal": b","} if text_format.decimal == "," else None
        self.schema = pa.schema([pa.field(name, pa.string()) for name in first], metadata=metadata)
        self._options = lru_cache(maxsize=8)(self._make_options)

    def parse(self, data: bytes, columns: Sequence[int] | None = None) -> pa.Table:
        """Parse rows; columns are counted among those kept.

        Raises
        ------
        DataError
            A row has another number of cells than the first one, or the text is not UTF-8.
        """
        wanted = range(len(self._kept)) if columns is None else columns
        schema = self.schema
        if columns is not None:
            schema = pa.schema([schema.field(i) for i in columns], schema.metadata)
        normal = normalize(data, self._format.delimiter)
        if not normal.strip(b"\r\n" if self._delimiter == ONE_COLUMN else b"\r\n" + self._blanks):
            return schema.empty_table()
        read = csv.ReadOptions(column_names=self._keys, block_size=len(normal) + 1, use_threads=False)
        convert = self._options(tuple(wanted))
        try:
            table = csv.read_csv(pa.BufferReader(normal), read, self._parse_options(), convert)
        except pa.ArrowInvalid as exc:
            raise DataError(str(exc).partition("\n")[0]) from exc
        if self._format.ends_with_delimiter and self._trim(table.column(len(wanted))).null_count < table.num_rows:
            raise DataError("a cell behind the last delimiter")
        arrays = table.columns[: len(wanted)]
        if self._may_have_blanks(normal):
            arrays = [self._trim(array) for array in arrays]
        return pa.Table.from_arrays(arrays, schema=schema)

    def _make_options(self, columns: tuple[int, ...]) -> csv.ConvertOptions:
        included = [self._keys[self._kept[i]] for i in columns]
        if self._format.ends_with_delimiter:
            included.append(self._keys[-1])
        return csv.ConvertOptions(
            column_types=dict.fromkeys(included, pa.string()),
            include_columns=included,
            null_values=self._missing,
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
        )

    def _parse_options(self) -> csv.ParseOptions:
        return csv.ParseOptions(
            delimiter=self._delimiter,
            newlines_in_values=True,
            invalid_row_handler=lambda row: "error" if row.text.strip(self._blanks.decode()) else "skip",
        )

    def is_blank(self, row: bytes) -> bool:
        """Return whether a row is passed over: it has no cells, or only blanks where several cells are expected."""
        return not (row if self._format.delimiter == ONE_COLUMN else row.strip(self._blanks))

    def _may_have_blanks(self, data: bytes) -> bool:
        """Return whether some cell may begin or end with a character that is trimmed; to look for it is faster."""
        if _NO_BREAK_SPACE in data:
            return True
        text = np.frombuffer(b"\n" + data + b"\n", np.uint8)
        edges = self._delimiter.encode() + b'\r\n"'
        if any(char in data and _is_beside(text, char, edges) for char in self._blanks):
            return True
        within_quotes = b"\r\n\t" if b'"' in data else b""
        return any(char in data and _is_beside(text, char, b'"') for char in within_quotes)

    def _trim(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        trimmed = pc.utf8_trim(column, characters=_TRIMMED)
        if pc.sum(pc.binary_length(trimmed)) == pc.sum(pc.binary_length(column)):
            return column
        missing = pc.is_in(trimmed, value_set=pa.array(self._missing, pa.string()))
        return pc.if_else(missing, pa.scalar(None, pa.string()), trimmed)

    def find_fault(self, data: bytes) -> tuple[int, str] | None:
        """Return the position of the first row that has another number of cells than names, and what is wrong."""
        delimiter, expected = self._format.delimiter, len(self._keys)
        for start, end, _ in row_bounds(data, find_quoted(data, delimiter)):
            if self.is_blank(data[start:end]):
                continue
            text = data[start:end].decode(errors="replace")
            cells = split_cells(text, delimiter)
            if len(cells) != expected:
                return start, self._describe(text, len(cells))
            if self._format.ends_with_delimiter and unquote(cells[-1]) not in self._missing:
                return start, (
                    f"uneven rows: expected {expected - 1} cells and a delimiter, as in the rows before; received "
                    f"{expected} cells"
                )
        return None

    def _describe(self, row: str, received: int) -> str:
        own = self._format
        message = f"uneven rows: expected {len(own.names)} cells, as in the first row; received {received}"
        name = _NAMES.get(own.delimiter, repr(own.delimiter))
        for other in DELIMITERS:
            n = len(split_cells(own.first_row, other))
            if other != own.delimiter and n > 1 and n == len(split_cells(row, other)):
                other = _NAMES.get(other, repr(other))
                return f"{message}, with {name} between cells; with {other}, both have {n}: give it (--delimiter)"
        return f"{message}, with {name} between cells"


def _fill_names(names: Sequence[str]) -> list[str]:
    """Name the columns without a name as pandas does, except the first one, which usually holds row numbers."""
    return [name or (f"Unnamed: {i}" if i else "") for i, name in enumerate(names)]


def _is_beside(text: NDArray[np.uint8], char: int, others: bytes) -> bool:
    """Return whether a character, which is neither the first nor the last, stands beside one of the others."""
    among = np.zeros(256, bool)
    among[list(others)] = True
    places = np.flatnonzero(text[1:-1] == char) + 1
    return bool(among[text[places - 1]].any() or among[text[places + 1]].any())
