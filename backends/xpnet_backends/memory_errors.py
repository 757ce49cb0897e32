"""Out-of-memory errors of the array libraries, converted into xpnet's own."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from xpnet.errors import OutOfMemoryError, XpnetError
from xpnet.memory import available_bytes

__all__ = ["memory_errors"]

_UNITS = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]
_ALLOCATION = re.compile(r"allocat(?:e|ing) ([\d.,]+) (\w+)")  # NumPy, PyTorch, CuPy and XLA all word it so
_OUT_OF_MEMORY = re.compile("out of memory|can't allocate memory|not enough memory|resource_exhausted", re.IGNORECASE)


@contextmanager
def memory_errors(device: str, free: Callable[[], int | None] | None = None) -> Iterator[None]:
    """Convert a library's out-of-memory error into an `OutOfMemoryError`; an adapter enters this in its `scope`.

    Parameters
    ----------
    device : str
        Name of the backend, for the message.
    free : callable, optional
        Returns the free bytes of the device, or None if they are unknown. The default is the host's memory.

    Raises
    ------
    OutOfMemoryError
        The code inside the context ran out of memory.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as exc:
        message = str(exc)
        if isinstance(exc, XpnetError) or not (isinstance(exc, MemoryError) or _OUT_OF_MEMORY.search(message)):
            raise
        # The frames keep the arrays of the failed computation alive; they are released before `free` is called.
        traceback.clear_frames(exc.__traceback__)
        available = free() if free else available_bytes() or None
        raise OutOfMemoryError(device, _allocation(message), available) from exc


def _allocation(message: str) -> int | None:
    """Return the bytes of the failed allocation that a message tells."""
    found = _ALLOCATION.search(message)
    if found is None or found[2] not in _UNITS:
        return None
    return int(float(found[1].replace(",", "")) * 1024 ** _UNITS.index(found[2]))
