"""Section 4: ``parity.py DEVICE`` trains the same runs on NumPy and on a device, and records each comparison."""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np
from record import item

from xpnet.backend import get_backend
from xpnet.bench.parity import TOLERANCES, Case, compare, sweep_cases
from xpnet.bench.workloads import WORKLOADS, make_data
from xpnet.nn.network import Network
from xpnet.training.trainer import Trainer

QUICK = bool(os.environ.get("QUICK"))
EPOCHS = 2 if QUICK else 5


def compared(case: Case, device: str, dtype: str) -> dict[str, Any]:
    """Return the largest difference of a run; an error if it is too large."""
    (found,) = compare(case, [get_backend("cpu"), get_backend(device)], dtype)
    error = "" if found.agrees else found.reason or f"differs by {found.worst:.2g}, more than {found.tolerance:.2g}"
    return {"error": error, "difference": found.worst}


def main() -> None:
    """Compare the long run first, then every activation, optimizer and loss."""
    (device,) = sys.argv[1:]
    if not item(device, lambda: {"error": "", "name": get_backend(device).name}):
        return
    data = make_data(WORKLOADS["digits"])
    x, y = data.x.astype(np.float64), np.asarray(data.y)
    network = Network((x.shape[1], 100, 10), dropout=0.2)
    run = Case("digits", Trainer(network, batch_size=200, epochs=EPOCHS), x, y, is_compiled=True)
    for dtype in TOLERANCES:
        item(f"{device}: {run.name} {dtype}", lambda t=dtype: compared(run, device, t))  # type: ignore[misc]
    for case in list(sweep_cases(x, y))[: 2 if QUICK else None]:
        for dtype in TOLERANCES:
            item(f"{device}: {case.name} {dtype}", lambda c=case, t=dtype: compared(c, device, t))  # type: ignore[misc]


if __name__ == "__main__":
    main()
