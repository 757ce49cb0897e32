"""Readers of data files into memory: a folder of IDX files, .npz, .npy, LIBSVM, and tables (see `tables`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from xpnet.communicator import Communicator, agreed
from xpnet.data.checks import check_data
from xpnet.data.dataset import Dataset
from xpnet.data.readers.common import Array, RawData, Reader, ReadOptions, join_names, make_read_error, reading
from xpnet.data.readers.idx import read_idx_folder
from xpnet.data.readers.libsvm import read_libsvm
from xpnet.data.readers.npy import read_npy, read_npz
from xpnet.data.shared_rows import SharedRows, check_shared, scattered
from xpnet.data.tables.paths import TABLE_SUFFIXES, find_suffix, is_table
from xpnet.errors import DataError

__all__ = ["SUFFIXES", "read_dataset", "read_features"]

_READERS: dict[str, Reader] = {
    ".libsvm": read_libsvm,
    ".npy": read_npy,
    ".npz": read_npz,
    ".svm": read_libsvm,
    ".svmlight": read_libsvm,
}
_READ_WHOLE = (".libsvm", ".svm", ".svmlight")  # no row tells where it begins
SUFFIXES: tuple[str, ...] = (*_READERS, *TABLE_SUFFIXES)
"""The file name endings that `read_dataset` accepts."""


def read_dataset(path: str | Path, *, target: str | None = None, communicator: Communicator | None = None) -> Dataset:
    """Read samples and targets from a file or a folder.

    Parameters
    ----------
    path : str or Path
        A folder with IDX files, a file whose ending gives its format (see `SUFFIXES`), or a table: also a folder with
        the files of one table, and ``-`` for a table on standard input.
    target : str, optional
        The target: the name of a column (its number, from 1, in a table without a header), a key of an ``.npz``, or
        the path of a second ``.npy``. The default is a column called target, label, class or y; the key y or y_train;
        the file y.npy beside X.npy.
    communicator : Communicator, optional
        Each rank keeps its share of the features. It reads only that share of IDX and NumPy files; files of other
        formats are read by rank 0 for all.

    Returns
    -------
    Dataset
        The features of a table with missing values, text or dates are an Arrow table. With a communicator, features
        are `SharedRows`; targets are whole.

    Raises
    ------
    DataError
        The file is missing, damaged, or cannot be used for training. The message begins with its path.
    """
    path = Path(path)
    if communicator is not None and (is_table(path) or path.suffix.lower() in _READ_WHOLE):
        return scattered(communicator, lambda: read_dataset(path, target=target))
    data = _read(path, ReadOptions(training=True, target=target, communicator=communicator))
    assert data.y is not None
    name = path.name if path.is_dir() else path.name.removesuffix(find_suffix(path) or path.suffix)
    return Dataset(name or path.resolve().name, data.x, data.y, *data[2:])


def read_features(
    path: str | Path,
    *,
    feature_names: Sequence[str] | None,
    target_name: str | None,
    n_features: int | None = None,
    index_base: int | None = None,
) -> tuple[Array, Array | None]:
    """Read the features for a prediction, and the true targets if the file has them.

    If the data come with a test part (IDX, ``.npz``), only that part is returned.

    Parameters
    ----------
    path : str or Path
    feature_names : sequence of str or None
        The model's columns. A table may have them in another order, and others beside them. For data without names
        only the number of columns is checked.
    target_name : str or None
        The target's column, key or file in training.
    n_features : int, optional
        The number of features of a model without feature names.
    index_base : int, optional
        The index of the first feature in a LIBSVM file, 0 or 1, as in training [default: 1, as the format defines].

    Returns
    -------
    x : ndarray, shape (n_samples, n_features)
    y : ndarray or None
        None also if some rows of a table have no target, with a warning.

    Raises
    ------
    DataError
        As for `read_dataset`; also if columns are missing, of the wrong number, or no finite numbers.
    """
    path = Path(path)
    names = None if feature_names is None else tuple(feature_names)
    options = ReadOptions(
        training=False, target=target_name, feature_names=names, n_features=n_features, index_base=index_base
    )
    data = _read(path, options)
    x, y = (data.x, data.y) if data.x_test is None else (data.x_test, data.y_test)
    wanted = n_features if names is None else len(names)
    if wanted is not None and x.shape[1] != wanted:
        raise make_read_error(path, f"features: expected {wanted}, as in training; received {x.shape[1]}")
    return x, y


def _read(path: Path, options: ReadOptions) -> RawData:
    if is_table(path):
        from xpnet.data.tables.dataset import read_table_file  # pyarrow is slow to import

        return read_table_file(path, options)
    with reading(path):
        folder, file, exists = path.is_dir(), path.is_file(), path.exists()
    reader = read_idx_folder if folder else _READERS.get(path.suffix.lower())
    if not exists:
        raise make_read_error(path, "no such file or folder: expected a data file or a folder with IDX files")
    if reader is None or not (folder or file):
        raise make_read_error(
            path,
            f"unknown format: expected a folder with IDX files, or a file ending in {join_names(SUFFIXES, 40)}; "
            "rename it",
        )
    data = agreed(options.communicator, lambda: reader(path, options))
    check: Callable[..., None] = check_data
    if options.communicator is not None:
        x: Any
        x_test: Any
        x, x_test = (each if each is None else SharedRows(each, options.communicator) for each in (data.x, data.x_test))
        data, check = data._replace(x=x, x_test=x_test), check_shared
    try:
        check(data.x, data.y, data.feature_names)
        if data.x_test is not None:
            check(data.x_test, data.y_test)
            if data.x_test.shape[1] != data.x.shape[1]:
                raise DataError(f"test part: expected {data.x.shape[1]} features; received {data.x_test.shape[1]}")
    except DataError as exc:
        raise make_read_error(path, str(exc)) from exc
    return data
