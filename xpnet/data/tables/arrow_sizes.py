"""What the batches of an Arrow file become in memory, from its metadata: reading a batch decompresses all of it.

The metadata are FlatBuffers, of which pyarrow shows neither the places of the batches nor the lengths of their buffers.
The tables read here are Footer (File.fbs), Message, RecordBatch and DictionaryBatch (Message.fbs), of
https://arrow.apache.org/docs/format/Columnar.html
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

__all__ = ["batch_sizes"]

_MAGIC = b"ARROW1"
_DICTIONARY_BATCH, _RECORD_BATCH = 2, 3  # kinds of messages


def batch_sizes(file: Any) -> tuple[list[int], list[int]]:
    """Return the bytes of each dictionary and of each record batch of a file, decompressed.

    Parameters
    ----------
    file : binary file
        An Arrow file that can be read at any position.

    Raises
    ------
    ValueError
        The metadata are damaged.
    """
    file.seek(0, 2)
    end = file.tell() - len(_MAGIC) - 4
    (length,) = struct.unpack("<i", _read(file, end, 4))
    footer = _Table.root(_read(file, end - length, length))
    dictionaries, records = ([_batch_size(file, block) for block in _blocks(footer, slot)] for slot in (2, 3))
    return dictionaries, records


def _blocks(footer: _Table, slot: int) -> Iterator[tuple[int, int]]:
    """Yield the position of each message, and of its body."""
    for position, metadata, _ in struct.iter_unpack("<qi4xq", footer.vector(slot, 24)):
        yield position, position + metadata


def _batch_size(file: Any, block: tuple[int, int]) -> int:
    position, body = block
    message = _Table.root(_read(file, position, body - position)[8:])  # behind a mark and the length
    batch = message.table(2)
    if message.number(1, "b") == _DICTIONARY_BATCH:
        batch = batch.table(1)
    elif message.number(1, "b") != _RECORD_BATCH:
        raise ValueError("expected a batch in a message; received another kind")
    buffers = list(struct.iter_unpack("<qq", batch.vector(2, 16)))
    if not batch.position_of(3):  # no compression
        return sum(length for _, length in buffers)
    # The decompressed length stands before each compressed buffer; -1: this one is not compressed.
    declared = ((length, _read(file, body + offset, 8)) for offset, length in buffers if length)
    return sum(max(length, *struct.unpack("<q", start)) for length, start in declared)


def _read(file: Any, position: int, size: int) -> bytes:
    if position < 0 or size < 0:
        raise ValueError("expected metadata within the file; received a position outside it")
    file.seek(position)
    data: bytes = file.read(size)
    if len(data) < size:
        raise ValueError("expected metadata within the file; received a position outside it")
    return data


class _Table(NamedTuple):
    """A table of FlatBuffers: fields by slot, of which some may be absent."""

    data: bytes
    start: int

    @classmethod
    def root(cls, data: bytes) -> _Table:
        return cls(data, *_unpack("<I", data, 0))

    def position_of(self, slot: int) -> int:
        """Return the position of a field, or 0 if it is absent."""
        vtable = self.start - _unpack("<i", self.data, self.start)[0]
        (size,) = _unpack("<H", self.data, vtable)
        offset = _unpack("<H", self.data, vtable + 4 + 2 * slot)[0] if 4 + 2 * slot < size else 0
        return self.start + offset if offset else 0

    def number(self, slot: int, code: str) -> int:
        position = self.position_of(slot)
        return int(_unpack(code, self.data, position)[0]) if position else 0

    def table(self, slot: int) -> _Table:
        position = self.position_of(slot)
        return _Table(self.data, position + _unpack("<I", self.data, position)[0])

    def vector(self, slot: int, size: int) -> bytes:
        """Return the elements of a vector of structures of `size` bytes."""
        position = self.position_of(slot)
        if not position:
            return b""
        position += _unpack("<I", self.data, position)[0]
        stop = position + 4 + size * _unpack("<I", self.data, position)[0]
        if stop > len(self.data):
            raise ValueError("expected whole metadata; received a vector that is longer")
        return self.data[position + 4 : stop]


def _unpack(code: str, data: bytes, position: int) -> tuple[Any, ...]:
    if not 0 <= position <= len(data) - struct.calcsize(code):
        raise ValueError("expected whole metadata; received an offset outside it")
    return struct.unpack_from(code, data, position)
