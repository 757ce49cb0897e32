"""The loggers of ``--log``, by their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from xpnet.cli.config import settings_of, shown_settings
from xpnet.cli.folder import CONFIG, MLFLOW, TENSORBOARD, RunFolder
from xpnet.cli.options import TrainOptions
from xpnet.training.run_logger import RunLogger

__all__ = ["make_loggers"]


def make_loggers(options: TrainOptions, folder: RunFolder, member: int) -> list[RunLogger]:
    """Return the loggers of a member of an ensemble, counted from 0.

    Raises
    ------
    LibraryNotInstalledError
        A library is not installed.
    """
    if not options.log:
        return []
    settings = shown_settings(settings_of(folder.files[CONFIG]))
    return [_LOGGERS[name](folder, member, settings) for name in dict.fromkeys(options.log)]


def _tensorboard(folder: RunFolder, member: int, settings: Mapping[str, Any]) -> RunLogger:
    from xpnet.training.tensorboard_logger import TensorBoardLogger

    path = folder.path / TENSORBOARD
    return TensorBoardLogger(path / str(member + 1) if member else path, settings)


def _mlflow(folder: RunFolder, member: int, settings: Mapping[str, Any]) -> RunLogger:
    from xpnet.training.mlflow_logger import MLflowLogger

    name = folder.path.resolve().name
    if member:
        return MLflowLogger(None, settings, run_name=f"{name}-{member + 1}")
    return MLflowLogger(folder.path / MLFLOW, settings, run_name=name)


_LOGGERS: dict[str, Callable[[RunFolder, int, Mapping[str, Any]], RunLogger]] = {
    "tensorboard": _tensorboard,
    "mlflow": _mlflow,
}
