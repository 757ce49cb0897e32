"""LIBSVM, also called svmlight."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from xpnet.data.readers.common import Array, RawData, ReadOptions, check_matrix_shape, make_read_error, reading

__all__ = ["read_libsvm"]

_DAMAGE = (ValueError, OverflowError, IndexError, MemoryError)


def read_libsvm(path: Path, options: ReadOptions) -> RawData:
    """Read ``label index:value ...`` lines into a dense matrix.

    In training indices start at 1, or at 0 if a 0 occurs. Afterwards they start where they started in training, and the
    number of features is that of the model: features that the file leaves out are 0.
    """
    from sklearn.datasets import load_svmlight_file  # slow to import

    with (
        reading(path, _DAMAGE, "expected lines of 'label index:value ...' in LIBSVM format; {}"),
        path.open("rb") as file,
    ):
        if not file.read(1):
            raise make_read_error(path, "empty file: expected lines of 'label index:value ...'; received none")
        file.seek(0)
        x, y = load_svmlight_file(file, dtype=np.float64, zero_based=True)
    indices = np.unique(x.indices)
    width = options.n_features if options.feature_names is None else len(options.feature_names)
    base = _index_base(path, indices, options.index_base, None if options.training else width)
    n_features = x.shape[1] - base if width is None else width
    if len(indices) and not base <= indices[0] <= indices[-1] < base + n_features:
        received = indices[0] if indices[0] < base else indices[-1]
        raise make_read_error(
            path,
            f"features: expected indices from {base} to {base + n_features - 1}, as in training; received index "
            f"{received}",
        )
    check_matrix_shape(path, x.shape[0], n_features)
    x.resize(x.shape[0], base + n_features)
    whole = np.isfinite(y).all() and (y == np.floor(y)).all() and np.abs(y).max(initial=0) < 2**53
    return RawData(x[:, base:].toarray(), y.astype(np.int64) if whole else y, index_base=base)


def _index_base(path: Path, indices: Array, given: int | None, width: int | None) -> int:
    """Return the index of the first feature: the model's, or what the indices tell.

    Parameters
    ----------
    indices : ndarray
        All indices that occur, sorted.
    width : int or None
        The number of features of a model whose training data were no LIBSVM file; None in training.
    """
    if given is not None:
        return given
    if 0 in indices[:1]:
        return 0
    if width is not None and (not len(indices) or indices[-1] < width):
        raise make_read_error(
            path,
            f"ambiguous indices: expected index 0 or {width} to occur, which tells whether the {width} features of the "
            "model are counted from 0 or from 1; received neither, and the model was not trained on a LIBSVM file. "
            f"Write the last feature of one line explicitly, as {width}:0 if you count from 1",
        )
    return 1
