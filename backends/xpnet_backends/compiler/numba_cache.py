"""Machine code on the disk: where it may be kept, and Numba's cache made safe against damaged files.

Numba unpickles the files of its cache, so whoever can write them can run code. They are read only from a folder that
belongs to this user and that nobody else can write. Where there is none, code is compiled anew in each process.
"""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

from numba.core.caching import CompileResultCacheImpl, FunctionCache, IndexDataCacheFile, InTreeCacheLocator
from platformdirs import user_cache_path

__all__ = ["keep_code", "load_module"]

_PYCACHE = "__pycache__"  # Numba's name of the folder beside a module
_DIGEST_BYTES = hashlib.sha256().digest_size


def load_module(name: str, text: str) -> tuple[ModuleType, bool]:
    """Return a module of that text, and whether its machine code can be kept: then the text is in the cache folder."""
    module = ModuleType(name)
    folder = _folder()
    path = None if folder is None else folder / f"{name}.py"
    if path is not None and not _write(path, text.encode()):
        path = None
    module.__file__ = f"<{name}>" if path is None else str(path)
    exec(compile(text, module.__file__, "exec"), module.__dict__)
    return module, path is not None


def _folder() -> Path | None:
    """Return the folder for machine code, or None if there is none that is safe to use."""
    given = os.environ.get("NUMBA_CACHE_DIR")
    try:
        folder = (Path(given) / "xpnet" if given else user_cache_path("xpnet")) / "machine-code"
        if not folder.is_absolute():  # there is no home folder: "~" was not replaced
            return None
        folder.parent.mkdir(parents=True, exist_ok=True)
        for each in (folder, folder / _PYCACHE):
            each.mkdir(mode=0o700, exist_ok=True)
            if not _is_ours(each):
                return None
    except (OSError, RuntimeError):  # a RuntimeError says that there is no home folder
        return None
    return folder


def _is_ours(folder: Path) -> bool:
    if os.name != "posix":
        return True
    status = folder.lstat()
    return status.st_uid == os.geteuid() and not status.st_mode & 0o022


def _write(path: Path, data: bytes) -> bool:
    """Write a file unless it has that content; return whether it has it now."""
    temporary = path.with_name(f"{path.name}.{uuid4().hex[:8]}")  # another process may write the same file
    try:
        if not path.exists() or path.read_bytes() != data:
            try:
                temporary.write_bytes(data)
                os.replace(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)
    except OSError:
        return False
    return True


def keep_code(dispatcher: Any) -> Callable[..., Any]:
    """Let a compiled function of a module in the cache folder keep its machine code there."""
    with suppress(RuntimeError, OSError):  # the folder is full, or has been removed meanwhile
        dispatcher._cache = _SafeCache(dispatcher.py_func)  # Numba has no public way to replace it
    function: Callable[..., Any] = dispatcher
    return function


class _File(IndexDataCacheFile):
    """Numba's files with a digest at their end. A damaged file counts as missing, and an unwritable one is not kept."""

    def save(self, key: Any, data: Any) -> None:
        with suppress(OSError):
            super().save(key, data)

    def _load_index(self) -> dict[Any, str]:
        try:
            version, stamp, overloads = pickle.loads(_open_sealed(self._index_path))
        except OSError:
            return {}
        return overloads if (version, stamp) == (self._version, self._source_stamp) else {}

    def _save_index(self, overloads: dict[Any, str]) -> None:
        self._write_sealed(self._index_path, (self._version, self._source_stamp, overloads))

    def _load_data(self, name: str) -> Any:
        return pickle.loads(_open_sealed(self._data_path(name)))

    def _save_data(self, name: str, data: Any) -> None:
        self._write_sealed(self._data_path(name), data)

    def _write_sealed(self, path: str, value: Any) -> None:
        data = self._dump(value)
        with self._open_for_write(path) as file:
            file.write(data + hashlib.sha256(data).digest())


def _open_sealed(path: str) -> bytes:
    """Return the content of a file before its digest; a wrong digest is an OSError."""
    sealed = Path(path).read_bytes()
    data, digest = sealed[:-_DIGEST_BYTES], sealed[-_DIGEST_BYTES:]
    if hashlib.sha256(data).digest() != digest:
        raise OSError(f"{path} is damaged")
    return data


class _InFolder(CompileResultCacheImpl):
    _locator_classes = [InTreeCacheLocator]  # noqa: RUF012 - a list, as in the base class


class _SafeCache(FunctionCache):
    _impl_class = _InFolder

    def __init__(self, function: Any) -> None:
        super().__init__(function)
        file = self._cache_file
        self._cache_file = _File(self._cache_path, self._impl.filename_base, file._source_stamp)

    def _save_overload(self, sig: Any, data: Any) -> None:
        with suppress(OSError):  # the folder cannot be written any more
            super()._save_overload(sig, data)
