"""LIBSVM, also called svmlight."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from xpnet.data.readers.common import RawData, ReadOptions, check_content, make_read_error, reading
from xpnet.files import open_file

__all__ = ["read_libsvm"]

_MAX_GROWTH = 1024  # texts as bags of words become several hundred times as large as a dense matrix
_DAMAGE = (ValueError, OverflowError, IndexError, MemoryError)


def read_libsvm(path: Path, options: ReadOptions) -> RawData:
    """Read ``label index:value ...`` lines into a dense matrix.

    In training indices start at 1, or at 0 if a 0 occurs. Afterwards they start where they started in training, and the
    number of features is that of the model: features that the file leaves out are 0.
    """
    from sklearn.datasets import load_svmlight_file  # slow to import

    with (
        reading(path, _DAMAGE, "expected lines of 'label index:value ...' in LIBSVM format; {}"),
        open_file(path) as file,
    ):
        if not file.read(1):
            raise make_read_error(path, "empty file: expected lines of 'label index:value ...'; received none")
        file.seek(0)
        x, y = load_svmlight_file(file, dtype=np.float64, zero_based=True)
    lowest, highest = (int(x.indices.min()), int(x.indices.max())) if x.nnz else (1, 0)
    given = 1 if options.index_base is None else options.index_base
    base = int(lowest > 0) if options.training else given
    width = options.n_features if options.feature_names is None else len(options.feature_names)
    n_features = x.shape[1] - base if width is None else width
    if lowest < base:
        raise make_read_error(
            path,
            "indices: expected indices that start at 1, as those of the model's data; received index 0. "
            "Add 1 to each index, or train the model on a file whose indices start at 0",
        )
    if highest >= base + n_features:
        counted = "" if base else ", counted from 0"
        raise make_read_error(
            path, f"features: expected {n_features}, as in training; received index {highest}{counted}"
        )
    n_rows = x.shape[0]
    dense = 8 * n_rows * n_features
    check_content(path, dense, path.stat().st_size, f"{n_rows} rows of {n_features} features", _MAX_GROWTH)
    x.resize(n_rows, base + n_features)
    whole = np.isfinite(y).all() and (y == np.floor(y)).all() and np.abs(y).max(initial=0) < 2**53
    return RawData(x[:, base:].toarray(), y.astype(np.int64) if whole else y, index_base=base)
