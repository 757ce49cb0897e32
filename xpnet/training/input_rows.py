"""Inputs that are stored in another form than a step takes: sparse, as bytes, or on the host."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from xpnet.backend import Array, Backend
from xpnet.data.shared_rows import SharedRows
from xpnet.nn.step import to_floats

__all__ = ["InputRows", "input_chunks"]


class InputRows:
    """Inputs (n_samples, n_in) as they are stored. Rows are brought to the device and converted when they are needed.

    Parameters
    ----------
    values : (n_samples, n_in)
        Array on the device; or, on the host, an array, a SciPy matrix in CSR form, or `SharedRows`. The array API
        standard has no sparse arrays, so a matrix becomes dense row by row. Of shared rows all ranks take parts at the
        same time, each its own.
    backend : Backend
    dtype : str
        Type in which the network takes the inputs.
    divisor : float
        The inputs are ``values / divisor``.
    on_host : bool
        Whether the values lie on the host.
    """

    def __init__(self, values: Any, backend: Backend, dtype: str, divisor: float = 1.0, *, on_host: bool) -> None:
        self.values, self.divisor, self.on_host = values, divisor, on_host
        self.shape: tuple[int, int] = values.shape
        self._backend, self._dtype = backend, dtype

    def stored(self, parts: Iterable[Any]) -> Iterator[Array]:
        """Yield parts on the device as they are stored, each a slice of the rows, or, of values on the host, indices.

        A part is valid until the next one is taken.
        """
        if not self.on_host:
            return (self.values[rows, :] for rows in parts)
        if isinstance(self.values, SharedRows):
            return self._backend.upload((self.values[rows], slice(None)) for rows in parts)
        if not hasattr(self.values, "tocsr"):
            return self._backend.upload((self.values, rows) for rows in parts)
        return self._backend.upload((self.values[rows].toarray(), slice(None)) for rows in parts)

    def own(self) -> InputRows:
        """Return the rows of `SharedRows` that this rank holds."""
        return InputRows(self.values.own, self._backend, self._dtype, self.divisor, on_host=True)

    def part(self, rows: slice) -> InputRows:
        """Return some rows, stored alike."""
        return InputRows(self.values[rows, :], self._backend, self._dtype, self.divisor, on_host=self.on_host)

    def floats(self, parts: Iterable[slice]) -> Iterator[Array]:
        """Yield slices of the rows as a network takes them."""
        xp = self._backend.xp
        return (to_floats(xp, x, getattr(xp, self._dtype), self.divisor) for x in self.stored(parts))


def input_chunks(x: Array | InputRows, slices: Iterable[slice]) -> Iterator[Array]:
    """Yield slices of the rows of inputs as a network takes them. A chunk is valid until the next one is taken."""
    return x.floats(slices) if isinstance(x, InputRows) else (x[rows, :] for rows in slices)
