"""Machine code on the disk, in place of Numba's own cache.

To load machine code is to run it, and Numba keeps it in pickles: whoever can write the files can run code. So they
lie in a folder that belongs to this user and that nobody else may enter, and they are reached only through the open
folder whose owner and mode were checked. Another folder that takes its path meanwhile is never looked into. Where there
is no such folder, each process compiles anew.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import Any

import llvmlite
import numba
from numba.core.caching import NullCache
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

from xpnet.caches import cache_folder

__all__ = ["keep_code"]

_MOST_FILES = 200  # a file is for one network and one set of options; it takes about 0.3 MB
_ENDINGS = (".code", ".part")  # complete files, and those that are being written
_DIGEST_BYTES = hashlib.sha256().digest_size
_FOLDER_FLAGS = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)
_FILE_FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
# A file that a version of a library wrote which calls itself the same, but is another.
_OTHER_CODE = (pickle.PickleError, AttributeError, ImportError, EOFError, LookupError, TypeError, ValueError)


def keep_code(dispatcher: Any, text: str) -> Callable[..., Any]:
    """Let a function that Numba compiles keep its machine code on the disk.

    Parameters
    ----------
    dispatcher : numba.core.dispatcher.Dispatcher
    text : str
        All that decides what the machine code is, besides the versions of the libraries and the processor.
    """
    dispatcher._cache = _Cache(text)  # Numba has no public way to replace it
    function: Callable[..., Any] = dispatcher
    return function


class _Cache(NullCache):
    """Give Numba machine code, or say that there is none, whatever is wrong with the files."""

    def __init__(self, text: str) -> None:
        versions = (numba.__version__, llvmlite.__version__, sys.version, sys.implementation.cache_tag)
        self._key = repr((text, versions))

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the machine code for a signature, or None."""
        target_context.refresh()  # as Numba's cache does
        with suppress(OSError, *_OTHER_CODE):
            data = _read(self._name(sig, target_context.codegen()))
            return CompileResult._rebuild(target_context, *pickle.loads(data))
        return None

    def save_overload(self, sig: Any, cres: Any) -> None:
        """Keep the machine code for a signature."""
        if not cres.library.has_dynamic_globals:  # such as addresses, which mean nothing in another process
            with suppress(OSError):
                _write(self._name(sig, cres.codegen), dumps(cres._reduce()))

    def _name(self, sig: Any, codegen: Any) -> str:
        return hashlib.sha256(repr((self._key, sig, codegen.magic_tuple())).encode()).hexdigest() + _ENDINGS[0]


def _seal(name: str, data: bytes) -> bytes:
    return hashlib.sha256(name.encode() + data).digest()


def _read(name: str) -> bytes:
    """Return the content of a file; raise an OSError if it is damaged, or not this user's own."""
    with _open_folder() as (prefix, folder):
        descriptor = os.open(prefix + name, os.O_RDONLY | _FILE_FLAGS, dir_fd=folder)
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or not _is_private(status, 0o022):
                raise PermissionError(f"{name} may be of another user")
            sealed = file.read()
            data, digest = sealed[:-_DIGEST_BYTES], sealed[-_DIGEST_BYTES:]
            if digest != _seal(name, data):
                raise OSError(f"{name} is damaged")
            with suppress(OSError):
                os.utime(prefix + name, dir_fd=folder, follow_symlinks=os.name != "posix")  # used just now
    return data


def _write(name: str, data: bytes) -> None:
    """Write a file, which appears when it is complete, and remove those that have not been used for long."""
    temporary = f"{name}.{token_hex(4)}{_ENDINGS[1]}"  # another process may write the same file
    with _open_folder() as (prefix, folder):
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FILE_FLAGS
        try:
            with open(os.open(prefix + temporary, flags, 0o600, dir_fd=folder), "wb") as file:
                file.write(data + _seal(name, data))
            os.replace(prefix + temporary, prefix + name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with suppress(OSError):
                os.unlink(prefix + temporary, dir_fd=folder)
            raise
        _remove_old(prefix, folder)


def _remove_old(prefix: str, folder: int | None) -> None:
    """Keep the files that were used last. The others include what killed processes have left."""
    names = [name for name in os.listdir(prefix if folder is None else folder) if name.endswith(_ENDINGS)]
    if len(names) <= _MOST_FILES:
        return
    used = {name: os.stat(prefix + name, dir_fd=folder, follow_symlinks=False).st_mtime_ns for name in names}
    for name in sorted(names, key=used.__getitem__)[:-_MOST_FILES]:
        os.unlink(prefix + name, dir_fd=folder)


@contextmanager
def _open_folder() -> Iterator[tuple[str, int | None]]:
    """Open the folder for machine code; make it if there is none.

    Yields
    ------
    tuple of str and int or None
        What stands before the name of a file, and the descriptor that the name is relative to.

    Raises
    ------
    OSError
        There is no folder that is safe to use.
    """
    given = os.environ.get("NUMBA_CACHE_DIR")
    base = Path(given) / "xpnet" if given else cache_folder()
    if base is None or not base.is_absolute():
        raise FileNotFoundError("there is no home folder")
    folder = base / "machine-code"
    base.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    if os.name != "posix":  # folders have no descriptors, and those of the user are closed to others
        yield f"{folder}{os.sep}", None
        return
    descriptor = os.open(folder, _FOLDER_FLAGS)
    try:
        if not _is_private(os.fstat(descriptor), 0o077):
            raise PermissionError(f"{folder} is not this user's own")
        yield "", descriptor
    finally:
        os.close(descriptor)


def _is_private(status: os.stat_result, others: int) -> bool:
    """Return whether what has that status belongs to this user, without those rights of others."""
    return os.name != "posix" or (status.st_uid == os.geteuid() and not status.st_mode & others)
