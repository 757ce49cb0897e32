"""The program as a process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest


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
