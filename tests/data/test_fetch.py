"""Downloads from servers that are slow, wrong or hostile, in processes that are killed or not alone."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from xpnet.data import fetch as module
from xpnet.data.downloads import RemoteFile
from xpnet.data.fetch import fetch

CONTENT = os.urandom(3000) * 100
EXPECTED = RemoteFile(len(CONTENT), hashlib.sha256(CONTENT).hexdigest())


class Server:
    """Answers each connection with what `answer` writes to its socket; `requests` holds the text of each request."""

    def __init__(self, answer: Callable[[socket.socket, str], None]) -> None:
        self.requests: list[str] = []
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/file.gz"

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with connection:
                request = connection.recv(10_000).decode()
                if not request:
                    return
                self.requests.append(request)
                with suppress(OSError):  # the client has had enough
                    self._answer(connection, request)

    def stop(self) -> None:
        with socket.create_connection(self._listener.getsockname()[:2]):
            pass
        self._thread.join()
        self._listener.close()


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Callable[[socket.socket, str], None]], Server]]:
    monkeypatch.setenv("no_proxy", "*")
    servers: list[Server] = []

    def start(answer: Callable[[socket.socket, str], None]) -> Server:
        servers.append(Server(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def head(status: str = "200 OK", **headers: object) -> bytes:
    lines = [f"HTTP/1.1 {status}", "Connection: close", *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def first_byte(request: str) -> int:
    _, _, rest = request.partition("Range: bytes=")
    return int(rest.partition("-")[0] or 0)


def whole(connection: socket.socket, request: str) -> None:
    """Answer as a good server: with the rest of the file if that is asked for."""
    n = first_byte(request)
    if n:
        range_ = f"bytes {n}-{len(CONTENT) - 1}/{len(CONTENT)}"
        connection.sendall(head("206 Partial Content", Content_Length=len(CONTENT) - n, Content_Range=range_))
    else:
        connection.sendall(head(Content_Length=len(CONTENT)))
    connection.sendall(CONTENT[n:])


def without_ranges(connection: socket.socket, request: str) -> None:
    connection.sendall(head(Content_Length=len(CONTENT)) + CONTENT)


def get(server: Server, folder: Path) -> Path:
    path = folder / "file.gz"
    fetch(server.url, path, EXPECTED, lambda _: None)
    assert path.read_bytes() == CONTENT
    assert list(folder.iterdir()) == [path]
    return path


def test_a_file_comes_once(serve, tmp_path: Path) -> None:
    server = serve(whole)
    seen: list[int] = []
    fetch(server.url, tmp_path / "file.gz", EXPECTED, seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == len(CONTENT)
    get(server, tmp_path)
    assert len(server.requests) == 1


@pytest.mark.parametrize("answer", [whole, without_ranges])
@pytest.mark.parametrize("part", [CONTENT[:1000], CONTENT[:-1], CONTENT, b"?" * 1000, CONTENT + b"?"])
def test_a_download_continues(answer, part: bytes, serve, tmp_path: Path) -> None:
    """From whatever an earlier process has left."""
    server = serve(answer)
    (tmp_path / "file.gz.part").write_bytes(part)
    get(server, tmp_path)
    if CONTENT.startswith(part):
        assert len(server.requests) == int(part != CONTENT)


def test_a_part_that_is_longer_than_the_servers_file(serve, tmp_path: Path) -> None:
    def answer(connection: socket.socket, request: str) -> None:
        if first_byte(request):
            connection.sendall(head("416 Range Not Satisfiable", Content_Length=0))
        else:
            whole(connection, request)

    (tmp_path / "file.gz.part").write_bytes(CONTENT[:-1])
    get(serve(answer), tmp_path)


def test_a_connection_that_ends_early(serve, tmp_path: Path) -> None:
    def answer(connection: socket.socket, request: str) -> None:
        n = first_byte(request)
        range_ = f"bytes {n}-{len(CONTENT) - 1}/{len(CONTENT)}"
        connection.sendall(head("206 Partial Content", Content_Length=len(CONTENT) - n, Content_Range=range_))
        connection.sendall(CONTENT[n : n + 100_000])

    server = serve(answer)
    for n in (100_000, 200_000):
        with pytest.raises(ConnectionError, match=f"ended after {n} of {len(CONTENT)} bytes"):
            get(server, tmp_path)
        assert (tmp_path / "file.gz.part").read_bytes() == CONTENT[:n]
    get(server, tmp_path)
    assert len(server.requests) == 3


def endless(start: bytes, piece: bytes) -> Callable[[socket.socket, str], None]:
    def answer(connection: socket.socket, _: str) -> None:
        connection.sendall(start)
        while True:
            connection.sendall(piece)

    return answer


def sends(data: bytes) -> Callable[[socket.socket, str], None]:
    return lambda connection, _: connection.sendall(data)


CHUNK = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (sends(head(Content_Length=len(CONTENT)) + b"?" * len(CONTENT)), "SHA-256"),
        (sends(head(Content_Length=7) + b"changed"), "received a file of 7"),
        (sends(head(Content_Length=10**15)), "received a file of 1000000000000000"),
        (endless(head(), b"x" * 100_000), "received more"),
        (endless(head(Transfer_Encoding="chunked"), CHUNK), "received more"),
        (endless(b"", head("100 Continue")), "sends more"),
        (endless(b"", b"x" * 100_000), "line"),
        (endless(b"HTTP/1.1 200 OK\r\n", b"a: b\r\n"), "more than 100 headers"),
        (sends(head("404 Not Found")), "404"),
        (sends(head("302 Found", Location="file:///etc/passwd")), "302"),
        (sends(head("302 Found", Location="ftp://127.0.0.1/file.gz")), "302"),
        (sends(head("301 Moved", Location="http://127.0.0.1:9/file.gz")), "301"),
        (sends(head("204 No Content")), "received a file of 0"),
        (sends(head("206 Partial Content", Content_Range="bytes 5-9/10", Content_Length=5) + b"abcde"), "file of 5"),
        (sends(b"no protocol of this world\r\n\r\n"), "no protocol"),
        (sends(b""), "closed connection"),
        (sends(head(Transfer_Encoding="chunked") + b"zzz\r\n"), "."),
        (sends(head(Content_Length=-5) + CONTENT[:10]), "ended after 10"),
    ],
)
def test_a_server_that_sends_something_else(
    answer, message: str, serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_BYTES", 1 << 20)
    (tmp_path / "file.gz").write_bytes(b"damaged")
    with pytest.raises((OSError, ValueError, module.http.client.HTTPException), match=message):
        get(serve(answer), tmp_path)
    assert (tmp_path / "file.gz").read_bytes() == b"damaged"  # until there is a good one
    assert {path.name for path in tmp_path.iterdir()} <= {"file.gz", "file.gz.part"}


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\n", head()])
def test_a_server_that_drips(start: bytes, serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then is no silence, but no download either."""
    monkeypatch.setattr(module, "_PATIENCE", 0.2)

    def answer(connection: socket.socket, _: str) -> None:
        connection.sendall(start)
        while True:
            connection.sendall(b"H")
            time.sleep(0.02)

    with pytest.raises(TimeoutError, match="bytes in a second"):
        get(serve(answer), tmp_path)


