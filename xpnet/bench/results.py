"""Results of the bench: a row for each implementation, the metrics derived from it, and the JSON file."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from xpnet.bench.implementations import Implementation, Unavailable
from xpnet.bench.matmul_bound import copy_bandwidth
from xpnet.bench.overhead import measure_overhead
from xpnet.bench.peak_memory import n_slots, peak_bytes
from xpnet.bench.step_times import Settings, measure_step_times
from xpnet.bench.timing import Spread, spread
from xpnet.bench.workloads import Workload
from xpnet.errors import DataError

__all__ = ["VERSION", "Row", "WorkloadResults", "agrees", "load", "measure", "to_json"]

VERSION = 1
"""Version of the files of results."""

# Attributes of a row that have other names in files of version 1.
_KEYS = {
    "matmul_bound": "floor", "overhead": "outside", "time_to_first_step": "first", "bandwidth_bound": "copied"
}  # fmt: skip
# Relative tolerance for the loss of the second epoch. The largest difference by rounding that was seen is 6e-4 (on
# mnist-large, where Adam is most sensitive); a learning rate that is wrong by a tenth makes at least 2e-3.
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Row:
    """The measurements of one implementation, in seconds and bytes; see also `xpnet.bench.step_times.StepTimes`.

    Attributes
    ----------
    name : str
    reason : str
        Why nothing was measured; else empty.
    is_device : bool
        Whether it is xpnet and not a peer.
    agrees : bool
        Whether the loss equals that of the first row that ran.
    peak : int or None
        Peak memory in bytes.
    overhead, validation : float or None
        Fraction of fit time outside steps; fraction in validation. For xpnet only.
    bandwidth_bound : float or None
        Lower bound from memory bandwidth: minimum traffic of a step / copy bandwidth, in seconds. For xpnet only.
    """

    name: str
    reason: str = ""
    is_device: bool = True
    seconds: tuple[float, ...] = ()
    matmul_bound: tuple[float, ...] = ()
    time_to_first_step: float = math.nan
    loss: float = math.nan
    agrees: bool = True
    peak: int | None = None
    overhead: float | None = None
    validation: float | None = None
    bandwidth_bound: float | None = None

    @property
    def step(self) -> Spread:
        """Seconds per step."""
        return spread(self.seconds)

    @property
    def matmul_share(self) -> float | None:
        """Time of the matrix products alone divided by the time of a step; see `xpnet.bench.matmul_bound`."""
        return spread(self.matmul_bound).median / self.step.median if self.matmul_bound else None


@dataclass(frozen=True)
class WorkloadResults:
    """The rows of one workload."""

    workload: Workload
    rows: tuple[Row, ...]

    @property
    def baseline(self) -> Row | None:
        """The row to which the others are compared: the first device of xpnet that ran, else the first row that ran."""
        ran = [row for row in self.rows if row.seconds]
        return next((row for row in ran if row.is_device), ran[0] if ran else None)

    def derived_metrics(self, row: Row) -> dict[str, float | None]:
        """Return the metrics that follow from a row, by their keys in the file."""
        if not row.seconds or self.baseline is None:
            return {}
        step = row.step
        return {
            "microseconds": step.median * 1e6,
            "lower_quartile": step.low * 1e6,
            "upper_quartile": step.high * 1e6,
            "samples_per_second": self.workload.batch / step.median,
            "gflops": self.workload.flops / step.median / 1e9,
            "share_of_floor": row.matmul_share,
            "microseconds_of_floor": spread(row.matmul_bound).median * 1e6 if row.matmul_bound else None,
            "microseconds_of_traffic": None if row.bandwidth_bound is None else row.bandwidth_bound * 1e6,
            "speed_up": self.baseline.step.median / step.median,
        }


def agrees(loss: float, reference: float, precision: str = "float32") -> bool:
    """Return whether two losses are equal up to rounding; products with fewer bits than float32 round more."""
    return math.isclose(loss, reference, rel_tol=_TOLERANCE if precision == "float32" else 10 * _TOLERANCE)


def measure(workload: Workload, found: Sequence[Implementation | Unavailable], settings: Settings) -> WorkloadResults:
    """Measure step times, and then memory and overhead of each implementation alone."""
    available = [each for each in found if isinstance(each, Implementation)]
    times = dict(zip(available, measure_step_times(workload, available, settings), strict=True)) if available else {}
    rows = []
    for each in found:
        if isinstance(each, Unavailable):
            rows.append(Row(each.name, each.reason))
            continue
        own = times[each]
        overhead = bandwidth_bound = None
        if each.backend is not None:
            bandwidth_bound = workload.traffic(n_slots(workload)) / copy_bandwidth(each.kind, each.backend)
            overhead = measure_overhead(
                workload,
                each.backend,
                own.epoch,
                max(1, settings.rounds // 3),
                min_seconds=25 * settings.min_seconds,
            )
        rows.append(
            Row(
                each.name,
                is_device=each.backend is not None,
                seconds=own.seconds,
                matmul_bound=own.matmul_bound,
                time_to_first_step=own.time_to_first_step,
                loss=own.loss,
                agrees=agrees(
                    own.loss, times[available[0]].loss, each.backend.precision if each.backend else "float32"
                ),
                peak=peak_bytes(workload, each),
                overhead=overhead.total if overhead else None,
                validation=overhead.validation if overhead else None,
                bandwidth_bound=bandwidth_bound,
            )
        )
    return WorkloadResults(workload, tuple(rows))


def to_json(results: Sequence[WorkloadResults], settings: Settings) -> dict[str, Any]:
    """Return the content of the file: the measurements, and the derived metrics for other programs."""
    return {
        "version": VERSION,
        "settings": {"rounds": settings.rounds, "least": settings.min_seconds},
        "rungs": [
            {
                "rung": each.workload._asdict(),
                "rows": [
                    {
                        **{_KEYS.get(name, name): value for name, value in asdict(row).items()},
                        "figures": each.derived_metrics(row),
                    }
                    for row in each.rows
                ],
            }
            for each in results
        ],
    }


def load(path: Path) -> list[WorkloadResults]:
    """Read a file that holds the values of `to_json`.

    Raises
    ------
    DataError
        The file holds something else.
    """
    try:
        values = json.loads(path.read_bytes())
        if values["version"] != VERSION:
            raise DataError(f"{path}: expected results of version {VERSION}; received {values['version']!r}.")
        return [
            WorkloadResults(_workload(each["rung"]), tuple(_row(row) for row in each["rows"]))
            for each in values["rungs"]
        ]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        if isinstance(exc, DataError):
            raise
        raise DataError(
            f"{path}: expected results of `xpnet bench --out`; received {type(exc).__name__}: {exc}"
        ) from exc


def _workload(values: dict[str, Any]) -> Workload:
    return Workload(**{**values, "sizes": tuple(values["sizes"])})


def _row(values: dict[str, Any]) -> Row:
    names = {key: name for name, key in _KEYS.items()}
    row = {names.get(key, key): value for key, value in values.items() if key != "figures"}
    numbers = {name: math.nan if row[name] is None else row[name] for name in ("time_to_first_step", "loss")}
    times = {name: tuple(map(float, row[name])) for name in ("seconds", "matmul_bound")}
    return Row(**{**row, **numbers, **times})
