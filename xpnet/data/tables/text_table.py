"""Tables of text, parsed by pyarrow: in memory on several threads, or one block of rows at a time."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Iterator, Sequence
from typing import NoReturn

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from xpnet.data.readers.common import check_content, join_names, make_read_error, max_array_bytes
from xpnet.data.streams.file_array import make_changed_file_error
from xpnet.data.tables.byte_source import ByteSource, TextStream
from xpnet.data.tables.file_kinds import check_encoding, make_encoding_error
from xpnet.data.tables.parallel import map_in_threads
from xpnet.data.tables.text_format import TableOptions, check_options, find_encoding, find_format
from xpnet.data.tables.text_header import MISSING
from xpnet.data.tables.text_parser import TextParser
from xpnet.data.tables.text_rows import Quoted, find_quoted, row_bounds
from xpnet.errors import DataError

__all__ = ["TextTable"]

_SAMPLE_BYTES = 1 << 18
_MIN_ROWS = 4  # in a sample, if they are not too long

# The size of a block: small blocks mix well when they are shuffled, and with smaller ones the calls of the parser
# would cost more than the bytes. A block of a wide table holds some rows, because each column costs a call.
_BLOCK_BYTES, _BLOCK_BYTES_PER_COLUMN = 1 << 17, 1 << 8
# For reading in memory: large enough for the parser's pace, small enough to keep several threads busy.
_PIECE_BYTES = 1 << 20
_MAX_ROW_BYTES = 1 << 23


class TextTable:
    """A table of text in one file or on standard input.

    The text is cut into pieces at the ends of rows, and each piece is parsed alone. So the rows do not depend on the
    size of the pieces.

    Parameters
    ----------
    source : ByteSource
    options : TableOptions

    Attributes
    ----------
    schema : pyarrow.Schema
    has_header : bool
    duplicates : tuple of str
    """

    def __init__(self, source: ByteSource, options: TableOptions) -> None:
        options = check_options(options)
        self.source, self._path = source, source.path
        self._cursor: TextStream | None = None
        self._set_encoding(options.encoding)
        sample, self._is_whole = self._read_sample()
        try:
            found = find_format(sample, options)
        except DataError as exc:
            raise make_read_error(self._path, str(exc)) from exc
        if found is None:
            raise make_read_error(self._path, "empty file: expected rows of cells; received none")
        self.format, self._sample_bytes = found, len(sample)
        self._parser = TextParser(found, (*MISSING, *options.missing))
        self.schema, self.duplicates = self._parser.schema, self._parser.duplicates
        self.has_header, self.decimal = found.has_header, found.decimal
        _, end, following = next(row_bounds(sample, find_quoted(sample, found.delimiter)))
        self._newline = sample[end:following][-1:] or b"\n"
        self._sample_cells = sample.count(self._newline) * len(found.names)
        self._n_bytes: int | None = None
        self._blocks: NDArray[np.int64] | None = None  # (n_blocks, 3): position, bytes and rows of each

    def _set_encoding(self, encoding: str | None) -> None:
        found, mark = find_encoding(self.source.head(4096))
        name = found if encoding is None else check_encoding(encoding)
        # The codec utf-16, without an order of bytes, removes the mark itself.
        self.source.set_encoding(name, mark if name.startswith(found) else 0)

    def _read_sample(self) -> tuple[bytes, bool]:
        """Return the first rows, and whether they are all."""
        size, data, is_whole = _SAMPLE_BYTES, b"", False
        with self.source.open() as stream:
            while not is_whole and (data.count(b"\n") or data.count(b"\r")) < _MIN_ROWS and len(data) < size:
                part = stream.read(size - len(data))
                data += part
                is_whole = len(data) < size
                size = min(2 * size, _MIN_ROWS * _MAX_ROW_BYTES)
        self._check_zeros(0, data)
        for line, text in enumerate(data.splitlines(), 1):
            if len(text) > _MAX_ROW_BYTES:
                self._refuse_long_row(line)
        if not is_whole:
            data = data[: max(data.rfind(b"\n"), data.rfind(b"\r")) + 1] or data
        try:
            data.decode()
        except UnicodeDecodeError as exc:
            if is_whole or exc.end < len(data):
                raise make_encoding_error(self._path, data, 1, "utf-8") from exc
            data = data[: exc.start]
        return data, is_whole

    # Blocks

    def block_sizes(self) -> NDArray[np.int64]:
        """Return the number of rows in each block. The first call reads and checks the text."""
        return self._find_blocks()[:, 2]

    def _find_blocks(self) -> NDArray[np.int64]:
        if self._blocks is None:
            size = max(_BLOCK_BYTES, _BLOCK_BYTES_PER_COLUMN * len(self.format.names))
            found = map_in_threads(self._measure, self._pieces(size))
            blocks = np.asarray([block for block in found if block[2]], dtype=np.int64).reshape(-1, 3)
            self._refuse_no_rows(len(blocks))
            self._blocks = blocks
        return self._blocks

    def read_block(self, block: int, columns: Sequence[int] | None = None) -> pa.Table:
        """Return the rows of a block, with some of the columns."""
        offset, length = self._find_blocks()[block, :2].tolist()
        self.source.check_size()
        if self.source.is_sequential:
            if self._cursor is None or self._cursor.position > offset:
                if self._cursor is not None:
                    self._cursor.close()
                self._cursor = self.source.open()
                weakref.finalize(self, self._cursor.close)
            self._cursor.skip(offset - self._cursor.position)
            data = self._cursor.read(length)
        else:
            with self.source.open(offset) as stream:
                data = stream.read(length)
        if len(data) < length:
            raise make_changed_file_error(self._path, length, len(data))
        return self._parse((offset, data), columns)

    def read(self, columns: Sequence[int] | None = None) -> pa.Table:
        """Return all rows, with some of the columns."""
        size = max(_PIECE_BYTES, _BLOCK_BYTES_PER_COLUMN * len(self.format.names))
        tables: list[pa.Table] = []
        n_bytes = 0
        for table in map_in_threads(lambda piece: self._parse(piece, columns), self._pieces(size)):
            tables.append(table)
            n_bytes += table.nbytes
            check_content(self._path, n_bytes, self.source.size)
        self._refuse_no_rows(sum(table.num_rows for table in tables))
        return pa.concat_tables(tables)

    def reader(self) -> TextTable:
        """Return an independent reader of the same table."""
        other = copy.copy(self)
        other._cursor = None
        return other

    @property
    def n_bytes(self) -> int:
        """The memory of the table in bytes: the text, and the positions of its cells, estimated by the first rows.

        Compressed text is read once for that.
        """
        if self._n_bytes is None:
            size = self._sample_bytes if self._is_whole else self.source.size
            if not self._is_whole and self.source.is_sequential:
                with self.source.open() as stream:
                    stream.skip(max_array_bytes())
                    size = stream.position
            self._n_bytes = int(size * (1 + 4 * self._sample_cells / self._sample_bytes))
        return self._n_bytes

    def where(self, row: int) -> str:
        """Return the line at which a row begins, counted from 1, as ``"line 139"``."""
        blocks = self._find_blocks()
        ends = np.cumsum(blocks[:, 2])
        block = int(np.searchsorted(ends, row, "right"))
        offset, length, within = int(blocks[block, 0]), int(blocks[block, 1]), row - int(ends[block] - blocks[block, 2])
        with self.source.open(offset) as stream:
            data = stream.read(length)
        quoted = find_quoted(data, self.format.delimiter)
        rows = [start for start, end, _ in row_bounds(data, quoted) if not self._parser.is_blank(data[start:end])]
        return f"line {self._line(offset) + self._count_lines(data[: rows[within]])}"

    # Pieces

    def _pieces(self, size: int) -> Iterator[tuple[int, bytes]]:
        """Yield the position and the bytes of pieces that end where a row ends, each of about `size` bytes."""
        offset, rest, wanted = self.format.start, b"", max(size, _PIECE_BYTES)
        with self.source.open(offset) as stream:
            while True:
                part = stream.read(wanted)
                self._check_zeros(offset + len(rest), part)
                data, begin = rest + part, 0
                quoted = find_quoted(data, self.format.delimiter)
                while (end := self._end_of_row(data, begin + size, quoted)) is not None:
                    yield offset + begin, data[begin:end]
                    begin = end
                if len(part) < wanted:
                    if quoted.is_open:
                        self._refuse_open_quote(offset, data, quoted)
                    if begin < len(data):
                        yield offset + begin, data[begin:]
                    return
                rest, offset = data[begin:], offset + begin
                wanted = max(size, _PIECE_BYTES) if begin else 2 * wanted  # else a long row would be searched often
                if len(rest) > _MAX_ROW_BYTES:
                    if quoted.is_open:
                        self._refuse_open_quote(offset, rest, quoted)
                    self._refuse_long_row(self._line(offset))

    def _end_of_row(self, data: bytes, position: int, quoted: Quoted) -> int | None:
        """Return the first end of a row at which a piece of text reaches a position, or None if there is none."""
        position -= 1
        while (newline := data.find(self._newline, position)) >= 0:
            if (end := quoted.end_around(newline)) is None:
                return newline + 1
            position = end
        return None

    def _measure(self, piece: tuple[int, bytes]) -> tuple[int, int, int]:
        rows = int(self._parse(piece, [0]).num_rows)
        if not piece[1].isascii():  # pyarrow decodes only the columns that it returns
            self._decode(*piece)
        return piece[0], len(piece[1]), rows

    def _decode(self, offset: int, data: bytes) -> None:
        """Check that a piece is UTF-8."""
        try:
            data.decode()
        except UnicodeDecodeError as exc:
            raise make_encoding_error(self._path, data, self._line(offset), "utf-8") from exc

    def _parse(self, piece: tuple[int, bytes], columns: Sequence[int] | None) -> pa.Table:
        """Parse a piece; errors name the line."""
        offset, data = piece
        try:
            return self._parser.parse(data, columns)
        except DataError as exc:
            self._decode(offset, data)
            found = self._parser.find_fault(data)
            if found is None:
                raise make_read_error(self._path, f"from line {self._line(offset)} on: {exc}") from exc
            position, message = found
            line = self._line(offset) + self._count_lines(data[:position])
            raise make_read_error(self._path, f"line {line}: {message}") from exc

    # Errors

    def _line(self, offset: int) -> int:
        """Return the number of the line at a position, counted from 1; the text before it is read for that."""
        lines, left = 1, offset
        with self.source.open() as stream:
            while left > 0 and (data := stream.read(min(left, _PIECE_BYTES))):
                lines, left = lines + self._count_lines(data), left - len(data)
        return lines

    def _count_lines(self, data: bytes) -> int:
        return data.count(self._newline)

    def _check_zeros(self, offset: int, data: bytes) -> None:
        if (position := data.find(0)) < 0:
            return
        self._newline = b"\n"
        if data.count(0) > len(data) // 100 + 1:
            raise make_read_error(
                self._path, "expected a table as text, Parquet or Arrow; received binary data (NUL bytes)"
            )
        line = self._line(offset) + data.count(b"\n", 0, position)
        raise make_read_error(
            self._path, f"line {line}: expected text; received a NUL byte; remove it, or convert the file to text"
        )

    def _refuse_no_rows(self, rows: int) -> None:
        if not rows:
            names = join_names(self.schema.names)
            raise make_read_error(
                self._path,
                f"no samples: expected rows below the header; received only {names}; is it no header? (--no-header)",
            )

    def _refuse_open_quote(self, offset: int, data: bytes, quoted: Quoted) -> NoReturn:
        line = self._line(offset) + self._count_lines(data[: quoted.last_opening])
        raise make_read_error(
            self._path, f"line {line}: open quote: expected a closing quote; received the end of the file; close it"
        )

    def _refuse_long_row(self, line: int) -> NoReturn:
        raise make_read_error(
            self._path,
            f"line {line}: too long: expected a row of at most {_MAX_ROW_BYTES >> 20} MiB; received a longer one; is "
            "this a table?",
        )
