"""Streams: data that are read in blocks because they may not fit into memory, from files or from iterables."""

from __future__ import annotations

from pathlib import Path

from xpnet.data.readers.common import join_names, make_read_error
from xpnet.data.readers.idx import IDX_NAMES, find_idx
from xpnet.data.streams.idx import open_idx_folder
from xpnet.data.streams.iterables import IterableSource
from xpnet.data.streams.npy import open_npy, open_npz
from xpnet.data.streams.source import BUFFER_BYTES, ArraySource, Concatenated, Source, own_blocks
from xpnet.data.streams.split import SourceSplit, SourceSubset, split_source
from xpnet.data.tables.paths import TABLE_SUFFIXES, is_table

__all__ = [
    "BUFFER_BYTES",
    "ArraySource",
    "IterableSource",
    "Source",
    "SourceSplit",
    "SourceSubset",
    "is_folder_of_files",
    "open_source",
    "open_sources",
    "own_blocks",
    "split_source",
]


def open_source(path: str | Path, *, target: str | None = None, buffer_bytes: int = BUFFER_BYTES) -> Source:
    """Open data that are read in pieces, for `Trainer.fit`.

    Parameters
    ----------
    path : str or Path
        An uncompressed ``.npy``, ``.npz`` or folder of IDX files; a table of numbers, as text, Parquet or Arrow; or a
        folder with any number of ``.npz`` files or of tables of one kind.
    target : str, optional
        As for `xpnet.data.readers.read_dataset`.
    buffer_bytes : int
        Memory for the samples that are shuffled and for those that are read ahead. The order of the samples depends on
        it: the same seed gives the same order only with the same buffer.

    Raises
    ------
    DataError
        The file is missing or damaged, or it cannot be read in pieces. The message begins with its path.
    """
    source, _ = open_sources(path, target=target)
    source.read(0, 0, 0, 1)  # refuses compressed files
    source.buffer_bytes = buffer_bytes
    return source


def open_sources(path: str | Path, *, target: str | None = None) -> tuple[Source, Source | None]:
    """Open data as `open_source` does, and the test part that comes with them, or None if there is none."""
    path = Path(path)
    if is_table(path):
        from xpnet.data.tables.dataset import open_table_source  # pyarrow is slow to import

        return open_table_source(path, target), None
    if path.is_dir():
        return _open_folder(path, target)
    if not path.is_file():
        raise make_read_error(path, "no such file or folder: expected data to be read in pieces")
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return open_npz(path, target)
    if suffix == ".npy":
        return open_npy(path, target), None
    raise make_read_error(
        path, f"cannot be read in pieces: expected {join_names(('.npz', '.npy', *TABLE_SUFFIXES), 40)}"
    )


def is_folder_of_files(path: Path) -> bool:
    """Return whether a folder holds no IDX files: its data files are always read in pieces."""
    return path.is_dir() and not any(find_idx(path, name) for name in IDX_NAMES)


def _open_folder(folder: Path, target: str | None) -> tuple[Source, Source | None]:
    if not is_folder_of_files(folder):
        return open_idx_folder(folder)
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".npz")
    if not files:
        raise make_read_error(
            folder,
            f"no data: expected {join_names(IDX_NAMES)} (plain or .gz), .npz files, or tables of one kind, ending in "
            f"{join_names(TABLE_SUFFIXES, 40)}; give the folder that holds them",
        )
    opened = [open_npz(path, target) for path in files]
    if any(test is not None for _, test in opened):
        raise make_read_error(folder, "test part: expected none in the files of a folder; received x_test and y_test")
    return Concatenated([source for source, _ in opened]), None
