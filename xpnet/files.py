"""Files: how they are opened, and how they are written: under a temporary name, flushed to disk and then renamed."""

from __future__ import annotations

import errno
import io
import os
import re
import secrets
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TextIO

from xpnet.errors import XpnetError
from xpnet.locks import NO_LINK, NO_WAIT, try_lock

__all__ = [
    "check_regular",
    "open_file",
    "open_output",
    "remove_temporary_files",
    "write_atomically",
    "write_output",
    "writing",
]

# Names of `_temporary_name`; files with other names belong to others.
_TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{8}\.part")
_KINDS = {stat.S_IFLNK: "a link", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFDIR: "a folder"}
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


def check_regular(mode: int) -> None:
    """Check that a mode, as `os.stat` returns it, is that of a regular file.

    Raises
    ------
    OSError
        Its text says what it is instead.
    """
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, f"{_KINDS.get(stat.S_IFMT(mode), 'a device')}, not a regular file")


def open_file(path: str | Path, buffering: int = -1) -> BinaryIO:
    """Open a regular file to read its bytes. A pipe, a socket or a device is refused, and not waited for.

    Raises
    ------
    OSError
        The file cannot be opened, or is not a regular file.
    """
    return open(path, "rb", buffering, opener=_open_regular)


def _open_regular(path: str, flags: int) -> int:
    check_regular(os.stat(path).st_mode)  # to open some devices does something
    descriptor = os.open(path, flags | NO_WAIT)
    try:
        check_regular(os.fstat(descriptor).st_mode)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def write_atomically(path: str | Path, *parts: bytes | memoryview, exclusive: bool = False) -> None:
    """Write a file so that a killed process or a power failure leaves the old file or the new one, never a part of it.

    When the function returns, the new file and its name are on the disk. It is for files that the program names: a
    link, a pipe or a device in place of the file is refused.

    Parameters
    ----------
    path : str or Path
    *parts : bytes-like
        The content, written one part after the other.
    exclusive : bool
        Whether a file that exists is refused too; the cause of the error is then a FileExistsError.

    Raises
    ------
    XpnetError
        The file cannot be written; the old file is unchanged.
    """
    path = Path(path)
    with writing(path):
        found = None
        with suppress(FileNotFoundError):
            found = path.lstat()
            check_regular(found.st_mode)
        with _replacing(path, found, exclusive) as file:
            _write_parts(file, parts)


def write_output(path: str | Path, *parts: bytes | memoryview) -> None:
    """Write a file that a user named, as `open_output` does.

    Raises
    ------
    XpnetError
        The file cannot be written. A regular file is unchanged.
    """
    path = Path(path)
    with writing(path), _open_for_user(path) as file:
        _write_parts(file, parts)


def _write_parts(file: BinaryIO, parts: Iterable[bytes | memoryview]) -> None:
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
def _replacing(path: Path, like: os.stat_result | None = None, exclusive: bool = False) -> Iterator[BinaryIO]:
    """Open a temporary file that takes the name `path` at the end, and the permissions of the file that it replaces."""
    temporary = path.with_name(_temporary_name(path.name))
    try:
        with open(temporary, "xb") as file:
            with suppress(OSError):  # a file system without locks
                try_lock(file.fileno())
            if like is not None:
                with suppress(OSError):  # a file system without permissions
                    temporary.chmod(stat.S_IMODE(like.st_mode))
            yield file
            file.flush()
            os.fsync(file.fileno())
        if exclusive:
            _take_free_name(temporary, path)
        else:
            os.replace(temporary, path)
        _sync_folder(path.parent)
    finally:
        with suppress(OSError):  # a folder that has become read-only must not hide the error
            temporary.unlink(missing_ok=True)


def _take_free_name(temporary: Path, path: Path) -> None:
    """Give a file a name that no other file has."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError as exc:  # a file system without hard links
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from exc
        os.replace(temporary, path)


def _temporary_name(name: str) -> str:
    """Return a new name beside a file; long names are shortened, because file systems limit their bytes."""
    return f".{os.fsdecode(os.fsencode(name)[:200])}.{secrets.token_hex(4)}.part"


def remove_temporary_files(folder: Path, belongs: Callable[[str], object]) -> None:
    """Remove the incomplete files that killed processes left in a folder; files that are being written stay.

    Parameters
    ----------
    folder : Path
    belongs : (name) -> bool
        Whether a file of this name would be the caller's.
    """

    def open_own(path: str, flags: int) -> int:
        return os.open(path, flags | NO_LINK | NO_WAIT)

    for path in folder.glob(".*.part"):
        match = _TEMPORARY.fullmatch(path.name)
        if match is None or not belongs(match[1]):
            continue
        with suppress(OSError), open(path, "r+b", 0, opener=open_own) as file:
            check_regular(os.fstat(file.fileno()).st_mode)
            if try_lock(file.fileno()):  # without locks none is removed
                path.unlink()


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
