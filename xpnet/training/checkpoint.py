"""Checkpoints: when a run writes its state to a folder, and how the newest one is read.

`xpnet.training.checkpoint_file` defines the content of a file.
"""

from __future__ import annotations

import math
import re
import stat
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from xpnet.backend import to_host
from xpnet.constraints import boolean, check_constraints, integer
from xpnet.errors import InvalidParameterError, ModelFormatError, XpnetError, XpnetWarning, shown
from xpnet.files import remove_temporary_files, write_atomically, writing
from xpnet.locks import LockFile
from xpnet.nn.network import Network
from xpnet.training.callbacks import Callback
from xpnet.training.checkpoint_file import load_state, state_parts
from xpnet.training.state import Run, RunState

__all__ = ["Checkpoint", "load_newest"]

_T = TypeVar("_T")
_LOCK = ".xpnet.lock"


def load_newest(path: str | Path, accept: Callable[[Network, RunState], _T]) -> _T:
    """Read the newest usable checkpoint of a folder, or a given checkpoint file.

    Parameters
    ----------
    path : str or Path
        Folder of the callback `Checkpoint`, or one of its files. If a file of the folder cannot be used, a warning
        names it and the file before it is read.
    accept : (network, state) -> result
        Raise `InvalidParameterError` if they belong to another run.

    Raises
    ------
    ModelFormatError
        No checkpoint can be used.
    InvalidParameterError
        The given file belongs to another run.
    """
    path = Path(path)
    if not path.is_dir():
        return accept(*load_state(path))
    files = _list(path)
    for file in reversed(files):
        try:
            try:
                return accept(*load_state(file))
            except InvalidParameterError as exc:
                raise ModelFormatError(f"{file}: {exc}") from exc
        except ModelFormatError as exc:
            warnings.warn(f"{exc} Skipping it; trying the previous checkpoint.", XpnetWarning, stacklevel=3)
    what = f"{len(files)} that cannot be used" if files else "none"
    raise ModelFormatError(f"{path}: expected a folder with a checkpoint; received one with {what}.")


_NAME = re.compile(r"epoch-(\d+)-step-(\d+)\.safetensors")


def _name(epoch: int, position: int) -> str:
    return f"epoch-{epoch:06}-step-{position:07}.safetensors"


def _key(path: Path) -> tuple[int, ...]:
    """Return epoch and step from the name of a checkpoint. File times are no guide: a clock may be set back."""
    match = _NAME.fullmatch(path.name)
    return tuple(map(int, match.groups())) if match else ()


def _list(folder: Path) -> list[Path]:
    """Return the checkpoints of a folder, oldest first."""
    with writing(folder):
        return sorted(filter(_key, folder.iterdir()), key=_key)


_PERIOD = re.compile(r"([1-9]\d{0,14}) ?(steps|min|)")


class Checkpoint(Callback):
    """Save the state of a run regularly, so that a killed run loses only the steps since the last checkpoint.

    A file is named by the number of completed epochs and of completed steps in the next epoch:
    ``epoch-000012-step-0000500.safetensors``. Older files are removed once a newer one is on the disk. Files of a later
    position, which a run left before it went back, are removed too. `Trainer.resume` continues from the newest file.

    Parameters
    ----------
    folder : str or Path
    every : int or str
        How often to write: a number of epochs, ``"500steps"`` or ``"10min"``. Steps and minutes are checked after calls
        of up to 256 steps. The last state is always written, also if the run is interrupted.
    keep : int
        Number of files to keep, the newest ones.
    best_only : bool
        Write only after an epoch that is the best so far, by the metric of early stopping or else by the loss.

    Raises
    ------
    InvalidParameterError
        In training, if a new run starts and the folder has checkpoints.
    XpnetError
        In training, if another run writes to the folder, or if a file cannot be written. Older files stay as they are.
    """

    def __init__(self, folder: str | Path, every: int | str = 1, keep: int = 3, best_only: bool = False) -> None:
        self.folder = Path(folder)
        self.every = every
        self.keep = keep
        self.best_only = best_only
        check_constraints(self, {"keep": integer(1), "best_only": boolean()})
        period = None if isinstance(every, bool) else _PERIOD.fullmatch(str(every))
        if period is None:
            raise InvalidParameterError(
                f"every: expected a number of epochs, as 1, or 500steps, or 10min; received {shown(every)}."
            )
        self._number, self._unit = int(period[1]), period[2]
        self._locks: list[LockFile] = []  # one for each run that was started and has not ended

    def __getstate__(self) -> dict[str, Any]:  # a copy holds no lock
        return {**vars(self), "_locks": []}

    def on_start(self, n_steps: int, epochs: int) -> None:
        """Make and lock the folder before the first epoch, so that no epoch is lost if it cannot be written."""
        self._locks.append(LockFile(self.folder / _LOCK))
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                self._locks[-1].acquire()
            except BlockingIOError as exc:
                raise XpnetError(
                    f"{self.folder}: expected a folder for the checkpoints of one run; received that of another run, "
                    "which lasts. Wait for that run, or choose another folder."
                ) from exc
            remove_temporary_files(self.folder, _NAME.fullmatch)
        self._n_steps = n_steps
        self._last: tuple[tuple[int, int], float] | None = None  # epoch and position, and time

    def on_state(self, run: Run) -> None:
        """Write a file if it is due."""
        state, now = run.state, time.monotonic()
        here = state.epoch, state.position
        if self._last is None and here == (0, 0) and _list(self.folder):
            raise InvalidParameterError(
                f"folder: expected a folder without checkpoints for a new run; received {self.folder}. Resume the run "
                "of that folder, or choose another folder."
            )
        if self._last is None or here < self._last[0]:  # at the start, or after a divergence
            self._last = here, now
        elif here == self._last[0]:
            if run.stopped != "running":  # a process may have been killed after its last file, before this was done
                self._remove_all_but(here)
        # Within an epoch a run may have diverged; it could not continue from such a state.
        elif run.is_complete and self._is_due(run, *self._last, now) and to_host(state.all_finite()):
            self._locks[-1].check()
            write_atomically(self.folder / _name(*here), *state_parts(run.network, state))
            self._remove_all_but(here)
            self._last = here, now

    def needs_state(self, run: Run) -> bool:
        """Tell whether a file is due."""
        return self._last is not None and self._is_due(run, *self._last, time.monotonic())

    def on_end(self) -> None:
        """Unlock the folder."""
        if self._locks:
            self._locks.pop().release(remove=True)

    def _is_due(self, run: Run, last: tuple[int, int], then: float, now: float) -> bool:
        epoch, position = run.state.epoch, run.state.position
        if self.best_only and (position > 0 or run.stopped != "running" or not _is_best(run.state)):
            return False
        if self._unit == "min":
            due = now - then >= 60 * self._number
        elif self._unit == "steps":
            due = (epoch - last[0]) * self._n_steps + position - last[1] >= self._number
        else:
            due = position == 0 and epoch % self._number == 0
        return due or run.stopped != "running"

    def _remove_all_but(self, newest: tuple[int, int]) -> None:
        self._locks[-1].check()
        files = _list(self.folder)
        older = [file for file in files if _key(file) <= newest]
        with writing(self.folder):
            for file in {*files} - {*older[-self.keep :]}:
                with suppress(FileNotFoundError):
                    if stat.S_ISREG(file.lstat().st_mode):  # a run writes no others
                        file.unlink()


def _is_best(state: RunState) -> bool:
    if state.best is not None:
        return state.stopping.improved
    *earlier, last = (record.loss for record in state.history)
    return last < min(earlier, default=math.inf)
