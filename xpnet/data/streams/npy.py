"""``.npy`` files and the uncompressed members of ``.npz`` archives, read in pieces."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from typing import IO

from xpnet.data.readers.common import ReadOptions, make_read_error
from xpnet.data.readers.npy import array_header, choose_members, reading_arrays, target_path
from xpnet.data.streams.file_array import CompressedArray, FileArray
from xpnet.data.streams.source import ArraySource, Source
from xpnet.files import open_file

__all__ = ["open_npy", "open_npz"]

_CHUNK = 1 << 20


def open_npy(path: Path, target: str | None) -> Source:
    """Open a file of features and a file of targets, which is found as `read_npy` finds it."""
    targets = target_path(path, ReadOptions(training=True, target=target))
    assert targets is not None
    source = ArraySource(_open_file(path), _open_file(targets), str(path))
    source.target_name = targets.name
    return source


def open_npz(path: Path, target: str | None) -> tuple[Source, Source | None]:
    """Open the members x and y, and x_test and y_test as a test part, or None if they are absent.

    The members are read once, because the archive has checksums.
    """
    with reading_arrays(path, "an .npz archive"), open_file(path) as raw, zipfile.ZipFile(raw) as archive:
        keys, members = choose_members(path, archive, ReadOptions(training=True, target=target))
        x, y, x_test, y_test = (None if key is None else _open_member(path, archive, members[key]) for key in keys)
    source = ArraySource(x, y, str(path))
    source.target_name = keys[1]
    return source, None if x_test is None else ArraySource(x_test, y_test, f"{path}, test part")


def _open_file(path: Path) -> FileArray:
    with reading_arrays(path, "an .npy file"), open_file(path) as file:
        return _open_array(path, file, path.stat().st_size, 0, path.name)


def _open_member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> FileArray | CompressedArray:
    if info.compress_type != zipfile.ZIP_STORED:
        with archive.open(info) as file:
            shape, _, dtype = array_header(path, file, info.file_size)
        return CompressedArray(
            shape,
            dtype,
            make_read_error(
                path,
                f"array {info.filename!r}: expected it stored, to be read in pieces; received it compressed; "
                "save it with np.savez, or raise the memory limit",
            ),
        )
    with open_file(path) as raw:  # only the local header tells where the data begin
        raw.seek(info.header_offset)
        header = raw.read(30)
        if len(header) < 30 or header[:4] != b"PK\3\4":
            raise make_read_error(path, f"array {info.filename!r}: expected a local header; received other bytes")
        name_length, extra_length = struct.unpack("<HH", header[26:30])
    offset = info.header_offset + 30 + name_length + extra_length
    if offset + info.file_size > path.stat().st_size:
        raise make_read_error(
            path, f"array {info.filename!r}: it declares {info.file_size} bytes, more than the file holds"
        )
    with archive.open(info) as file:
        array = _open_array(path, file, info.file_size, offset, info.filename)
        while file.read(_CHUNK):  # compares the checksum, once: later reads go to the file itself
            pass
    return array


def _open_array(path: Path, file: IO[bytes], size: int, offset: int, name: str) -> FileArray:
    """Return the array whose header starts at `offset` of the file of that path, of `size` bytes with its header."""
    shape, fortran_order, dtype = array_header(path, file, size)
    if fortran_order and len(shape) > 1:
        raise make_read_error(
            path,
            f"{name}: expected an array stored row by row; received one stored column by column; save it with "
            "np.ascontiguousarray",
        )
    return FileArray(path, offset + file.tell(), shape, dtype)
