"""The order of the gallery."""

from __future__ import annotations


class PicturesFirst:
    """A sort key for sphinx-gallery: scripts that draw come first, then by name."""

    def __init__(self, folder: str) -> None:
        pass

    def __call__(self, name: str) -> tuple[bool, str]:
        """Return the key of a script."""
        return not name.startswith("plot_"), name
