"""NumPy's ``.npy`` and ``.npz``, without pickle and without trust in the declared sizes."""

from __future__ import annotations

import math
import tokenize
import warnings
import zipfile
import zlib
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any, TypeAlias, cast

import numpy as np

from xpnet.data.images import image_shape
from xpnet.data.readers.common import (
    Array,
    RawData,
    ReadOptions,
    as_features,
    check_content,
    join_names,
    kept_itemsize,
    make_read_error,
    read_bounded,
    reading,
    skip,
)
from xpnet.files import open_file

__all__ = [
    "array_header",
    "as_text",
    "choose_members",
    "read_npy",
    "read_npz",
    "reading_arrays",
    "target_path",
]

_Header: TypeAlias = tuple[tuple[int, ...], bool, np.dtype[Any]]  # shape, whether in Fortran's order, dtype

# Keys, in the order in which they are tried.
_FEATURE_KEYS = ("x", "X", "x_train", "X_train")
_TARGET_KEYS = ("y", "Y", "y_train", "Y_train")
_TEST_FEATURE_KEYS = ("x_test", "X_test")
_TEST_TARGET_KEYS = ("y_test", "Y_test")

# The file of the targets by the file of the features, without ``.npy``.
_TARGET_FILES = {
    "x": "y",
    "X": "y",
    "x_train": "y_train",
    "X_train": "y_train",
    "features": "targets",
    "images": "labels",
    "data": "target",
}

# What NumPy's header parser and the zip reader raise on damaged files.
_DAMAGE = (
    ValueError,
    TypeError,
    OverflowError,
    MemoryError,
    SyntaxError,
    EOFError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
    tokenize.TokenError,
)


def reading_arrays(path: Path, what: str) -> AbstractContextManager[None]:
    """Return `reading` for a file of arrays; `what` is the format with its article."""
    return reading(path, _DAMAGE, f"broken: expected {what} ({{}}); save it again with numpy")


def read_npz(path: Path, options: ReadOptions) -> RawData:
    """Read x (or X, x_train, X_train), y (or Y, y_train, Y_train, or the target's key), x_test and y_test."""
    with reading_arrays(path, "an .npz archive"), open_file(path) as raw, zipfile.ZipFile(raw) as archive:
        keys, members = choose_members(path, archive, options)
        chosen = [None if key is None else members[key] for key in keys]
        check_content(path, sum(_member_bytes(path, archive, info) for info in chosen if info), path.stat().st_size)
        features, whole = options, ReadOptions(training=options.training)
        x, y, x_test, y_test = (
            None if info is None else _read_member(path, archive, info, own)
            for info, own in zip(chosen, (features, whole) * 2, strict=True)
        )
    test_features = None if x_test is None else as_features(x_test)
    images = image_shape(cast(Array, x).shape)
    return RawData(as_features(cast(Array, x)), y, None, keys[1], test_features, y_test, image_shape=images)


def choose_members(
    path: Path, archive: zipfile.ZipFile, options: ReadOptions
) -> tuple[list[str | None], dict[str, zipfile.ZipInfo]]:
    """Return the keys of x, y, x_test and y_test, each None if it is absent, and the members of the archive by key.

    Raises
    ------
    DataError
        A required array is absent.
    """
    members = {
        info.filename.removesuffix(".npy"): info for info in archive.infolist() if info.filename.endswith(".npy")
    }
    target_keys = _TARGET_KEYS if options.target is None else (options.target,)
    wanted = (_FEATURE_KEYS, target_keys, _TEST_FEATURE_KEYS, _TEST_TARGET_KEYS)
    for keys, needed in ((_FEATURE_KEYS, True), (target_keys, options.training)):
        if needed and not set(keys) & set(members):
            raise make_read_error(
                path, f"missing array: expected a key of {join_names(keys)}; received the keys {join_names(members)}"
            )
    found = [next((key for key in keys if key in members), None) for keys in wanted]
    if (found[2] is None) != (found[3] is None) and options.training:
        raise make_read_error(path, "test part: expected both x_test and y_test; received only one of them")
    return found, members


def read_npy(path: Path, options: ReadOptions) -> RawData:
    """Read features from one file and targets from a second one, see `target_path`."""
    target = target_path(path, options)
    x, name = _read_file(path, options), None if target is None else target.name
    y = None if target is None else _read_file(target, ReadOptions(training=options.training))
    return RawData(as_features(x), y, target_name=name, image_shape=image_shape(x.shape))


