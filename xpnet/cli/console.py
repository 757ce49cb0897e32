"""The console that commands print tables on."""

from __future__ import annotations

import errno
import os

from rich.console import Console

__all__ = ["make_console"]

_WIDE = 240  # columns of a file or a pipe, which have no width
_NARROWEST, _USUAL = 20, 80


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Let the command report it; by default the library ends the program silently."""
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def make_console(*, wide: bool = False) -> Console:
    """Return a console on stdout for plain text.

    Parameters
    ----------
    wide : bool
        Whether a file or a pipe gets lines as wide as needed.
    """
    console = _Console(highlight=False, markup=False)
    if wide and not console.file.isatty():  # `is_terminal` depends on FORCE_COLOR
        console.width = _WIDE
    elif console.width < _NARROWEST:  # COLUMNS=0, or a terminal that reports no size
        console.width = _USUAL
    return console
