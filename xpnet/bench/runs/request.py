"""What the user asks of a run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from xpnet.bench.implementations import Unavailable
from xpnet.bench.runs.results import Column, RunResults, RunRow

__all__ = ["Request"]

T = TypeVar("T")


class Request(NamedTuple, Generic[T]):
    """What to measure.

    Attributes
    ----------
    cases : tuple of str
        Workloads or data sets; empty for a run that has its own.
    found : sequence of Implementation or Predictor, or Unavailable
        Devices and peers, in the order of the rows.
    rounds : int
    quick : bool
        Shorten everything, for a test.
    data_dir : Path or None
        A folder with data that replace generated ones.
    """

    cases: tuple[str, ...]
    found: Sequence[T | Unavailable]
    rounds: int
    quick: bool = False
    data_dir: Path | None = None

    @property
    def available(self) -> list[T]:
        """Those that can run."""
        return [each for each in self.found if not isinstance(each, Unavailable)]

    @property
    def missing(self) -> Iterator[RunRow]:
        """Yield a row with the reason for each one that cannot run."""
        for each in self.found:
            if isinstance(each, Unavailable):
                yield RunRow("", each.name, reason=each.reason)

    def results(
        self,
        run: str,
        title: str,
        case: str,
        timed: str,
        columns: tuple[Column, ...],
        rows: Iterable[RunRow],
        remarks: tuple[str, ...] = (),
    ) -> RunResults:
        """Return the table of a run: its rows, then a row for each one that cannot run; see `RunResults`."""
        return RunResults(run, title, case, timed, columns, (*rows, *self.missing), remarks, self.quick)
