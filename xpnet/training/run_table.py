"""A run as a table and a picture of its losses, as notebooks show them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from xpnet.html_text import html_table

if TYPE_CHECKING:
    from xpnet.training.history import EpochRecord
    from xpnet.training.state import Run

__all__ = ["run_html"]

_MOST_ROWS = 10
_WIDTH, _HEIGHT = 320, 80
_COLOURS = {"training": "#1f77b4", "validation": "#ff7f0e"}


def run_html(run: Run) -> str:
    """Return the last epochs of a run as a table in HTML, below a picture of the losses."""
    history = run.history
    names = list(history[-1].validation or ()) if history else []
    rows = [
        (
            record.epoch,
            f"{record.loss:.4g}",
            *(f"{(record.validation or {}).get(name, math.nan):.4g}" for name in names),
        )
        for record in history[-_MOST_ROWS:]
    ]
    title = repr(run)[1:-1].split("; ")
    columns = ("epoch", "loss", *(f"validation {name}" for name in names))
    return _losses_svg(history) + html_table("; ".join(title[:2]), columns, rows)


def _losses_svg(history: Sequence[EpochRecord]) -> str:
    """Return the losses by epoch as lines, without axes; nothing for a single epoch."""
    series = {
        "training": [record.loss for record in history],
        "validation": [(record.validation or {}).get("loss", math.nan) for record in history],
    }
    finite = [value for values in series.values() for value in values if math.isfinite(value)]
    if len(history) < 2 or not finite:
        return ""
    low, high = min(finite), max(finite)
    step, unit = _WIDTH / (len(history) - 1), _HEIGHT / ((high - low) or 1)
    lines = []
    for name, values in series.items():
        points = [
            f"{i * step:.1f},{(high - value) * unit:.1f}" for i, value in enumerate(values) if math.isfinite(value)
        ]
        if points:
            line = f'<polyline fill="none" stroke="{_COLOURS[name]}" stroke-width="1.5" points="{" ".join(points)}">'
            lines.append(f"{line}<title>{name} loss</title></polyline>")
    box = f'viewBox="-2 -2 {_WIDTH + 4} {_HEIGHT + 4}" width="{_WIDTH + 4}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {box}>{"".join(lines)}</svg>'
