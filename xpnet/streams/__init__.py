"""Data larger than memory: files that are read in pieces, and iterables of blocks."""

from __future__ import annotations

from pathlib import Path

from xpnet.readers.common import listed, read_error
from xpnet.streams.files import open_idx_folder, open_npy, open_npz
from xpnet.streams.source import BUFFER_BYTES, ArraySource, Part, Parts, Source, split_source

__all__ = ["BUFFER_BYTES", "ArraySource", "Part", "Parts", "Source", "open_source", "open_sources", "split_source"]


def open_source(path: str | Path, *, target: str | None = None, buffer_bytes: int = BUFFER_BYTES) -> Source:
    """Open data to be read in pieces, for `Trainer.fit`.

    Parameters
    ----------
    path : str or Path
        ``.npy``, ``.npz`` that is not compressed, or a folder of IDX files that are not compressed.
    target : str, optional
        As for `xpnet.readers.read_dataset`.
    buffer_bytes : int
        Memory for the samples among which a run shuffles and those that it reads ahead. It is a part of what makes the
        order of the samples: the same seed gives the same order with the same buffer only.

    Raises
    ------
    DataError
        The file is missing, broken, or cannot be read in pieces; the message begins with its path.
    """
    source, _ = open_sources(path, target=target)
    source.read(0, 0, 0, 1)  # refuses what is compressed
    source.buffer_bytes = buffer_bytes
    return source


def open_sources(path: str | Path, *, target: str | None = None) -> tuple[Source, Source | None]:
    """Open data as `open_source` does; the second source is the test part, where the data have their own."""
    path = Path(path)
    if path.is_dir():
        return open_idx_folder(path)
    if not path.is_file():
        raise read_error(path, "no such file or folder: expected data to be read in pieces")
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return open_npz(path, target)
    if suffix not in _OPENERS:
        raise read_error(
            path, f"cannot be read in pieces: expected a file ending in .npz, {listed(_OPENERS)}; raise the limit"
        )
    return _OPENERS[suffix](path, target), None


_OPENERS = {".npy": open_npy}
