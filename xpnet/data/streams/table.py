"""Tables in files: blocks of columns of any type, with targets."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from xpnet.data.streams.source import Array, Source
from xpnet.data.tables.files import TableFile
from xpnet.data.tables.target import TargetPlan
from xpnet.data.tables.values import decimal_sign
from xpnet.errors import DataError

__all__ = ["TableSource"]


class TableSource(Source):
    """A table whose blocks are those of its file, without the rows that lack a target.

    Its features are pyarrow tables; `xpnet.data.tables.encoding.TableEncoding` makes them numbers.

    Parameters
    ----------
    file : TableFile
    columns : sequence of str
        The features.
    target : TargetPlan
        How the target is read.
    complete : bool
        Whether every row is known to have a target. Otherwise the column of the target is read once to count them.
    """

    def __init__(self, file: TableFile, columns: Sequence[str], target: TargetPlan, *, complete: bool = False) -> None:
        self._file, self._columns, self._target = file, list(columns), target
        self._decimal = decimal_sign(file.schema)
        self.target_name = target.name
        self.feature_names = tuple(columns)
        self.n_features = len(columns)
        self.is_sequential = file.is_sequential
        self.sizes = file.block_sizes()
        self._starts = np.cumsum(self.sizes) - self.sizes  # rows of the file before each block
        self.row_bytes = max(1, file.n_bytes // max(1, int(self.sizes.sum())))
        if not complete:
            self.sizes = np.asarray([self._targets(block)[1].sum() for block in range(len(self.sizes))], dtype=np.int64)

    def _targets(self, block: int, table: Any = None) -> tuple[Array, Array]:
        """Return the targets of a block, and which rows have one."""
        if table is None:
            table = self._file.read_block(block, [self._target.name])
        return self._target.read(table.column(self._target.name), self._decimal, first_row=int(self._starts[block]))

    def read(self, block: int, epoch: int = 0, start: int = 0, stop: int | None = None) -> tuple[Any, Array]:
        """Return rows of a block: a table and the targets."""
        table = self._file.read_block(block, [*self._columns, self._target.name])
        y, keep = self._targets(block, table)
        table = table.select(self._columns)
        if not keep.all():
            import pyarrow as pa

            table = table.filter(pa.array(keep))
        if len(y) != self.sizes[block]:
            raise DataError(
                f"{self.where(block)}: expected {self.sizes[block]} rows with a target, as in the first pass; received "
                f"{len(y)}; do not change the data during a run"
            )
        return table[start:stop] if start or stop is not None else table, y[start:stop]

    def reader(self) -> TableSource:
        """Return an independent source of the same data."""
        other = copy.copy(self)
        other._file = self._file.reader()
        return other

    def where(self, block: int) -> str:
        """Return the place of the block's first row."""
        return f"{self._file.path}, from {self._file.where(int(self._starts[block]))} on"

    def where_row(self, row: int) -> str:
        """Return the place in the file of a row, counted from 0 among those with a target."""
        ends = np.cumsum(self.sizes)
        block = int(np.searchsorted(ends, row, "right"))
        kept = np.flatnonzero(self._targets(block)[1])
        return self._file.where(int(self._starts[block] + kept[row - ends[block] + self.sizes[block]]))
