"""The folder of a run: how it is chosen, made and locked."""

from __future__ import annotations

import itertools
import re
import time
from pathlib import Path
from typing import Self

from filelock import FileLock, Timeout

from xpnet.errors import InvalidParameterError, XpnetError
from xpnet.files import remove_temporary_files, write_atomically, writing
from xpnet.training.callbacks import Callback
from xpnet.training.state import Run

__all__ = ["RunFolder", "choose_folder"]


def choose_folder(out: Path | None, name: str) -> Path:
    """Return the folder for a run. A folder that holds a run is refused, because nothing is ever overwritten."""
    if out is not None:
        try:
            taken = any((out / name).exists() for name in ("model.safetensors", "config.toml"))
        except OSError as exc:
            raise _cannot_make(out, exc) from exc
        if taken:
            raise InvalidParameterError(f"--out: expected a folder without a run; received {out}. Choose another.")
        return out
    stem = re.sub(r"[^\w.-]+", "-", name)
    first = Path("runs") / f"{stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    others = (first.with_name(f"{first.name}-{i}") for i in itertools.count(2))  # several may start in one second
    return next(folder for folder in itertools.chain([first], others) if not folder.exists())


def _cannot_make(folder: Path, exc: OSError) -> XpnetError:
    return XpnetError(f"cannot make the folder {folder}: {exc.strerror}. Choose another with --out.")


class RunFolder(Callback):
    """Make and lock the folder of a run, and write its configuration.

    This happens when training starts, so that bad input leaves no folder. Leaving it as a context manager releases the
    lock; the system releases the lock of a process that dies.

    Attributes
    ----------
    path : Path
    epochs_before : int
        Number of epochs that earlier processes completed.
    """

    def __init__(self, path: Path, config: bytes) -> None:
        self.path = path
        self.epochs_before = 0
        self._config = config
        self._lock = FileLock(path / ".lock")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release(force=True)

    def lock(self) -> None:
        """Lock the folder against other processes.

        Raises
        ------
        XpnetError
            Another process trains in the folder.
        """
        with writing(self.path):
            try:
                self._lock.acquire(blocking=False)
            except Timeout as exc:
                raise XpnetError(
                    f"{self.path}: expected a folder that no other process trains in; received a locked folder. "
                    "Wait for that run, or choose another folder."
                ) from exc

    def on_start(self, n_steps: int, epochs: int) -> None:
        """Make the folder, lock it and write the configuration."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise _cannot_make(self.path, exc) from exc
        self.lock()
        with writing(self.path):
            remove_temporary_files(self.path)
        write_atomically(self.path / "config.toml", self._config)
        self._begun = False

    def on_state(self, run: Run) -> None:
        """Note the epoch at which this process starts."""
        if not self._begun:
            self.epochs_before, self._begun = run.state.epoch, True
