"""Results of the runs: rows of measurements with columns that say how to show them, and their JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from xpnet.bench.timing import Spread, spread
from xpnet.errors import DataError

__all__ = [
    "Column",
    "RunResults",
    "RunRow",
    "as_count",
    "as_loss",
    "as_ratio",
    "as_share",
    "as_time",
    "load_runs",
]

_MILLISECOND, _MICROSECOND = 1e-3, 1e-6


def as_time(seconds: float) -> str:
    """Return seconds as text, in a unit that gives it three digits or more."""
    if seconds >= 1:
        return f"{seconds:,.2f} s"
    if seconds >= _MILLISECOND:
        return f"{seconds / _MILLISECOND:.3g} ms"
    return f"{seconds / _MICROSECOND:.3g} us"


def as_ratio(value: float) -> str:
    """Return a ratio as text."""
    return f"{value:.2f}"


def as_share(value: float) -> str:
    """Return a share as text, in percent."""
    return f"{value:.1%}"


def as_count(value: float) -> str:
    """Return a large number as text."""
    return f"{value:,.0f}"


def as_loss(value: float) -> str:
    """Return a loss as text."""
    return f"{value:.5f}"


class Column(NamedTuple):
    """A column of a run's table.

    Attributes
    ----------
    key : str
        The key of the value in the figures of a row.
    title : str
    show : callable
        Turns a value into text.
    meaning : str
        What the column says, in one line.
    """

    key: str
    title: str
    show: Callable[[float], str]
    meaning: str


@dataclass(frozen=True)
class RunRow:
    """One row: an implementation on one case of a run.

    Attributes
    ----------
    case : str
        What was run: a workload, a shape, a batch size, a command. Empty in a row that holds for all cases.
    name : str
        The device or the peer.
    seconds : tuple of float
        What was timed, in each round; empty if nothing was measured.
    figures : mapping of str to float or None
        Values of further columns; None where there is none.
    agrees : bool
        Whether the result equals that of the row it is compared with.
    reason : str
        Why nothing was measured; else empty.
    """

    case: str
    name: str
    seconds: tuple[float, ...] = ()
    figures: Mapping[str, float | None] = field(default_factory=dict)
    agrees: bool = True
    reason: str = ""

    @property
    def time(self) -> Spread:
        """Median and quartiles of the seconds."""
        return spread(self.seconds)


@dataclass(frozen=True)
class RunResults:
    """The table of a run.

    Attributes
    ----------
    run : str
    title : str
    case, timed : str
        Titles of the column of cases, and of the column of seconds.
    columns : tuple of Column
        Columns after those of the case, the name, the seconds and their quartiles.
    rows : tuple of RunRow
    remarks : tuple of str
        Facts about the run, a line each: the data, and where they were.
    quick : bool
        Whether the run was shortened for a test. Such results are not compared with others.
    """

    run: str
    title: str
    case: str
    timed: str
    columns: tuple[Column, ...]
    rows: tuple[RunRow, ...]
    remarks: tuple[str, ...] = ()
    quick: bool = False

    @property
    def agrees(self) -> bool:
        """Whether all rows agree."""
        return all(row.agrees for row in self.rows)

    def as_json(self) -> dict[str, Any]:
        """Return the results for a JSON file."""
        return {
            "run": self.run,
            "title": self.title,
            "quick": self.quick,
            "seconds": self.timed,
            "columns": {column.key: column.meaning for column in self.columns},
            "remarks": list(self.remarks),
            "rows": [
                {**vars(row), "figures": dict(row.figures), "median": row.time.median if row.seconds else None}
                for row in self.rows
            ],
        }


def load_runs(path: Path) -> list[RunResults]:
    """Read the runs of a file of `xpnet bench --out`, without their columns; none if it has no runs.

    Raises
    ------
    DataError
        The file holds something else.
    """
    try:
        runs = json.loads(path.read_bytes()).get("runs", [])
        return [
            RunResults(
                each["run"], each["title"], "", each["seconds"], (), tuple(_row(row) for row in each["rows"]),
                tuple(each["remarks"]), bool(each["quick"]),
            )
            for each in runs
        ]  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise DataError(
            f"{path}: expected results of `xpnet bench --out`; received {type(exc).__name__}: {exc}"
        ) from exc


def _row(values: dict[str, Any]) -> RunRow:
    row = {key: value for key, value in values.items() if key != "median"}
    return RunRow(**{**row, "seconds": tuple(map(float, row["seconds"]))})
