"""Arrays in files whose rows can be read in any order.

The rows are read with ordinary reads instead of a memory map, for two reasons. If a mapped file becomes shorter, the
process dies by SIGBUS; and the pages that were read count as memory of the process.
"""

from __future__ import annotations

import math
from io import FileIO
from pathlib import Path
from typing import Any, cast

import numpy as np

from xpnet.data.readers.common import Array, make_read_error, reading
from xpnet.data.readers.npy import as_text
from xpnet.errors import DataError
from xpnet.files import open_file

__all__ = ["CompressedArray", "FileArray", "make_changed_file_error"]


class FileArray:
    """An array of numbers or text in a file, whose rows are contiguous.

    Parameters
    ----------
    path : Path
    offset : int
        The position of its first byte.
    shape : tuple of int
    dtype : dtype
        The type in the file; the rows that are read are in the machine's byte order.
    """

    def __init__(self, path: Path, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.path, self.shape = path, shape
        self.dtype = dtype.newbyteorder("=")
        self._stored, self._offset = dtype, offset
        self._row_bytes = math.prod(shape[1:]) * dtype.itemsize
        self._file_bytes = path.stat().st_size

    def __getitem__(self, rows: slice) -> Array:
        start, stop, _ = rows.indices(self.shape[0])
        array = np.empty((stop - start, *self.shape[1:]), self._stored)
        with reading(self.path), cast(FileIO, open_file(self.path, buffering=0)) as file:
            size = file.seek(0, 2)
            file.seek(self._offset + start * self._row_bytes)
            data, done = array.reshape(-1).view(np.uint8), 0
            while size == self._file_bytes and done < array.nbytes and (n := file.readinto(data[done:].data)):
                done += n
        if size != self._file_bytes or done < array.nbytes:
            raise make_changed_file_error(self.path, self._file_bytes, size)
        return as_text(self.path, array) if self.dtype.kind in "US" else array.astype(self.dtype, copy=False)


class CompressedArray:
    """The shape and the type of an array that cannot be read in pieces; reading rows raises `error`."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], error: DataError) -> None:
        self.shape, self.dtype, self._error = shape, dtype, error

    def __getitem__(self, rows: slice) -> Array:
        raise self._error


def make_changed_file_error(path: Path, expected: int, received: int) -> DataError:
    """Return the error for a file whose size in bytes changed during a run."""
    return make_read_error(
        path,
        f"changed while it was read: expected {expected} bytes, as at the start; received {received}; "
        "leave the data alone during a run",
    )
