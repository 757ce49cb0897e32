"""The program as a process, and models that several modules look at."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import house_csv, idx_folder, labels_npz, species_csv, train


@pytest.fixture
def start(environment: dict[str, str]) -> Iterator[Callable[..., Any]]:
    """Return a function that starts the program, and kill at the end what it started."""
    started = []
    environment.pop("PYTHONUNBUFFERED", None)  # else nothing would be left to write when the program ends

    def start(*arguments: object, **options: Any) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "xpnet", *map(str, arguments)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(command, env=environment, text=True, **{**pipes, **options})
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        for pipe in filter(None, (process.stdout, process.stderr)):
            pipe.close()


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One trained model for each kind of task, with the data beside it."""
    folder = tmp_path_factory.mktemp("models")
    runs: dict[str, list[object]] = {
        "house": [house_csv(folder / "house.csv"), "--target", "price", "--epochs", 150, "--lr", 0.05],
        "species": [species_csv(folder / "species.csv"), "--target", "species", "--epochs", 60, "--lr", 0.03],
        "labels": [labels_npz(folder / "labels.npz"), "--epochs", 60, "--lr", 0.05],
        "iris": ["iris", "--epochs", 20],
        "images": [idx_folder(folder / "images"), "--epochs", 20, "--lr", 0.05],
    }
    for name, arguments in runs.items():
        train(*arguments, "--quiet", "--device", "cpu", "--out", folder / name)
    return {name: folder / name / "model.safetensors" for name in runs}
