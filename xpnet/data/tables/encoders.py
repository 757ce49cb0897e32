"""The encoding of one column as features: numbers and ranks, truth values and categories, dates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from xpnet.data.tables.date_parts import DATE_PARTS, cycle, year_of
from xpnet.data.tables.parse import Reading
from xpnet.data.tables.values import as_keys, as_moments, as_numbers

__all__ = [
    "DATE_PARTS",
    "CategoryColumn",
    "Column",
    "DateColumn",
    "NumberColumn",
    "OrderedColumn",
    "Read",
    "TruthColumn",
]

Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True)
class Read:
    """Features of one column that were read from a block.

    Attributes
    ----------
    features : ndarray of float64, shape (n_rows, n_features)
        First those to scale, NaN for a missing value; then indicators.
    unread : ndarray of bool, shape (n_rows,)
        Values that are not missing, but cannot be read.
    unknown : ndarray of bool, shape (n_rows,), or None
        Of categories: those that are not known.
    """

    features: Array
    unread: Array
    unknown: Array | None = None


@dataclass(frozen=True)
class Column:
    """Base class of the encodings of a column.

    Attributes
    ----------
    name : str
    """

    kind: ClassVar[str]
    expects: ClassVar[str] = "text"
    name: str

    @property
    def n_scaled(self) -> int:
        """Number of features that are scaled; they come first."""
        return 0

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the features."""
        raise NotImplementedError

    @property
    def n_features(self) -> int:
        """Number of features."""
        return len(self.feature_names)

    def read(self, values: pa.Array, decimal: Any) -> Read:
        """Return the features of values of a type that `as_values` returns, from a table with a decimal sign."""
        raise NotImplementedError


def _missing_name(name: str) -> tuple[str]:
    return (f"{name} (missing)",)


class _FlaggedColumn(Column):
    """A column with one scaled feature, and a flag where it is missing."""

    flag: bool

    @property
    def n_scaled(self) -> int:
        """See `Column`."""
        return 1

    @property
    def feature_names(self) -> tuple[str, ...]:
        """See `Column`."""
        return (self.name, *(_missing_name(self.name) if self.flag else ()))


@dataclass(frozen=True)
class NumberColumn(_FlaggedColumn):
    """A number, and a flag where it is missing.

    Attributes
    ----------
    reading : Reading
    follows : bool
        Whether the decimal sign is that of the table, whatever it is.
    flag : bool
        Whether there is a flag.
    """

    kind: ClassVar[str] = "number"
    expects: ClassVar[str] = "numbers"
    reading: Reading
    follows: bool
    flag: bool

    def reading_for(self, decimal: Any) -> Reading:
        """Return how text is read in a table with this decimal sign."""
        if not self.follows or self.reading.decimal == decimal:
            return self.reading
        return Reading(self.reading.kind, decimal, self.reading.percent)

    def read(self, values: pa.Array, decimal: Any) -> Read:
        """See `Column`."""
        numbers = as_numbers(values, self.reading_for(decimal))
        return _with_flag(numbers[:, None], np.isnan(numbers), self.flag, values)


def _with_flag(features: Array, missing: Array, flag: bool, values: pa.Array) -> Read:
    present = values.is_valid().to_numpy(zero_copy_only=False) if missing.any() else ~missing
    return Read(np.column_stack([features, missing]) if flag else features, missing & present)


@dataclass(frozen=True)
class OrderedColumn(_FlaggedColumn):
    """The rank of an ordered category, and a flag where it is missing.

    Attributes
    ----------
    levels : tuple of str
        The categories, from low to high.
    flag : bool
    """

    kind: ClassVar[str] = "ordered"
    expects: ClassVar[str] = "ordered categories"
    levels: tuple[str, ...]
    flag: bool

    def read(self, values: pa.Array, decimal: Any) -> Read:
        """See `Column`."""
        ranks = _codes(values, self.levels, decimal).astype(np.float64)
        ranks[ranks < 0] = np.nan
        return _with_flag(ranks[:, None], np.isnan(ranks), self.flag, values)


def _codes(values: pa.Array, categories: tuple[str, ...], decimal: Any) -> Array:
    """Return the index of each value among categories, -1 for another value, -2 for a missing one."""
    encoded = values.dictionary_encode()
    known = pc.index_in(as_keys(encoded.dictionary, decimal), pa.array(categories, pa.string())).fill_null(-1)
    table = np.append(known.to_numpy(zero_copy_only=False), -2)
    indices = encoded.indices.fill_null(len(encoded.dictionary)).to_numpy(zero_copy_only=False)
    return np.asarray(table[indices])


