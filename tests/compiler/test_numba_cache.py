"""Machine code on the disk: only from a folder of this user alone, and never from a damaged file."""

from __future__ import annotations

import os
import pickle
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba")

from xpnet_backends.compiler import numba_cache, numba_math
from xpnet_backends.compiler.numba_cache import keep_code

posix = pytest.mark.skipif(os.name != "posix", reason="owners, modes and links of POSIX")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    return tmp_path / "xpnet" / "machine-code"


def run(text: str = "twice") -> Any:
    """Compile and run a function as another process would do it; return its dispatcher."""

    def steps(x: Any) -> Any:
        return 2 * x

    dispatcher: Any = keep_code(numba_math.compiled(steps), text)
    assert dispatcher(21) == 42
    return dispatcher


def hits(steps: Any) -> int:
    return sum(steps.stats.cache_hits.values())


def content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_code_is_kept(cache: Path) -> None:
    assert hits(run()) == 0
    assert hits(run()) == 1
    assert hits(run("other text")) == 0
    assert {path.suffix for path in cache.iterdir()} == {".code"}
    assert len(list(cache.iterdir())) == 2


@posix
def test_folder_and_files_are_the_users_alone(cache: Path) -> None:
    run()
    assert {stat.S_IMODE(path.stat().st_mode) for path in cache.iterdir()} == {0o600}
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700


