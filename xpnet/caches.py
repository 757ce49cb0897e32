"""The folder in which xpnet keeps what it can make or fetch again."""

from __future__ import annotations

from pathlib import Path

__all__ = ["cache_folder"]


def cache_folder() -> Path | None:
    """Return the user's cache folder for xpnet, which may not exist yet; None if the user has no home folder."""
    from platformdirs import user_cache_path  # slow to import, and rarely needed

    try:
        path = user_cache_path("xpnet")
    except RuntimeError:  # there is no home folder
        return None
    return path if path.is_absolute() else None  # "~" was not replaced, or a variable holds a relative path
