"""Text as numbers, truth values, and dates and times: vectorised, and exact about what is none of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from xpnet.data.tables.dates import DateOrder, find_date_order, parse_dates

__all__ = ["Reading", "ReadingKind", "find_reading", "read_numbers", "read_truth"]

Array: TypeAlias = NDArray[Any]
ReadingKind: TypeAlias = Literal["number", "boolean", "date", "text"]
Sign: TypeAlias = Literal[".", ","]

SHARE = 0.9  # of the values that must be numbers, or dates, for the column to be taken as such

_PLAIN = r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$|^[+-]?(?i:inf|infinity)$"
_CURRENCY = r"[$€£¥₹]|USD|EUR|GBP|CHF|JPY"
_PERCENT = r"[ \x{a0}]?%"
_GAPS = "'\u2019 \u00a0\u2009\u202f"  # between groups of three digits, besides the comma or the point
_GROUPS = {".": rf"[,{_GAPS}]", ",": rf"[.{_GAPS}]"}
_TRUE = pa.array(["true", "yes", "t", "y", "on"])
_FALSE = pa.array(["false", "no", "f", "n", "off"])


@dataclass(frozen=True)
class Reading:
    """How the texts of a column are read.

    Attributes
    ----------
    kind : {"number", "boolean", "date", "text"}
    decimal : {".", ","}
        The decimal sign of numbers.
    percent : bool
        Whether the numbers carry a per cent sign. It is dropped: ``"12 %"`` is 12.
    order : {"ymd", "dmy", "mdy"} or None
        The order of year, month and day in numeric dates; ISO dates are read whatever it is. None: the texts are dates,
        but day and month cannot be told apart, so that they remain text.
    """

    kind: ReadingKind
    decimal: Sign = "."
    percent: bool = False
    order: DateOrder | None = "ymd"

    def numbers(self, values: pa.Array) -> Array:
        """Return texts as float64: numbers, -1 and 1 for truth values, or days since 1970; NaN for what is none."""
        if self.kind == "number":
            return read_numbers(values, self.decimal, percent=self.percent)
        if self.kind == "boolean":
            return read_truth(values)
        moments = self.dates(values)
        return np.where(np.isnat(moments), np.nan, moments.astype(np.int64) / 86_400e6)

    def dates(self, values: pa.Array) -> Array:
        """Return texts as datetime64[us], NaT for what is no date."""
        return parse_dates(values, self.order or "ymd")


def find_reading(
    values: pa.Array, counts: Array, decimal: Sign = ".", *, among: tuple[ReadingKind, ...] = ()
) -> Reading:
    """Find how a column is to be read.

    Parameters
    ----------
    values : pyarrow.StringArray
        The distinct texts.
    counts : ndarray of int, shape (n_values,)
        The rows that each has.
    decimal : {".", ","}
        The decimal sign of the file; a column is read with the other one if more of its values are numbers then.
    among : tuple of str
        Consider these kinds only, in this order; by default all. The first kind is taken if no kind fits.

    Returns
    -------
    Reading
        A number or a date if at least 90 % of the rows are, a truth value if all rows are.
    """
    total = int(counts.sum())
    for kind in among or ("number", "boolean", "date"):
        if kind == "number":
            found, share = _find_notation(values, counts, decimal)
            if share >= SHARE * total > 0 or among:
                return found
        elif kind == "boolean" and total and _is_truth(values):
            return Reading("boolean")
        elif kind == "date":
            order, share = find_date_order(values, counts)
            if share >= SHARE * total > 0:
                return Reading("text" if order is None else "date", order=order)
    return Reading(among[0] if among else "text")


def _find_notation(values: pa.Array, counts: Array, decimal: Sign) -> tuple[Reading, int]:
    """Return the notation in which most rows are numbers, the file's if several do, and the number of those rows."""
    signs: tuple[Sign, Sign] = (".", ",") if decimal == "." else (",", ".")
    best, most = Reading("number", decimal), -1
    for percent in (False, True):
        if percent and not pc.any(pc.ends_with(values, "%")).as_py():
            continue
        for sign in signs:
            if sign != decimal and counts[_has(values, sign)].sum() < (1 - SHARE) * counts.sum():
                continue  # a few cells say little about the others
            rows = int(counts[~np.isnan(read_numbers(values, sign, percent=percent))].sum())
            if rows > most:
                best, most = Reading("number", sign, percent), rows
            if most == counts.sum():
                return best, most
    return best, most


