"""NumPy's ``.npz`` and ``.npy``, without pickle and without trust in a declared size."""

from __future__ import annotations

import math
import tokenize
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from xpnet.data.readers.common import (
    MAX_RATIO,
    Array,
    Request,
    Table,
    as_features,
    check_declared,
    listed,
    read_bounded,
    read_error,
)
from xpnet.errors import DataError

__all__ = ["BROKEN", "array_header", "as_text", "broken", "choose_members", "read_npy", "read_npz", "target_path"]

# Keys, in the order in which they are looked for.
_FEATURE_KEYS = ("x", "X", "x_train", "X_train")
_TARGET_KEYS = ("y", "Y", "y_train", "Y_train")
_TEST_FEATURE_KEYS = ("x_test", "X_test")
_TEST_TARGET_KEYS = ("y_test", "Y_test")

_SIBLINGS = {
    "x": "y",
    "X": "y",
    "x_train": "y_train",
    "X_train": "y_train",
    "features": "targets",
    "images": "labels",
    "data": "target",
}

# What NumPy's header parser and the zip reader raise on bytes that are neither.
BROKEN = (
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


def read_npz(path: Path, request: Request) -> Table:
    """Read x (or X, x_train, X_train) and y (or y_train, or the key that is the target), x_test and y_test."""
    try:
        with zipfile.ZipFile(path) as archive:
            keys, members = choose_members(path, archive, request)
            x, y, x_test, y_test = (None if key is None else _read_member(path, archive, members[key]) for key in keys)
    except DataError:
        raise
    except OSError as exc:
        raise read_error(path, f"cannot be read: {exc.strerror or exc}") from exc
    except BROKEN as exc:
        raise broken(path, "an .npz archive", exc) from exc
    tested = None if x_test is None else as_features(x_test)
    return Table(as_features(cast(Array, x)), y, None, keys[1], tested, y_test)


def choose_members(
    path: Path, archive: zipfile.ZipFile, request: Request
) -> tuple[list[str | None], dict[str, zipfile.ZipInfo]]:
    """Return the keys of features, targets and the test part's, None where there is none, and the members by key."""
    members = {
        info.filename.removesuffix(".npy"): info for info in archive.infolist() if info.filename.endswith(".npy")
    }
    target_keys = _TARGET_KEYS if request.target is None else (request.target,)
    wanted = (_FEATURE_KEYS, target_keys, _TEST_FEATURE_KEYS, _TEST_TARGET_KEYS)
    for keys, needed in ((_FEATURE_KEYS, True), (target_keys, request.training)):
        if needed and not set(keys) & set(members):
            raise read_error(
                path, f"missing array: expected a key of {listed(keys)}; received the keys {listed(members)}"
            )
    found = [next((key for key in keys if key in members), None) for keys in wanted]
    if (found[2] is None) != (found[3] is None) and request.training:
        raise read_error(path, "test part: expected both x_test and y_test; received only one of them")
    return found, members


def read_npy(path: Path, request: Request) -> Table:
    """Read features from one file, targets from another.

    The other one is the target, a path from here or from the folder of `path`; or the file beside `path` that its
    name calls for: X.npy and y.npy, x_train and y_train, features and targets, images and labels, data and target.
    """
    target = target_path(path, request)
    x = as_features(_read_file(path))
    return Table(x, None if target is None else _read_file(target), None, None if target is None else target.name)


def target_path(path: Path, request: Request) -> Path | None:
    """Return the file of the targets that belongs to a file of features."""
    sibling = _SIBLINGS.get(path.stem)
    candidates = [] if sibling is None else [path.with_name(f"{sibling}.npy")]
    if request.target is not None:
        candidates = [Path(request.target), path.parent / request.target]
    target = next((candidate for candidate in candidates if candidate.is_file()), None)
    if target is None and request.training:
        wanted = candidates[-1] if candidates else "a file of targets"
        raise read_error(path, f"no targets: expected {wanted}; give the .npy file of the targets as the target")
    return target


def _read_file(path: Path) -> Array:
    try:
        with path.open("rb") as stream:
            return _read_array(path, stream, path.stat().st_size)
    except DataError:
        raise
    except OSError as exc:
        raise read_error(path, f"cannot be read: {exc.strerror or exc}") from exc
    except BROKEN as exc:
        raise broken(path, "an .npy file", exc) from exc


def _read_member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Array:
    # NumPy writes no other method; the others have no such bound on how far they expand.
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise read_error(path, f"array {info.filename!r}: expected it stored or deflated; received another compression")
    if info.file_size > path.stat().st_size * MAX_RATIO:
        raise read_error(
            path, f"array {info.filename!r}: it declares {info.file_size} bytes, more than the file can hold"
        )
    check_declared(path, info.file_size)
    with archive.open(info) as stream:
        return _read_array(path, stream, info.file_size)


def _read_array(path: Path, stream: IO[bytes], size: int) -> Array:
    """Read one array from a stream of `size` bytes."""
    shape, fortran_order, dtype = array_header(path, stream, size)
    data = read_bounded(stream, math.prod(shape) * dtype.itemsize)
    array: Array = np.ndarray(shape, dtype, data, order="F" if fortran_order else "C")
    return as_text(path, array) if dtype.kind in "US" else array.astype(dtype.newbyteorder("="), copy=False)


def array_header(path: Path, stream: IO[bytes], size: int) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read the header of an array in `size` bytes: shape, whether it lies column by column, and dtype."""
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about headers written by Python 2 and odd literals: they are read or refused
        version = np.lib.format.read_magic(stream)
        if version not in readers:
            raise read_error(path, f"expected .npy format 1.0 or 2.0; received {version[0]}.{version[1]}")
        shape, fortran_order, dtype = readers[version](stream)
    if dtype.kind not in "biufUS" or dtype.itemsize == 0 or shape == ():
        raise read_error(
            path,
            f"expected an array of numbers or text; received dtype {dtype}, shape {shape}; save it without objects",
        )
    declared = math.prod(shape) * dtype.itemsize
    held = size - stream.tell()
    if declared != held or min(shape, default=0) < 0:
        raise read_error(
            path, f"truncated or oversized: expected {declared} bytes of data by the array's header; received {held}"
        )
    return shape, fortran_order, dtype


def as_text(path: Path, array: Array) -> Array:
    """Return text as str, where every code point is one."""
    try:
        # Reading each string is what finds code points that there are not.
        texts = [item.decode() if isinstance(item, bytes) else item for item in array.ravel().tolist()]
        "".join(texts).encode()
    except (ValueError, SystemError) as exc:
        raise read_error(path, "text targets: expected valid Unicode; received other bytes") from exc
    return np.array(texts, dtype=str).reshape(array.shape)


def broken(path: Path, what: str, exc: BaseException) -> DataError:
    """Make the error for bytes that are not what they should be."""
    return read_error(path, f"broken: expected {what} ({str(exc) or type(exc).__name__}); save it again with numpy")
