"""Colours of numbers with a sign: blue is positive, orange negative, and zero has the colour of the page."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet.plot.figures import COLOURS

__all__ = ["signed_colours", "text_colour"]

_DARK = 0.7  # opacity above which white text is legible


def signed_colours(values: Any, limit: float) -> np.ndarray:
    """Return the colour of each value as RGBA, (..., 4): blue above 0, orange below, transparent at 0.

    Parameters
    ----------
    values : (...)
    limit : float
        The magnitude from which on the colour is strongest.
    """
    from matplotlib.colors import to_rgb

    values = np.asarray(values, np.float64)
    blue, orange = np.asarray([to_rgb(colour) for colour in COLOURS[:2]])
    strength = np.clip(np.abs(values) / (limit or 1), 0, 1)[..., None]
    return np.concatenate([np.where(values[..., None] > 0, blue, orange), strength], axis=-1)


def text_colour(value: float, limit: float, ink: Any) -> Any:
    """Return the colour of a text on the colour of a value."""
    return "white" if abs(value) > _DARK * (limit or 1) else ink
