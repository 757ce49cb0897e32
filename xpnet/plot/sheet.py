"""Tables of numbers or maps side by side, one for each layer of a network, drawn on axes whose unit is an inch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from xpnet.plot.figures import axes_or_new, ink
from xpnet.plot.signed import signed_colours, text_colour

__all__ = ["Sheet"]

_MOST_ROWS, _MOST_CELLS, _MOST_LAYERS = 12, 250, 4  # with numbers; larger networks are maps
_CELL = 0.48, 0.26  # width and height of a number
_LEAST = 0.4, 0.19  # of a cell that has room for a number
_STRIP = 0.2  # of a vector in a map
_MAP = 2.1, 1.9  # of a matrix in a map
_GAP, _LABEL, _IMAGE, _BETWEEN = 0.08, 0.9, 1.5, 0.5
_HEAD, _NAME, _FOOT, _FORMULA = 0.85, 0.24, 0.55, 0.26
_NARROWEST = 6.0  # for the title
_ROWS, _LINES = 3, 4  # above or below a table; formulas below it


class Sheet:
    """Draw one table for each layer: inputs beside the rows, units as columns.

    Parameters
    ----------
    sizes : sequence of int
        Units of the input and of each layer.
    has_image : bool
        Whether the input is drawn as an image too.

    Attributes
    ----------
    size : (float, float)
        Width and height in inches.
    """

    def __init__(self, sizes: Sequence[int], *, has_image: bool) -> None:
        cells = sum((n_in + _ROWS + 1) * n_out for n_in, n_out in pairwise(sizes))
        self._numbers = max(sizes) <= _MOST_ROWS and cells <= _MOST_CELLS and len(sizes) <= _MOST_LAYERS + 1
        self._sizes = sizes
        self._labels = [_IMAGE if has_image else _LABEL, *[_LABEL] * (len(sizes) - 2)]
        self._cell = _CELL if self._numbers else (_STRIP, _STRIP)
        tables = [self._table_size(i) for i in range(len(sizes) - 1)]
        self._table_height = max(height for _, height in tables)
        side = self._cell[0] + _GAP
        width = sum(label + side + table[0] for label, table in zip(self._labels, tables, strict=True))
        height = _HEAD + _NAME + self._table_height + _ROWS * (self._cell[1] + _GAP) + _FOOT + _LINES * _FORMULA
        self.size = max(width + _BETWEEN * (len(tables) - 1) + 0.2, _NARROWEST), height

    def _table_size(self, layer: int) -> tuple[float, float]:
        if not self._numbers:
            return _MAP
        n_in, n_out = self._sizes[layer : layer + 2]
        return n_out * _CELL[0], n_in * _CELL[1]

    def begin(self, ax: Any, title: str) -> Any:
        """Prepare the axes, and return them."""
        self.ax = axes_or_new(ax, *self.size)
        self.ax.set(xlim=(0, self.size[0]), ylim=(self.size[1], 0), aspect="equal")
        self.ax.set_axis_off()
        self._text(0.1, 0.2, title, size=10.5)
        self._left = 0.1
        return self.ax

    def begin_layer(self, layer: int, name: str, *, rows_above: int = 0) -> None:
        """Begin the table of a layer, counted from 0, with so many rows above it."""
        self._layer = layer
        self._x = self._left + self._labels[layer] + self._cell[0] + _GAP
        self._width, self._height = self._table_size(layer)
        self._table_y = _HEAD + _NAME + rows_above * (self._cell[1] + _GAP)
        if not rows_above:
            self._table_y += self._table_height - self._height  # all sums are then at one height
        self._y = _HEAD if rows_above else self._table_y + self._height + _GAP
        y = (_HEAD if rows_above else self._table_y - _NAME) - 0.15
        self._text(self._x + self._width / 2, y, name, size=9, ha="center", weight="bold")

    def inputs(self, a: Any, name: str, labels: Sequence[str] = (), image: np.ndarray | None = None) -> None:
        """Draw the inputs as a column beside the table."""
        x = self._x - _GAP - self._cell[0]
        self._block(a[:, None], x, self._table_y, self._cell[0], self._height)
        self._math(x + self._cell[0] / 2, self._table_y - 0.06, name, ha="center", va="bottom")
        if self._numbers:
            for i, label in enumerate(labels):
                y = self._table_y + (i + 0.5) * self._cell[1]
                self._text(x - 0.06, y, label, ha="right", va="center")
        if image is not None:
            side, middle = 1.2, self._table_y + self._height / 2
            extent = (self._left, self._left + side, middle + side / 2, middle - side / 2)
            self.ax.imshow(image, cmap="gray", extent=extent, interpolation="nearest", aspect="equal")
            self.ax.set(xlim=(0, self.size[0]), ylim=(self.size[1], 0))

    def table(self, values: Any, name: str) -> None:
        """Draw the table: a row for each input, a column for each unit."""
        self._block(values, self._x, self._table_y, self._width, self._height)
        self._math(self._x + self._width / 2, self._table_y - 0.06, name, ha="center", va="bottom")

    def row(self, values: Any, name: str) -> None:
        """Draw the next row above or below the table."""
        self._block(values[None], self._x, self._y, self._width, self._cell[1])
        self._math(self._x - 0.1, self._y + self._cell[1] / 2, name, ha="right", va="center")
        self._y += self._cell[1] + _GAP

    def column_labels(self, labels: Sequence[str]) -> None:
        """Write labels below the last row."""
        if not self._numbers and len(labels) > 10:
            return
        for i, label in enumerate(labels):
            x = self._x + (i + 0.5) * self._width / len(labels)
            angle = {"rotation": 30, "ha": "right"} if max(map(len, labels)) > 6 else {"ha": "center"}
            self._text(x, self._y, label, va="top", **angle)

    def formulas(self, *formulas: str) -> None:
        """Write the formulas of the layer at the bottom."""
        middle = min(self._x + (self._width - self._cell[0]) / 2, self.size[0] - 1)
        for i, formula in enumerate(formulas):
            y = self.size[1] - (_LINES - i) * _FORMULA
            self._math(middle, y, formula, ha="center", va="top", size=9.5)

    def end_layer(self, *, forward: bool) -> None:
        """Draw the arrow to the next layer, or back from it, and go to the next table."""
        right = self._x + self._width
        if self._layer < len(self._sizes) - 2:
            y = self._y - _GAP - self._cell[1] / 2
            ends = [(right + 0.12, y), (right + _BETWEEN, y)]
            style = {"arrowstyle": "-|>", "color": ink(), "linewidth": 1.2, "shrinkA": 0, "shrinkB": 0}
            start, end = ends if forward else ends[::-1]
            self.ax.annotate("", end, start, arrowprops=style)
        self._left = right + _BETWEEN

    def _math(self, x: float, y: float, text: str, size: float = 9, **where: Any) -> None:
        self._text(x, y, text, size=size, style="italic", **where)

    def _text(self, x: float, y: float, text: str, **style: Any) -> None:
        # There is room for every text, so that none moves the axes: an inch stays an inch.
        self.ax.text(x, y, text, **{"size": 8, "color": ink(), "parse_math": False, "in_layout": False, **style})

    def _block(self, values: Any, x: float, y: float, width: float, height: float) -> None:
        """Draw values as coloured cells in a frame, with numbers where there is room."""
        from matplotlib.patches import Rectangle

        values = np.asarray(values)
        limit = float(np.abs(values).max())
        extent = (x, x + width, y + height, y)
        self.ax.imshow(signed_colours(values, limit), extent=extent, interpolation="nearest", aspect="auto")
        self.ax.add_patch(Rectangle((x, y), width, height, fill=False, edgecolor=ink(), linewidth=0.5, alpha=0.4))
        self.ax.set(xlim=(0, self.size[0]), ylim=(self.size[1], 0), aspect="equal")  # which an image changes
        n_rows, n_columns = values.shape
        if width / n_columns >= _LEAST[0] and height / n_rows >= _LEAST[1]:
            for (i, j), value in np.ndenumerate(values):
                at = x + (j + 0.5) * width / n_columns, y + (i + 0.5) * height / n_rows
                colour = text_colour(value, limit, ink())
                self._text(*at, _number(value, limit), size=7.5, ha="center", va="center", color=colour)


def _number(value: float, limit: float) -> str:
    """Return a number with as many digits as a cell has room for, given the largest one in its table."""
    if value == 0:
        return "0"
    if limit >= 1000 or limit < 0.01:
        return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")
    return f"{value:.{0 if limit >= 100 else 1 if limit >= 10 else 2 if limit >= 0.1 else 3}f}"
