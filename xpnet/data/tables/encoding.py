"""The encoding of a table as numbers: fitted on the training part, kept with the model, applied to any table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import DTypeLike, NDArray

from xpnet.data.readers.common import check_memory, join_names
from xpnet.data.scaling import Scaler, ScalerKind
from xpnet.data.tables.encoders import Column, NumberColumn, Read
from xpnet.data.tables.json_form import (
    checked_choice,
    checked_fields,
    checked_list,
    checked_numbers,
    checked_texts,
    column_from_dict,
    column_to_dict,
)
from xpnet.data.tables.unknown import UnknownValues
from xpnet.data.tables.values import as_numbers, as_values, decimal_sign, value_text
from xpnet.errors import DataError

__all__ = ["TableEncoding"]

Array: TypeAlias = NDArray[Any]

_BLOCK_VALUES = 1 << 18
_GROUP = 512  # columns that are read together at most


class Example(NamedTuple):
    """The row and the text of a value that cannot be read."""

    row: int
    value: str


@dataclass(frozen=True, eq=False)
class TableEncoding:
    """Encode the columns of tables as a matrix of numbers.

    Attributes
    ----------
    columns : tuple of Column
        The encoding of each input column.
    fill : ndarray of float64, shape (n_scaled,)
        What replaces a missing value in each feature that is scaled: the median.
    scaler : Scaler
        Of the features that are scaled: numbers, ranks and dates. Indicators are not scaled.
    known_gaps : dict of str to tuple of str
        Values of columns that could not be read at training either, and count as missing.
    """

    columns: tuple[Column, ...]
    fill: Array
    scaler: Scaler
    known_gaps: dict[str, tuple[str, ...]]

    def to_dict(self) -> dict[str, Any]:
        """Return the encoding as plain JSON."""
        return {
            "columns": [column_to_dict(column) for column in self.columns],
            "scale": self.scaler.kind,
            "fill": self.fill.tolist(),
            "shift": self.scaler.shift.tolist(),
            "width": self.scaler.scale.tolist(),
            "known_gaps": {name: list(values) for name, values in self.known_gaps.items()},
        }

    @classmethod
    def from_dict(cls, content: Any) -> TableEncoding:
        """Return the encoding that `to_dict` has written.

        Raises
        ------
        DataError
            It is malformed; the message says what was expected.
        """
        fields = checked_fields(content, "encoding", ("columns", "scale", "fill", "shift", "width", "known_gaps"))
        columns = tuple(column_from_dict(column) for column in checked_list(fields["columns"], "columns"))
        n = sum(column.n_scaled for column in columns)
        fill, shift, width = (checked_numbers(fields[name], name, n) for name in ("fill", "shift", "width"))
        kind = checked_choice(fields["scale"], "scale", get_args(ScalerKind))
        if (width <= 0).any():
            raise DataError("encoding: width: expected positive numbers; received others")
        gaps = checked_fields(fields["known_gaps"], "known_gaps")
        known_gaps = {name: checked_texts(values, "known_gaps") for name, values in gaps.items()}
        return cls(columns, fill, Scaler(kind, shift, width), known_gaps)

    @cached_property
    def input_names(self) -> tuple[str, ...]:
        """Names of the columns that a table needs."""
        return tuple(column.name for column in self.columns)

    @cached_property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the features, each another one."""
        names = [name for column in self.columns for name in column.feature_names]
        if len(set(names)) == len(names):
            return tuple(names)
        seen: set[str] = set()
        primes: dict[str, int] = {}  # by name: all with fewer are taken
        for index, name in enumerate(names):
            while (unique := name + "'" * primes.setdefault(name, 0)) in seen:
                primes[name] += 1
            names[index] = unique
            seen.add(unique)
        return tuple(names)

    @property
    def n_features(self) -> int:
        """Number of features."""
        return int(self._starts[-1])

    @cached_property
    def _starts(self) -> Array:
        """The first feature of each column, and their number."""
        return np.cumsum([0, *(column.n_features for column in self.columns)])

    @cached_property
    def _scaled_starts(self) -> Array:
        return np.cumsum([0, *(column.n_scaled for column in self.columns)])

    def transform(
        self,
        table: pa.Table,
        dtype: DTypeLike = np.float32,
        *,
        first_row: int = 0,
        unknown: UnknownValues | None = None,
    ) -> Array:
        """Return a table as numbers.

        Columns are found by name; others are ignored. If either side has no names but 1, 2, ..., columns are taken in
        their order.

        Parameters
        ----------
        table : pyarrow.Table
        dtype : dtype
            A floating-point type.
        first_row : int
            The row of the whole table with which this one begins, for messages.
        unknown : UnknownValues, optional
            Counts the values that training did not have.

        Returns
        -------
        ndarray, shape (n_rows, n_features)

        Raises
        ------
        DataError
            A column is missing, most of its values cannot be read, a number is infinite or too large for `dtype`, or
            the result does not fit into memory.
        """
        n_bytes = len(table) * self.n_features * np.dtype(dtype).itemsize
        check_memory(n_bytes, f"{len(table):,} rows of {self.n_features:,} features")
        x = np.empty((len(table), self.n_features), dtype=dtype)
        names = self.names_in(table.column_names)
        for start, stop in self._groups(table, names):
            part = table.select([names[index] for index in range(start, stop)])
            tally = np.zeros((stop - start, 2), dtype=np.int64)  # values that cannot be read, and values
            examples: dict[int, Example] = {}
            step = max(1, _BLOCK_VALUES // (stop - start))
            for row in range(0, len(table), step):
                rows = slice(row, min(row + step, len(table)))
                block = part.slice(row, step)
                values = as_values(block.columns, block.column_names)
                read = self._read(values, start, stop, decimal_sign(table.schema))
                if unknown is not None:
                    unknown.add(self.columns[start:stop], read, values, self.known_gaps)
                self._count(read, values, len(block), tally, examples, first_row + row)
                self._write(x, read.features, rows, start, stop, first_row + row)
            self._check_read(tally, examples, start)
        return x

    def names_in(self, received: Sequence[str]) -> Sequence[str]:
        """Return the columns of a table, one for each input column."""
        known = set(received)
        if known.issuperset(self.input_names):
            return self.input_names
        nameless = any(_counts(names) for names in (received, self.input_names))
        if nameless and len(received) == len(self.columns):
            return received
        missing = [name for name in self.input_names if name not in known]
        raise DataError(
            f"columns: expected the model's features {join_names(self.input_names)}; received a table without "
            f"{join_names(missing)}; rename or add columns"
        )

    def _groups(self, table: pa.Table, names: Sequence[str]) -> Iterator[tuple[int, int]]:
        """Yield neighbouring columns that are read together: numbers of one type, read in one way, or one column."""
        kinds = dict(zip(table.column_names, table.schema.types, strict=True))
        start, key = 0, None
        for index, column in enumerate(self.columns):
            own = (kinds[names[index]], column.reading, column.follows) if isinstance(column, NumberColumn) else None
            if index > start and (own is None or own != key or index - start == _GROUP):
                yield start, index
                start = index
            key = own
        if self.columns:
            yield start, len(self.columns)

    def _read(self, values: pa.Array, start: int, stop: int, decimal: Any) -> Read:
        """Return the features of a block of neighbouring columns; of `unread`, one column is after the other."""
        column = self.columns[start]
        if stop - start == 1 or not isinstance(column, NumberColumn):
            return column.read(values, decimal)
        n = len(values) // (stop - start)
        numbers = as_numbers(values, column.reading_for(decimal))
        missing = np.isnan(numbers)
        features = np.empty((n, self._starts[stop] - self._starts[start]))
        offsets = self._starts[start:stop] - self._starts[start]
        features[:, offsets] = numbers.reshape(-1, n).T
        flagged = np.diff(self._starts[start : stop + 1]) == 2
        features[:, offsets[flagged] + 1] = missing.reshape(-1, n)[flagged].T
        if missing.any():
            missing &= values.is_valid().to_numpy(zero_copy_only=False)
        return Read(features, missing)

    def _write(self, x: Array, features: Array, rows: slice, start: int, stop: int, first_row: int) -> None:
        """Fill and scale features, and write them to their place."""
        scaled = slice(self._scaled_starts[start], self._scaled_starts[stop])
        where = self.scaled_features[scaled] - self._starts[start]
        numbers = features[:, where]
        self._refuse(np.isinf(numbers), numbers, where, start, first_row, "finite numbers")
        fill, scaler = self.fill[scaled], Scaler(self.scaler.kind, self.scaler.shift[scaled], self.scaler.scale[scaled])
        numbers = np.where(np.isnan(numbers), fill, numbers)
        block = x[rows, self._starts[start] : self._starts[stop]]
        with np.errstate(over="ignore", invalid="ignore"):
            features[:, where] = scaler.scaled(numbers)
            block[...] = features
        self._refuse(
            ~np.isfinite(block[:, where]) & ~np.isnan(numbers),
            numbers,
            where,
            start,
            first_row,
            f"numbers that {x.dtype} can hold",
        )

    @cached_property
    def scaled_features(self) -> Array:
        """The features that are scaled."""
        starts = zip(self._starts.tolist(), self.columns, strict=False)
        return np.array([start + i for start, column in starts for i in range(column.n_scaled)], dtype=np.int64)

    def _refuse(self, wrong: Array, numbers: Array, where: Array, start: int, first_row: int, expected: str) -> None:
        """Raise an error if a number is wrong, with the place of the first one."""
        if not wrong.any():
            return
        row, feature = (int(i) for i in np.argwhere(wrong)[0])
        index = int(np.searchsorted(self._starts, self._starts[start] + where[feature], side="right")) - 1
        raise DataError(
            f"features: expected {expected}; received {numbers[row, feature]:g} in column "
            f"{self.columns[index].name!r:.60}, row {first_row + row + 1}; remove the row or fill in the value"
        )

    @staticmethod
    def _count(
        read: Read, values: pa.Array, n: int, tally: Array, examples: dict[int, Example], first_row: int
    ) -> None:
        """Count values that cannot be read, and values; note the first one of each column that cannot be read."""
        if not values.null_count:
            tally[:, 1] += n
        elif n:
            tally[:, 1] += values.is_valid().to_numpy(zero_copy_only=False).reshape(-1, n).sum(axis=1)
        if not read.unread.any():
            return
        unread = read.unread.reshape(-1, n)
        tally[:, 0] += unread.sum(axis=1)
        for column in np.flatnonzero(unread.any(axis=1)).tolist():
            row = int(unread[column].argmax())
            examples.setdefault(column, Example(first_row + row, value_text(values, column * n + row)))

    def _check_read(self, tally: Array, examples: dict[int, Example], start: int) -> None:
        """Raise an error if most values of a column cannot be read; at training, few of them could not."""
        for index, (row, value) in examples.items():
            column, (unread, n) = self.columns[start + index], tally[index].tolist()
            if 2 * unread > n and value not in self.known_gaps.get(column.name, ()):
                raise DataError(
                    f"column {column.name!r:.60}: expected {column.expects}, as at training; received {value!r:.40} in "
                    f"row {row + 1}; {unread:,} of its {n:,} values cannot be read"
                )


def _counts(names: Sequence[str]) -> bool:
    """Return True for the names of columns without a header."""
    return all(name.isdecimal() for name in names) and list(names) == [str(i + 1) for i in range(len(names))]
