"""Dates and times in the notations that tables have."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

__all__ = ["DateOrder", "find_date_order", "parse_dates"]

Array: TypeAlias = NDArray[Any]
DateOrder: TypeAlias = Literal["ymd", "dmy", "mdy"]

_CLOCK = (
    r"(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?:[.,](?P<fraction>[0-9]{1,9}))?)?"
    r"(?: ?(?P<half>[AaPp])\.?[Mm]\.?)?(?: ?(?:Z|UTC|[+-][0-9]{2}:?[0-9]{2}))?"
)
_TIME = rf"(?:[T ,]+{_CLOCK})?$"
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = rf"(?P<name>(?i:{'|'.join(_MONTHS)}))[a-zA-Z]*\.?"
_YEAR = r"(?P<year>[0-9]{4}|[0-9]{2})"
_ISO = rf"^(?P<year>[0-9]{{4}})(?:[-/.](?P<month>[0-9]{{1,2}})(?:[-/.](?P<day>[0-9]{{1,2}}){_TIME[:-1]})?)?$"
_SHORT = rf"^(?P<first>[0-9]{{1,2}})(?P<separator>[-/.])(?P<second_part>[0-9]{{1,2}})[-/.]{_YEAR}{_TIME}"
_NAMED = (
    rf"^(?P<day>[0-9]{{1,2}})(?:st|nd|rd|th)?[-/ .]*{_MONTH}[-/ .,]*{_YEAR}{_TIME}",
    rf"^{_MONTH}[-/ ]*(?:(?P<day>[0-9]{{1,2}})(?:st|nd|rd|th)?[-/ ,]+)?(?P<year>[0-9]{{4}}){_TIME}",
    rf"^(?P<day>)(?P<month>){_CLOCK}$",
    rf"^(?P<year>[0-9]{{4}})(?P<month>[0-9]{{2}})(?P<day>[0-9]{{2}}){_TIME}",
)


def find_date_order(values: pa.Array, counts: Array) -> tuple[DateOrder | None, int]:
    """Find the order of year, month and day.

    Parameters
    ----------
    values : pyarrow.StringArray
        The distinct texts.
    counts : ndarray of int, shape (n_values,)
        The rows that each has.

    Returns
    -------
    order : {"ymd", "dmy", "mdy"} or None
        None if day and month cannot be told apart: neither exceeds 12, neither is always 1, and no point stands between
        them.
    rows : int
        The rows that hold dates in this order or, if it is None, in one of them.
    """
    unread = np.isnat(parse_dates(values, "ymd"))
    short = pc.extract_regex(values.filter(pa.array(unread)), _SHORT)
    if short.null_count == len(short):
        return "ymd", int(counts[~unread].sum())
    first, second = (_integers(pc.struct_field(short.drop_null(), name), 0) for name in ("first", "second_part"))
    order = _order_of(first, second)
    if order is None and pc.all(pc.equal(pc.struct_field(short, "separator"), ".")).as_py():
        order = "dmy"
    rows = max(int(counts[~np.isnat(parse_dates(values, each))].sum()) for each in _either(order))
    return order, rows


def _either(order: DateOrder | None) -> tuple[DateOrder, ...]:
    return ("dmy", "mdy") if order is None else (order,)


def _order_of(first: Array, second: Array) -> DateOrder | None:
    """Return the order that the two numbers before a year show: the day is above 12 once, or it is always 1."""
    for first_is_day, second_is_day in (
        (bool((first > 12).any()), bool((second > 12).any())),
        (bool((first == 1).all()), bool((second == 1).all())),
    ):
        if first_is_day != second_is_day:
            return "dmy" if first_is_day else "mdy"
    return None


def parse_dates(values: pa.Array, order: DateOrder = "ymd") -> Array:
    """Return texts as datetime64[us], NaT for a null and for what is no date.

    ISO dates (also with slashes or points, or without a day), ``"20120131"``, dates with the name of a month and times
    of a day are read whatever the order is. An offset from UTC is ignored: the hour of the day is what the clock on the
    spot showed.

    Examples
    --------
    >>> import pyarrow as pa
    >>> parse_dates(pa.array(["2012/01/31", "31.01.2012 10:30", "Jan 5, 2012", "2012-02-30"]), "dmy").tolist()[:2]
    [datetime.datetime(2012, 1, 31, 0, 0), datetime.datetime(2012, 1, 31, 10, 30)]
    """
    dates = np.full(len(values), np.datetime64("NaT"), dtype="datetime64[us]")
    left = np.arange(len(values))
    for pattern in (_ISO, *(() if order == "ymd" else (_SHORT,)), *_NAMED):
        parts = pc.extract_regex(values, pattern)
        if parts.null_count == len(parts):
            continue
        found = pc.is_valid(parts).to_numpy(zero_copy_only=False)
        dates[left[found]] = _from_parts(parts.filter(pa.array(found)), order)
        left, values = left[~found], values.filter(pa.array(~found))
        if not len(left):
            break
    return dates


def _from_parts(parts: pa.Array, order: DateOrder) -> Array:
    text = {field.name: pc.struct_field(parts, field.name) for field in parts.type}
    number = {name: _integers(text[name], 0) for name in ("hour", "minute", "second") if name in text}
    if "first" in text:
        first, second = _integers(text["first"], 0), _integers(text["second_part"], 0)
        day, month = (first, second) if order == "dmy" else (second, first)
    elif "name" in text:
        day = _integers(text["day"], 1)
        month = pc.index_in(pc.utf8_lower(text["name"]), pa.array(_MONTHS)).to_numpy(zero_copy_only=False) + 1
    else:
        day, month = (_integers(text[name], 1) for name in ("day", "month"))
    year = _integers(text["year"], 1970) if "year" in text else np.full(len(parts), 1970)
    short = year < 100
    year = np.where(short, year + np.where(year < 69, 2000, 1900), year)  # as POSIX does
    hour = number["hour"]
    if (half := pc.utf8_lower(text["half"])).null_count < len(half):
        afternoon = pc.equal(half, "p").fill_null(False).to_numpy(zero_copy_only=False)
        morning = pc.equal(half, "a").fill_null(False).to_numpy(zero_copy_only=False)
        hour = np.where((afternoon | morning) & (hour > 12), 99, np.where(afternoon | morning, hour % 12, hour))
        hour = hour + 12 * afternoon
    fraction = pc.utf8_slice_codeunits(pc.utf8_rpad(text["fraction"], 6, "0"), 0, 6)
    seconds = hour * 3600 + number["minute"] * 60 + number["second"]
    valid = (month >= 1) & (month <= 12) & (day >= 1)
    valid &= (hour <= 24) & (number["minute"] < 60) & (number["second"] <= 60)
    months = ((year - 1970) * 12 + np.where(valid, month, 1) - 1).astype("datetime64[M]")
    dates = months.astype("datetime64[D]") + (day - 1)
    valid &= dates.astype("datetime64[M]") == months  # there is no 30th of February
    moments = dates.astype("datetime64[us]") + seconds * 1_000_000 + _integers(fraction, 0)
    return np.where(valid, moments, np.datetime64("NaT"))


def _integers(text: pa.Array, missing: int) -> Array:
    """Return digits as int64, and `missing` for no digits."""
    known = pc.if_else(pc.equal(text, ""), pa.scalar(None, text.type), text)
    return np.asarray(known.cast(pa.int64()).fill_null(missing).to_numpy(zero_copy_only=False))
