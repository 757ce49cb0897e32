"""The reference of the command line, written from the program itself: ``{command-line}`` takes its place in a page."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from xpnet.cli import app as program


class CommandLine(SphinxDirective):
    """Every command with its help, as Markdown that Cyclopts writes."""

    def run(self) -> list[nodes.Node]:
        """Return the sections of the commands."""
        text = program.generate_docs("markdown", heading_level=2, flatten_commands=True)
        text = text[text.index("## xpnet train") :]  # without the overview, which the page has
        text = re.sub(r"^```console\n(.*)\n```", r"```\n\1\n```", text, flags=re.MULTILINE)
        return self.parse_text_to_nodes(StringList(text.splitlines(), "xpnet --help"), allow_section_headings=True)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("command-line", CommandLine)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
