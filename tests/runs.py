"""What the tests of training share: the real images, jobs as the command line makes them, and a run that is stopped."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from xpnet.cli import app
from xpnet.cli.job import Job, prepare
from xpnet.data.readers.idx import IDX_NAMES
from xpnet.training.callbacks import Callback, StopTraining

_GIVEN = os.environ.get("XPNET_DATA")  # before a test hides it


def fashion_mnist_folder() -> Path:
    """Find the real files: in $XPNET_DATA, or in shared/data beside the repository; without them skip the test."""
    roots = [folder / "shared" / "data" for folder in Path(__file__).resolve().parents[1:4]]
    for root in [*([Path(_GIVEN)] if _GIVEN else []), *roots]:
        for folder in (root / "fashion-mnist", root):
            if (folder / f"{IDX_NAMES[0]}.gz").is_file():
                return folder
    pytest.skip("no Fashion-MNIST files: neither in $XPNET_DATA nor in ../shared/data/fashion-mnist")


def job_of(*arguments: str) -> Job:
    """Make the job that ``xpnet train`` makes of its arguments; it is not started."""
    _, bound, _ = app.parse_args(["train", *arguments], exit_on_error=False, print_error=False)
    return prepare(bound.arguments.get("data", "digits"), bound.arguments["options"])


def trained_score(job: Job) -> float:
    """Train, and return the accuracy or R2 on the test part."""
    run = job.trainer.fit(**job.arguments(), params=job.model.params)
    model = replace(job.model, vector=run.params.vector)
    return model.evaluate(*job.parts["test"])[model.metric]


class StopAt(Callback):
    """Stops a run at a call of `on_steps`."""

    def __init__(self, call: int) -> None:
        self.left = call

    def on_steps(self, epoch: int, done: int) -> None:
        self.left -= 1
        if self.left == 0:
            raise StopTraining