@pytest.mark.parametrize("how", ["empty", "half", "one bit", "garbage", "of another function"])
def test_a_damaged_file_is_made_anew(how: str, cache: Path) -> None:
    run("other text")
    (other,) = content(cache).values()
    run()
    (path,) = (path for path, data in content(cache).items() if data != other)
    data = path.read_bytes()
    damage = {
        "empty": b"",
        "half": data[: len(data) // 2],
        "one bit": bytes([*data[:-40], data[-40] ^ 1, *data[-39:]]),
        "garbage": os.urandom(len(data)),
        "of another function": other,
    }
    path.write_bytes(damage[how])
    assert hits(run()) == 0
    assert hits(run()) == 1


def test_a_file_of_other_versions_that_call_themselves_the_same(cache: Path) -> None:
    run()
    (path,) = cache.iterdir()
    for value in ((), (1, 2), None, "text"):
        data = pickle.dumps(value)
        path.write_bytes(data + numba_cache._seal(path.name, data))
        assert hits(run()) == 0


class Attack:
    """What loads from a pickle as a folder: the attack has run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return os.mkdir, (str(self.folder),)


def make_attack(path: Path, mark: Path) -> None:
    data = pickle.dumps(Attack(mark))
    path.write_bytes(data + numba_cache._seal(path.name, data))


def test_the_attack_of_these_tests_works(cache: Path, tmp_path: Path) -> None:
    run()
    (path,) = cache.iterdir()
    make_attack(path, tmp_path / "mark")
    run()
    assert (tmp_path / "mark").exists()


@posix
@pytest.mark.parametrize(
    "how", ["writable", "readable", "another user's", "a link", "a file", "file writable", "file is a link", "a pipe"]
)
def test_what_others_may_have_written_is_not_loaded(
    how: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run()
    (path,) = cache.iterdir()
    make_attack(path, tmp_path / "mark")
    if how == "writable":
        cache.chmod(0o720)
    elif how == "readable":
        cache.chmod(0o705)
    elif how == "another user's":
        monkeypatch.setattr(numba_cache.os, "geteuid", lambda: os.getuid() + 1)
    elif how == "a link":
        cache.rename(tmp_path / "elsewhere")
        cache.symlink_to(tmp_path / "elsewhere")
    elif how == "a file":
        path.unlink()
        cache.rmdir()
        cache.write_text("")
    elif how == "file writable":
        path.chmod(0o620)
    elif how == "file is a link":
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
    else:
        path.unlink()
        os.mkfifo(path)
    before = content(tmp_path)
    assert hits(run()) == 0
    assert not (tmp_path / "mark").exists()
    if not how.startswith(("file", "a pipe")):
        assert content(tmp_path) == before


@posix
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root to give a file away")
def test_a_file_of_another_user_in_the_users_folder_is_not_loaded(cache: Path, tmp_path: Path) -> None:
    run()
    (path,) = cache.iterdir()
    make_attack(path, tmp_path / "mark")
    os.chown(path, 65534, 65534)
    run()
    assert not (tmp_path / "mark").exists()


@posix
def test_a_folder_exchanged_after_the_check_is_not_looked_into(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner of a folder above can do that at any moment."""
    run()
    (path,) = cache.iterdir()
    (tmp_path / "theirs").mkdir()
    make_attack(tmp_path / "theirs" / path.name, tmp_path / "mark")
    real = numba_cache._is_private

    def exchange(status: os.stat_result, others: int) -> bool:
        if stat.S_ISDIR(status.st_mode) and not (tmp_path / "ours").exists():
            cache.rename(tmp_path / "ours")
            (tmp_path / "theirs").rename(cache)
        return real(status, others)

    monkeypatch.setattr(numba_cache, "_is_private", exchange)
    assert hits(run()) == 1  # from the folder that was checked
    assert (tmp_path / "ours").exists()
    assert not (tmp_path / "mark").exists()


# The library's versions differ in what they do without a home folder.
@pytest.mark.parametrize("folder", [None, Path("~/.cache/xpnet")], ids=["none", "relative"])
def test_without_a_home(folder: Path | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setattr(numba_cache, "cache_folder", lambda: folder)
    run()
    assert not list(tmp_path.iterdir())


def test_a_relative_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NUMBA_CACHE_DIR", "here")
    run()
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file"))
    run()


@posix
@pytest.mark.parametrize("limit", [0, 1, 100, 5000])
def test_a_full_disk_leaves_nothing_behind(limit: int, cache: Path) -> None:
    import resource
    import signal

    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert not list(cache.iterdir())


def test_the_folder_goes_meanwhile(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.replace

    def gone(*arguments: Any, **options: Any) -> None:
        for path in cache.iterdir():
            path.unlink()
        real(*arguments, **options)

    monkeypatch.setattr(os, "replace", gone)
    assert hits(run()) == 0
    assert not list(cache.iterdir())


def test_the_folder_does_not_grow_without_end(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba_cache, "_MOST_FILES", 2)
    cache.mkdir(parents=True, mode=0o700)
    (cache / f"{'0' * 64}.code.01234567.part").write_bytes(b"of a process that was killed")
    (cache / "notes.txt").write_text("not ours")
    for age, path in enumerate(cache.iterdir()):
        os.utime(path, (age, age))
    for i, text in enumerate("abac"):
        run(text)
        for age, path in enumerate(sorted(cache.glob("*.code"), key=lambda path: path.stat().st_mtime_ns)):
            os.utime(path, (1000 * i + age, 1000 * i + age))  # clocks of file systems are coarse
    assert [hits(run(text)) for text in "ac"] == [1, 1]
    assert sorted(path.suffix for path in cache.iterdir()) == [".code", ".code", ".txt"]


def test_the_results_are_the_same_with_and_without_a_cache(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xpnet_backends import numba as backend

    text = "def steps(x, out):\n    for i in range(len(x)):\n        out[i] = x[i] * x[i] / 3 + x[i]\n"
    x = np.linspace(-3, 3, 101, dtype=np.float32)
    results = []
    for folder in (tmp_path, tmp_path, "relative, so none is used"):  # compiled, loaded, compiled
        monkeypatch.setenv("NUMBA_CACHE_DIR", str(folder))
        backend._compile.cache_clear()
        out = np.empty_like(x)
        steps = backend._compile(text)
        steps(x, out)
        results.append((hits(steps), out.tobytes()))
    assert [hit for hit, _ in results] == [0, 1, 0]
    assert len({data for _, data in results}) == 1
