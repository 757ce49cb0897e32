"""The report of a run as one HTML page, which needs nothing else: no script, no file beside it, no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import xpnet
from xpnet.errors import printable

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
    """Return a page made from a template; all text in it is escaped, and cannot move the cursor of a terminal."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("xpnet.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    return environment.get_template(template).render(version=xpnet.__version__, **content).encode()


def _printable(value: Any) -> Any:
    return printable(value) if type(value) is str else value
