"""The user's cache folder, also where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import platformdirs
import pytest

from xpnet.caches import cache_folder


def test_it_is_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name: tmp_path / name)
    assert cache_folder() == tmp_path / "xpnet"
    assert not (tmp_path / "xpnet").exists()


def no_home(name: str) -> Path:
    raise RuntimeError("could not determine the home directory")


# The library's versions differ in what they do without a home folder.
@pytest.mark.parametrize("cache_path", [no_home, lambda name: Path("~/.cache") / name], ids=["raises", "relative"])
def test_without_a_home(cache_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platformdirs, "user_cache_path", cache_path)
    assert cache_folder() is None
