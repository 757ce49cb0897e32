"""The values of columns of any Arrow type, in one type a kind: text, whole numbers, floats, truth values, moments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from numpy.typing import NDArray

from xpnet.data.tables.parse import Reading
from xpnet.errors import DataError

__all__ = [
    "as_keys",
    "as_labels",
    "as_moments",
    "as_numbers",
    "as_values",
    "decimal_sign",
    "is_supported",
    "natural_reading",
    "value_text",
]

Array: TypeAlias = NDArray[Any]

_MOMENT = pa.timestamp("us")
_EXACT = 2**53  # whole numbers up to this are exact in float64
_CONVERTIBLE = (
    *(pt.is_string, pt.is_large_string, pt.is_binary, pt.is_large_binary, pt.is_boolean, pt.is_integer, pt.is_floating),
    *(pt.is_decimal, pt.is_date, pt.is_timestamp, pt.is_time, pt.is_duration, pt.is_null),
    *(pt.is_string_view, pt.is_binary_view),
)


def is_supported(kind: pa.DataType) -> bool:
    """Return True if `as_values` can convert a type. Lists, structures and maps cannot be converted."""
    kind = kind.value_type if pt.is_dictionary(kind) else kind
    return any(holds(kind) for holds in _CONVERTIBLE)


def decimal_sign(schema: pa.Schema) -> Any:
    """Return the decimal sign of the text in a table: ``"."`` or ``","``."""
    return (schema.metadata or {}).get(b"decimal", b".").decode()


def as_values(columns: Sequence[pa.ChunkedArray], names: Sequence[str]) -> pa.Array:
    """Return columns of one type, one after the other in one array.

    The array's type is string, int64, uint64, float64, bool or timestamp[us]; NaN becomes null, an offset from UTC is
    applied to give the time on the spot, times of the day are moments of 1970-01-01, durations are days.

    Parameters
    ----------
    columns : sequence of pyarrow.ChunkedArray
        Of equal length and type.
    names : sequence of str
        For the message.

    Raises
    ------
    DataError
        The type is not supported, or binary text is no UTF-8.
    """
    kind = columns[0].type
    if pt.is_dictionary(kind):
        with _converting(names[0], "texts of less than 2 GB in a block of rows"):
            columns = [column.cast(kind.value_type) for column in columns]
        kind = kind.value_type
    chunks = [chunk for column in columns for chunk in column.chunks]
    flat = chunks[0] if len(chunks) == 1 else pa.concat_arrays(chunks) if chunks else pa.array([], kind)
    if pt.is_string(kind) or pt.is_boolean(kind) or pt.is_int64(kind) or pt.is_uint64(kind):
        return flat
    if pt.is_floating(kind) or pt.is_decimal(kind):
        return _without_nan(flat.cast(pa.float64()))
    if pt.is_integer(kind):
        return flat.cast(pa.int64())
    if pt.is_timestamp(kind) or pt.is_date(kind):
        with _converting(names[0], "a known time zone"):
            local = pc.local_timestamp(flat) if pt.is_timestamp(kind) and kind.tz else flat
        return local.cast(_MOMENT, safe=False)
    if pt.is_time(kind):
        return flat.cast(pa.time64("us"), safe=False).cast(pa.int64()).cast(_MOMENT)
    if pt.is_duration(kind):
        microseconds = flat.cast(pa.duration("us"), safe=False).cast(pa.int64())
        return pc.divide(microseconds.cast(pa.float64(), safe=False), 86_400e6)
    if not is_supported(kind):
        raise DataError(
            f"column {names[0]!r:.60}: expected numbers, text, truth values or dates; received {kind}; leave it out"
        )
    with _converting(names[0], "text in UTF-8"):
        return flat.cast(pa.string())


@contextmanager
def _converting(name: str, expected: str) -> Iterator[None]:
    try:
        yield
    except pa.ArrowInvalid as exc:
        raise DataError(f"column {name!r:.60}: expected {expected}; received {str(exc).strip():.100}") from exc


def _without_nan(values: pa.Array) -> pa.Array:
    if not np.isnan(values.to_numpy(zero_copy_only=False)).any():
        return values
    return pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)


def natural_reading(kind: pa.DataType) -> Reading | None:
    """Return how values of a type are read, or None for text, where the values decide."""
    if pt.is_boolean(kind):
        return Reading("boolean")
    if pt.is_timestamp(kind):
        return Reading("date")
    return None if pt.is_string(kind) else Reading("number")


def as_numbers(values: pa.Array, reading: Reading) -> Array:
    """Return values as float64, NaN for a null and for what cannot be read.

    Truth values are -1 and 1, or 0 and 1 if numbers are expected; moments are days since 1970.

    Parameters
    ----------
    values : pyarrow.Array
        Of a type that `as_values` returns.
    reading : Reading
    """
    kind = values.type
    if pt.is_string(kind):
        return reading.numbers(values)
    if reading.kind == "date":
        moments = as_moments(values, reading)
        return np.where(np.isnat(moments), np.nan, moments.astype(np.int64) / 86_400e6)
    if pt.is_timestamp(kind):
        return np.full(len(values), np.nan)
    numbers = _to_numpy(values.cast(pa.uint8()) if pt.is_boolean(kind) else values)
    if reading.kind == "boolean":
        return np.where((numbers == 0) | (numbers == 1), 2 * numbers - 1, np.nan)
    return numbers


def _to_numpy(values: pa.Array) -> Array:
    return np.array(values.to_numpy(zero_copy_only=False), dtype=np.float64)


def as_moments(values: pa.Array, reading: Reading) -> Array:
    """Return values as datetime64[us], NaT for a null and for what is no date; 20120131 and 2012 are dates."""
    if pt.is_string(values.type) or pt.is_integer(values.type):
        encoded = values.dictionary_encode()  # the same day may come often
        moments = np.append(reading.dates(encoded.dictionary.cast(pa.string())), np.datetime64("NaT", "us"))
        return np.asarray(moments[encoded.indices.fill_null(len(encoded.dictionary)).to_numpy()])
    if pt.is_timestamp(values.type):
        return np.asarray(values.to_numpy(zero_copy_only=False), dtype="datetime64[us]")
    return np.full(len(values), np.datetime64("NaT", "us"))


def as_keys(values: pa.Array, decimal: str = ".") -> pa.Array:
    """Return values as the text of categories, so that equal values of different types have equal texts.

    ``"1"``, ``"1.0"``, 1 and 1.0 are ``"1"``, ``"1.50"`` and 1.5 are ``"1.5"``; ``"True"`` and True are ``"True"``;
    ``"007"`` stays as it is. Moments are ISO dates, with a time if it is not midnight.

    Parameters
    ----------
    values : pyarrow.Array
        Distinct values, of a type that `as_values` returns.
    decimal : {".", ","}
    """
    kind = values.type
    if pt.is_string(kind):
        if decimal == ",":
            values = pc.replace_substring_regex(values, r"^(-?[0-9]+),([0-9]+)$", r"\1.\2")
        values = pc.replace_substring_regex(values, r"^(-?(?:0|[1-9][0-9]*)\.[0-9]*[1-9])0+$", r"\1")
        return pc.replace_substring_regex(values, r"^(-?(?:0|[1-9][0-9]*))\.0+$", r"\1")
    if pt.is_boolean(kind):
        return pc.if_else(values, "True", "False")
    if pt.is_timestamp(kind):
        return pc.replace_substring_regex(values.cast(pa.string()), r"( 00:00:00)?\.000000$", "")
    if pt.is_floating(kind):
        numbers = _to_numpy(values)
        whole = (np.abs(numbers) < _EXACT) & (numbers == np.floor(numbers))
        integers = pa.array(np.where(whole, numbers, 0).astype(np.int64)).cast(pa.string())
        return pc.if_else(pa.array(whole), integers, values.cast(pa.string()))
    return values.cast(pa.string())


def value_text(values: pa.Array, index: int) -> str:
    """Return a value as text for a message; Python has no dates beyond the year 9999."""
    return str(as_keys(values.slice(index, 1))[0])


def as_labels(values: pa.Array) -> Array:
    """Return values as text, without arrays as wide as the longest text for each row."""
    encoded = values.dictionary_encode()
    texts = encoded.dictionary if pt.is_string(values.type) else as_keys(encoded.dictionary)
    labels: Array = np.array(texts.to_pylist(), dtype=object)
    return np.asarray(labels[encoded.indices.to_numpy()])
