"""Axes to draw on, the look of the pictures, and pictures as PNG and SVG."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from xpnet.errors import printable

__all__ = ["COLOURS", "axes_or_new", "grid", "heat", "ink", "label_text", "look", "new_figure", "png", "svg"]

_INK, _FAINT = "#010203", "#040506"  # stand for the page's own colours in an SVG; no other element has them
_DPI = 120

# Of curves, points and bars. Each has a contrast of 3 or more to white and to a dark page.
COLOURS = ("#2f7fc1", "#d9731a", "#2f9461", "#cf4b5c", "#8a68c4", "#8d7148", "#c95fa3", "#7d7d7d")


def ink() -> Any:
    """Return the colour of text: that of the page within `look`, else that of the user's settings."""
    from matplotlib import rcParams

    return rcParams["text.color"]


def heat() -> Any:
    """Return a colour map from nothing at all to dark blue, so that low values have the colour of the page.

    Text in `ink` is legible up to three quarters of its range, and white text above.
    """
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("heat", [(0.11, 0.37, 0.65, 0.0), (0.11, 0.37, 0.65, 1.0)])


def label_text(label: Any, longest: int = 12) -> str:
    """Return a label as short text on one line."""
    text = printable(str(label))
    return text if len(text) <= longest else f"{text[:longest]}…"


def grid(ax: Any, axis: str = "both") -> None:
    """Draw thin lines behind everything else, at the ticks of one axis, "x" or "y", or of both."""
    ax.set_axisbelow(True)
    ax.grid(visible=False)
    ax.grid(visible=True, axis=axis, linewidth=0.5)


def axes_or_new(ax: Any, width: float = 4.8, height: float = 3.6) -> Any:
    """Return the given axes or, without any, those of a new figure of pyplot, in inches."""
    if ax is not None:
        return ax
    from matplotlib import pyplot

    return pyplot.subplots(figsize=(width, height), layout="constrained")[1]


def new_figure(width: float, height: float) -> Any:
    """Return a figure, in inches, that is no part of pyplot: no global state, no window, no display."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=_DPI, layout="constrained")


@contextmanager
def look() -> Iterator[None]:
    """Draw for `svg`: ink in the colour of the page's text, no background, and labels as plain text.

    A label may come from any file, so a dollar sign in it must not start a formula; a text that is a formula asks for
    it with ``parse_math=True``.
    """
    from matplotlib import rc_context

    ink = ("text.color", "axes.labelcolor", "axes.edgecolor", "axes.titlecolor", "xtick.color", "ytick.color")
    with rc_context(
        {
            **dict.fromkeys(ink, _INK),
            "axes.facecolor": "none",
            "axes.grid": True,
            "axes.grid.axis": "both",
            "axes.axisbelow": True,
            "axes.spines.right": False,
            "axes.spines.top": False,
            "axes.titlesize": "medium",
            "figure.facecolor": "none",
            "font.size": 9,
            "grid.color": _FAINT,
            "grid.linewidth": 0.5,
            "legend.frameon": False,
            "lines.linewidth": 1.5,
            "savefig.facecolor": "none",
            "text.parse_math": False,
        }
    ):
        yield


def png(figure: Any) -> bytes:
    """Return a figure as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)  # no font has the glyphs of this label
        figure.draw_without_rendering()  # a layout; rotated labels of ticks need the second one, of `print_png`
        # `savefig` would compress for longer than it draws.
        FigureCanvasAgg(figure).print_png(file, metadata={"Creator": "xpnet"}, pil_kwargs={"compress_level": 3})
    return file.getvalue()


def svg(figure: Any, name: str) -> str:
    """Return a figure as an SVG element for a page.

    Text stays text. What `look` drew has the page's colours: ``currentColor``, and ``var(--faint)`` for grids. The
    element has a viewBox and no size of its own, so that it fits the page.

    Parameters
    ----------
    figure : Figure
    name : str
        Distinguishes the identifiers of this picture from those of others in the page.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    file = io.StringIO()
    with warnings.catch_warnings(), rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "svg.id": name}):
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
        # As in `png`, and without the dates.
        FigureCanvasSVG(figure).print_svg(file, metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    text = text[text.index("<svg") :].replace(_INK, "currentColor").replace(_FAINT, "var(--faint)")
    width, height = figure.get_size_inches()
    head = f'<svg class="figure" role="img" style="max-width: {width:g}in" viewBox="0 0 {72 * width:g} {72 * height:g}"'
    text = re.sub(
        r"<svg [^>]*>",
        f'{head} xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">',
        text,
        count=1,
    )
    # Identifiers that Matplotlib counts, such as those of groups, are alike in all pictures.
    return re.sub(r'<metadata>.*?</metadata>\s*|(?<=<g) id="[^"]*"', "", text, flags=re.DOTALL)
