"""Memory of this process: how much it has, has had at most, and may have; sizes as a user writes them."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from xpnet.errors import InvalidParameterError, OutOfMemoryError, XpnetError

__all__ = ["available_bytes", "current_bytes", "memory_errors", "parse_size", "peak_bytes"]

_STATUS, _MEMINFO = Path("/proc/self/status"), Path("/proc/meminfo")
_UNITS = {"": 1, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "KI": 1 << 10, "MI": 1 << 20, "GI": 1 << 30, "TI": 1 << 40}

_NAMED = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]
_NEEDED = re.compile(r"allocat(?:e|ing) ([\d.,]+) (\w+)")  # NumPy, PyTorch, CuPy and XLA all say it so
_OUT_OF_MEMORY = re.compile("out of memory|can't allocate memory|not enough memory|resource_exhausted", re.IGNORECASE)


def parse_size(text: str, what: str = "memory_limit") -> int:
    """Return the bytes of a size: ``"512MB"``, ``"1.5 GiB"``, ``"2G"``.

    Raises
    ------
    InvalidParameterError
    """
    match = re.fullmatch(r"\s*([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*([KMGT]I?|)B?\s*", text.upper())
    size = int(float(match[1]) * _UNITS[match[2]]) if match else 0
    if size < 1:
        raise InvalidParameterError(f"{what}: expected a size, as 512MB or 2GB; received {text!r:.60}.")
    return size


def current_bytes() -> int:
    """Return the memory that this process holds now; where that is not told, the most that it has held."""
    return _field(_STATUS, "VmRSS") or peak_bytes()


def peak_bytes() -> int:
    """Return the most memory that this process has held."""
    if peak := _field(_STATUS, "VmHWM"):
        return peak
    try:
        import resource  # not on Windows
    except ImportError:
        return 0
    # Elsewhere than on macOS it is in KiB; it begins at what the parent process had.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def available_bytes() -> int:
    """Return the memory that this process can still get, 0 where that is not told."""
    sizes = [_field(_MEMINFO, "MemAvailable")]
    try:
        import resource
    except ImportError:
        return sizes[0]
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY:
        sizes.append(max(limit - _field(_STATUS, "VmSize"), 1))
    return min(size for size in sizes)


def _field(path: Path, name: str) -> int:
    """Return a figure of one of Linux's tables, in bytes, 0 where there is none."""
    try:
        lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return 0
    values = (line.split() for line in lines if line.startswith(f"{name}:"))
    return 1024 * int(next(values, ["", "0"])[1])


@contextmanager
def memory_errors(device: str, free: Callable[[], int | None] | None = None) -> Iterator[None]:
    """Raise an `OutOfMemoryError` for whatever a library raises where memory is short; adapters use it in their scope.

    Raises
    ------
    OutOfMemoryError
    """
    try:
        yield
    except (MemoryError, RuntimeError) as exc:
        message = str(exc)
        if isinstance(exc, XpnetError) or not (isinstance(exc, MemoryError) or _OUT_OF_MEMORY.search(message)):
            raise
        traceback.clear_frames(exc.__traceback__)  # they hold what was being computed
        found = _NEEDED.search(message)
        needed = None
        if found and found[2] in _NAMED:
            needed = int(float(found[1].replace(",", "")) * 1024 ** _NAMED.index(found[2]))
        raise OutOfMemoryError(device, needed, free() if free else available_bytes() or None) from exc
