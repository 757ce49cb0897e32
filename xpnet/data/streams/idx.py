"""Folders of IDX files, such as MNIST's, read in pieces."""

from __future__ import annotations

import math
from pathlib import Path

from xpnet.data.readers.common import join_names, make_read_error
from xpnet.data.readers.idx import IDX_NAMES, find_idx, idx_header, open_idx
from xpnet.data.streams.file_array import CompressedArray, FileArray
from xpnet.data.streams.source import ArraySource, Source

__all__ = ["open_idx_folder"]


def open_idx_folder(folder: Path) -> tuple[Source, Source | None]:
    """Open the training files, and the t10k files as a test part, or None if they are absent."""
    found = [find_idx(folder, name) for name in IDX_NAMES]
    if found[0] is None or found[1] is None or (found[2] is None) != (found[3] is None):
        missing = [name for name, path in zip(IDX_NAMES, found, strict=True) if path is None]
        raise make_read_error(
            folder, f"missing files: expected {join_names(IDX_NAMES)}; not there: {join_names(missing)}"
        )
    x, y, x_test, y_test = (None if path is None else _open_file(path) for path in found)
    source = ArraySource(x, y, str(folder))
    return source, None if x_test is None else ArraySource(x_test, y_test, f"{folder}, test part")


def _open_file(path: Path) -> FileArray | CompressedArray:
    with open_idx(path) as file:
        dtype, shape = idx_header(path, file)
        offset, size = file.tell(), path.stat().st_size
    if path.suffix == ".gz":
        refusal = "expected it uncompressed, to be read in pieces; received gzip; run gunzip, or raise the memory limit"
        return CompressedArray(shape, dtype, make_read_error(path, refusal))
    declared = math.prod(shape) * dtype.itemsize
    if declared != size - offset:
        raise make_read_error(
            path, f"truncated or oversized: expected {declared} bytes of data by its header; received {size - offset}"
        )
    return FileArray(path, offset, shape, dtype)
