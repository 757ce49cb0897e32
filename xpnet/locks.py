"""Locks on files: the system releases those of a process that dies."""

from __future__ import annotations

import errno
import os
import stat
import sys
import warnings
from contextlib import suppress
from pathlib import Path

from xpnet.errors import XpnetError, XpnetWarning

__all__ = ["NO_LINK", "NO_WAIT", "LockFile", "try_lock"]

NO_LINK, NO_WAIT = getattr(os, "O_NOFOLLOW", 0), getattr(os, "O_NONBLOCK", 0)
"""Flags to open a file: refuse a link; do not wait for the other end of a pipe. 0 where the system has none."""

_FLAGS = os.O_RDWR | NO_LINK | NO_WAIT


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


class LockFile:
    """A file that one run locks, so that no other run, in whichever process or thread, uses the same folder.

    The file is opened, and nothing else: a link is not followed, a pipe is not waited for, and its content stays.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None
        self._is_new = False

    @property
    def is_held(self) -> bool:
        """Whether this object holds the lock."""
        return self._descriptor is not None

    def acquire(self) -> None:
        """Lock the file, which is made if it does not exist.

        A file system without locks gives a warning, and the file then only identifies the folder.

        Raises
        ------
        BlockingIOError
            Another run holds the lock.
        OSError
            The file cannot be opened, or is not a regular file.
        """
        while self._descriptor is None:
            descriptor, is_new = self._open()
            try:
                self._lock(descriptor)
                self._folder = os.stat(self.path.parent)
                if self._leads_to(descriptor):  # otherwise the run that held it has just removed it
                    self._descriptor, self._is_new = descriptor, is_new
            finally:
                if self._descriptor is None:
                    os.close(descriptor)

    def _open(self) -> tuple[int, bool]:
        while True:
            try:
                return os.open(self.path, _FLAGS | os.O_CREAT | os.O_EXCL, 0o666), True
            except FileExistsError:
                with suppress(FileNotFoundError):  # removed meanwhile
                    return os.open(self.path, _FLAGS), False

    def _lock(self, descriptor: int) -> None:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, f"{self.path.name} is not a regular file")
        try:
            if not try_lock(descriptor):
                raise BlockingIOError(errno.EAGAIN, "another run holds the lock")
        except BlockingIOError:
            raise
        except OSError as exc:
            warnings.warn(
                f"{self.path.parent}: this file system has no locks ({exc.strerror}). Train one run at a time in this "
                "folder.",
                XpnetWarning,
                stacklevel=4,
            )

    def _leads_to(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.lstat(self.path), os.fstat(descriptor))
        except FileNotFoundError:
            return False

    def check(self) -> None:
        """Check that the folder is still the one that was locked.

        Raises
        ------
        XpnetError
            It was removed and made again, perhaps for another run, or exchanged for a link.
        """
        if self._descriptor is None:
            return
        is_same = True
        with suppress(FileNotFoundError):  # the folder has gone, or somebody has removed the file
            # A new folder may have the number of the old one, but not its lock file.
            is_same = os.path.samestat(os.stat(self.path.parent), self._folder)
            is_same = is_same and os.path.samestat(os.lstat(self.path), os.fstat(self._descriptor))
        if not is_same:
            raise XpnetError(
                f"{self.path.parent}: expected the folder in which the run began; received another folder of this "
                "name. Leave the folder of a run in its place until it ends."
            )

    def release(self, *, remove: bool) -> None:
        """Release the lock if it is held.

        Parameters
        ----------
        remove : bool
            Whether the file is removed as well.
        """
        if self._descriptor is not None:
            with suppress(OSError):  # the folder has gone, or is read-only
                if remove and self._leads_to(self._descriptor):
                    self.path.unlink()
            os.close(self._descriptor)
            self._descriptor = None

    def withdraw(self) -> None:
        """Release the lock, and remove the file if it was made for this lock: the run does not begin."""
        self.release(remove=self._is_new)
