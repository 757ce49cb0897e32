"""``runs/latest``, a link to the newest run; and the folder that a user means by a path."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from xpnet.errors import InvalidParameterError

__all__ = ["LATEST", "RUNS", "link_latest", "run_folder"]

RUNS = Path("runs")
"""The folder for runs that got none with ``--out``."""

LATEST = "latest"


def link_latest(folder: Path) -> None:
    """Let ``runs/latest`` lead to a run that begins in ``runs``.

    A run elsewhere changes nothing. What a user made of this name stays: a file, a folder, or a link to elsewhere. Of
    two runs that begin together either may be the last. A system that has no links gets none.
    """
    link = RUNS / LATEST
    with suppress(OSError, NotImplementedError):
        if folder.name == LATEST or not folder.parent.samefile(RUNS):
            return
        try:
            os.symlink(folder.name, link, target_is_directory=True)
        except FileExistsError:
            if _is_to_sibling(link):
                _replace(link, folder)


def _is_to_sibling(link: Path) -> bool:
    """Return whether a path is a link as `link_latest` makes it."""
    return link.is_symlink() and (target := os.readlink(link)) == os.path.basename(target) != os.pardir


def _replace(link: Path, folder: Path) -> None:
    """Let a link lead to a folder beside it, so that others see the old one or the new one at any time."""
    temporary = folder / f".{LATEST}.part"  # in the run's own folder, where no other process makes one
    os.symlink(folder.name, temporary, target_is_directory=True)
    try:
        os.replace(temporary, link)
    except PermissionError:  # Windows does not replace links to folders
        link.unlink()
        temporary.rename(link)
    finally:
        temporary.unlink(missing_ok=True)


def run_folder(path: Path) -> Path:
    """Return the folder of a run that a user named by itself, by a link such as ``runs/latest``, or by its model file.

    A link is followed once and for all, because a run that begins meanwhile changes it.

    Raises
    ------
    InvalidParameterError
        The link leads to nothing.
    """
    if path.suffix == ".safetensors" and path.is_file():
        path = path.parent
    if not path.is_symlink():
        return path
    if not path.exists():
        raise InvalidParameterError(
            f"run: expected the folder of a run; received {path}, a link to {os.readlink(path)}, which does not exist. "
            "Name another run."
        )
    return run_folder(path.parent / os.readlink(path))
