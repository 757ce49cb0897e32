"""Sparse inputs: rows of a SciPy matrix are made dense only when they are taken."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet.backend import Array, Backend
from xpnet.errors import DataError

__all__ = ["SparseRows"]


class SparseRows:
    """A SciPy sparse matrix (n_samples, n_in) on the host. Indexing returns rows as a dense array on the device.

    The array API standard has no sparse arrays.
    """

    def __init__(self, matrix: Any, backend: Backend, dtype: str) -> None:
        if matrix.dtype.kind not in "biuf":
            raise DataError(
                f"features: expected real numbers; received dtype {matrix.dtype}; convert them to float32 or float64"
            )
        self._csr = matrix.tocsr().astype(dtype, copy=False)
        self._backend = backend
        self.shape: tuple[int, int] = self._csr.shape
        self.values: np.ndarray = self._csr.data

    def __getitem__(self, key: tuple[Any, Any]) -> Array:
        rows, _ = key  # always all columns
        return self._backend.asarray(self._csr[rows].toarray())
