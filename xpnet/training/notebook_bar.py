"""A progress bar in the output of a notebook's cell."""

from __future__ import annotations

import sys
from html import escape
from importlib import import_module
from time import perf_counter
from typing import Any

__all__ = ["NotebookBar", "in_notebook"]

_SECONDS = 0.1  # between two drawings


def in_notebook() -> bool:
    """Return whether the program runs in a notebook, whose cells show HTML."""
    ipython = sys.modules.get("IPython")
    shell = ipython and ipython.get_ipython()
    return hasattr(shell, "kernel")


class NotebookBar:
    """A progress bar that is drawn anew in its place.

    Parameters
    ----------
    total : int
        Steps of the whole run.
    epoch : str
        The first epoch, as it is shown.
    """

    def __init__(self, total: int, epoch: str) -> None:
        display = import_module("IPython.display")  # there is one in a notebook

        self._html = display.HTML
        self._fields: dict[str, Any] = {"completed": 0, "total": total, "epoch": epoch, "speed": "", "description": ""}
        self._drawn = perf_counter()
        self._handle = display.display(self._drawing(), display_id=True)

    def show(self, **fields: Any) -> None:
        """Show new values of ``completed``, ``total``, ``epoch``, ``speed`` or ``description``, if it is time."""
        self._fields |= fields
        if perf_counter() - self._drawn >= _SECONDS:
            self._draw()

    def stop(self) -> None:
        """Draw the bar for the last time."""
        self._draw()

    def _draw(self) -> None:
        self._drawn = perf_counter()
        self._handle.update(self._drawing())

    def _drawing(self) -> Any:
        fields = self._fields
        bar = f'<progress value="{fields["completed"]}" max="{fields["total"]}"></progress>'
        texts = (escape(fields[name]) for name in ("description", "speed"))
        return self._html(f"<div>{escape(fields['epoch'])} {bar} {' &nbsp; '.join(filter(None, texts))}</div>")
