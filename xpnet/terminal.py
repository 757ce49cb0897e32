"""What the standard streams can show."""

from __future__ import annotations

import io
import os
import shutil
import sys
from typing import TextIO

__all__ = ["can_redraw", "open_standard_streams"]

_NO_CURSOR = ("", "dumb", "unknown")  # values of TERM
_NARROWEST, _WIDEST = 20, 1000  # columns that text is wrapped to


def can_redraw(stream: TextIO) -> bool:
    """Return whether lines on a stream can be drawn anew, as a progress bar needs it.

    The stream must be a terminal with a cursor. Variables such as ``FORCE_COLOR`` make no terminal of a pipe, and the
    log of a CI service (``CI``) keeps every line even if it looks like a terminal.
    """
    if not stream.isatty() or os.environ.get("CI", "").lower() not in ("", "0", "false"):
        return False
    return os.name != "posix" or os.environ.get("TERM", "").lower() not in _NO_CURSOR


def open_standard_streams() -> None:
    """Make the standard streams usable for any text, also if they are closed or cannot encode it.

    Characters that a stream cannot encode are written as escapes of ASCII characters. A stream that was closed before
    the program started leads to the null device; otherwise the next file that is opened would receive its text. Text is
    wrapped to a width that can be read.
    """
    if os.name == "posix":
        while True:
            descriptor = os.open(os.devnull, os.O_RDWR)
            if descriptor > 2:
                os.close(descriptor)
                break
            os.set_inheritable(descriptor, True)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - open until the end
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    columns = shutil.get_terminal_size().columns
    # To wrap text to a few columns takes minutes; some shells without a terminal export 0.
    if not _NARROWEST <= columns <= _WIDEST or os.environ.get("COLUMNS") == "0":
        os.environ["COLUMNS"] = str(min(max(columns, _NARROWEST), _WIDEST))