@dataclass(frozen=True)
class TruthColumn(Column):
    """A truth value as -1 or 1, and 0 where it is missing.

    Attributes
    ----------
    reading : Reading
    """

    kind: ClassVar[str] = "boolean"
    expects: ClassVar[str] = "truth values"
    reading: Reading

    @property
    def feature_names(self) -> tuple[str, ...]:
        """See `Column`."""
        return (self.name,)

    def read(self, values: pa.Array, decimal: Any) -> Read:
        """See `Column`."""
        numbers = as_numbers(values, self.reading)
        missing = np.isnan(numbers)
        return _with_flag(np.where(missing, 0.0, numbers)[:, None], missing, False, values)


@dataclass(frozen=True)
class CategoryColumn(Column):
    """A category: one column of -1 and 1 for two categories, else one-hot.

    Attributes
    ----------
    categories : tuple of str
        The frequent ones.
    pool : bool
        Whether there is a feature for all other categories.
    flag : bool
        Whether there is a feature for a missing value.
    """

    kind: ClassVar[str] = "category"
    categories: tuple[str, ...]
    pool: bool
    flag: bool

    @property
    def is_binary(self) -> bool:
        """Whether one feature tells two categories apart."""
        return len(self.categories) == 2 and not self.pool and not self.flag

    @property
    def feature_names(self) -> tuple[str, ...]:
        """See `Column`."""
        if self.is_binary:
            return (f"{self.name}={self.categories[1]}",)
        named = (f"{self.name}={category}" for category in self.categories)
        pool = (f"{self.name} (other)",) if self.pool else ()
        return (*named, *pool, *(_missing_name(self.name) if self.flag else ()))

    @property
    def n_features(self) -> int:
        """See `Column`; without the names, which take memory."""
        return 1 if self.is_binary else len(self.categories) + self.pool + self.flag

    def read(self, values: pa.Array, decimal: Any) -> Read:
        """See `Column`."""
        codes = _codes(values, self.categories, decimal)
        n = len(self.categories)
        if self.is_binary:
            features = np.where(codes < 0, 0.0, 2.0 * codes - 1)[:, None]
        else:
            width = self.n_features
            hot = np.append(np.arange(n), (width - 1 if self.flag else -1, n if self.pool else -1))[codes]
            features = (hot[:, None] == np.arange(width)).astype(np.float64)
        return Read(features, np.zeros(len(values), dtype=bool), codes == -1)


@dataclass(frozen=True)
class DateColumn(Column):
    """A date: elapsed days and the year as numbers, season, weekday and hour as sine and cosine.

    Attributes
    ----------
    reading : Reading
    parts : tuple of str
        Those of `DATE_PARTS` that vary.
    flag : bool
        Whether there is a feature for a missing value.
    """

    kind: ClassVar[str] = "date"
    expects: ClassVar[str] = "dates"
    reading: Reading
    parts: tuple[str, ...]
    flag: bool

    @property
    def n_scaled(self) -> int:
        """See `Column`."""
        return 1 + ("year" in self.parts)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """See `Column`."""
        cycles = [f"{self.name}: {part} {wave}" for part in self._cycles for wave in ("sin", "cos")]
        year = [f"{self.name}: year"] if "year" in self.parts else []
        return (f"{self.name}: days", *year, *cycles, *(_missing_name(self.name) if self.flag else ()))

    @property
    def _cycles(self) -> tuple[str, ...]:
        return tuple(part for part in self.parts if part != "year")

    def read(self, values: pa.Array, decimal: Any) -> Read:
        """See `Column`."""
        moments = as_moments(values, self.reading)
        missing = np.isnat(moments)
        known = np.where(missing, np.datetime64(0, "us"), moments)
        year = [year_of(known).astype(np.float64)] if "year" in self.parts else []
        numbers = [known.astype(np.int64) / 86_400e6, *year]
        cycles = [wave for part in self._cycles for wave in cycle(DATE_PARTS[part](known))]
        features = np.column_stack(numbers + cycles)
        features[missing, : self.n_scaled] = np.nan
        features[missing, self.n_scaled :] = 0
        return _with_flag(features, missing, self.flag, values)
