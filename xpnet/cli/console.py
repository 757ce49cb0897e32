"""The console that commands print tables on."""

from __future__ import annotations

import sys
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING

from xpnet.errors import UnknownValuesWarning
from xpnet.launchers import is_launched

if TYPE_CHECKING:
    from rich.console import Console

    from xpnet.cli.rich_console import PlainConsole

__all__ = ["HELP_EPILOGUE", "make_console", "say", "show_unknown_values"]

HELP_EPILOGUE = "--debug with any command shows the traceback of an error."
"""The end of each help text."""

_WIDE = 240  # columns of a file or a pipe, which have no width


def make_console(kind: type[PlainConsole] | None = None, *, wide: bool = False) -> Console:
    """Return a console on stdout for plain text, which escapes characters that a terminal would obey.

    Parameters
    ----------
    kind : type or None
        A class of consoles, in place of `PlainConsole`.
    wide : bool
        Whether a file or a pipe gets lines as wide as needed.
    """
    from xpnet.cli.rich_console import PlainConsole  # a quiet run needs none

    # A rank writes to what looks like a terminal, and the launcher copies it to a file or a pipe.
    is_terminal = False if is_launched() else None
    console = (kind or PlainConsole)(highlight=False, markup=False, force_terminal=is_terminal)
    if wide and not console.file.isatty():  # `is_terminal` depends on FORCE_COLOR
        console.width = _WIDE
    return console


def say(line: str) -> None:
    """Print a line for the user on stderr."""
    with suppress(OSError):  # the terminal is closed
        print(f"xpnet: {line}", file=sys.stderr)


def show_unknown_values() -> None:
    """Show warnings of values that training did not have, for the rest of a command that reads new data.

    Other commands do not show them: from the parts of one data set, rare categories fall out by chance.
    """
    warnings.simplefilter("always", UnknownValuesWarning)
