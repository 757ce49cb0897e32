"""Items of the GPU suite: each is a line of JSON that is on disk before the next one is measured."""

from __future__ import annotations

import json
import os
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["item", "record"]


def record(name: str, /, **values: Any) -> None:
    """Append an item to the file that the suite names; several processes may append at once."""
    values = {"section": os.environ["GPU_SECTION"], "item": name, **values}
    line = json.dumps(values, default=str) + "\n"
    print(line, end="", flush=True)
    file = os.open(Path(os.environ["GPU_RESULTS"]), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, line.encode())  # one call, so that lines of several processes do not mix
        os.fsync(file)
    finally:
        os.close(file)


def item(name: str, measure: Callable[[], dict[str, Any]]) -> bool:
    """Measure and record an item, and tell whether that went well; one that fails is recorded with its error."""
    started = time.perf_counter()
    try:
        values = measure()
    except Exception as exc:  # whatever goes wrong with one item must not cost the others
        traceback.print_exc()
        values = {"error": f"{type(exc).__name__}: {' '.join(str(exc).split())[:600]}"}
    record(name, **values, seconds=round(time.perf_counter() - started, 2))
    return not values.get("error")
