"""The metrics of a run as a file with one line for each epoch."""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from xpnet.errors import DataError, XpnetError
from xpnet.files import check_regular, open_file, writing
from xpnet.json_text import json_text
from xpnet.locks import NO_LINK, NO_WAIT
from xpnet.training.callbacks import Callback
from xpnet.training.history import EpochRecord
from xpnet.training.state import Run

__all__ = ["MetricsFile", "holds_metrics", "read_metrics"]

_BEGINNING = b'{"epoch": 1, "loss": '
_APPEND = os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0)


def holds_metrics(path: Path) -> bool:
    """Return whether a regular file is one that `MetricsFile` wrote, also if its process or the machine died.

    Raises
    ------
    OSError
    """
    with open_file(path) as file:
        text = file.read(4096).strip(b"\0")  # a power failure may leave zeros
    return _BEGINNING.startswith(text[: len(_BEGINNING)])


def read_metrics(path: Path) -> list[EpochRecord]:
    """Return the records that `MetricsFile` wrote; a last line that is incomplete is left out, and null is NaN.

    Raises
    ------
    OSError
        The file cannot be opened.
    DataError
        It holds something else.
    """
    with open_file(path) as file:
        *lines, _ = file.read().strip(b"\0").split(b"\n")
    try:
        return [_record(json.loads(line)) for line in lines]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise DataError(f"{path}: expected the metrics of a run, an object in each line; received others.") from exc


def _record(fields: dict[str, Any]) -> EpochRecord:
    def number(value: Any) -> float:
        return math.nan if value is None else float(value)

    scores = fields["validation"] and {str(name): number(score) for name, score in fields["validation"].items()}
    return EpochRecord(
        int(fields["epoch"]),
        number(fields["loss"]),
        scores,
        *(number(fields[name]) for name in EpochRecord._fields[3:]),
    )


class MetricsFile(Callback):
    """Write one line for each epoch: a JSON object with the fields of `EpochRecord`. NaN and infinity become null.

    A line is written as soon as its epoch is done. If the process is killed, only the last line may be incomplete. A
    resumed run writes the lines of the earlier epochs again, so that the file looks like that of a run that was never
    stopped. All fields but ``seconds`` and ``samples_per_second`` are then the same, bit for bit.

    Parameters
    ----------
    path : str or Path
        The file is opened when training starts, so that no epoch is lost if it cannot be written. Metrics of an earlier
        run are replaced once the first steps are done. A link is followed, and a pipe or a device is written in place.
    regular : bool
        Whether a link, a pipe or a device is refused.

    Raises
    ------
    XpnetError
        In training, if the file cannot be written, or if it holds something else than metrics.
    """

    def __init__(self, path: str | Path, *, regular: bool = False) -> None:
        self.path = Path(path)
        self.regular = regular
        self._file: int | None = None

    def __getstate__(self) -> dict[str, Any]:  # the number of an open file means another one elsewhere
        return {**vars(self), "_file": None}

    def on_start(self, n_steps: int, epochs: int) -> None:
        """Open a file at the next state."""
        self._close()

    def on_state(self, run: Run) -> None:
        """Open the file, but leave its lines: another callback may refuse the run. At the next state write them."""
        if self._file is None:
            self._earlier: Sequence[EpochRecord] | None = run.history
            with writing(self.path):
                self._file = self._open()
        else:
            self._write(())

    def on_epoch(self, record: EpochRecord, run: Run) -> None:
        """Write the line of an epoch."""
        self._write([record])

    def on_end(self) -> None:
        """Close the file. It is removed if it was made for a run that did not begin."""
        if self._file is not None and self._is_new and self._earlier is not None:
            with suppress(OSError):
                self.path.unlink()
        self._close()

    def _open(self) -> int:
        found, flags = None, _APPEND
        with suppress(FileNotFoundError):
            found = self.path.lstat() if self.regular else self.path.stat()
        self._is_new = found is None and not self.path.is_symlink()
        if self.regular:
            flags |= NO_LINK | NO_WAIT
        if found is not None and (self.regular or stat.S_ISREG(found.st_mode)):
            check_regular(found.st_mode)
            if not holds_metrics(self.path):
                raise XpnetError(
                    f"{self.path}: expected a new file, or one with metrics of a run; received another file. "
                    "Move it, or choose another name."
                )
        flags |= (os.O_CREAT | os.O_EXCL if self._is_new else os.O_CREAT) if found is None else 0
        return os.open(self.path, flags, 0o666)

    def _write(self, records: Sequence[EpochRecord]) -> None:
        """Append lines, at first those of the epochs before a resumption."""
        assert self._file is not None
        with writing(self.path):
            if self._earlier is not None:
                if stat.S_ISREG(os.fstat(self._file).st_mode):
                    os.ftruncate(self._file, 0)
                records = [*self._earlier, *records]
                self._earlier = None
            data = memoryview(b"".join(map(_line, records)))
            while data:
                data = data[os.write(self._file, data) :]

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _line(record: EpochRecord) -> bytes:
    return json_text(record._asdict()).encode() + b"\n"
