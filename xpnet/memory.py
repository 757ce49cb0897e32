"""Memory of this process: current, peak and available bytes, and the sizes that users write."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from xpnet.errors import InvalidParameterError, shown

__all__ = ["available_bytes", "current_bytes", "parse_size", "peak_bytes"]

_STATUS, _MEMINFO = Path("/proc/self/status"), Path("/proc/meminfo")
# The limit of a Linux container (cgroup 2 and 1), as it is seen within; without a limit, "max" or a huge number.
_CONTAINER = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")
_UNITS = {"": 1, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "KI": 1 << 10, "MI": 1 << 20, "GI": 1 << 30, "TI": 1 << 40}


def parse_size(text: str) -> int:
    """Return the number of bytes that a text such as ``"512MB"``, ``"1.5 GiB"`` or ``"2G"`` stands for.

    Parameters
    ----------
    text : str

    Raises
    ------
    InvalidParameterError
        The text is not a size.

    Examples
    --------
    >>> parse_size("1.5 GiB")
    1610612736
    """
    match = re.fullmatch(r"\s*([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*([KMGT]I?|)B?\s*", text.upper())
    size = int(float(match[1]) * _UNITS[match[2]]) if match else 0
    if size < 1:
        raise InvalidParameterError(f"memory_limit: expected a size such as 512MB or 2GB; received {shown(text):.60}.")
    return size


def current_bytes() -> int:
    """Return the memory that this process uses now, or its peak where the system does not tell the current value."""
    return _field(_STATUS, "VmRSS") or peak_bytes()


def peak_bytes() -> int:
    """Return the largest amount of memory that this process has used so far, or 0 where the system does not tell it."""
    if peak := _field(_STATUS, "VmHWM"):
        return peak
    try:
        import resource  # does not exist on Windows
    except ImportError:
        return 0
    # ru_maxrss is in bytes on macOS and in KiB elsewhere. It starts at the peak of the parent process.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def available_bytes() -> int:
    """Return the memory that this process can still allocate, or 0 where the system does not tell it.

    It is what the machine has free (in all, where the system does not tell what is free), and no more than the limits
    of the process (``ulimit -v``) and of its container leave.
    """
    available = _field(_MEMINFO, "MemAvailable") or _physical_bytes()
    if container := min(filter(None, map(_number, _CONTAINER)), default=0):
        available = min(available, max(container - current_bytes(), 1))
    try:
        import resource
    except ImportError:
        return available
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return available
    return min(available, max(limit - _field(_STATUS, "VmSize"), 1))


def _physical_bytes() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0


def _number(path: Path) -> int:
    """Return the number in a file of the system, or 0 if there is none."""
    try:
        text = path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return 0
    return int(text) if text.isdecimal() else 0


def _field(path: Path, name: str) -> int:
    """Return a value of one of Linux's tables in bytes, or 0 where the table does not exist."""
    try:
        lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return 0
    values = (line.split() for line in lines if line.startswith(f"{name}:"))
    return 1024 * int(next(values, ["", "0"])[1])
