"""The folder of a run: how it is chosen, made and locked."""

from __future__ import annotations

import errno
import itertools
import os
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from xpnet.cli.console import say
from xpnet.cli.latest_run import RUNS, link_latest
from xpnet.cli.run_files import (
    CHECKPOINTS,
    COLUMNS,
    CONFIG,
    CONFUSION,
    CURVES,
    FINGERPRINT,
    IS_OWN,
    METRICS,
    MLFLOW,
    MODEL,
    REPORT,
    SUMMARY,
    TENSORBOARD,
    exists,
)
from xpnet.errors import InvalidParameterError, XpnetError
from xpnet.files import check_regular, remove_temporary_files, write_atomically, writing
from xpnet.locks import LockFile
from xpnet.training.callbacks import Callback
from xpnet.training.metrics_file import holds_metrics
from xpnet.training.state import Run

__all__ = [
    "CHECKPOINTS",
    "COLUMNS",
    "CONFIG",
    "CONFUSION",
    "CURVES",
    "FINGERPRINT",
    "METRICS",
    "MLFLOW",
    "MODEL",
    "REPORT",
    "SUMMARY",
    "TENSORBOARD",
    "RunFolder",
    "choose_folder",
]

_FOLDERS = (CHECKPOINTS, TENSORBOARD)
_LOCK = ".lock"


def choose_folder(out: Path | None, name: str, n_members: int = 1) -> RunFolder:
    """Return the folder for a new run.

    Parameters
    ----------
    out : Path or None
        The folder that the user gave. By default a new one is made: ``runs/NAME-TIME``.
    name : str
        Of the data.
    n_members : int
        Number of networks that are trained, each with metrics of its own.

    Raises
    ------
    InvalidParameterError
        The folder holds a run, or files with the names that a run has: nothing is ever overwritten.
    """
    if out is not None:
        folder = RunFolder(out, is_new=True, n_members=n_members)
        folder.check_free()
        return folder
    stem = re.sub(r"[^\w.-]+", "-", name)[:80]
    first = RUNS / f"{stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    others = (first.with_name(f"{first.name}-{i}") for i in itertools.count(2))
    made = [] if first.parent.exists() else [first.parent]
    for path in itertools.chain([first], others):
        try:
            path.parent.mkdir(exist_ok=True)
            path.mkdir()
            return RunFolder(path, is_new=True, n_members=n_members, made=[path, *made])
        except FileExistsError as exc:  # several runs may start in the same second
            if not path.parent.is_dir():
                raise _cannot_make(path, exc) from exc
        except OSError as exc:
            raise _cannot_make(path, exc) from exc
    raise AssertionError  # the numbers do not end


def _cannot_make(folder: Path, exc: OSError) -> XpnetError:
    return XpnetError(f"cannot make the folder {folder}: {exc.strerror}. Choose another with --out.")


