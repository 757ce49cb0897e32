"""File writes: a file is written under a temporary name, flushed to disk and then renamed."""

from __future__ import annotations

import errno
import io
import os
import re
import secrets
import stat
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, BinaryIO, TextIO

from xpnet.errors import XpnetError

__all__ = ["open_output", "remove_temporary_files", "write_atomically", "writing"]

# Names of `_temporary_name`; files with other names belong to others.
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.part")
# How file systems that cannot flush a folder answer: CIFS, sshfs, shared folders of virtual machines, and folders that
# may be written but not read. The rename itself is done.
_CANNOT_FLUSH = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF, errno.EACCES, errno.EPERM}


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Convert errors raised while a file or folder is written into an `XpnetError` that names the path and the reason.

    Raises
    ------
    XpnetError
        The code inside the context raised an OSError or a ValueError.
    """
    try:
        yield
    except XpnetError:  # an error of another kind, such as a DataError, which is a ValueError
        raise
    except (OSError, ValueError) as exc:  # an invalid path, such as one with a NUL byte, raises a ValueError
        reason = getattr(exc, "strerror", None) or exc
        raise XpnetError(
            f"cannot write {path}: {reason}. Check the folder, its permissions and the free space."
        ) from exc


def write_atomically(path: str | Path, *parts: bytes | memoryview) -> None:
    """Write a file so that a killed process or a power failure leaves the old file or the new one, never a part of it.

    When the function returns, the new file and its name are on the disk.

    Parameters
    ----------
    path : str or Path
    *parts : bytes-like
        The content, written one part after the other.

    Raises
    ------
    XpnetError
        The file cannot be written; the old file is unchanged.
    """
    path = Path(path)
    with writing(path), _replacing(path) as file:
        for part in parts:
            file.write(part)


@contextmanager
def open_output(path: Path | None) -> Iterator[TextIO]:
    """Open what a user named for the output of a command, to write text to it in pieces, as UTF-8.

    A regular file appears, or is replaced, as in `write_atomically`, when the block ends without an error. What is no
    regular file stays what it is: a link is followed, and a pipe or a device is written in place, as is a file with
    several names (hard links).

    Parameters
    ----------
    path : Path or None
        None stands for the standard output. A terminal gets the encoding that it knows.

    Yields
    ------
    text file
        It translates no line ends.

    Raises
    ------
    XpnetError
        The file cannot be written. A regular file is unchanged.
    BrokenPipeError
        The reader of a pipe has closed it.
    """
    if path is None:
        if isinstance(sys.stdout, io.TextIOWrapper) and not sys.stdout.isatty():
            sys.stdout.reconfigure(encoding="utf-8", newline="")
        yield sys.stdout
        return
    try:
        with writing(path), _open_for_user(path) as file:
            text = io.TextIOWrapper(file, encoding="utf-8", errors="backslashreplace", newline="")
            yield text
            text.detach()  # writes what it holds
    except XpnetError as exc:
        if isinstance(exc.__cause__, BrokenPipeError):
            raise exc.__cause__ from None
        raise


def _open_for_user(path: Path) -> AbstractContextManager[BinaryIO]:
    try:
        found = path.stat()
    except FileNotFoundError:  # also a link to a file that does not exist yet
        return _replacing(path.resolve())
    if not os.access(path, os.W_OK):  # a rename would replace even a file that must not be written
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    target = path.resolve()
    if stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and target.exists() and target.samefile(path):
        return _replacing(target, found)
    return open(path, "wb")


@contextmanager
def _replacing(path: Path, like: os.stat_result | None = None) -> Iterator[BinaryIO]:
    """Open a temporary file that takes the name `path` at the end, and the permissions of the file that it replaces."""
    temporary = path.with_name(_temporary_name(path.name))
    try:
        with open(temporary, "xb") as file:
            _lock(file)
            if like is not None:
                with suppress(OSError):  # a file system without permissions
                    temporary.chmod(stat.S_IMODE(like.st_mode))
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    finally:
        with suppress(OSError):  # a folder that has become read-only must not hide the error
            temporary.unlink(missing_ok=True)


def _temporary_name(name: str) -> str:
    """Return a new name beside a file; long names are shortened, because file systems limit their bytes."""
    return f".{os.fsdecode(os.fsencode(name)[:200])}.{secrets.token_hex(4)}.part"


def remove_temporary_files(folder: Path) -> None:
    """Remove the incomplete files that killed processes left in a folder; files that are being written stay."""
    for temporary in folder.glob(".*.part"):
        if not _TEMPORARY.fullmatch(temporary.name) or temporary.is_symlink() or not temporary.is_file():
            continue
        with suppress(PermissionError), open(temporary, "r+b") as file:
            if _lock(file):
                temporary.unlink(missing_ok=True)


def _lock(file: IO[Any]) -> bool:
    """Lock a file until it is closed; return whether no other process holds it."""
    if sys.platform == "win32":  # an open file cannot be removed there
        return True
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        pass
    return True


def _sync_folder(folder: Path) -> None:
    """Flush the names in a folder to disk, if its file system can; without this a power failure may undo the rename."""
    if os.name != "posix":  # other systems cannot open a folder
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as exc:
        if exc.errno not in _CANNOT_FLUSH:
            raise
