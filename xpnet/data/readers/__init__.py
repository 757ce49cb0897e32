"""Data files: a folder of IDX files, .npz, .npy, .csv, .parquet, .arrow and LIBSVM."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from xpnet.data.dataset import Dataset, check_data
from xpnet.data.readers.arrays import read_npy, read_npz
from xpnet.data.readers.common import Array, Reader, Request, Table, listed, read_error
from xpnet.data.readers.idx import read_idx_folder
from xpnet.data.readers.parquet import read_arrow, read_parquet
from xpnet.data.readers.text import read_csv, read_libsvm
from xpnet.errors import DataError

__all__ = ["SUFFIXES", "read_dataset", "read_features"]

_READERS: dict[str, Reader] = {
    ".arrow": read_arrow,
    ".csv": read_csv,
    ".feather": read_arrow,
    ".libsvm": read_libsvm,
    ".npy": read_npy,
    ".npz": read_npz,
    ".parquet": read_parquet,
    ".svm": read_libsvm,
    ".svmlight": read_libsvm,
}
SUFFIXES: tuple[str, ...] = tuple(_READERS)
"""The endings of file names that `read_dataset` knows."""


def read_dataset(path: str | Path, *, target: str | None = None) -> Dataset:
    """Read samples and targets from a file or a folder.

    Parameters
    ----------
    path : str or Path
        A folder with IDX files, or a file whose ending tells its format (see `SUFFIXES`).
    target : str, optional
        The name of the target: a column of a table (a number from 1 where it has no header), a key of an ``.npz``,
        the path of a second ``.npy``. Without it a column called target, label, class or y; the key y or y_train; the
        file y.npy beside X.npy.

    Returns
    -------
    Dataset

    Raises
    ------
    DataError
        The file is missing, broken or holds what cannot be trained on; the message begins with its path.
    """
    path = Path(path)
    table = _read(path, Request(training=True, target=target))
    assert table.y is not None
    name = path.name if path.is_dir() else path.stem
    return Dataset(name or path.resolve().name, table.x, table.y, *table[2:])


def read_features(
    path: str | Path,
    *,
    feature_names: Sequence[str] | None,
    target_name: str | None,
    n_features: int | None = None,
) -> tuple[Array, Array | None]:
    """Read what a trained model is to predict, and the true targets where they are there.

    Of data with a test part of its own (IDX, ``.npz``) it is that part.

    Parameters
    ----------
    path : str or Path
    feature_names : sequence of str or None
        The model's columns; those of the file may stand in another order. Formats without names are compared by count.
    target_name : str or None
        The target's column, key or file in training.
    n_features : int, optional
        How many features the model takes, where it has no names.

    Returns
    -------
    x : ndarray, shape (n_samples, n_features)
    y : ndarray or None

    Raises
    ------
    DataError
        As `read_dataset`; also when columns are missing, left over, or of another number.
    """
    path = Path(path)
    names = None if feature_names is None else tuple(feature_names)
    table = _read(path, Request(training=False, target=target_name, feature_names=names, n_features=n_features))
    x, y = (table.x, table.y) if table.x_test is None else (table.x_test, table.y_test)
    wanted = n_features if names is None else len(names)
    if wanted is not None and x.shape[1] != wanted:
        raise read_error(path, f"features: expected {wanted}, as in training; received {x.shape[1]}")
    return x, y


def _read(path: Path, request: Request) -> Table:
    try:
        folder, file, exists = path.is_dir(), path.is_file(), path.exists()
    except OSError as exc:
        raise read_error(path, f"cannot be read: {exc.strerror or exc}") from exc
    reader = read_idx_folder if folder else _READERS.get(path.suffix.lower())
    if not exists:
        raise read_error(path, "no such file or folder: expected a data file or a folder with IDX files")
    if reader is None or not (folder or file):
        raise read_error(
            path, f"unknown format: expected a folder with IDX files, or a file ending in {listed(_READERS)}; rename it"
        )
    table = reader(path, request)
    try:
        check_data(table.x, table.y, table.feature_names)
        if table.x_test is not None:
            check_data(table.x_test, table.y_test)
            if table.x_test.shape[1] != table.x.shape[1]:
                raise DataError(f"test part: expected {table.x.shape[1]} features; received {table.x_test.shape[1]}")
    except DataError as exc:
        raise read_error(path, str(exc)) from exc
    return table
