"""Files that are whole or not there: written beside their place, flushed to the disk, then renamed."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xpnet.errors import XpnetError

__all__ = ["remove_parts", "write_atomically", "writing"]


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what fails in writing a file into an `XpnetError` that says which and why."""
    try:
        yield
    except (OSError, ValueError) as exc:  # a path that can be no file's is a ValueError
        reason = getattr(exc, "strerror", None) or exc
        raise XpnetError(
            f"cannot write {path}: {reason}. Check the folder, its permissions and the free space."
        ) from exc


def write_atomically(path: str | Path, data: bytes) -> None:
    """Write a file so that a killed process, or a loss of power, leaves the old one or the new one, never half of one.

    When it returns, the new one is on the disk, with its name.

    Raises
    ------
    XpnetError
        The file cannot be written; the old one is untouched.
    """
    path = Path(path)
    with writing(path):
        beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        try:
            with open(beside, "xb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(beside, path)
            _flush_names(path.parent)
        finally:
            beside.unlink(missing_ok=True)


def remove_parts(folder: Path) -> None:
    """Remove what killed processes have left half written."""
    for part in folder.glob(".*.part"):
        part.unlink(missing_ok=True)


def _flush_names(folder: Path) -> None:
    """Flush a folder to the disk: without it a loss of power may undo a renaming."""
    if os.name != "posix":  # elsewhere a folder cannot be opened
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
