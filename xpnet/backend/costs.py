"""What training costs on a CPU and on a GPU, from which ``auto`` chooses; `xpnet bench --calibrate` measures it."""

from __future__ import annotations

import itertools
import json
import math
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from xpnet.backend.devices import get_backend, kind_of
from xpnet.backend.protocol import Backend
from xpnet.caches import cache_folder
from xpnet.errors import XpnetError
from xpnet.files import open_file, write_atomically, writing
from xpnet.threads import process_cpu_count

__all__ = ["Choice", "Costs", "Work", "choose_backend", "costs_path", "is_open", "load_costs", "save_costs"]

_OPEN = "auto"
_FLOAT = 4  # bytes
_PASSES = 10  # over the activations of a step: bias, activation, their derivatives, loss
# The GPU must be expected to be so much faster, for the model is a rough one.
_CLEARLY = 0.8


class Costs(NamedTuple):
    """The costs of a device.

    Attributes
    ----------
    start : float
        Seconds before the first step: driver, libraries, compilation.
    step, layer : float
        Seconds of each step and of each of its layers, however small they are.
    flops : float
        Floating-point operations in a second, in large float32 products.
    bytes : float
        Bytes in a second that are read or written.
    """

    start: float
    step: float
    layer: float
    flops: float
    bytes: float

    def seconds(self, work: Work) -> float:
        """Return the time of a training run."""
        step = self.step + self.layer * work.n_layers + work.flops / self.flops + work.bytes / self.bytes
        return self.start + work.n_steps * step


class Work(NamedTuple):
    """A training run: its number of steps, and the layers, operations and bytes of a step."""

    n_steps: int
    n_layers: int
    flops: float
    bytes: float

    @classmethod
    def of(cls, layer_sizes: Sequence[int], batch_size: int, n_steps: int, n_slots: int = 2) -> Work:
        """Return the work of training a network; `n_slots` is the number of vectors that the optimizer keeps.

        The products of a layer are three, but the first one needs no gradient of its inputs; a multiplication and an
        addition count as two operations.
        """
        layers = list(itertools.pairwise(layer_sizes))
        products = 3 * sum(m * n for m, n in layers) - layers[0][0] * layers[0][1]
        parameters = sum((m + 1) * n for m, n in layers)
        moved = (
            2 * parameters * (2 + n_slots) + _PASSES * batch_size * sum(layer_sizes[1:]) + batch_size * layer_sizes[0]
        )
        return cls(n_steps, len(layers), 2.0 * batch_size * products, float(_FLOAT * moved))


# Before a calibration: for a thread of a CPU by measurements on AVX-512. For a GPU by those of benchmarks/results/h200:
# one kernel takes 1 to 6 us for a layer of a small network, graphs 25 to 40; large float32 products do 50 TFLOPS.
_CPU_THREAD = Costs(0.0, 6e-6, 9e-6, 44e9, 10e9)
_GPU = Costs(2.5, 3e-6, 12e-6, 50e12, 3e12)


def _defaults() -> dict[str, Costs]:
    n_threads = process_cpu_count()
    cpu = _CPU_THREAD._replace(flops=n_threads * _CPU_THREAD.flops, bytes=min(n_threads, 8) * _CPU_THREAD.bytes)
    return {"cpu": cpu, "gpu": _GPU}


def costs_path() -> Path | None:
    """Return the file of calibrations, by computer; None where there is no folder for it."""
    folder = cache_folder()
    return None if folder is None else folder / "costs.json"


def load_costs() -> dict[str, Costs]:
    """Return the costs of ``"cpu"`` and ``"gpu"``: this computer's calibration, or else the defaults.

    A file that cannot be read, or that holds something else, is like none.
    """
    costs = _defaults()
    try:
        path = costs_path()
        found = _read(path)[platform.node()] if path is not None else {}
        return {kind: _checked(found.get(kind), default) for kind, default in costs.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
        return costs


def _read(path: Path) -> Any:
    with open_file(path) as file:
        return json.loads(file.read())


def _checked(values: object, default: Costs) -> Costs:
    if not isinstance(values, dict) or set(values) != set(Costs._fields):
        return default
    numbers = [float(values[name]) for name in Costs._fields]
    usable = all(map(math.isfinite, numbers)) and min(numbers) >= 0 and min(numbers[-2:]) > 0
    return Costs(*numbers) if usable else default


def save_costs(costs: Mapping[str, Costs]) -> Path:
    """Keep a calibration of this computer, beside those of others that share the folder; return the file.

    Raises
    ------
    XpnetError
        It cannot be written.
    """
    path = costs_path()
    if path is None:
        raise XpnetError("cannot keep the calibration: there is no home folder. Set XDG_CACHE_HOME to a folder.")
    try:
        kept = _read(path)
        kept = kept if isinstance(kept, dict) else {}
    except (OSError, ValueError, RecursionError):
        kept = {}
    kept[platform.node()] = {kind: each._asdict() for kind, each in costs.items()}
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(kept, indent=1).encode() + b"\n")
    return path


class Choice(NamedTuple):
    """A backend, and a line that says why, or nothing where there was no choice."""

    backend: Backend
    reason: str = ""


def is_open(device: object) -> bool:
    """Tell whether a device is to be chosen: only ``"auto"`` itself names neither a library nor an index."""
    return device == _OPEN


def choose_backend(device: str | Backend, work: Work) -> Choice:
    """Return the backend of a device; for ``"auto"``, of the device on which the work is likely to end first.

    If no GPU works, that is the CPU.

    Raises
    ------
    XpnetError
        As for `get_backend`.
    """
    gpu = get_backend(device)
    if not is_open(device) or kind_of(gpu) != "gpu":
        return Choice(gpu)
    seconds = {kind: costs.seconds(work) for kind, costs in load_costs().items()}
    is_gpu = seconds["gpu"] < _CLEARLY * seconds["cpu"]
    taken, other = ("gpu", "cpu") if is_gpu else ("cpu", "gpu")
    reason = (
        f"auto: {taken}, about {_duration(seconds[taken])} for {work.n_steps:,} steps and the start; "
        f"{other} about {_duration(seconds[other])}, with --device {other}"
    )
    return Choice(gpu if is_gpu else get_backend("cpu"), reason)


def _duration(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds < 60 else f"{seconds / 60:.0f} min"
