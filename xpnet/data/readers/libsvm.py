"""LIBSVM, also called svmlight."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from xpnet.data.readers.common import RawData, ReadOptions, check_matrix_shape, make_read_error, reading

__all__ = ["read_libsvm"]

_DAMAGE = (ValueError, OverflowError, IndexError, MemoryError)


def read_libsvm(path: Path, options: ReadOptions) -> RawData:
    """Read ``label index:value ...`` lines into a dense matrix; indices start at 1, or at 0 if a 0 occurs."""
    from sklearn.datasets import load_svmlight_file  # slow to import

    with (
        reading(path, _DAMAGE, "expected lines of 'label index:value ...' in LIBSVM format; {}"),
        path.open("rb") as file,
    ):
        if not file.read(1):
            raise make_read_error(path, "empty file: expected lines of 'label index:value ...'; received none")
        file.seek(0)
        x, y = load_svmlight_file(file, dtype=np.float64)
    width = options.n_features if options.feature_names is None else len(options.feature_names)
    # The file may have fewer features than the model, because it leaves out trailing features that are all 0.
    if width is not None and x.shape[1] > width:
        raise make_read_error(path, f"features: expected {width}, as in training; received index {x.shape[1]}")
    shape = (x.shape[0], width or x.shape[1])
    check_matrix_shape(path, *shape)
    x.resize(shape)
    whole = np.isfinite(y).all() and (y == np.floor(y)).all() and np.abs(y).max(initial=0) < 2**53
    return RawData(x.toarray(), y.astype(np.int64) if whole else y)
