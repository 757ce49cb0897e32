"""Paths of tables: endings of files, folders and standard input."""

from __future__ import annotations

from pathlib import Path

from xpnet.data.readers.common import join_names, make_read_error, reading
from xpnet.data.readers.idx import IDX_NAMES, find_idx
from xpnet.data.tables.file_kinds import COMPRESSIONS, looks_like_table
from xpnet.files import open_file

__all__ = ["COLUMNAR_KINDS", "STANDARD_INPUT", "TABLE_SUFFIXES", "find_files", "find_suffix", "is_table"]

STANDARD_INPUT = "-"
"""The path that stands for standard input."""

COLUMNAR_KINDS = {".arrow": "arrow", ".feather": "arrow", ".parquet": "parquet"}
"""The kinds of files with typed columns, by their endings."""

_TEXT_SUFFIXES = (".csv", ".tsv", ".tab", ".txt", ".data")
TABLE_SUFFIXES: tuple[str, ...] = (
    *_TEXT_SUFFIXES,
    *(text + packed for text in _TEXT_SUFFIXES for packed in COMPRESSIONS),
    *COLUMNAR_KINDS,
)
"""The endings of files that hold tables. A file with another ending is recognised by its first bytes."""

# Endings of the files that other readers read, some of which are text as well.
_OTHER_SUFFIXES = (".libsvm", ".npy", ".npz", ".svm", ".svmlight")
# Endings that notes beside the data may have: such files count only if there are no others.
_WEAK_SUFFIXES = (".txt", ".data")


def is_table(path: str | Path) -> bool:
    """Return whether a path is a table: a file by its ending or its first bytes, a folder by its files, or ``-``.

    Files of other kinds that a table may be converted from, such as spreadsheets, count as tables: `TableFile` refuses
    them and says what to do.
    """
    path = Path(path)
    if str(path) == STANDARD_INPUT:
        return True
    with reading(path):
        if path.is_dir():
            return bool(find_files(path))
        if find_suffix(path) is not None or not path.is_file() or path.suffix.lower() in _OTHER_SUFFIXES:
            return find_suffix(path) is not None
        with open_file(path) as file:
            return looks_like_table(path, file.read(4096))


def find_suffix(path: Path) -> str | None:
    """Return the ending of a table's file as it is written, or None if it is not one of `TABLE_SUFFIXES`."""
    name = path.name.lower()
    ending = max((suffix for suffix in TABLE_SUFFIXES if name.endswith(suffix)), key=len, default=None)
    return None if ending is None else path.name[-len(ending) :]


def _kind(path: Path) -> str | None:
    """Return the ending of a table's file without the compression, or None."""
    suffix = (find_suffix(path) or "").lower()
    return suffix.removesuffix(path.suffix.lower()) or suffix or None


def find_files(folder: Path) -> list[Path]:
    """Return the files of a folder that belong to its table, sorted by name; empty if it holds data of other kinds.

    Raises
    ------
    DataError
        The folder cannot be read, or has tables of several kinds.
    """
    with reading(folder):
        files = sorted(path for path in folder.iterdir() if path.name[0] not in "._" and path.is_file())
    kinds = {path: kind for path in files if (kind := _kind(path)) is not None}
    if not set(kinds.values()) <= set(_WEAK_SUFFIXES):
        kinds = {path: kind for path, kind in kinds.items() if kind not in _WEAK_SUFFIXES}
    elif any(path.suffix.lower() in _OTHER_SUFFIXES for path in files) or any(find_idx(folder, n) for n in IDX_NAMES):
        return []
    if len(found := sorted(set(kinds.values()))) > 1:
        raise make_read_error(folder, f"files of several kinds: expected one of them; received {join_names(found)}")
    return list(kinds)
