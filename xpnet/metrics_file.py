"""The metrics of a run as a file, one line an epoch."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from xpnet.callbacks import Callback, EpochRecord
from xpnet.files import writing

__all__ = ["MetricsFile"]


class MetricsFile(Callback):
    """One JSON object a line for each epoch, with the fields of `EpochRecord`; NaN and infinity are null.

    Each line is there as soon as its epoch is done. A process that is killed leaves whole lines, but for at most the
    last one.

    Parameters
    ----------
    path : str or Path
        It is made when training starts, so that a path that cannot be written does not cost an epoch.
    append : bool
        Go on with the lines of an earlier run, which is being resumed; False starts a new file.

    Raises
    ------
    XpnetError
        In training: the file cannot be written.
    """

    def __init__(self, path: str | Path, *, append: bool = False) -> None:
        self.path = Path(path)
        self.append = append

    def on_start(self, n_steps: int, epochs: int) -> None:
        """Make the file, or cut off the half line that a killed run has left."""
        with writing(self.path):
            if self.append and self.path.exists():
                os.truncate(self.path, self.path.read_bytes().rfind(b"\n") + 1)
            else:
                self.path.write_bytes(b"")

    def on_epoch(self, record: EpochRecord, run: Any) -> None:
        """Write the line."""
        line = json.dumps(_json_values(record._asdict())).encode() + b"\n"
        with writing(self.path), open(self.path, "ab") as stream:
            stream.write(line)


def _json_values(value: Any) -> Any:
    """Return null for what JSON has no number for; a user's scores may be numbers of any library."""
    if isinstance(value, dict):
        return {name: _json_values(each) for name, each in value.items()}
    if value is None or isinstance(value, int):
        return value
    number = float(value)
    return number if math.isfinite(number) else None
