"""Atomic file writes: a file is written under a temporary name, flushed to disk and then renamed."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xpnet.errors import XpnetError

__all__ = ["remove_temporary_files", "write_atomically", "writing"]


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Convert errors raised while a file or folder is written into an `XpnetError` that names the path and the reason.

    Raises
    ------
    XpnetError
        The code inside the context raised an OSError or a ValueError.
    """
    try:
        yield
    except (OSError, ValueError) as exc:  # an invalid path, such as one with a NUL byte, raises a ValueError
        reason = getattr(exc, "strerror", None) or exc
        raise XpnetError(
            f"cannot write {path}: {reason}. Check the folder, its permissions and the free space."
        ) from exc


def write_atomically(path: str | Path, data: bytes) -> None:
    """Write a file so that a killed process or a power failure leaves the old file or the new one, never a part of it.

    When the function returns, the new file and its name are on the disk.

    Raises
    ------
    XpnetError
        The file cannot be written; the old file is unchanged.
    """
    path = Path(path)
    with writing(path):
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        try:
            with open(temporary, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            _sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def remove_temporary_files(folder: Path) -> None:
    """Remove the incomplete files that killed processes left in a folder."""
    for temporary in folder.glob(".*.part"):
        temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Flush the names in a folder to disk; without this a power failure may undo the rename."""
    if os.name != "posix":  # other systems cannot open a folder
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