class RunFolder(Callback):
    """Make and lock the folder of a run, and write files into it.

    A new folder is made when training starts, so that bad input leaves no folder. Nothing is checked or written before
    the folder is locked. Leaving it as a context manager releases the lock; the system releases that of a process that
    dies.

    Parameters
    ----------
    path : Path
    is_new : bool
        Whether a run starts in it.
    n_members : int
        Number of networks that are trained.
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

    def __init__(self, path: Path, *, is_new: bool, n_members: int = 1, made: Sequence[Path] = ()) -> None:
        self.path = path
        self.files: Mapping[str, bytes] = {}
        self.epochs_before = 0
        self._is_new, self._made = is_new, made
        self._is_own = {**IS_OWN, **{self.metrics(i).name: holds_metrics for i in range(1, n_members)}}
        self._own: set[str] = set()  # the names of this run's files
        self._lock = LockFile(path / _LOCK)
        self._begun = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._begun:
            self._lock.release(remove=False)
            return
        self._lock.withdraw()
        for folder in self._made:
            with suppress(OSError):  # only empty folders are removed
                folder.rmdir()

    def metrics(self, member: int) -> Path:
        """Return the file for the metrics of a member of an ensemble, counted from 0."""
        path = self.path / METRICS
        return path if member == 0 else path.with_stem(f"{path.stem}-{member + 1}")

    def check_free(self) -> None:
        """Check that there is nothing of the names that a run has: nothing is ever overwritten.

        Raises
        ------
        InvalidParameterError
            There is a run, or another file or link of such a name.
        XpnetError
            The folder cannot be looked into.
        """
        try:
            taken = [name for name in (*self._is_own, *_FOLDERS) if exists(self.path / name)]
        except OSError as exc:
            raise _cannot_make(self.path, exc) from exc
        if taken:
            others = "" if {MODEL, CONFIG} & {*taken} else f", which has {', '.join(taken)}"
            raise InvalidParameterError(
                f"--out: expected a folder without a run; received {self.path}{others}. Choose another."
            )

    def open_run(self) -> None:
        """Lock the folder of a run that goes on, and check that what is in it is the run's.

        Raises
        ------
        InvalidParameterError
            There is no run.
        XpnetError
            Another process trains in the folder; or something in it is a link, which would lead writes elsewhere, or
            otherwise no file of a run.
        """
        config = self.path / CONFIG
        if not exists(config):
            raise InvalidParameterError(
                f"{config}: expected a configuration file; received: No such file or directory."
            )
        with writing(self.path):
            self._check_kinds()  # before the lock makes a file
            self._acquire()
            self._check_kinds()
            self._own = {name for name in self._is_own if exists(self.path / name)}
            foreign = [name for name in self._own if (is_own := self._is_own[name]) and not is_own(self.path / name)]
            if foreign:
                raise XpnetError(
                    f"{self.path}: expected files of a run; received others: {', '.join(sorted(foreign))}. Move them "
                    "elsewhere."
                )

    def _check_kinds(self) -> None:
        links = [name for name in (_LOCK, *_FOLDERS, *self._is_own) if (self.path / name).is_symlink()]
        if links:
            raise XpnetError(
                f"{self.path}: expected files of a run; received a link: {', '.join(links)}. "
                "Replace it by what it leads to, or choose another folder."
            )
        for name in _FOLDERS:
            if exists(self.path / name) and not (self.path / name).is_dir():
                raise XpnetError(f"{self.path / name}: expected a folder; received a file. Move it elsewhere.")
        for name in (_LOCK, *self._is_own):
            if exists(self.path / name):
                try:
                    check_regular((self.path / name).lstat().st_mode)
                except OSError as exc:
                    raise XpnetError(
                        f"{self.path / name}: expected a file of a run; received: {exc.strerror}."
                    ) from exc

    def _acquire(self) -> None:
        try:
            self._lock.acquire()
        except BlockingIOError as exc:
            raise XpnetError(
                f"{self.path}: expected a folder that no other process trains in; received a locked folder. "
                "Wait for that run, or choose another folder."
            ) from exc

    def on_start(self, n_steps: int, epochs: int) -> None:
        """Make and lock the folder of a new run, and write the configuration."""
        if self._is_new:
            self._make()
            with writing(self.path):
                self._acquire()
            self.check_free()  # another run may have begun there meanwhile
        self._lock.check()
        with writing(self.path):
            remove_temporary_files(self.path, self._is_own.__contains__)
        for name, data in self.files.items():
            self._write(name, data)
        self._begun = self._at_start = True
        if self._is_new:
            link_latest(self.path)

    def _make(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):
                self.path.mkdir()
                self._made = [self.path]
            if not self.path.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        except OSError as exc:
            raise _cannot_make(self.path, exc) from exc

    def write(self, name: str, *parts: bytes | memoryview) -> Path:
        """Write a file, and return its path.

        If another program has meanwhile taken its name, the file gets the next free one, as ``model-2.safetensors``.

        Raises
        ------
        XpnetError
            The file cannot be written.
        """
        self._lock.check()
        path = self.path / name
        others = (path.with_stem(f"{path.stem}-{i}").name for i in itertools.count(2))
        for free in itertools.chain([name], others):
            if free in self._own or not exists(self.path / free):
                self._write(free, *parts)
                if free != name:
                    say(f"{path}: another program has made a file of this name; wrote {self.path / free}.")
                return self.path / free
        raise AssertionError  # the numbers do not end

    def _write(self, name: str, *parts: bytes | memoryview) -> None:
        """Write a file; only one of this run is replaced."""
        write_atomically(self.path / name, *parts, exclusive=name not in self._own)
        self._own.add(name)

    def on_state(self, run: Run) -> None:
        """Note the epoch at which this process starts."""
        if self._at_start:
            self.epochs_before, self._at_start = run.state.epoch, False
