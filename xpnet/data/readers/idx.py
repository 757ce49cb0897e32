"""IDX, the format of MNIST and its successors: http://yann.lecun.com/exdb/mnist/ describes it."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, cast

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

__all__ = ["IDX_NAMES", "find_idx", "idx_header", "open_idx", "read_idx", "read_idx_folder"]

IDX_NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")

_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MAX_DIMENSIONS = 8
_DAMAGED_GZIP = (gzip.BadGzipFile, EOFError, zlib.error)


def find_idx(folder: Path, name: str) -> Path | None:
    """Return the file of that name, plain or gzipped, also in the spelling ``train-images.idx3-ubyte``."""
    dotted = name.replace("-idx", ".idx")
    candidates = (folder / f"{stem}{suffix}" for stem in (name, dotted) for suffix in ("", ".gz"))
    return next((path for path in candidates if path.is_file()), None)


def read_idx_folder(folder: Path, options: ReadOptions) -> RawData:
    """Read the four files of a folder such as MNIST's.

    The t10k files may be absent. For a prediction they are enough, and labels are optional.
    """
    found = {name: find_idx(folder, name) for name in IDX_NAMES}
    if not any(found.values()):
        raise make_read_error(
            folder, f"no IDX files: expected {join_names(IDX_NAMES)} (plain or .gz); give the folder that holds them"
        )
    train = _read_pair(folder, IDX_NAMES[:2], found, options)
    test = _read_pair(folder, IDX_NAMES[2:], found, options)
    if train is None:
        if options.training or test is None:
            raise make_read_error(folder, f"no training part: expected {join_names(IDX_NAMES[:2])} (plain or .gz)")
        return _raw(*test)
    x, y = train
    if test is None:
        return _raw(x, y)
    if test[0].shape[1:] != x.shape[1:]:
        raise make_read_error(
            folder, f"test images: expected {x.shape[1:]} pixels as in training; received {test[0].shape[1:]}"
        )
    return _raw(x, y)._replace(x_test=as_features(test[0]), y_test=test[1])


def _raw(x: Array, y: Array | None) -> RawData:
    return RawData(as_features(x), y, image_shape=image_shape(x.shape))


def _read_pair(
    folder: Path, names: tuple[str, ...], found: dict[str, Path | None], options: ReadOptions
) -> tuple[Array, Array | None] | None:
    """Read images and their labels; return None if neither file is there."""
    images, labels = (found[name] for name in names)
    if images is None and labels is None:
        return None
    if images is None or (labels is None and options.training):
        missing, present = (names[0], labels) if images is None else (names[1], images)
        raise make_read_error(
            folder, f"missing file: expected {missing} (plain or .gz) beside {present.name if present else ''}"
        )
    x = read_idx(images, options)
    with open_idx(images) as file:
        _, shape = idx_header(images, file)
    if len(shape) < 2:
        raise make_read_error(images, f"expected images, an array of 2 or more dimensions; received shape {shape}")
    if math.prod(shape) == 0:
        raise make_read_error(images, f"no samples: expected at least one image; received shape {shape}")
    if labels is None:
        return x, None
    y = read_idx(labels)
    if y.ndim != 1:
        raise make_read_error(labels, f"expected labels, an array of one dimension; received shape {y.shape}")
    if shape[0] != len(y):
        raise make_read_error(
            labels,
            f"unequal lengths: expected {shape[0]} labels, one for each image of {images.name}; received {len(y)}",
        )
    return x, y.astype(np.int64) if y.dtype.kind in "iu" else y


@contextmanager
def open_idx(path: Path) -> Iterator[IO[bytes]]:
    """Open an IDX file for reading; it is gzipped if its name ends in ``.gz``.

    Raises
    ------
    DataError
        The file cannot be read, or its gzip data are damaged.
    """
    message = "broken gzip file ({}): expected a complete one; copy or download it again"
    with (
        reading(path, _DAMAGED_GZIP, message),
        open_file(path) as raw,
        cast(IO[bytes], gzip.open(raw)) if path.suffix == ".gz" else nullcontext(raw) as file,
    ):
        yield file


def read_idx(path: Path, options: ReadOptions | None = None) -> Array:
    """Read one IDX file, or this rank's share of its rows.

    Parameters
    ----------
    path : Path
        Gzipped if its name ends in ``.gz``.
    options : ReadOptions, optional
        With a communicator for a share of the rows.

    Returns
    -------
    ndarray
        Writable, in the machine's byte order, with the shape and the type of the header.

    Raises
    ------
    DataError
        The file is missing, truncated or oversized, its magic number is wrong, or its gzip data are damaged.
    """
    if not path.exists():
        raise make_read_error(path, "no such file: expected an IDX file")
    with open_idx(path) as file:
        stored = path.stat().st_size
        dtype, shape = idx_header(path, file)
        size = math.prod(shape) * dtype.itemsize
        # Nothing is read if the file cannot hold the declared size, and never more than one byte beyond it.
        if path.suffix != ".gz" and size > stored:
            raise make_read_error(
                path, f"truncated: expected {size} bytes of data by its header; received a file of {stored} bytes"
            )
        check_content(path, math.prod(shape) * kept_itemsize(dtype), stored)
        rows = slice(0, shape[0]) if options is None else options.share(shape[0])
        row_bytes = size // max(1, shape[0])
        first, last = rows.start * row_bytes, rows.stop * row_bytes
        found = skip(file, first)
        data = read_bounded(file, last - first)
        found += len(data) + skip(file, size - last + 1)
    if found != size:
        wrong = "truncated" if found < size else "oversized"
        received = found if found < size else "more"
        raise make_read_error(
            path,
            f"{wrong}: expected {size} bytes of data by its header; received {received}; copy or download it again",
        )
    array: Array = np.ndarray((rows.stop - rows.start, *shape[1:]), dtype, data)
    return array.astype(dtype.newbyteorder("="), copy=False)


def idx_header(path: Path, file: IO[bytes]) -> tuple[np.dtype[np.generic], tuple[int, ...]]:
    """Read the type and the shape of the array from the header, whether or not its data follow.

    Raises
    ------
    DataError
        The header is truncated, or its magic number is wrong.
    """
    magic = file.read(4)
    if len(magic) < 4:
        raise make_read_error(path, f"truncated: expected a header of 4 bytes or more; received {len(magic)} bytes")
    zeros, code, dimensions = struct.unpack(">HBB", magic)
    if zeros or code not in _DTYPES or not 1 <= dimensions <= _MAX_DIMENSIONS:
        raise make_read_error(
            path,
            f"wrong magic number: expected 00 00, a type of {', '.join(f'{c:02x}' for c in _DTYPES)}, "
            f"1 to {_MAX_DIMENSIONS} dimensions; received {magic.hex(' ')}; is it an IDX file?",
        )
    sizes = file.read(4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise make_read_error(
            path, f"truncated: expected {dimensions} dimensions; the header ends after {len(sizes)} bytes"
        )
    return np.dtype(_DTYPES[code]), struct.unpack(f">{dimensions}I", sizes)
