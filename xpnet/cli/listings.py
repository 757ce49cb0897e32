"""``xpnet gradcheck``, ``xpnet devices`` and ``xpnet datasets``."""

from __future__ import annotations

from rich import box
from rich.table import Column, Table
from rich.text import Text

from xpnet.backend import flushes_subnormals, kind_of, list_backends, probe_devices
from xpnet.cli.console import make_console
from xpnet.data.named import DATASETS
from xpnet.nn.gradcheck import gradcheck_table

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
    losses = dict.fromkeys(row.loss for row in rows)
    # Spaces let the names wrap in a narrow terminal.
    table = Table("activation", *(loss.replace("_", " ") for loss in losses), box=box.SIMPLE_HEAD)
    for activation in dict.fromkeys(row.activation for row in rows):
        errors = [row.relative_error for row in rows if row.activation == activation]
        table.add_row(activation, *(f"{error:.1e}" + ("" if error < _TOLERANCE else " FAILED") for error in errors))
    console = make_console()
    console.print(table)
    passed = sum(row.relative_error < _TOLERANCE for row in rows)
    console.print(f"relative error of the gradient: {passed} of {len(rows)} below {_TOLERANCE:g}")
    return 0 if passed == len(rows) else 1


def devices() -> int:
    """List each backend and device: usable, or exactly why not; and what a CPU does with subnormal numbers."""
    table = Table("device", "usable", "subnormals", "why not", box=box.SIMPLE_HEAD)
    for name in list_backends():
        for device, found in probe_devices(name):
            if isinstance(found, Exception):
                table.add_row(device, "no", "", Text(str(found)))  # no markup: 'xpnet[torch]' is not a style
            else:
                subnormals = "flushed" if flushes_subnormals(found) else "kept"
                table.add_row(device, "yes", subnormals if kind_of(found) == "cpu" else "")
    make_console().print(table)
    return 0


def datasets() -> int:
    """List the named data sets: size, source, licence."""
    sizes = (Column(name, justify="right") for name in ("samples", "features", "classes"))
    table = Table("name", *sizes, "licence", "source", box=box.SIMPLE_HEAD)
    addresses = {}
    for info in DATASETS.values():
        size = (f"{info.samples:,}", str(info.features), str(info.classes or "-"))
        source = info.origin
        if "://" in source:  # too long for a column
            addresses[info.name], source = source, "download"
        table.add_row(info.name, *size, info.licence, source)
    console = make_console()
    console.print(table)
    console.print("Downloads are looked for in --data-dir and $XPNET_DATA first:")
    for name, address in addresses.items():
        console.print(f"  {name}: {address}", soft_wrap=True)
    return 0
