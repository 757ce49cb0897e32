"""The bytes of a file: which kind of file it is, and its text as UTF-8, decompressed and decoded."""

from __future__ import annotations

import codecs
import io
import os
import sys
from pathlib import Path
from typing import IO, Any

from xpnet.data.readers.common import check_content, make_read_error, max_array_bytes, read_bounded, reading
from xpnet.data.streams.file_array import make_changed_file_error
from xpnet.data.tables.file_kinds import COMPRESSIONS, kind_of, make_encoding_error, refuse_kind
from xpnet.files import open_file

__all__ = ["ByteSource", "TextStream"]

_CHUNK = 1 << 20


class ByteSource:
    """The text of a file or of standard input as UTF-8, without a byte order mark.

    Parameters
    ----------
    path : Path
        The file, or ``-`` for standard input, which is read at once and kept.

    Attributes
    ----------
    kind : str
        See `kind_of`; of a compressed file, the kind of its content.
    size : int
        The bytes of the file as it lies on the disk.
    is_sequential : bool
        Whether the text can only be read in order: it is compressed, or in an encoding other than UTF-8.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._data, self.encoding, self._mark = path, None, "utf-8", 0
        if str(path) == "-":
            limit = max_array_bytes()
            if sys.stdin is None:
                raise make_read_error(path, "closed: expected a table on standard input")
            self._data = bytes(read_bounded(sys.stdin.buffer, limit + 1))
            self.size = len(self._data)
            if self.size > limit:
                raise make_read_error(path, f"too large: expected at most {limit / 2**30:.3g} GiB; give a file instead")
        with reading(path), self.open_raw(check=False) as file:
            head = file.read(4096)
            self.size = file.seek(0, os.SEEK_END)
        self.kind, self.compression = kind_of(path, head), None
        if self.kind in COMPRESSIONS.values():
            self.compression = self.kind
            with self.open_raw() as file:
                self.kind = kind_of(Path(path.stem), self._read(self._decompressed(file), 4096))
            if self.kind in ("parquet", "arrow"):
                raise make_read_error(
                    path, "expected text in a compressed file; received Parquet or Arrow; decompress it"
                )
        refuse_kind(path, self.kind)

    @property
    def is_sequential(self) -> bool:  # noqa: D102
        return self.compression is not None or self.encoding != "utf-8"

    def open_raw(self, check: bool = True) -> IO[bytes]:
        """Open the file as it lies on the disk.

        Raises
        ------
        DataError
            The file cannot be opened, or its size has changed.
        """
        if self._data is not None:
            return io.BytesIO(self._data)
        with reading(self.path):
            file = open_file(self.path, buffering=0)
            size = os.fstat(file.fileno()).st_size
        if check and size != self.size:
            file.close()
            raise make_changed_file_error(self.path, self.size, size)
        return file

    def open_native(self) -> Any:
        """Open the file for pyarrow, as `open_raw` does."""
        import pyarrow as pa

        self.check_size()
        with reading(self.path):
            return pa.OSFile(str(self.path)) if self._data is None else pa.BufferReader(self._data)

    def check_size(self) -> None:
        """Check that the file has the size that it had at the start.

        Raises
        ------
        DataError
        """
        self.open_raw().close()

    def set_encoding(self, encoding: str, mark: int) -> None:
        """Set the encoding, and the length of the byte order mark in bytes."""
        self.encoding = "utf-8" if encoding in ("ascii", "utf-8-sig") else encoding
        self._mark = mark

    def head(self, size: int) -> bytes:
        """Return the first bytes, decompressed but not decoded."""
        with self.open_raw() as file:
            return self._read(self._decompressed(file), size)

    def open(self, offset: int = 0) -> TextStream:
        """Return a stream of the text from a position on."""
        file = self.open_raw()
        if not self.is_sequential:
            file.seek(self._mark + offset)
            return TextStream(self, file, file)
        stream = TextStream(self, file, self._decompressed(file))
        self._read(stream.raw, self._mark)
        stream.skip(offset)
        return stream

    def _decompressed(self, file: IO[bytes]) -> Any:
        import pyarrow as pa

        return file if self.compression is None else pa.CompressedInputStream(file, self.compression)

    def _read(self, stream: Any, size: int) -> bytes:
        """Read as many bytes as there are, at most `size`."""
        damage = (OSError,) if self.compression else ()
        data = bytearray()
        with reading(self.path, damage, f"damaged {self.compression} file ({{}})"):
            while len(data) < size and (part := stream.read(size - len(data))):
                data += part
        return bytes(data)


class TextStream:
    """A text that is read in order, as UTF-8.

    Attributes
    ----------
    position : int
        The bytes that were read.
    """

    def __init__(self, source: ByteSource, file: IO[bytes], raw: Any) -> None:
        self.source, self.raw, self.position = source, raw, 0
        self._file, self._pending, self._lines = file, b"", 1
        self._decoder = None if source.encoding == "utf-8" else codecs.getincrementaldecoder(source.encoding)()

    def read(self, size: int) -> bytes:
        """Return the next bytes; fewer than `size` only at the end of the text."""
        data = self.source._read(self.raw, size) if self._decoder is None else self._decode(size)
        self.position += len(data)
        check_content(self.source.path, self.position, self.source.size, "text", in_pieces=True)
        return data

    def _decode(self, size: int) -> bytes:
        assert self._decoder is not None
        encoded, is_end = bytearray(self._pending), False
        while len(encoded) < size and not is_end:
            data = self.source._read(self.raw, _CHUNK)
            is_end = not data
            try:
                text = self._decoder.decode(data, final=is_end)
                encoded += text.encode()
            except UnicodeError as exc:
                raise make_encoding_error(self.source.path, data, self._lines, self.source.encoding) from exc
            self._lines += text.count("\n")
        self._pending = bytes(encoded[size:])
        return bytes(encoded[:size])

    def skip(self, size: int) -> None:
        """Read and forget bytes."""
        while size > 0 and (part := self.read(min(size, _CHUNK))):
            size -= len(part)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> TextStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
