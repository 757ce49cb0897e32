"""Links as the documents and the docstrings write them, resolved for the site."""

from __future__ import annotations

import pydoc
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

logger = logging.getLogger(__name__)
REPOSITORY = "https://github.com/xpnet/xpnet"
LINK = re.compile(r"(?<!!)(\[[^\]\n]*\n?[^\]\n]*\])\((\.\.?/[^)#\s]*)(#[^)\s]*)?\)")


def link_to_the_repository(app: Sphinx, docname: str, source: list[str]) -> None:
    """Let links out of ``docs`` lead to GitHub: in the repository they are relative, so that they work there too."""
    folder = Path(app.env.doc2path(docname)).parent
    docs = Path(app.srcdir)

    def outside(match: re.Match[str]) -> str:
        target = (folder / match[2]).resolve()
        if target.is_relative_to(docs):
            return match[0]
        if not target.exists():
            logger.warning("no such file: %s", match[2], location=docname)
        kind = "tree" if target.is_dir() else "blob"
        return f"{match[1]}({REPOSITORY}/{kind}/main/{target.relative_to(docs.parent)}{match[3] or ''})"

    source[0] = LINK.sub(outside, source[0])


def plain_name(app: Sphinx, env: BuildEnvironment, node: pending_xref, contnode: nodes.Element) -> nodes.Node | None:
    """Show a name in backticks that has no page as code. One that begins with ``xpnet.`` must exist."""
    if node.get("reftype") != "obj":
        return None
    target = node["reftarget"]
    if target.startswith("xpnet.") and pydoc.locate(target) is None:
        logger.warning("no such object: %s", target, location=node)
    return contnode


def of_others(app: Sphinx, what: str, name: str, obj: object, skip: bool, options: object) -> bool | None:
    """Leave out members that a class inherits from another library, and the fields of named tuples."""
    function = getattr(obj, "fget", None) or getattr(obj, "func", None) or obj
    return None if str(getattr(function, "__module__", "")).startswith("xpnet") else True


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect them."""
    app.connect("source-read", link_to_the_repository)
    app.connect("missing-reference", plain_name)
    app.connect("autodoc-skip-member", of_others)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
