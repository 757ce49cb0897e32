"""Locks: one run at a time, whichever process or thread it is in, and nothing of others is touched."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.test_files import without_locks
from xpnet.errors import XpnetError, XpnetWarning
from xpnet.locks import LockFile

pytestmark = pytest.mark.skipif(os.name != "posix", reason="links, pipes and signals as POSIX has them")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lock"


def locked(path: Path) -> LockFile:
    lock = LockFile(path)
    lock.acquire()
    return lock


def test_one_at_a_time(path: Path) -> None:
    first = locked(path)
    with pytest.raises(BlockingIOError):
        locked(path)
    first.release(remove=False)
    second = locked(path)
    second.withdraw()
    assert path.exists()  # the first one made it
    locked(path).release(remove=True)
    assert not path.exists()
    locked(path).withdraw()
    assert not path.exists()


@pytest.mark.subprocess
def test_a_killed_process_holds_none(path: Path, environment: dict[str, str]) -> None:
    program = (
        "import pathlib, sys, xpnet.locks; lock = xpnet.locks.LockFile(pathlib.Path(sys.argv[1])); lock.acquire(); "
        "print(flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(path)]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"\n"
        with pytest.raises(BlockingIOError):
            locked(path)
        process.kill()
    locked(path).release(remove=True)


def test_a_file_that_is_removed_between_its_opening_and_its_lock(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run that held the lock ends just then: a lock on the file without a name would keep nobody out."""
    held = [locked(path)]
    real = LockFile._lock

    def lock_after_the_end(self: LockFile, descriptor: int) -> None:
        if held:
            held.pop().release(remove=True)
        real(self, descriptor)

    monkeypatch.setattr(LockFile, "_lock", lock_after_the_end)
    second = locked(path)
    with pytest.raises(BlockingIOError):
        locked(path)
    second.release(remove=True)


def test_threads_that_take_turns(path: Path) -> None:
    within, most, counted = [0], [0], threading.Lock()

    def work() -> None:
        for _ in range(100):
            lock = LockFile(path)
            try:
                lock.acquire()
            except BlockingIOError:
                continue
            with counted:
                within[0] += 1
                most[0] = max(most[0], within[0])
            with counted:
                within[0] -= 1
            lock.release(remove=True)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", ["link", "dangling", "pipe", "folder"])
def test_what_is_no_regular_file(kind: str, path: Path) -> None:
    other = path.with_name("other")
    if kind in ("link", "dangling"):
        path.symlink_to(other)
        if kind == "link":
            other.write_text("mine")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    before = path.lstat()
    with pytest.raises(OSError, match=r"symbolic link|not a regular file|directory"):
        locked(path)
    assert (path.lstat().st_ino, stat.S_IFMT(path.lstat().st_mode)) == (before.st_ino, stat.S_IFMT(before.st_mode))
    assert other.exists() == (kind == "link")


def test_the_content_stays(path: Path) -> None:
    path.write_text("of another program")
    locked(path).withdraw()
    assert path.read_text() == "of another program"


@pytest.mark.parametrize("name", ["ENOLCK", "EOPNOTSUPP", "ENOSYS"])
def test_a_file_system_without_locks(name: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_locks(monkeypatch, getattr(errno, name))
    with pytest.warns(XpnetWarning, match="this file system has no locks .* Train one run at a time"):
        lock = locked(path)
    assert lock.is_held
    lock.release(remove=True)


def test_a_folder_that_was_made_again(path: Path) -> None:
    lock = locked(path)
    lock.check()
    path.unlink()
    lock.check()  # somebody tidied up: the folder may be the same
    path.write_text("of another run")
    with pytest.raises(XpnetError, match="expected the folder in which the run began; received another folder"):
        lock.check()
    lock.release(remove=True)
    assert path.read_text() == "of another run"
