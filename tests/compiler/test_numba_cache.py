"""Machine code on the disk: only from a folder of this user, and never from a damaged file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("numba")

from xpnet_backends.compiler import numba_cache, numba_math
from xpnet_backends.compiler.numba_cache import keep_code, load_module

TEXT = "def steps(x):\n    return 2 * x\n"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    return tmp_path / "xpnet" / "machine-code"


def run(name: str = "steps_test") -> Any:
    """Compile and run the function as another process would do it; return its dispatcher."""
    module, is_kept = load_module(name, TEXT)
    steps = numba_math.compiled(module.steps)
    steps = keep_code(steps) if is_kept else steps
    assert steps(21) == 42
    return steps


def hits(steps: Any) -> int:
    return sum(steps.stats.cache_hits.values())


def test_code_is_kept(cache: Path) -> None:
    assert hits(run()) == 0
    assert hits(run()) == 1
    assert {path.suffix for path in cache.rglob("*") if path.is_file()} == {".py", ".nbi", ".nbc"}


@pytest.mark.parametrize("how", ["empty", "half", "one bit", "garbage"])
@pytest.mark.parametrize("suffix", [".py", ".nbi", ".nbc"])
def test_a_damaged_file_is_made_anew(suffix: str, how: str, cache: Path) -> None:
    run()
    (path,) = cache.rglob(f"*{suffix}")
    data = path.read_bytes()
    flipped = bytes([*data[:-40], data[-40] ^ 1, *data[-39:]]) if len(data) > 40 else b"\xff"
    damage = {"empty": b"", "half": data[: len(data) // 2], "one bit": flipped, "garbage": os.urandom(len(data))}
    path.write_bytes(damage[how])
    run()
    assert hits(run()) == 1


@pytest.mark.skipif(os.name != "posix", reason="permissions as POSIX has them")
@pytest.mark.parametrize("folder", ["", "__pycache__"])
def test_a_folder_that_others_can_write_is_not_used(folder: str, cache: Path) -> None:
    run()
    (cache / folder).chmod(0o777)
    before = {path: path.read_bytes() for path in cache.rglob("*") if path.is_file()}
    assert hits(run()) == 0
    assert {path: path.read_bytes() for path in cache.rglob("*") if path.is_file()} == before


@pytest.mark.skipif(os.name != "posix", reason="owners as POSIX has them")
def test_a_folder_of_another_user_is_not_used(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run()
    monkeypatch.setattr(numba_cache.os, "geteuid", lambda: os.getuid() + 1)
    assert hits(run()) == 0


def no_home(name: str) -> Path:
    raise RuntimeError("could not determine the home directory")


# The library's versions differ in what they do.
@pytest.mark.parametrize("cache_path", [no_home, lambda name: Path("~/.cache") / name], ids=["raises", "relative"])
def test_without_a_home(cache_path: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setattr(numba_cache, "user_cache_path", cache_path)
    run()
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file"))
    run()


def test_a_full_disk(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("first")

    def full(*_: object, **__: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(numba_cache._File, "_open_for_write", full)
    assert hits(run()) == 0
