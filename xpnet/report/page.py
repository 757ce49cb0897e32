"""The report of a run as one HTML page, which needs nothing else: no script, no file beside it, no network."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from xpnet.errors import printable
from xpnet.json_text import json_text
from xpnet.markdown import markdown_text
from xpnet.training.progress import figure

__all__ = ["Merit", "Picture", "Section", "Table", "render"]


class Merit(NamedTuple):
    """A figure at the head of the page."""

    name: str
    value: str


class Table(NamedTuple):
    """A table of text.

    Attributes
    ----------
    caption : str
    columns : sequence of str
    rows : sequence of sequence of str
    n_text : int
        Number of the first columns that are text; the others are numbers.
    own : set of int
        Rows of the trained network, which stand out.
    folded : bool
        Whether the table is shown when its caption is clicked.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    n_text: int = 1
    own: frozenset[int] = frozenset()
    folded: bool = False


class Picture(NamedTuple):
    """A picture: an SVG element with its title and what it shows."""

    title: str
    svg: str
    caption: str = ""
    wide: bool = False


class Section(NamedTuple):
    """A part of the page: text, facts by name, a command, tables and pictures, of which any may be missing."""

    name: str
    title: str
    text: str = ""
    facts: Mapping[str, str] = {}
    command: str = ""
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()


def render(template: str, **content: Any) -> bytes:
    """Return a page made from a template of this package; all text in it is escaped, in HTML or in Markdown."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    is_html = template.endswith(".html")
    environment = Environment(
        loader=PackageLoader("xpnet.report"),
        autoescape=is_html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_printable if is_html else _markdown,
    )
    environment.filters |= {"figure": figure, "json": _json}
    return environment.get_template(template).render(version=sys.modules["xpnet"].__version__, **content).encode()


class _Literal(str):
    """Text that is not escaped."""

    __slots__ = ()


def _json(value: Any) -> str:
    """Return a value as JSON, which YAML reads too, without characters that would end it."""
    return _Literal(json_text(value))


def _printable(value: Any) -> Any:
    return printable(value) if type(value) is str else value


def _markdown(value: Any) -> Any:
    return markdown_text(value) if type(value) is str else value
