"""What the columns of a table hold, from rows that arrive in blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from numpy.typing import NDArray

from xpnet.data.tables.distinct import DistinctValues, Totals
from xpnet.data.tables.parse import Reading, find_reading
from xpnet.data.tables.values import as_keys, as_numbers, as_values, decimal_sign, is_supported, natural_reading
from xpnet.errors import DataError

__all__ = ["MAX_DISTINCT", "ColumnSummary", "TableSummary", "column_groups"]

Array: TypeAlias = NDArray[Any]

MAX_DISTINCT = 100_000  # distinct values of a column that are kept
_N_GROUPS = 128
_BLOCK_VALUES = 1 << 18


@dataclass(frozen=True)
class ColumnSummary:
    """What a column holds.

    Attributes
    ----------
    name : str
    kind : pyarrow.DataType
        Its type in the table.
    n_rows, n_missing : int
    first_missing : int or None
        A row, counted from 0.
    values : pyarrow.Array
        The distinct values in order of appearance; the first ones if there are too many to keep.
    counts : ndarray of int64, shape (n_values,)
        Rows of each value; 0 if there are too many to keep.
    is_complete : bool
        Whether all distinct values have been kept.
    is_unique : bool
        Whether no value occurs twice, as far as distinct values have been kept.
    is_row_number : bool
        Whether the values count the rows, from 0 or 1.
    totals : Totals
        How the values are read, and sums over all of them.
    has_codes : bool
        Whether the values are digits, and some have a zero in front, such as ``"007"``.
    levels : tuple of str or None
        The categories of an ordered Arrow dictionary (a pandas categorical), from low to high.
    decimal : {".", ","}
        The decimal sign of the table.
    """

    name: str
    kind: pa.DataType
    n_rows: int
    n_missing: int
    first_missing: int | None
    values: pa.Array
    counts: Array
    is_complete: bool
    is_unique: bool
    is_row_number: bool
    totals: Totals
    has_codes: bool
    levels: tuple[str, ...] | None
    decimal: Any

    @property
    def reading(self) -> Reading:
        """How the values are read."""
        return self.totals.reading

    @property
    def n_present(self) -> int:
        """Rows with a value."""
        return self.n_rows - self.n_missing

    @property
    def missing_share(self) -> float:
        """Share of the rows without a value, from 0 to 1."""
        return self.n_missing / max(1, self.n_rows)

    @property
    def n_distinct(self) -> int:
        """Number of distinct values; at least `MAX_DISTINCT` if there are too many to keep."""
        return len(self.values)

    @property
    def distinct(self) -> str:
        """Number of distinct values in words: ``"5"`` or ``"more than 100,000"``."""
        return f"{self.n_distinct:,}" if self.is_complete else f"more than {self.n_distinct:,}"

    def examples(self, n: int = 3) -> tuple[str, ...]:
        """Return the first `n` distinct values as text."""
        return tuple(as_keys(self.values.slice(0, n)).to_pylist())


class TableSummary:
    """Statistics of the columns of a table; they do not depend on how its rows are cut into blocks.

    Parameters
    ----------
    limit : int
        Distinct values of a column that are kept.

    Attributes
    ----------
    n_rows : int

    Examples
    --------
    >>> import pyarrow as pa
    >>> summary = TableSummary()
    >>> summary.add(pa.table({"age": ["31", None, "7"], "sex": ["m", "f", "f"]}))
    >>> [(column.name, column.reading.kind, column.distinct, column.n_missing) for column in summary.columns]
    [('age', 'number', '2', 1), ('sex', 'text', '2', 0)]
    """

    def __init__(self, *, limit: int = MAX_DISTINCT) -> None:
        self.n_rows = 0
        self._limit = limit
        self._schema: pa.Schema | None = None
        self._groups: list[tuple[slice, DistinctValues]] = []
        self._levels: dict[str, tuple[str, ...]] = {}
        self._columns: tuple[ColumnSummary, ...] | None = None  # of the rows so far

    def add(self, table: pa.Table) -> None:
        """Include the rows of a table.

        Raises
        ------
        DataError
            The columns are not those of the first table, or have other types.
        """
        if self._schema is None:
            self._start(table)
        elif not table.schema.equals(self._schema):
            difference = _difference(self._schema, table.schema)
            raise DataError(f"tables: expected the same columns and types in each; received {difference}")
        self._columns = None
        names = table.column_names
        for columns, group in self._groups:
            part = table.select(names[columns])
            width = columns.stop - columns.start
            for block in _row_blocks(part, max(1, _BLOCK_VALUES // width)):
                group.add(as_values(block.columns, block.column_names), len(block))
        self.n_rows += len(table)

    def _start(self, table: pa.Table) -> None:
        self._schema = table.schema
        for columns in column_groups(table.schema):
            if is_supported(table.schema.field(columns.start).type):
                n = columns.stop - columns.start
                self._groups.append((columns, DistinctValues(n, decimal_sign(table.schema), self._limit)))
        for column, name in zip(table.columns, table.column_names, strict=True):
            if pt.is_dictionary(column.type) and column.type.ordered and column.num_chunks:
                categories = pa.chunked_array([column.chunk(0).dictionary])
                self._levels[name] = tuple(as_keys(as_values([categories], [name])).to_pylist())

    @property
    def columns(self) -> tuple[ColumnSummary, ...]:
        """The summary of each column, in the order of the table."""
        if self._schema is None:
            raise DataError("no rows: expected a table; received none")
        if self._columns is None:
            found = {slot.start: list(self._of_group(slot, group)) for slot, group in self._groups}
            summaries: list[ColumnSummary] = []
            while len(summaries) < len(self._schema):
                start = len(summaries)
                summaries += found.get(start) or [self._unsupported(start)]
            self._columns = tuple(summaries)
        return self._columns

    def _unsupported(self, index: int) -> ColumnSummary:
        assert self._schema is not None
        field, totals = self._schema.field(index), Totals(Reading("text"))
        nothing = pa.array([], pa.string())
        counts = np.empty(0, dtype=np.int64)
        return ColumnSummary(
            field.name, field.type, self.n_rows, 0, None, nothing, counts, True, False, False, totals, False, None, "."
        )

    def _of_group(self, columns: slice, group: DistinctValues) -> Iterator[ColumnSummary]:
        assert self._schema is not None
        decimal = decimal_sign(self._schema)
        k = columns.stop - columns.start
        values, counts, first = _by_appearance(group)
        starts = np.searchsorted(group.column, np.arange(k + 1)).tolist()
        totals = _totals(values, counts, first, starts, decimal)
        codes = _reduce(np.logical_or, _are_codes(values), starts)
        most = _reduce(np.maximum, counts, starts)
        for j, (n_missing, first_missing, offset) in enumerate(
            zip(group.missing.tolist(), group.first_missing.tolist(), group.offset.tolist(), strict=True)
        ):
            overflow, field = group.overflows.get(j), self._schema.field(columns.start + j)
            part = slice(starts[j], starts[j + 1])
            mine = values.slice(part.start, part.stop - part.start) if overflow is None else overflow.values
            total = totals[j] if overflow is None else overflow.totals
            yield ColumnSummary(
                field.name,
                field.type,
                self.n_rows,
                n_missing,
                None if first_missing < 0 else first_missing,
                mine,
                counts[part] if overflow is None else np.zeros(len(mine), dtype=np.int64),
                overflow is None,
                bool(most[j] == 1) if overflow is None else overflow.is_unique,
                offset in (0, 1),
                total,
                total.n_whole == self.n_rows - n_missing
                and bool(codes[j] if overflow is None else _are_codes(mine).any()),
                self._levels.get(field.name),
                decimal,
            )


def _by_appearance(group: DistinctValues) -> tuple[pa.Array, Array, Array]:
    """Return values, counts and first rows, sorted by column and then by first row."""
    if group.values is None:
        return pa.array([], pa.string()), group.counts, group.first
    order = np.lexsort((group.first, group.column))
    return group.values.take(pa.array(order)), group.counts[order], group.first[order]


def _are_codes(values: pa.Array) -> Array:
    if not pt.is_string(values.type):
        return np.zeros(len(values), dtype=bool)
    return np.asarray(pc.match_substring_regex(values, "^0[0-9]+$").to_numpy(zero_copy_only=False))


def _reduce(function: np.ufunc, values: Array, starts: Sequence[int]) -> Array:
    """Return the reduction of the values between two starts each, 0 where there are none."""
    edges = np.asarray(starts)
    filled = edges[:-1] < edges[1:]
    reduced = np.zeros(len(filled), dtype=values.dtype)
    if filled.any():
        reduced[filled] = function.reduceat(values, edges[:-1][filled])
    return reduced


def _totals(values: pa.Array, counts: Array, first: Array, starts: list[int], decimal: Any) -> list[Totals]:
    """Return the totals of the values between two starts each, those of plain numbers all at once."""
    natural = natural_reading(values.type) or Reading("number", decimal)
    numbers = as_numbers(values, natural)
    usual = np.isfinite(numbers)
    numbers[~usual] = 0
    whole = np.where(numbers == np.floor(numbers), counts, 0)
    sums = (
        *(_reduce(np.logical_and, usual, starts), _reduce(np.add, counts, starts), _reduce(np.add, whole, starts)),
        *(_reduce(np.minimum, numbers, starts), _reduce(np.maximum, numbers, starts)),
    )
    totals = []
    for j, (plain, n_read, n_whole, low, high) in enumerate(zip(*(each.tolist() for each in sums), strict=True)):
        if plain and natural.kind == "number":
            totals.append(Totals(natural, n_read, n_whole, low, high))
            continue
        part = slice(starts[j], starts[j + 1])
        mine = values.slice(part.start, part.stop - part.start)
        reading = natural_reading(values.type) or find_reading(mine, counts[part], decimal)
        totals.append(Totals(reading))
        totals[-1].add(mine, counts[part], first[part])
    return totals


def column_groups(schema: pa.Schema) -> Iterator[slice]:
    """Yield slices over the columns: neighbours of one type, few of them unless the table is very wide."""
    width = -(-len(schema) // _N_GROUPS)
    kinds, start = schema.types, 0
    for index in range(1, len(kinds) + 1):
        if index == len(kinds) or index - start == width or kinds[index] != kinds[start]:
            yield slice(start, index)
            start = index


def _row_blocks(table: pa.Table, n: int) -> Iterator[pa.Table]:
    for start in range(0, len(table), n):
        yield table if len(table) <= n else table.slice(start, n)


def _difference(expected: pa.Schema, received: pa.Schema) -> str:
    if expected.names != received.names:
        return f"columns {', '.join(received.names)}"[:200]
    index = next(i for i, kind in enumerate(expected.types) if kind != received.types[i])
    return f"column {expected.names[index]!r:.60} of type {received.types[index]} instead of {expected.types[index]}"
