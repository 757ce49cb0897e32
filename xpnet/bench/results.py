"""Results: a row for each contender, the figures made of it, and the JSON file that keeps them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from xpnet.bench.contenders import Contender, Missing
from xpnet.bench.matmul_bound import copy_bandwidth
from xpnet.bench.memory import n_slots, peak_bytes
from xpnet.bench.overhead import outside
from xpnet.bench.race import Settings, race
from xpnet.bench.timing import Spread, spread
from xpnet.bench.workloads import Rung
from xpnet.errors import DataError

__all__ = ["Row", "Table", "agrees", "load", "measure", "to_json"]

_VERSION = 1
# Relative, for the loss of two epochs: rounding was seen to make 6e-4 of it (mnist-large, whose Adam is the most
# sensitive), a learning rate that is wrong by a tenth 2e-3 and more.
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Row:
    """What was measured of a contender, in seconds and bytes; see `xpnet.bench.race.Lane`.

    Attributes
    ----------
    name : str
    reason : str
        Why nothing was measured; else empty.
    is_device : bool
        xpnet's own, not a peer.
    agrees : bool
        The loss is that of the first row.
    peak : int or None
        Bytes.
    outside, validation : float or None
        Shares of a fit's time outside its steps, and in validation; of xpnet's own.
    copied : float or None
        Seconds that the least traffic of a step takes at the bandwidth of a large copy; of xpnet's own.
    """

    name: str
    reason: str = ""
    is_device: bool = True
    seconds: tuple[float, ...] = ()
    floor: tuple[float, ...] = ()
    first: float = math.nan
    loss: float = math.nan
    agrees: bool = True
    peak: int | None = None
    outside: float | None = None
    validation: float | None = None
    copied: float | None = None

    @property
    def step(self) -> Spread:
        """Seconds a step."""
        return spread(self.seconds)

    @property
    def share_of_floor(self) -> float | None:
        """The time of the products alone over that of the step: 1 is as fast as they can be."""
        return spread(self.floor).median / self.step.median if self.floor else None


@dataclass(frozen=True)
class Table:
    """The rows of a rung."""

    rung: Rung
    rows: tuple[Row, ...]

    @property
    def base(self) -> Row | None:
        """The first device that ran, to which the others are compared."""
        ran = [row for row in self.rows if row.seconds]
        return next((row for row in ran if row.is_device), ran[0] if ran else None)

    def figures(self, row: Row) -> dict[str, float | None]:
        """Return what follows from a row's times."""
        if not row.seconds or self.base is None:
            return {}
        step = row.step
        return {
            "microseconds": step.median * 1e6,
            "lower_quartile": step.low * 1e6,
            "upper_quartile": step.high * 1e6,
            "samples_per_second": self.rung.batch / step.median,
            "gflops": self.rung.flops / step.median / 1e9,
            "share_of_floor": row.share_of_floor,
            "microseconds_of_floor": spread(row.floor).median * 1e6 if row.floor else None,
            "microseconds_of_traffic": None if row.copied is None else row.copied * 1e6,
            "speed_up": self.base.step.median / step.median,
        }


def agrees(loss: float, reference: float, precision: str = "float32") -> bool:
    """Whether a loss is the reference's, but for rounding: more of it where products have fewer bits."""
    return math.isclose(loss, reference, rel_tol=_TOLERANCE if precision == "float32" else 10 * _TOLERANCE)


def measure(rung: Rung, found: Sequence[Contender | Missing], settings: Settings) -> Table:
    """Measure a rung: the race, then memory and the rest of a fit, each on its own."""
    contenders = [each for each in found if isinstance(each, Contender)]
    lanes = dict(zip(contenders, race(rung, contenders, settings), strict=True)) if contenders else {}
    rows = []
    for each in found:
        if isinstance(each, Missing):
            rows.append(Row(each.name, each.reason))
            continue
        lane = lanes[each]
        rest = copied = None
        if each.backend is not None:
            copied = rung.traffic(n_slots(rung)) / copy_bandwidth(each.kind, each.backend)
            rest = outside(rung, each.backend, lane.epoch, max(1, settings.rounds // 3), least=25 * settings.least)
        rows.append(
            Row(
                each.name,
                is_device=each.backend is not None,
                seconds=lane.seconds,
                floor=lane.floor,
                first=lane.first,
                loss=lane.loss,
                agrees=agrees(
                    lane.loss, lanes[contenders[0]].loss, each.backend.precision if each.backend else "float32"
                ),
                peak=peak_bytes(rung, each),
                outside=rest.total if rest else None,
                validation=rest.validation if rest else None,
                copied=copied,
            )
        )
    return Table(rung, tuple(rows))


def to_json(tables: Sequence[Table], settings: Settings) -> dict[str, Any]:
    """Return what the file holds: what was measured, and the figures beside it for other programs."""
    rungs = [
        {
            "rung": table.rung._asdict(),
            "rows": [{**asdict(row), "figures": table.figures(row)} for row in table.rows],
        }
        for table in tables
    ]
    whole: dict[str, Any] = _finite({"version": _VERSION, "settings": settings._asdict(), "rungs": rungs})
    return whole


def _finite(value: Any) -> Any:
    """Write what is not finite as null: JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def load(path: Path) -> list[Table]:
    """Read a file of `to_json`.

    Raises
    ------
    DataError
        It is no such file.
    """
    try:
        whole = json.loads(path.read_bytes())
        if whole["version"] != _VERSION:
            raise DataError(f"{path}: expected results of version {_VERSION}; received {whole['version']!r}.")
        return [Table(_rung(each["rung"]), tuple(_row(row) for row in each["rows"])) for each in whole["rungs"]]
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        if isinstance(exc, DataError):
            raise
        raise DataError(
            f"{path}: expected results of `xpnet bench --out`; received {type(exc).__name__}: {exc}"
        ) from exc


def _rung(values: dict[str, Any]) -> Rung:
    return Rung(**{**values, "sizes": tuple(values["sizes"])})


def _row(values: dict[str, Any]) -> Row:
    numbers = {name: math.nan if values[name] is None else values[name] for name in ("first", "loss")}
    times = {name: tuple(map(float, values[name])) for name in ("seconds", "floor")}
    rest = {name: value for name, value in values.items() if name != "figures"}
    return Row(**{**rest, **numbers, **times})
