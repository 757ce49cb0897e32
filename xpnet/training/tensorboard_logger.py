"""The log of a run for TensorBoard."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from xpnet.files import writing
from xpnet.libraries import import_library
from xpnet.markdown import TextTable, markdown_lines
from xpnet.training.history import EpochRecord
from xpnet.training.run_logger import RunLogger, scalars

__all__ = ["TensorBoardLogger"]

_PREFIX = "events.out.tfevents."
_FILES = f"{_PREFIX}*"


class TensorBoardLogger(RunLogger):
    """Log a run for TensorBoard: curves, settings, pictures, device and versions, memory and samples per second.

    Look at it with ``tensorboard --logdir FOLDER``. A run that is resumed goes on in the same folder; points that it
    had logged after its last checkpoint are not shown twice. A new run in the same folder takes the place of the old.

    Parameters
    ----------
    folder : str or Path
        It is made when training starts.
    settings : mapping of str to object, optional
        Settings of the run, for TensorBoard's table of hyperparameters.

    Raises
    ------
    LibraryNotInstalledError
        tensorboardX is not installed: ``pip install 'xpnet[tensorboard]'``.
    XpnetError
        In training, if the folder cannot be made.

    Examples
    --------
    ::

        log = xpnet.TensorBoardLogger("logs/first", settings={"learning_rate": 0.01})
        xpnet.Trainer(network, learning_rate=0.01, callbacks=[log]).fit(x, y, validation=(x_val, y_val))
    """

    def __init__(self, folder: str | Path, settings: Mapping[str, Any] | None = None) -> None:
        super().__init__(settings)
        self.folder = Path(folder)
        self._library = import_library("tensorboardX", "tensorboard")
        self._file: Any = None
        self._last = 0  # the last epoch that was logged

    def __getstate__(self) -> dict[str, Any]:  # no module and no open file can be pickled
        return {**vars(self), "_library": None, "_file": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _library=import_library("tensorboardX", "tensorboard"))

    def on_start(self, n_steps: int, epochs: int) -> None:
        """Make the folder."""
        super().on_start(n_steps, epochs)
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)

    def begin(self, earlier: Sequence[EpochRecord], system: Mapping[str, str]) -> None:
        """See `RunLogger`."""
        goes_on = bool(earlier) and any(self.folder.glob(_FILES))
        self._open()
        self._last = earlier[-1].epoch if earlier else 0
        if goes_on:
            self._forget_from(earlier[-1].epoch + 1)
            return
        self._forget_from(0)
        for name, table in (("settings", self.settings), ("system", system)):
            rows: list[tuple[str, ...]] = [(str(key), str(value)) for key, value in table.items()]
            lines = markdown_lines(TextTable(name, (name, "value"), rows))[2:]
            self._add(self._library.summary.text(name, "\n".join(lines)), 0)
        for summary in self._library.summary.hparams({**system, **_plain(self.settings)}, {"loss/train": None}):
            self._add(summary, 0)
        for record in earlier:
            self.write(record)

    def write(self, record: EpochRecord) -> None:
        """See `RunLogger`."""
        for name, value in scalars(record).items():
            self._add(self._library.summary.scalar(name, value), record.epoch)
        self._last = record.epoch
        self._file.flush()

    def end(self, stopped: str) -> None:
        """See `RunLogger`."""
        self._file.close()

    def abandon(self) -> None:
        """See `RunLogger`."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()

    def picture(self, path: Path) -> None:
        """See `RunLogger`."""
        png = path.read_bytes()
        width, height = struct.unpack(">II", png[16:24])
        proto = self._library.proto.summary_pb2.Summary
        image = proto.Image(encoded_image_string=png, height=height, width=width, colorspace=4)
        self._open()
        self._add(proto(value=[proto.Value(tag=path.stem, image=image)]), self._last)
        self._file.close()

    def _open(self) -> None:
        """Open a file that TensorBoard reads behind the others of the folder."""
        # Not the library's SummaryWriter: its thread dies if the disk is full, and training would wait for it for ever.
        number = sum(1 for _ in self.folder.glob(_FILES))
        name = f"{_PREFIX}{time.time():010.0f}.{socket.gethostname()}.{number:04d}"
        self._file = self._library.RecordWriter(str(self.folder / name))
        self._write_event(file_version="brain.Event:2")

    def _write_event(self, **content: Any) -> None:
        event = self._library.proto.event_pb2.Event(wall_time=time.time(), **content)
        self._file.write(event.SerializeToString())

    def _add(self, summary: Any, step: int) -> None:
        self._write_event(step=step, summary=summary)

    def _forget_from(self, step: int) -> None:
        """Tell TensorBoard that the points from a step on, in the earlier files, have been replaced."""
        session = self._library.proto.event_pb2.SessionLog
        self._write_event(step=step, session_log=session(status=session.START))


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as hyperparameters: numbers, truth values and text."""
    return {
        str(name): value if isinstance(value, bool | int | float) else str(value)
        for name, value in settings.items()
        if value is not None
    }
