"""The folder of a run: how it is chosen, made and locked."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from filelock import FileLock, Timeout

from xpnet.errors import InvalidParameterError, XpnetError
from xpnet.files import remove_temporary_files, write_atomically, writing
from xpnet.training.callbacks import Callback
from xpnet.training.state import Run

__all__ = [
    "CHECKPOINTS",
    "COLUMNS",
    "CONFIG",
    "CONFUSION",
    "CURVES",
    "FINGERPRINT",
    "METRICS",
    "MODEL",
    "RunFolder",
    "choose_folder",
]

MODEL, CONFIG, METRICS, FINGERPRINT = "model.safetensors", "config.toml", "metrics.jsonl", "data.json"
CHECKPOINTS, CURVES, CONFUSION, COLUMNS = "checkpoints", "curves.png", "confusion.png", "columns.md"
_CONTENT = (MODEL, CONFIG, METRICS, FINGERPRINT, CHECKPOINTS, CURVES, CONFUSION, COLUMNS)
_LOCK = ".lock"


def choose_folder(out: Path | None, name: str) -> RunFolder:
    """Return the folder for a new run.

    Parameters
    ----------
    out : Path or None
        The folder that the user gave. By default a new one is made: ``runs/NAME-TIME``.

    Raises
    ------
    InvalidParameterError
        The folder holds a run, or files with the names that a run has: nothing is ever overwritten.
    """
    if out is not None:
        _check_free(out)
        return RunFolder(out, is_new=True)
    stem = re.sub(r"[^\w.-]+", "-", name)[:80]
    first = Path("runs") / f"{stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    others = (first.with_name(f"{first.name}-{i}") for i in itertools.count(2))
    made = [] if first.parent.exists() else [first.parent]
    for path in itertools.chain([first], others):
        try:
            path.parent.mkdir(exist_ok=True)
            path.mkdir()
            return RunFolder(path, is_new=True, made=[path, *made])
        except FileExistsError as exc:  # several runs may start in the same second
            if not path.parent.is_dir():
                raise _cannot_make(path, exc) from exc
        except OSError as exc:
            raise _cannot_make(path, exc) from exc
    raise AssertionError  # the numbers do not end


def _cannot_make(folder: Path, exc: OSError) -> XpnetError:
    return XpnetError(f"cannot make the folder {folder}: {exc.strerror}. Choose another with --out.")


def _check_free(out: Path) -> None:
    try:
        taken = [name for name in _CONTENT if _exists(out / name)]
    except OSError as exc:
        raise _cannot_make(out, exc) from exc
    if taken:
        others = "" if {MODEL, CONFIG} & {*taken} else f", which has {', '.join(taken)}"
        raise InvalidParameterError(f"--out: expected a folder without a run; received {out}{others}. Choose another.")


def _exists(path: Path) -> bool:
    return path.is_symlink() or path.exists()


class RunFolder(Callback):
    """Make and lock the folder of a run, and write its configuration.

    This happens when training starts, so that bad input leaves no folder. Leaving it as a context manager releases the
    lock; the system releases the lock of a process that dies.

    Parameters
    ----------
    path : Path
    is_new : bool
        Whether a run starts in it.
    made : sequence of Path
        The folders that have just been made for it; if no run starts, they are removed again.

    Attributes
    ----------
    path : Path
    files : dict of str to bytes
        The files that are written when training starts, by name.
    epochs_before : int
        Number of epochs that earlier processes completed.
    """

    def __init__(self, path: Path, *, is_new: bool, made: Sequence[Path] = ()) -> None:
        self.path = path
        self.files: Mapping[str, bytes] = {}
        self.epochs_before = 0
        self._is_new, self._made = is_new, made
        self._lock = FileLock(path / _LOCK)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release(force=True)
        for folder in self._made:
            with suppress(OSError):  # only empty folders are removed
                folder.rmdir()

    def lock(self) -> None:
        """Lock the folder against other processes.

        Raises
        ------
        XpnetError
            Another process trains in the folder, or something in it is a link, which would lead writes elsewhere.
        """
        with writing(self.path):
            links = [name for name in (_LOCK, *_CONTENT) if (self.path / name).is_symlink()]
            if links:
                raise XpnetError(
                    f"{self.path}: expected files of a run; received a link: {', '.join(links)}. "
                    "Replace it by what it leads to, or choose another folder."
                )
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
        if self._is_new:  # another run may have ended there meanwhile
            _check_free(self.path)
        with writing(self.path):
            remove_temporary_files(self.path)
        for name, data in self.files.items():
            write_atomically(self.path / name, data)
        self._begun, self._made = False, ()

    def on_state(self, run: Run) -> None:
        """Note the epoch at which this process starts."""
        if not self._begun:
            self.epochs_before, self._begun = run.state.epoch, True
