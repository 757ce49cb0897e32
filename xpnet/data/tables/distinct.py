"""The distinct values of columns, with their counts, of rows that arrive in blocks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from numpy.typing import NDArray

from xpnet.data.tables.parse import Reading, find_reading
from xpnet.data.tables.values import as_numbers, natural_reading

__all__ = ["DistinctValues", "Overflow", "Totals"]

Array: TypeAlias = NDArray[Any]

_NOTED = 10  # values of a column that cannot be read and are kept for messages


@dataclass
class Totals:
    """Sums over the values of a column, read in one way.

    Attributes
    ----------
    reading : Reading
    n_read, n_whole : int
        Rows whose value can be read, and those with a whole number.
    low, high : float
        The range of the numbers, without infinite ones.
    infinite : int or None
        The first row with an infinite number.
    unread : dict of str to list of two int
        The first values that cannot be read, with the rows that have them and the first of these.
    n_unread : int
    """

    reading: Reading
    n_read: int = 0
    n_whole: int = 0
    low: float = np.inf
    high: float = -np.inf
    infinite: int | None = None
    unread: dict[str, list[int]] = field(default_factory=dict)
    n_unread: int = 0

    def add(self, values: pa.Array, counts: Array, first: Array) -> None:
        """Include values, with the rows that have each and the first of these."""
        if self.reading.kind == "text":
            self.n_read += int(counts.sum())
            return
        numbers = as_numbers(values, self.reading)
        read = ~np.isnan(numbers)
        self.n_read += int(counts[read].sum())
        known, finite = numbers[read], np.isfinite(numbers[read])
        self.n_whole += int(counts[read][known == np.floor(known)].sum())
        if not finite.all():
            row = int(first[read][~finite].min())
            self.infinite = row if self.infinite is None else min(row, self.infinite)
            known = known[finite]
        if known.size:
            self.low, self.high = min(self.low, float(known.min())), max(self.high, float(known.max()))
        if not read.all():
            self._note(values.filter(pa.array(~read)), counts[~read], first[~read])

    def _note(self, values: pa.Array, counts: Array, first: Array) -> None:
        self.n_unread += int(counts.sum())
        encoded = values.dictionary_encode()
        codes = encoded.indices.to_numpy()
        earliest = np.full(len(encoded.dictionary), np.iinfo(np.int64).max)
        np.minimum.at(earliest, codes, first)
        rows = np.bincount(codes, weights=counts)
        for code in np.argsort(earliest, kind="stable"):
            value = str(encoded.dictionary[int(code)])
            if value in self.unread or len(self.unread) < _NOTED:
                noted = self.unread.setdefault(value, [0, int(earliest[code])])
                noted[0] += int(rows[code])


@dataclass
class Overflow:
    """A column with more distinct values than are kept.

    Attributes
    ----------
    values : pyarrow.Array
        The first distinct values.
    totals : Totals
    is_unique : bool
        Whether no value came twice until there were too many.
    """

    values: pa.Array
    totals: Totals
    is_unique: bool


class DistinctValues:
    """The distinct values of columns of one type; the result does not depend on how rows are cut into blocks.

    Many columns are treated as one long array, because a call to Arrow costs more than a few rows.

    Attributes
    ----------
    n : int
        Rows so far.
    missing, first_missing : ndarray of int64, shape (n_columns,)
        Missing values, and the row of the first one, -1 for none.
    offset : ndarray of int8, shape (n_columns,)
        0 or 1 if the values are row numbers that count from there, else negative.
    column, values, counts, first
        One entry for each pair of a column and a value, sorted by column: the rows that have it, and the first one.
    overflows : dict of int to Overflow
        By column; these have no entries any more.
    """

    def __init__(self, n_columns: int, decimal: Any, limit: int) -> None:
        self.n = 0
        self.missing = np.zeros(n_columns, dtype=np.int64)
        self.first_missing = np.full(n_columns, -1)
        self.offset = np.full(n_columns, 2, dtype=np.int8)
        self.values: pa.Array | None = None
        self.column, self.counts, self.first = (np.empty(0, dtype=np.int64) for _ in range(3))
        self.overflows: dict[int, Overflow] = {}
        self._decimal, self._limit = decimal, limit

    def add(self, flat: pa.Array, n: int) -> None:
        """Include `n` rows: the columns, one after the other."""
        k = len(self.missing)
        self._check_row_numbers(flat, n)
        present, before = np.arange(k * n), self.missing.copy()
        if flat.null_count:
            valid = flat.is_valid().to_numpy(zero_copy_only=False)
            present, gaps = np.flatnonzero(valid), ~valid.reshape(k, n)
            self.missing += gaps.sum(axis=1)
            new = (self.first_missing < 0) & gaps.any(axis=1)
            self.first_missing[new] = self.n + gaps[new].argmax(axis=1)
            flat = flat.drop_null()
        column, row = np.divmod(present, n)
        row += self.n
        for j, overflow in self.overflows.items():
            start, stop = np.searchsorted(column, (j, j + 1))
            overflow.totals.add(flat.slice(start, stop - start), np.ones(stop - start, np.int64), row[start:stop])
        if self.overflows:
            kept = ~np.isin(column, list(self.overflows))
            flat, column, row = flat.filter(pa.array(kept)), column[kept], row[kept]
        if len(flat):
            self._merge(*_grouped(flat, column, np.ones(len(flat), dtype=np.int64), row, k))
            sizes = np.bincount(self.column, minlength=k)
            for index in np.flatnonzero(sizes > self._limit).tolist():
                self._overflow(index, row[column == index], self.n - int(before[index]))
        self.n += n

    def _check_row_numbers(self, flat: pa.Array, n: int) -> None:
        if pt.is_boolean(flat.type) or pt.is_timestamp(flat.type):
            self.offset[:] = -1
        if not (self.offset >= 0).any():
            return
        heads = flat.take(pa.array(np.arange(len(self.offset)) * n))
        alive = np.zeros(len(self.offset), dtype=bool)
        for start in (0, 1):
            head = pa.array([self.n + start]).cast(flat.type)[0]
            begins = pc.equal(heads, head).fill_null(False).to_numpy(zero_copy_only=False)
            candidates = np.flatnonzero(begins & np.isin(self.offset, (start, 2)))
            if candidates.size:
                expected = pa.array(np.arange(self.n + start, self.n + start + n)).cast(flat.type)
                alive[[j for j in candidates if flat.slice(j * n, n).equals(expected)]] = True
                self.offset[candidates] = start
        self.offset[~alive] = -1

    def _merge(self, values: pa.Array, column: Array, counts: Array, first: Array) -> None:
        if self.values is not None:
            values = pa.concat_arrays([self.values, values])
            column, counts, first = (
                np.concatenate(pair) for pair in ((self.column, column), (self.counts, counts), (self.first, first))
            )
            values, column, counts, first = _grouped(values, column, counts, first, len(self.missing))
        self.values, self.column, self.counts, self.first = values, column, counts, first

    def _overflow(self, j: int, rows: Array, n_before: int) -> None:
        """Keep the first distinct values of a column, and only sums of the others."""
        assert self.values is not None
        mine = self.column == j
        values = self.values.filter(pa.array(mine))
        order = np.argsort(self.first[mine], kind="stable")
        kept = values.take(pa.array(order[: self._limit]))
        # Weights of one, because the counts so far depend on where the blocks end.
        reading = natural_reading(kept.type) or find_reading(kept, np.ones(len(kept), dtype=np.int64), self._decimal)
        totals = Totals(reading)
        totals.add(values, self.counts[mine], self.first[mine])
        present = n_before + int((rows <= self.first[mine][order[self._limit]]).sum())
        self.overflows[j] = Overflow(kept, totals, present == self._limit + 1)
        self.values = self.values.filter(pa.array(~mine))
        self.column, self.counts, self.first = self.column[~mine], self.counts[~mine], self.first[~mine]


def _grouped(
    values: pa.Array, column: Array, counts: Array, first: Array, k: int
) -> tuple[pa.Array, Array, Array, Array]:
    """Return the distinct pairs of a column and a value, with the sums of their counts and their first rows."""
    encoded = values.dictionary_encode()
    codes = encoded.indices.to_numpy().astype(np.int64)
    size = len(encoded.dictionary)
    if k == 1:  # no need to sort
        total = np.bincount(codes, weights=counts).astype(np.int64)
        earliest = np.empty(size, dtype=np.int64)
        earliest[codes[::-1]] = first[::-1]  # of several rows with one code, the assignment that comes last stays
        return encoded.dictionary, np.zeros(size, dtype=np.int64), total, earliest
    keys, index, inverse = np.unique(column * size + codes, return_index=True, return_inverse=True)
    total = np.bincount(inverse, weights=counts).astype(np.int64)
    return encoded.dictionary.take(pa.array(keys % size)), keys // size, total, first[index]
