"""Arrays in files, ``.npy``, stored ``.npz`` members and IDX, of which any rows can be read.

They are read at their place, not mapped: of a mapped file that gets shorter the process dies by SIGBUS, and what was
read of it counts as the process's memory.
"""

from __future__ import annotations

import gzip
import math
import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from xpnet.data.readers.arrays import BROKEN, array_header, as_text, broken, choose_members, target_path
from xpnet.data.readers.common import Array, Request, listed, read_error
from xpnet.data.readers.idx import IDX_NAMES, find_idx, idx_header
from xpnet.data.streams.source import ArraySource, Source
from xpnet.errors import DataError

__all__ = ["FileArray", "open_idx_folder", "open_npy", "open_npz"]


class FileArray:
    """An array of numbers or text that lies in a file, row by row.

    Parameters
    ----------
    path : Path
    offset : int
        Where it begins.
    shape : tuple of int
    dtype : dtype
        As it is stored; rows come in the machine's byte order.
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
        try:
            with self.path.open("rb", buffering=0) as stream:
                size = stream.seek(0, 2)
                stream.seek(self._offset + start * self._row_bytes)
                data, done = array.reshape(-1).view(np.uint8), 0
                while size == self._file_bytes and done < array.nbytes and (n := stream.readinto(data[done:].data)):
                    done += n
        except OSError as exc:
            raise read_error(self.path, f"cannot be read: {exc.strerror or exc}") from exc
        if size != self._file_bytes or done < array.nbytes:
            raise read_error(
                self.path,
                f"changed while it was read: expected {self._file_bytes} bytes, as at the start; received {size}; "
                "leave the data alone during a run",
            )
        return as_text(self.path, array) if self.dtype.kind in "US" else array.astype(self.dtype, copy=False)


class _Compressed:
    """The shape of an array that cannot be read in pieces."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], refusal: DataError) -> None:
        self.shape, self.dtype, self._refusal = shape, dtype, refusal

    def __getitem__(self, rows: slice) -> Array:
        raise self._refusal


def open_npy(path: Path, target: str | None) -> Source:
    """Open features in one file and targets in another, found as `read_npy` finds them."""
    other = target_path(path, Request(training=True, target=target))
    assert other is not None
    source = ArraySource(_npy(path), _npy(other), str(path))
    source.target_name = other.name
    return source


def _npy(path: Path) -> FileArray:
    try:
        with path.open("rb") as stream:
            return _array(path, stream, path.stat().st_size, 0, path.name)
    except DataError:
        raise
    except OSError as exc:
        raise read_error(path, f"cannot be read: {exc.strerror or exc}") from exc
    except BROKEN as exc:
        raise broken(path, "an .npy file", exc) from exc


def _array(path: Path, stream: Any, size: int, offset: int, name: str) -> FileArray:
    shape, fortran_order, dtype = array_header(path, stream, size)
    if fortran_order and len(shape) > 1:
        raise read_error(
            path, f"{name}: expected an array stored row by row; received columns; save it with np.ascontiguousarray"
        )
    return FileArray(path, offset + stream.tell(), shape, dtype)


def open_npz(path: Path, target: str | None) -> tuple[Source, Source | None]:
    """Open stored members; the second source is the test part, where there is one."""
    try:
        with zipfile.ZipFile(path) as archive:
            keys, members = choose_members(path, archive, Request(training=True, target=target))
            arrays = [None if key is None else _member(path, archive, members[key]) for key in keys]
    except DataError:
        raise
    except OSError as exc:
        raise read_error(path, f"cannot be read: {exc.strerror or exc}") from exc
    except BROKEN as exc:
        raise broken(path, "an .npz archive", exc) from exc
    x, y, x_test, y_test = arrays
    source = ArraySource(x, y, str(path))
    source.target_name = keys[1]
    return source, None if x_test is None else ArraySource(x_test, y_test, f"{path}, test part")


def _member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> FileArray | _Compressed:
    if info.compress_type != zipfile.ZIP_STORED:
        with archive.open(info) as stream:
            shape, _, dtype = array_header(path, stream, info.file_size)
        return _Compressed(
            shape,
            dtype,
            read_error(
                path,
                f"array {info.filename!r}: expected it stored, to be read in pieces; received it compressed; "
                "save it with np.savez, or raise the memory limit",
            ),
        )
    with path.open("rb") as raw:  # the local header's name and extra field tell where the data begin
        raw.seek(info.header_offset)
        header = raw.read(30)
        if len(header) < 30 or header[:4] != b"PK\3\4":
            raise read_error(path, f"array {info.filename!r}: expected a local header; received other bytes")
        name_length, extra_length = struct.unpack("<HH", header[26:30])
    offset = info.header_offset + 30 + name_length + extra_length
    if offset + info.file_size > path.stat().st_size:
        raise read_error(path, f"array {info.filename!r}: it declares {info.file_size} bytes, more than the file holds")
    with archive.open(info) as stream:
        return _array(path, stream, info.file_size, offset, info.filename)


def open_idx_folder(folder: Path) -> tuple[Source, Source | None]:
    """Open the files of an MNIST-like folder; the second source is the t10k part, where there is one."""
    found = [find_idx(folder, name) for name in IDX_NAMES]
    if found[0] is None or found[1] is None or (found[2] is None) != (found[3] is None):
        missing = [name for name, path in zip(IDX_NAMES, found, strict=True) if path is None]
        raise read_error(folder, f"missing files: expected {listed(IDX_NAMES)}; not there: {listed(missing)}")
    x, y, x_test, y_test = (None if path is None else _idx(path) for path in found)
    source = ArraySource(x, y, str(folder))
    return source, None if x_test is None else ArraySource(x_test, y_test, f"{folder}, test part")


def _idx(path: Path) -> FileArray | _Compressed:
    zipped = path.suffix == ".gz"
    try:
        with cast(IO[bytes], gzip.open(path)) if zipped else path.open("rb") as stream:
            dtype, shape = idx_header(path, stream)
            offset, size = stream.tell(), path.stat().st_size
    except (gzip.BadGzipFile, EOFError, zlib.error) as exc:
        raise read_error(path, f"broken gzip file ({exc}): expected a complete one; copy or download it again") from exc
    except OSError as exc:
        raise read_error(path, f"cannot be read: {exc.strerror or exc}") from exc
    if zipped:
        refusal = "expected it uncompressed, to be read in pieces; received gzip; run gunzip, or raise the memory limit"
        return _Compressed(shape, dtype, read_error(path, refusal))
    declared = math.prod(shape) * dtype.itemsize
    if declared != size - offset:
        raise read_error(
            path, f"truncated or oversized: expected {declared} bytes of data by its header; received {size - offset}"
        )
    return FileArray(path, offset, shape, dtype)
