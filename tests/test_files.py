"""Output files: what is replaced, what is written in place, and what happens when a write fails."""

from __future__ import annotations

import errno
import os
import socket
import stat
import threading
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from xpnet import files
from xpnet.errors import DataError, XpnetError
from xpnet.files import open_file, open_output, remove_temporary_files, write_atomically, write_output
from xpnet.locks import try_lock

posix = pytest.mark.skipif(os.name != "posix", reason="links, pipes and permissions as POSIX has them")


def write(path: Path, text: str = "new\n") -> None:
    with open_output(path) as file:
        file.write(text)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("old")
    with open_output(path) as file:
        file.write("new ")
        assert path.read_text() == "old"
        file.write("да\n")
    assert path.read_bytes() == "new да\n".encode()
    assert names(tmp_path) == ["p.csv"]


def test_an_error_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("old")
    with pytest.raises(DataError, match="damaged block"), open_output(path) as file:  # noqa: PT012
        file.write("half")
        raise DataError("damaged block")
    assert (path.read_text(), names(tmp_path)) == ("old", ["p.csv"])


@posix
@pytest.mark.parametrize("exists", [True, False])
def test_a_link_is_followed(exists: bool, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    real, link = tmp_path / "there" / "real.csv", tmp_path / "link.csv"
    if exists:
        real.write_text("old")
    link.symlink_to("there/real.csv")
    write(link)
    assert link.is_symlink()
    assert (real.read_text(), names(real.parent)) == ("new\n", ["real.csv"])


@posix
def test_links_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(XpnetError, match=r"cannot write .*a: Too many levels"):
        write(tmp_path / "a")
    assert (tmp_path / "a").is_symlink()


@posix
def test_a_file_of_two_names_keeps_both(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("old and longer\n")
    two.hardlink_to(one)
    write(one)
    assert two.read_text() == "new\n"
    assert one.samefile(two)


@posix
def test_a_pipe_is_written_in_place(tmp_path: Path) -> None:
    pipe, received = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: received.append(pipe.read_text()))
    reader.start()
    write(pipe)
    reader.join()
    assert received == ["new\n"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@posix
def test_a_pipe_whose_reader_leaves(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(BrokenPipeError), open_output(pipe) as file:  # noqa: PT012
        os.close(reader)
        file.write("x" * 100_000)


@posix
def test_a_device_stays_a_device(tmp_path: Path) -> None:
    (tmp_path / "null").symlink_to(os.devnull)
    write(tmp_path / "null")
    write(Path(os.devnull))
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


@posix
def test_permissions_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("old")
    path.chmod(0o640)
    write(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_file_that_must_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "p.csv"
    path.write_text("old")
    monkeypatch.setattr(files.os, "access", lambda path, mode: False)  # root may write everything
    with pytest.raises(XpnetError, match="Permission denied"):
        write(path)
    assert path.read_text() == "old"


def test_the_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    with open_output(None) as file:
        file.write("a,b\n")
    assert capsys.readouterr().out == "a,b\n"


def test_characters_that_no_file_can_hold(tmp_path: Path) -> None:
    write(tmp_path / "p.csv", "\udcff\n")
    assert (tmp_path / "p.csv").read_text() == "\\udcff\n"


def test_a_name_as_long_as_the_file_system_allows(tmp_path: Path) -> None:
    path = tmp_path / ("ü" * 120 + ".csv")  # 244 bytes, and 255 are allowed
    write(path)
    write_atomically(path, b"again")
    assert path.read_bytes() == b"again"


def without_locks(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    fcntl = pytest.importorskip("fcntl")

    def flock(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)


def failing_fsync(monkeypatch: pytest.MonkeyPatch, *, on_folders: bool, code: int) -> None:
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode) == on_folders:
            raise OSError(code, os.strerror(code))
        real(descriptor)

    monkeypatch.setattr(files.os, "fsync", fsync)


@posix
@pytest.mark.parametrize("name", ["EINVAL", "ENOTSUP", "EBADF", "EACCES", "ENOSYS"])
def test_a_folder_that_cannot_be_flushed(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing_fsync(monkeypatch, on_folders=True, code=getattr(errno, name))
    write_atomically(tmp_path / "model", b"weights")
    assert (tmp_path / "model").read_bytes() == b"weights"


@posix
@pytest.mark.parametrize(("on_folders", "name"), [(True, "EIO"), (False, "EINVAL"), (False, "EIO")])
def test_a_flush_that_fails(on_folders: bool, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing_fsync(monkeypatch, on_folders=on_folders, code=getattr(errno, name))
    with pytest.raises(XpnetError, match="cannot write"):
        write_atomically(tmp_path / "model", b"weights")


@posix
def test_temporary_files_of_killed_processes(tmp_path: Path) -> None:
    mine = [".download.part", ".x.1234.part", "x.12345678.part", ".notes.12345678.part"]
    for name in [*mine, ".model.12345678.part", ".model.abcdef01.part"]:
        (tmp_path / name).write_text("")
    (tmp_path / ".model.00000000.part").mkdir()
    (tmp_path / ".model.00000001.part").symlink_to("x.12345678.part")
    os.mkfifo(tmp_path / ".model.00000002.part")
    mine += [f".model.0000000{i}.part" for i in range(3)]
    with open(tmp_path / ".model.abcdef01.part", "rb") as written:
        assert try_lock(written.fileno())
        remove_temporary_files(tmp_path, "model".__eq__)
        assert names(tmp_path) == sorted([*mine, ".model.abcdef01.part"])
    remove_temporary_files(tmp_path, "model".__eq__)
    assert names(tmp_path) == sorted(mine)


@posix
def test_temporary_files_stay_where_nobody_can_tell_who_writes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_locks(monkeypatch, errno.ENOLCK)
    (tmp_path / ".model.12345678.part").write_text("")
    remove_temporary_files(tmp_path, "model".__eq__)
    assert names(tmp_path) == [".model.12345678.part"]


@posix
@pytest.mark.parametrize("write", [write_output, lambda path, data: write_atomically(path, data)])
@pytest.mark.parametrize("kind", ["link", "dangling", "pipe", "device", "socket"])
def test_only_regular_files_are_replaced(
    kind: str, write: Callable[[Path, bytes], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that a user named is followed or written in place; one that the program named is refused."""
    monkeypatch.chdir(tmp_path)
    path, reader = Path("it"), None
    if kind in ("link", "dangling"):
        path.symlink_to("real")
        if kind == "link":
            Path("real").write_text("old")
    elif kind == "pipe":
        os.mkfifo(path)
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    elif kind == "device":
        try:
            os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
        except PermissionError:
            pytest.skip("only root makes devices")
    else:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(path))
    before = path.lstat()
    refused = write is not write_output or kind == "socket"
    with pytest.raises(XpnetError, match="cannot write it: ") if refused else nullcontext():
        write(path, b"new")
    assert (path.lstat().st_ino, path.lstat().st_mode) == (before.st_ino, before.st_mode)
    if "real" in names(tmp_path):
        assert Path("real").read_text() == ("old" if refused else "new")
    if reader is not None:
        assert os.read(reader, 9) == (b"" if refused else b"new")
        os.close(reader)


@pytest.mark.parametrize("links", [True, False])
def test_a_name_is_taken_only_if_it_is_free(links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    if not links:  # a file system without hard links
        monkeypatch.setattr(files.os, "link", link)
    path = tmp_path / "it"
    write_atomically(path, b"first", exclusive=True)
    with pytest.raises(XpnetError, match="File exists") as caught:
        write_atomically(path, b"second", exclusive=True)
    assert isinstance(caught.value.__cause__, FileExistsError)
    assert (path.read_bytes(), names(tmp_path)) == (b"first", ["it"])


@posix
@pytest.mark.timeout(20)
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    with open_file(tmp_path / "link") as file:
        assert file.read() == b"content"
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(tmp_path / "socket"))
    for path, message in (
        (tmp_path / "pipe", "a pipe, not a regular file"),
        (tmp_path / "socket", "a socket, not a regular file"),
        (Path(os.devnull), "a device, not a regular file"),
        (tmp_path, "Is a directory"),
    ):
        with pytest.raises(OSError, match=message):
            open_file(path)


@posix
@pytest.mark.timeout(20)
def test_a_pipe_that_takes_the_place_of_a_file_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    before = (tmp_path / "file").stat()
    os.mkfifo(tmp_path / "pipe")
    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", lambda path: before)  # the pipe came after the first look
        with pytest.raises(OSError, match="a pipe, not a regular file"):
            open_file(tmp_path / "pipe")
