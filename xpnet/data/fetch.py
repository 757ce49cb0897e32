"""One file from a server, of known size and content: it comes whole, or an error says why it does not."""

from __future__ import annotations

import hashlib
import http.client
import io
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO
from urllib.error import HTTPError
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    UnknownHandler,
)

from xpnet.data.downloads import RemoteFile
from xpnet.locks import NO_LINK, NO_WAIT, try_lock

__all__ = ["fetch", "is_whole"]

_SILENCE = 10.0  # seconds without a byte
_PATIENCE = 60.0  # seconds, after which the average speed of a server must be at least
_SLOWEST = 10_000  # bytes in a second
_MOST_BYTES = 1 << 26  # of an answer: more than the largest file and all that precedes it
_OTHERS = 3600.0  # seconds that another process may take for the same file
_CHUNK = 1 << 16
_NO_SUCH_RANGE = 416
_PART_FLAGS = os.O_RDWR | os.O_CREAT | NO_LINK | NO_WAIT | getattr(os, "O_BINARY", 0)


class _OtherFileError(ValueError):
    """The server has another file than the one that is expected."""


def is_whole(path: Path, expected: RemoteFile) -> bool:
    """Return whether a file is there, and has that size and hash."""
    if not path.is_file() or path.stat().st_size != expected.size:
        return False
    with path.open("rb") as file:
        return _hash(file) == expected.sha256


def fetch(url: str, path: Path, expected: RemoteFile, show: Callable[[int], object]) -> None:
    """Download a file. It appears at `path` when it is whole; a damaged one is replaced then.

    What has come is in ``NAME.part`` beside it, where the next call continues after an error or a kill. Of processes
    that want the same file, one downloads it and the others wait. Redirections are not followed.

    Parameters
    ----------
    url : str
    path : Path
        Its folder must exist.
    expected : RemoteFile
    show : callable
        Is called with the number of bytes that have come.

    Raises
    ------
    OSError, ValueError, http.client.HTTPException
        The server does not answer, is too slow or has another file, or the file cannot be written.
    """
    part = path.with_name(f"{path.name}.part")
    while not is_whole(path, expected):
        try:
            with _locked(part) as file:
                # Another process may have downloaded the file meanwhile, or have thrown its part away.
                is_wanted = _is_at(part, file) and not is_whole(path, expected)
                if is_wanted:
                    _complete(url, file, expected, show)
        except BaseException:
            with suppress(OSError):
                if not part.stat().st_size:
                    part.unlink()
            raise
        if is_wanted:
            with suppress(FileNotFoundError):  # another process has renamed it
                part.replace(path)
    with suppress(OSError):
        part.unlink()


@contextmanager
def _locked(part: Path) -> Iterator[BinaryIO]:
    """Open a file for this process alone."""
    with open(os.open(part, _PART_FLAGS, 0o666), "r+b") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(f"{part} is not a regular file")
        end = time.monotonic() + _OTHERS
        with suppress(OSError):  # a file system without locks
            while not try_lock(file.fileno()) and time.monotonic() < end:
                time.sleep(0.1)
        yield file


def _is_at(path: Path, file: BinaryIO) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(file.fileno()))
    except FileNotFoundError:  # another process has just renamed or removed it
        return False


def _hash(file: Any) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()


def _complete(url: str, file: BinaryIO, expected: RemoteFile, show: Callable[[int], object]) -> None:
    """Download what a part lacks; or all of it, if the part is of another file."""
    is_new = False
    while not is_new:
        is_new = file.seek(0, os.SEEK_END) == 0
        try:
            _receive(url, file, expected.size, show)
            file.seek(0)
            if _hash(file) != expected.sha256:
                raise _OtherFileError("expected the known SHA-256 hash; received a file with another one")
            return
        except _OtherFileError:
            file.truncate(0)
            if is_new:
                raise


def _receive(url: str, file: BinaryIO, size: int, show: Callable[[int], object]) -> None:
    """Append to a part what it lacks to the size of the file."""
    n = file.tell()
    if n >= size:
        return
    try:
        response = _open(Request(url, headers={"Range": f"bytes={n}-"} if n else {}))
    except HTTPError as exc:
        exc.close()
        if exc.code == _NO_SUCH_RANGE:
            raise _OtherFileError(f"expected {size} bytes; received an answer that there are no more than {n}") from exc
        raise
    with response:
        if not response.headers.get("Content-Range", "").startswith(f"bytes {n}-"):  # a server that always sends all
            n = file.seek(0)
            file.truncate()
        if response.length is not None and n + response.length != size:
            raise _OtherFileError(f"expected {size} bytes; received a file of {n + response.length}")
        while data := response.read1(_CHUNK):
            n += len(data)
            if n > size:
                raise _OtherFileError(f"expected {size} bytes; received more")
            file.write(data)
            show(n)
    if n < size:
        raise ConnectionError(f"the connection ended after {n} of {size} bytes; the next call continues there")


def _open(request: Request) -> Any:
    """Return the answer of a server. Neither a redirection nor any scheme but HTTP is followed."""
    opener = OpenerDirector()
    for handler in (
        ProxyHandler,
        UnknownHandler,
        _HttpHandler,
        _HttpsHandler,
        HTTPDefaultErrorHandler,
        HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    return opener.open(request, timeout=_SILENCE)


class _Paced(io.RawIOBase):
    """What a server sends, as long as it is neither too slow nor too much."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self._start = time.monotonic()
        self._n_bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        n: int = self._raw.readinto(buffer)
        self._n_bytes += n
        if self._n_bytes > _MOST_BYTES:
            raise ValueError(f"expected at most {_MOST_BYTES} bytes; the server sends more")
        if time.monotonic() - self._start > _PATIENCE + self._n_bytes / _SLOWEST:
            raise TimeoutError(f"expected at least {_SLOWEST} bytes in a second; received {self._n_bytes} in all")
        return n

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fp: Any = io.BufferedReader(_Paced(self.fp.detach()))


class _Http(http.client.HTTPConnection):
    response_class = _Response


class _Https(http.client.HTTPSConnection):
    response_class = _Response


class _HttpHandler(HTTPHandler):
    def http_open(self, req: Request) -> Any:
        return self.do_open(_Http, req)


class _HttpsHandler(HTTPSHandler):
    def https_open(self, req: Request) -> Any:
        return self.do_open(_Https, req)
