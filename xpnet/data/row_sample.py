"""A sample of rows that arrive in blocks: every k-th row, whatever the blocks are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["RowSample", "sample_limit"]

_MAX_ROWS = 1 << 17
_MIN_ROWS = 1 << 10
_MAX_VALUES = 1 << 25  # 256 MiB in float64


def sample_limit(n_columns: int) -> int:
    """Return the number of rows that a sample of a table with that many columns may have."""
    return max(_MIN_ROWS, min(_MAX_ROWS, _MAX_VALUES // max(1, n_columns)))


class RowSample:
    """Every k-th row, where k is the smallest power of two that keeps the sample within a limit.

    The sample depends on the rows only, not on how they are cut into blocks. As long as the rows fit within the limit,
    it has all of them.

    Parameters
    ----------
    limit : int
    concatenate : callable
        Joins a list of blocks, for example ``numpy.concatenate``. Blocks have a length and take slices with a step.

    Examples
    --------
    >>> import numpy as np
    >>> sample = RowSample(4, np.concatenate)
    >>> for start in range(0, 12, 3):
    ...     sample.add(np.arange(start, start + 3))
    >>> sample.rows().tolist()
    [0, 4, 8]
    """

    def __init__(self, limit: int, concatenate: Callable[[Sequence[Any]], Any]) -> None:
        self.n = 0
        self._limit, self._concatenate = limit, concatenate
        self._step = 1
        self._parts: list[Any] = []

    def add(self, block: Any) -> None:
        """Include a block of rows."""
        total, step = self.n + len(block), self._step
        while -(-total // step) > self._limit:
            step *= 2
        if step > self._step and self._parts:
            self._parts = [self._copy(self.rows()[:: step // self._step])]
        first = -self.n % step
        if first < len(block) or not self._parts:
            self._parts.append(block if step == 1 else self._copy(block[first::step]))
        self.n, self._step = total, step

    def _copy(self, rows: Any) -> Any:
        """Return a copy, so that rows of an array do not keep the whole array in memory."""
        return self._concatenate([rows])

    def rows(self) -> Any:
        """Return the sample as one block.

        Raises
        ------
        ValueError
            No block has been added.
        """
        return self._parts[0] if len(self._parts) == 1 else self._concatenate(self._parts)
