"""The console of rich, for text that may come from anywhere."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from xpnet.errors import printable

__all__ = ["PlainConsole"]


class PlainConsole(Console):
    """A console that shows control characters of the text as escapes; names in a file could contain commands."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Yield the segments of a renderable, with printable text."""
        for segment in super().render(renderable, options):
            if segment.text.isprintable() or segment.control:
                yield segment
            else:
                yield segment._replace(text="\n".join(map(printable, segment.text.split("\n"))))
