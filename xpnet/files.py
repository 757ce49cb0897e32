"""Files that are whole or not there: written beside their place, flushed to the disk, then renamed."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from xpnet.errors import XpnetError

__all__ = ["write_atomically"]


def write_atomically(path: str | Path, data: bytes, *, durable: bool = True) -> None:
    """Write a file so that a killed process leaves the old one or the new one, never half of one.

    Parameters
    ----------
    path : str or Path
    data : bytes
    durable : bool
        Wait until the data are on the disk, so that this holds for a machine that loses its power too.

    Raises
    ------
    XpnetError
        The file cannot be written; the old one is untouched.
    """
    path = Path(path)
    try:
        beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        try:
            with open(beside, "xb") as stream:
                stream.write(data)
                if durable:
                    stream.flush()
                    os.fsync(stream.fileno())
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)
    except (OSError, ValueError) as exc:  # a path that can be no file's is a ValueError
        reason = getattr(exc, "strerror", None) or exc
        raise XpnetError(
            f"cannot write {path}: {reason}. Check the folder, its permissions and the free space."
        ) from exc