def _has(values: pa.Array, sign: Sign) -> Array:
    return np.asarray(pc.match_substring(values, sign).fill_null(False).to_numpy(zero_copy_only=False))


def read_numbers(values: pa.Array, decimal: Sign = ".", *, percent: bool = False) -> Array:
    """Return texts as float64, NaN for a null and for what is no number.

    Digits may stand in groups of three, and a currency before or after them: ``"1,234.5"``, ``"1 234"``, ``"$ 5"``.
    ``"1_000"``, ``"0x10"`` and ``"1d5"`` are no numbers.

    Parameters
    ----------
    values : pyarrow.StringArray
    decimal : {".", ","}
    percent : bool
        Whether numbers end with a per cent sign. Without it, they are not numbers then.

    Examples
    --------
    >>> import pyarrow as pa
    >>> read_numbers(pa.array(["1,234.5", "$5", "1_000", None])).tolist()
    [1234.5, 5.0, nan, nan]
    """
    if percent or decimal == ",":
        return _read_plain(_plain_notation(values, decimal, percent))
    numbers = _read_plain(values)
    other = np.isnan(numbers)
    if other.any():
        styled = values.filter(pa.array(other))
        if styled.null_count < len(styled):
            numbers[other] = _read_plain(_plain_notation(styled, decimal, percent))
    return numbers


def _read_plain(values: pa.Array) -> Array:
    """Return numbers in plain notation, with a decimal point; NaN for anything else."""
    try:
        numbers = values.cast(pa.float64())
    except pa.ArrowInvalid:
        known = pc.if_else(pc.match_substring_regex(values, _PLAIN), values, "nan")  # pyarrow 17 cannot cast some nulls
        numbers = pc.replace_substring_regex(known, r"^\+", "").cast(pa.float64())
    return np.array(numbers.to_numpy(zero_copy_only=False), dtype=np.float64)


def _plain_notation(values: pa.Array, decimal: Sign, percent: bool) -> pa.Array:
    """Return numbers in other notations in plain notation, and null for anything else."""
    sign, separator = ("," if decimal == "," else r"\."), _GROUPS[decimal]
    whole = "|".join([*(rf"[0-9]{{1,3}}(?:[{gap}][0-9]{{3}})+" for gap in separator[1:-1]), "[0-9]+"])
    power = "(?:[eE][+-]?[0-9]+)?"
    before, after = rf"(?:{_CURRENCY})[ \x{{a0}}]?", rf"(?:[ \x{{a0}}]?(?:{_CURRENCY}))?"
    pattern = (
        rf"^(?:(?P<sign>[+-]?)(?:{before})?|{before}(?P<minus>-))"
        rf"(?P<number>(?:{whole})(?:{sign}[0-9]*)?{power}|{sign}[0-9]+{power})"
        rf"{_PERCENT if percent else after}$"
    )
    parts = pc.extract_regex(pc.replace_substring(values, "\u2212", "-"), pattern)  # U+2212 is the minus of typesetters
    number = pc.replace_substring_regex(pc.struct_field(parts, "number"), separator, "")
    if decimal == ",":
        number = pc.replace_substring(number, ",", ".")
    signs = [pc.replace_substring(pc.struct_field(parts, name), "+", "") for name in ("sign", "minus")]
    return pc.binary_join_element_wise(*signs, number, "")


def _is_truth(values: pa.Array) -> bool:
    """Return True if all values are the two words of one pair, such as yes and no."""
    lower = pc.utf8_lower(values)
    true, false = (pc.index_in(lower, words).fill_null(-1).to_numpy() for words in (_TRUE, _FALSE))
    pair = np.maximum(true, false)
    return bool(len(pair)) and pair[0] >= 0 and bool((pair == pair[0]).all())


def read_truth(values: pa.Array) -> Array:
    """Return 1 for true, yes, t, y and on, -1 for their opposites, NaN for anything else; case does not matter."""
    lower = pc.utf8_lower(values)
    true, false = (pc.is_in(lower, words).to_numpy(zero_copy_only=False) for words in (_TRUE, _FALSE))
    return np.where(true, 1.0, np.where(false, -1.0, np.nan))