def target_path(path: Path, options: ReadOptions) -> Path | None:
    """Return the file of the targets that belongs to a file of features.

    It is the requested target, as a path from here or from the folder of `path`. By default it follows from the name
    of `path`: y.npy for X.npy, y_train for x_train, targets for features, labels for images, target for data.

    Raises
    ------
    DataError
        The file is read for training, and there is no such file.
    """
    stem = _TARGET_FILES.get(path.stem)
    candidates = [] if stem is None else [path.with_name(f"{stem}.npy")]
    if options.target is not None:
        candidates = [Path(options.target), path.parent / options.target]
    target = next((candidate for candidate in candidates if candidate.is_file()), None)
    if target is None and options.training:
        wanted = candidates[-1] if candidates else "a file of targets"
        raise make_read_error(path, f"no targets: expected {wanted}; give the .npy file of the targets as the target")
    return target


def _read_file(path: Path, options: ReadOptions) -> Array:
    with reading_arrays(path, "an .npy file"), open_file(path) as file:
        size = path.stat().st_size
        header = array_header(path, file, size)
        check_content(path, _content_bytes(header), size)
        return _read_array(path, file, header, options)


def _member_bytes(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> int:
    # NumPy writes no other method.
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise make_read_error(
            path, f"array {info.filename!r}: expected it stored or deflated; received another compression method"
        )
    with archive.open(info) as file:
        return _content_bytes(array_header(path, file, info.file_size))


def _read_member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo, options: ReadOptions) -> Array:
    with archive.open(info) as file:
        return _read_array(path, file, array_header(path, file, info.file_size), options)


def _content_bytes(header: _Header) -> int:
    shape, _, dtype = header
    return math.prod(shape) * kept_itemsize(dtype)


def _read_array(path: Path, file: IO[bytes], header: _Header, options: ReadOptions) -> Array:
    """Read the array behind its header, or this rank's share of its rows.

    The last byte makes a zip archive compare its checksum.
    """
    shape, fortran_order, dtype = header
    rows, n_values = options.share(shape[0]), math.prod(shape[1:])
    # Column by column, each rank has a stretch of each column; row by row, or if all is read, there is only one.
    n_stretches = n_values if fortran_order and rows != slice(0, shape[0]) else 1
    unit = n_values // max(1, n_stretches) * dtype.itemsize
    pieces = []
    for _ in range(n_stretches):
        skip(file, rows.start * unit)
        pieces.append(read_bounded(file, (rows.stop - rows.start) * unit))
        skip(file, (shape[0] - rows.stop) * unit)
    data = pieces[0] if len(pieces) == 1 else bytearray().join(pieces)
    own = (rows.stop - rows.start, *shape[1:])
    array: Array = np.ndarray(own, dtype, data, order="F" if fortran_order else "C")
    return as_text(path, array) if dtype.kind in "US" else array.astype(dtype.newbyteorder("="), copy=False)


def array_header(path: Path, file: IO[bytes], size: int) -> _Header:
    """Read the header of an array.

    Parameters
    ----------
    path : Path
        For messages.
    file : binary file
    size : int
        The bytes of header and data together.

    Returns
    -------
    shape : tuple of int
    fortran_order : bool
    dtype : dtype

    Raises
    ------
    DataError
        The array is not of numbers or text, or its data do not have the declared size.
    """
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # headers of Python 2 and odd literals are either read or refused
        version = np.lib.format.read_magic(file)
        if version not in readers:
            raise make_read_error(path, f"expected .npy format 1.0 or 2.0; received {version[0]}.{version[1]}")
        shape, fortran_order, dtype = readers[version](file)
    if dtype.kind not in "biufUS" or dtype.itemsize == 0 or shape == ():
        raise make_read_error(
            path,
            f"expected an array of numbers or text; received dtype {dtype}, shape {shape}; save it without objects",
        )
    declared = math.prod(shape) * dtype.itemsize
    held = size - file.tell()
    if declared != held or min(shape, default=0) < 0:
        raise make_read_error(
            path, f"truncated or oversized: expected {declared} bytes of data by the array's header; received {held}"
        )
    return shape, fortran_order, dtype


def as_text(path: Path, array: Array) -> Array:
    """Return an array of text as str.

    Raises
    ------
    DataError
        It has a code point that does not exist.
    """
    try:
        # Only decoding each string finds invalid code points.
        texts = [item.decode() if isinstance(item, bytes) else item for item in array.ravel().tolist()]
        "".join(texts).encode()
    except (ValueError, SystemError) as exc:
        raise make_read_error(path, "text targets: expected valid Unicode; received other bytes") from exc
    return np.array(texts, dtype=str).reshape(array.shape)
