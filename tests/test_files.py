"""Output files: what is replaced, what is written in place, and what happens when a write fails."""

from __future__ import annotations

import errno
import os
import stat
import threading
from pathlib import Path

import pytest

from xpnet import files
from xpnet.errors import DataError, XpnetError
from xpnet.files import open_output, remove_temporary_files, write_atomically

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
    mine = [".download.part", ".x.1234.part", "x.12345678.part"]
    for name in [*mine, ".model.12345678.part", ".model.abcdef01.part"]:
        (tmp_path / name).write_text("")
    (tmp_path / ".folder.12345678.part").mkdir()
    with open(tmp_path / ".model.abcdef01.part", "rb") as written:
        assert files._lock(written)
        remove_temporary_files(tmp_path)
        assert names(tmp_path) == sorted([*mine, ".folder.12345678.part", ".model.abcdef01.part"])
    remove_temporary_files(tmp_path)
    assert names(tmp_path) == sorted([*mine, ".folder.12345678.part"])
