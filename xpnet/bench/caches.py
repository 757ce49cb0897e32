"""The caches of the processor, and whether some data fit into one."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from xpnet.bench.workloads import Workload
from xpnet.errors import size_text

__all__ = ["cache_sizes", "place", "samples_place"]

_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")


def cache_sizes() -> dict[str, int]:
    """Return the bytes of each cache of a processor that holds data, from the smallest; empty if they are not known."""
    sizes = {}
    for folder in sorted(_CACHES.glob("index*")):
        with suppress(OSError, ValueError):  # some processors, often virtual ones, do not say all of it
            kind, level, size = ((folder / name).read_text().strip() for name in ("type", "level", "size"))
            if kind != "Instruction":
                sizes[f"L{level}"] = int(size.removesuffix("K")) * 2**10
    return dict(sorted(sizes.items(), key=lambda item: item[1]))


def place(n_bytes: int) -> str:
    """Say how large some data are, and in which cache they fit, or that only the memory holds them."""
    sizes = cache_sizes()
    if not sizes:
        return f"{size_text(n_bytes)}, on a processor of unknown caches"
    fitting = next((name for name, size in sizes.items() if n_bytes <= size), None)
    name, size = max(sizes.items(), key=lambda item: item[1])
    if fitting is None:
        return f"{size_text(n_bytes)}, in memory: the largest cache, {name}, has {size_text(size)}"
    return f"{size_text(n_bytes)}, in the {fitting} cache of {size_text(sizes[fitting])}"


def samples_place(workload: Workload) -> str:
    """Say how many samples an epoch of a workload has, and where they fit."""
    return f"{workload.name}: {workload.n_samples:,} samples, {place(workload.data_bytes)}"
