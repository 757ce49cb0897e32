"""The folder of a run: chosen, made and locked."""

from __future__ import annotations

import itertools
import re
import time
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout

from xpnet.errors import InvalidParameterError, XpnetError
from xpnet.files import remove_temporary_files, write_atomically, writing
from xpnet.training.callbacks import Callback

__all__ = ["RunFolder", "choose_folder"]


def choose_folder(out: Path | None, name: str) -> Path:
    """Choose the run's folder; one that holds a run already is refused, for nothing is ever overwritten."""
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
    """Leaves the configuration; made and locked at the first step, so that bad input leaves nothing.

    As a context manager it ends the lock; a process that dies leaves none either.

    Attributes
    ----------
    path : Path
    epochs_before : int
        Done before this process went on with the run.
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
        """Keep other processes out.

        Raises
        ------
        XpnetError
            One is in it.
        """
        with writing(self.path):
            try:
                self._lock.acquire(blocking=False)
            except Timeout as exc:
                raise XpnetError(
                    f"{self.path}: expected a folder that no other process trains in; received one that is locked. "
                    "Wait for that run, or choose another folder."
                ) from exc

    def on_start(self, n_steps: int, epochs: int) -> None:
        """Make the folder."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise _cannot_make(self.path, exc) from exc
        self.lock()
        with writing(self.path):
            remove_temporary_files(self.path)
        write_atomically(self.path / "config.toml", self._config)
        self._begun = False

    def on_state(self, run: Any) -> None:
        """Note where the run goes on."""
        if not self._begun:
            self.epochs_before, self._begun = run.state.epoch, True
