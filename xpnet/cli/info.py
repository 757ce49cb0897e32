"""``xpnet gradcheck``, ``xpnet devices`` and ``xpnet datasets``."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from xpnet.backend import list_backends, usable_devices
from xpnet.datasets import DATASETS
from xpnet.gradcheck import gradcheck_table

__all__ = ["datasets", "devices", "gradcheck"]


_TOLERANCE = 1e-6


def gradcheck(*, seed: int = 0) -> int:
    """Check the gradient of every activation with every loss against central differences in float64.

    Parameters
    ----------
    seed : int
        Of the random networks and batches.
    """
    rows = gradcheck_table(seed=seed)
    losses = list(dict.fromkeys(row.loss for row in rows))
    table = Table("activation", *losses, title="Relative error of the gradient", title_justify="left")
    for activation in dict.fromkeys(row.activation for row in rows):
        errors = [row.relative_error for row in rows if row.activation == activation]
        table.add_row(activation, *(f"{error:.1e}" + ("" if error < _TOLERANCE else " FAILED") for error in errors))
    console = Console()
    console.print(table)
    failed = sum(row.relative_error >= _TOLERANCE for row in rows)
    console.print(f"{len(rows) - failed} of {len(rows)} below {_TOLERANCE:g}", highlight=False)
    return 1 if failed else 0


def devices() -> int:
    """List each backend and device: usable, or exactly why not."""
    table = Table("device", "usable", "why not", title="Devices", title_justify="left")
    for name in list_backends():
        for device, found in usable_devices(name):
            reason = str(found) if isinstance(found, Exception) else ""
            table.add_row(device, "no" if reason else "yes", reason)
    Console().print(table)
    return 0


def datasets() -> int:
    """List the named data sets: size, source, licence."""
    table = Table("name", "samples", "features", "classes", "source", "licence", "what", title_justify="left")
    for info in DATASETS.values():
        classes = str(info.classes) if info.classes else "regression"
        row = (f"{info.samples:,}", str(info.features), classes, info.source, info.licence, info.description)
        table.add_row(info.name, *row)
    Console().print(table)
    return 0
