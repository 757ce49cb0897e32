"""Locks on files: the system releases those of a process that dies."""

from __future__ import annotations

import sys

__all__ = ["try_lock"]


def try_lock(descriptor: int) -> bool:
    """Lock an open file until it is closed; return False if another open file holds the lock.

    Raises
    ------
    OSError
        The file system has no locks.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # the latter on Windows
        return False
    return True
