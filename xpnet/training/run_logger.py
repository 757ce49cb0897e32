"""The base of loggers: what a run reports to programs that show the runs of many libraries side by side."""

from __future__ import annotations

import platform
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xpnet.backend import backend_of
from xpnet.errors import XpnetWarning
from xpnet.memory import peak_bytes
from xpnet.training.callbacks import Callback
from xpnet.training.history import EpochRecord
from xpnet.training.state import Run

__all__ = ["RunLogger", "scalars"]


class RunLogger(Callback):
    """Base class of loggers: derive from it and say how the log is begun, written and ended.

    The log begins after the first epoch, because another callback may refuse the run. Should it fail, one warning says
    so, and training goes on without it.

    Parameters
    ----------
    settings : mapping of str to object, optional
        Settings of the run, to compare it with others.

    Attributes
    ----------
    failures : tuple of exception classes
        What the log may fail with.
    """

    def __init__(self, settings: Mapping[str, Any] | None = None) -> None:
        self.settings = dict(settings or {})
        self.failures: tuple[type[Exception], ...] = (OSError,)
        self._forget()

    def begin(self, earlier: Sequence[EpochRecord], system: Mapping[str, str]) -> None:
        """Begin the log, or go on with it.

        Parameters
        ----------
        earlier : sequence of EpochRecord
            The epochs before a resumption.
        system : mapping of str to str
            Device and versions.
        """
        raise NotImplementedError

    def write(self, record: EpochRecord) -> None:
        """Log an epoch."""
        raise NotImplementedError

    def end(self, stopped: str) -> None:
        """End the log.

        Parameters
        ----------
        stopped : str
            As in `Run`; ``"running"`` if training raised.
        """
        raise NotImplementedError

    def abandon(self) -> None:
        """Release what a log holds that has failed."""

    def picture(self, path: Path) -> None:
        """Log a picture, a PNG file, of a log that has ended."""
        raise NotImplementedError

    def log_picture(self, path: str | Path) -> None:
        """Add a picture to the log after training.

        Parameters
        ----------
        path : str or Path
            A PNG file; its name without the suffix is the picture's.
        """
        if self._has_begun:
            self._attempt(self.picture, Path(path))

    def on_start(self, n_steps: int, epochs: int) -> None:
        """Forget an earlier run."""
        self._forget()

    def _forget(self) -> None:
        self._start: tuple[Sequence[EpochRecord], dict[str, str]] | None = None
        self._has_steps = self._has_begun = self._has_failed = False
        self._stopped = "running"

    def on_state(self, run: Run) -> None:
        """Note how the run began, and how it stopped."""
        self._stopped = run.stopped
        if self._start is None:
            self._start = run.history, self._system(run)
        else:
            self._has_steps = True

    def on_epoch(self, record: EpochRecord, run: Run) -> None:
        """Log an epoch; begin the log with the first one, whose time is over."""
        self._begin()
        self._attempt(self.write, record)

    def on_end(self) -> None:
        """End the log, also of a run that has no whole epoch."""
        if self._has_steps:
            self._begin()
            self._attempt(self.end, self._stopped)

    def _begin(self) -> None:
        if not self._has_begun and self._start is not None:
            self._has_begun = True
            self._attempt(self.begin, *self._start)

    def _attempt(self, function: Callable[..., None], *arguments: Any) -> None:
        if self._has_failed:
            return
        try:
            function(*arguments)
        except self.failures as exc:
            self._has_failed = True
            self.abandon()
            reason = " ".join(str(exc).split()) or type(exc).__name__
            warnings.warn(
                f"{type(self).__name__}: expected a log that can be written; received: {reason:.300}. The run goes on "
                "without it.",
                XpnetWarning,
                stacklevel=2,
            )

    def _system(self, run: Run) -> dict[str, str]:
        return {
            "device": str(self.settings.get("device") or backend_of(run.params.vector).name),
            "dtype": str(run.params.vector.dtype).rpartition(".")[2],
            "xpnet_version": sys.modules["xpnet"].__version__,
            "numpy_version": np.__version__,
            "python_version": platform.python_version(),
            "platform": platform.platform(),
        }


def scalars(record: EpochRecord) -> dict[str, float]:
    """Return the numbers of an epoch by the name of their curve."""
    validation = {f"{name}/validation": float(value) for name, value in (record.validation or {}).items()}
    return {
        "loss/train": record.loss,
        **validation,
        "learning_rate": record.learning_rate,
        "speed/seconds": record.seconds,
        "speed/samples_per_second": record.samples_per_second,
        "system/peak_memory_bytes": float(peak_bytes()),
    }
