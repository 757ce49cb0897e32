"""Parts of dates and times: year, season, weekday and hour."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["DATE_PARTS", "cycle", "varying_parts", "year_of"]

Array: TypeAlias = NDArray[Any]


def cycle(part: Array) -> tuple[Array, Array]:
    """Return sine and cosine of a share of a cycle."""
    return np.sin(2 * np.pi * part), np.cos(2 * np.pi * part)


def year_of(moments: Array) -> Array:
    """Return the year of datetime64[us]."""
    return np.asarray(moments.astype("datetime64[Y]").astype(np.int64) + 1970)


def _season(moments: Array) -> Array:
    """Return the share of the year that has passed, in whole days."""
    days, years = moments.astype("datetime64[D]"), moments.astype("datetime64[Y]")
    first, next_first = years.astype("datetime64[D]"), (years + 1).astype("datetime64[D]")
    return np.asarray((days - first) / (next_first - first))


def _weekday(moments: Array) -> Array:
    days = moments.astype("datetime64[D]").astype(np.int64)
    return np.asarray((days + 3) % 7 / 7)  # 1970-01-01 was a Thursday


def _hour(moments: Array) -> Array:
    return np.asarray((moments - moments.astype("datetime64[D]")) / np.timedelta64(1, "D"))


DATE_PARTS = {"year": year_of, "season": _season, "weekday": _weekday, "hour": _hour}
"""Parts of a moment: the year as a number, the others as a share of their cycle."""


def varying_parts(moments: Array) -> tuple[str, ...]:
    """Return the parts in which moments differ, the weekday only if they are not all on the same day of the month."""
    if not len(moments):
        return ()
    days, months = moments.astype("datetime64[D]"), moments.astype("datetime64[M]")
    parts = [name for name, part in DATE_PARTS.items() if np.ptp(part(moments)) > 0]
    if np.ptp((days - months.astype("datetime64[D]")).astype(np.int64)) == 0 and "weekday" in parts:
        parts.remove("weekday")
    return tuple(parts)