def test_a_silent_server(serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SILENCE", 0.2)
    over = threading.Event()

    def answer(connection: socket.socket, _: str) -> None:
        connection.sendall(head(Content_Length=len(CONTENT)) + CONTENT[:10])
        over.wait()

    server = serve(answer)
    with pytest.raises(TimeoutError):
        get(server, tmp_path)
    over.set()
    assert (tmp_path / "file.gz.part").read_bytes() == CONTENT[:10]


ONE = """
import sys
from pathlib import Path
from xpnet.data import fetch
from xpnet.data.downloads import RemoteFile
url, path, size, digest = sys.argv[1:]
fetch.fetch(url, Path(path), RemoteFile(int(size), digest), lambda n: print(n, flush=True))
"""


def start_process(server: Server, folder: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    arguments = [server.url, str(folder / "file.gz"), *map(str, EXPECTED)]
    return subprocess.Popen([sys.executable, "-c", ONE, *arguments], env=environment, stdout=subprocess.PIPE, text=True)


@pytest.mark.subprocess
def test_processes_that_want_the_same_file(serve, tmp_path: Path, environment: dict[str, str]) -> None:
    def slow(connection: socket.socket, request: str) -> None:
        time.sleep(0.3)  # the other has time to come
        whole(connection, request)

    server = serve(slow)
    processes = [start_process(server, tmp_path, environment) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    for process in processes:
        process.communicate()
    assert len(server.requests) == 1
    get(server, tmp_path)


@pytest.mark.subprocess
@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_a_killed_process_leaves_only_the_part(serve, tmp_path: Path, environment: dict[str, str]) -> None:
    over = threading.Event()

    def answer(connection: socket.socket, request: str) -> None:
        if first_byte(request):
            whole(connection, request)
        else:
            connection.sendall(head(Content_Length=len(CONTENT)) + CONTENT[:200_000])
            over.wait()

    server = serve(answer)
    process = start_process(server, tmp_path, environment)
    assert process.stdout is not None
    while int(process.stdout.readline()) < 200_000:
        pass
    process.kill()
    process.communicate()
    over.set()
    assert [path.name for path in tmp_path.iterdir()] == ["file.gz.part"]
    get(server, tmp_path)
    assert first_byte(server.requests[1]) > 0


@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
def test_a_full_disk(serve, tmp_path: Path) -> None:
    import resource
    import signal

    server = serve(whole)
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            get(server, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert [path.name for path in tmp_path.iterdir()] == ["file.gz.part"]
    get(server, tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="links of POSIX")
def test_a_link_in_place_of_the_part_is_not_followed(serve, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "other").write_text("mine")
    (tmp_path / "folder" / "file.gz.part").symlink_to(tmp_path / "other")
    with pytest.raises(OSError, match="symbolic links"):
        get(serve(whole), tmp_path / "folder")
    assert (tmp_path / "other").read_text() == "mine"
