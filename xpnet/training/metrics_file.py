"""The metrics of a run as a file, one line an epoch."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from xpnet.files import writing
from xpnet.training.callbacks import Callback
from xpnet.training.history import EpochRecord

__all__ = ["MetricsFile"]


class MetricsFile(Callback):
    """One JSON object a line for each epoch, with the fields of `EpochRecord`; NaN and infinity are null.

    Each line is there as soon as its epoch is done. A process that is killed leaves whole lines, but for at most the
    last one; a run that is resumed begins with the lines of the epochs before, so that the file is that of one run that
    was never stopped. All fields but the times, ``seconds`` and ``samples_per_second``, are then the same, bit for bit.

    Parameters
    ----------
    path : str or Path
        It is made when training starts, so that a path that cannot be written does not cost an epoch.

    Raises
    ------
    XpnetError
        In training: the file cannot be written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def on_start(self, n_steps: int, epochs: int) -> None:
        """Begin a file with the next state."""
        self._begun = False

    def on_state(self, run: Any) -> None:
        """Make the file, with the lines of the epochs that the state of a resumed run has behind it."""
        if not self._begun:
            with writing(self.path):
                self.path.write_bytes(b"".join(map(_line, run.history)))
            self._begun = True

    def on_epoch(self, record: EpochRecord, run: Any) -> None:
        """Write the line."""
        with writing(self.path), open(self.path, "ab") as stream:
            stream.write(_line(record))


def _line(record: EpochRecord) -> bytes:
    return json.dumps(_json_values(record._asdict())).encode() + b"\n"


def _json_values(value: Any) -> Any:
    """Return null for what JSON has no number for; a user's scores may be numbers of any library."""
    if isinstance(value, dict):
        return {name: _json_values(each) for name, each in value.items()}
    if value is None or isinstance(value, int):
        return value
    number = float(value)
    return number if math.isfinite(number) else None
