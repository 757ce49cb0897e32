"""The metrics of a run as a file with one line for each epoch."""

from __future__ import annotations

from pathlib import Path

from xpnet.files import writing
from xpnet.json_text import json_text
from xpnet.training.callbacks import Callback
from xpnet.training.history import EpochRecord
from xpnet.training.state import Run

__all__ = ["MetricsFile"]


class MetricsFile(Callback):
    """Write one line for each epoch: a JSON object with the fields of `EpochRecord`. NaN and infinity become null.

    A line is written as soon as its epoch is done. If the process is killed, only the last line may be incomplete. A
    resumed run writes the lines of the earlier epochs again, so that the file looks like that of a run that was never
    stopped. All fields but ``seconds`` and ``samples_per_second`` are then the same, bit for bit.

    Parameters
    ----------
    path : str or Path
        The file is made when training starts, so that no epoch is lost if it cannot be written.

    Raises
    ------
    XpnetError
        In training, if the file cannot be written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def on_start(self, n_steps: int, epochs: int) -> None:
        """Start a new file at the next state."""
        self._begun = False

    def on_state(self, run: Run) -> None:
        """Make the file, with the lines of the epochs before a resumption."""
        if not self._begun:
            with writing(self.path):
                self.path.write_bytes(b"".join(map(_line, run.history)))
            self._begun = True

    def on_epoch(self, record: EpochRecord, run: Run) -> None:
        """Write the line of an epoch."""
        with writing(self.path), open(self.path, "ab") as file:
            file.write(_line(record))


def _line(record: EpochRecord) -> bytes:
    return json_text(record._asdict()).encode() + b"\n"
