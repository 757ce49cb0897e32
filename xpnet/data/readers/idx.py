"""IDX, the format of MNIST and its successors: http://yann.lecun.com/exdb/mnist/ describes it."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import IO, cast

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

__all__ = ["IDX_NAMES", "find_idx", "idx_header", "read_idx", "read_idx_folder"]

IDX_NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")

_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MAX_DIMENSIONS = 8


def find_idx(folder: Path, name: str) -> Path | None:
    """Return the file of that name, plain or gzipped, also spelt ``train-images.idx3-ubyte``."""
    dotted = name.replace("-idx", ".idx")
    candidates = (folder / f"{stem}{suffix}" for stem in (name, dotted) for suffix in ("", ".gz"))
    return next((path for path in candidates if path.is_file()), None)


def read_idx_folder(folder: Path, request: Request) -> Table:
    """Read the four files of an MNIST-like folder; the t10k part may be absent, or all but it in prediction."""
    found = {name: find_idx(folder, name) for name in IDX_NAMES}
    if not any(found.values()):
        raise read_error(
            folder, f"no IDX files: expected {listed(IDX_NAMES)} (plain or .gz); give the folder that holds them"
        )
    train = _read_part(folder, IDX_NAMES[:2], found, labels_needed=request.training)
    test = _read_part(folder, IDX_NAMES[2:], found, labels_needed=request.training)
    if train is None:
        if request.training or test is None:
            raise read_error(folder, f"no training part: expected {listed(IDX_NAMES[:2])} (plain or .gz)")
        return Table(*test)
    x, y = train
    if test is None:
        return Table(x, y)
    if test[0].shape[1:] != x.shape[1:]:
        raise read_error(
            folder, f"test images: expected {x.shape[1:]} pixels as in training; received {test[0].shape[1:]}"
        )
    return Table(x, y, x_test=test[0], y_test=test[1])


def _read_part(
    folder: Path, names: tuple[str, ...], found: dict[str, Path | None], labels_needed: bool
) -> tuple[Array, Array | None] | None:
    images, labels = (found[name] for name in names)
    if images is None and labels is None:
        return None
    if images is None or (labels is None and labels_needed):
        missing, present = (names[0], labels) if images is None else (names[1], images)
        raise read_error(
            folder, f"missing file: expected {missing} (plain or .gz) beside {present.name if present else ''}"
        )
    x = read_idx(images)
    if x.ndim < 2:
        raise read_error(images, f"expected images, an array of 2 or more dimensions; received shape {x.shape}")
    if math.prod(x.shape) == 0:
        raise read_error(images, f"no samples: expected at least one image; received shape {x.shape}")
    if labels is None:
        return as_features(x), None
    y = read_idx(labels)
    if y.ndim != 1:
        raise read_error(labels, f"expected labels, an array of one dimension; received shape {y.shape}")
    if len(x) != len(y):
        raise read_error(
            labels, f"unequal lengths: expected {len(x)} labels, one an image of {images.name}; received {len(y)}"
        )
    return as_features(x), y.astype(np.int64) if y.dtype.kind in "iu" else y


def read_idx(path: Path) -> Array:
    """Read one IDX file, gzipped if its name ends in ``.gz``.

    Parameters
    ----------
    path : Path

    Returns
    -------
    ndarray
        Writable, in the machine's byte order, of the shape and type in the header.

    Raises
    ------
    DataError
        A missing, truncated or oversized file, a wrong magic number, a broken gzip.
    """
    zipped = path.suffix == ".gz"
    try:
        stored = path.stat().st_size
        with cast(IO[bytes], gzip.open(path)) if zipped else path.open("rb") as stream:
            dtype, shape = idx_header(path, stream)
            size = math.prod(shape) * dtype.itemsize
            # What the file cannot hold is not even looked for, and never more than one byte beyond the declared size.
            if size > stored * (MAX_RATIO if zipped else 1):
                raise read_error(
                    path, f"truncated: expected {size} bytes of data by its header; its {stored} hold less"
                )
            check_declared(path, size)
            data = read_bounded(stream, size + 1)
    except FileNotFoundError as exc:
        raise read_error(path, "no such file: expected an IDX file") from exc
    except (gzip.BadGzipFile, EOFError, zlib.error) as exc:
        raise read_error(path, f"broken gzip file ({exc}): expected a complete one; copy or download it again") from exc
    except OSError as exc:
        raise read_error(path, f"cannot be read: {exc.strerror or exc}") from exc
    if len(data) != size:
        wrong = "truncated" if len(data) < size else "oversized"
        received = len(data) if len(data) < size else "more"
        raise read_error(
            path,
            f"{wrong}: expected {size} bytes of data by its header; received {received}; copy or download it again",
        )
    array: Array = np.ndarray(shape, dtype, data)
    return array.astype(dtype.newbyteorder("="), copy=False)


def idx_header(path: Path, stream: IO[bytes]) -> tuple[np.dtype[np.generic], tuple[int, ...]]:
    """Read the header: type and shape, whether or not the data are there."""
    magic = stream.read(4)
    if len(magic) < 4:
        raise read_error(path, f"truncated: expected a header of 4 bytes or more; received {len(magic)} bytes")
    zeros, code, dimensions = struct.unpack(">HBB", magic)
    if zeros or code not in _DTYPES or not 1 <= dimensions <= _MAX_DIMENSIONS:
        raise read_error(
            path,
            f"wrong magic number: expected 00 00, a type of {', '.join(f'{c:02x}' for c in _DTYPES)}, "
            f"1 to {_MAX_DIMENSIONS} dimensions; received {magic.hex(' ')}; is it an IDX file?",
        )
    sizes = stream.read(4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise read_error(path, f"truncated: expected {dimensions} dimensions; the header ends after {len(sizes)} bytes")
    return np.dtype(_DTYPES[code]), struct.unpack(f">{dimensions}I", sizes)
