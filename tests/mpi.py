"""Runs of several ranks: programs that mpirun starts, one at a time, and each with a time limit."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

MPIRUN = shutil.which("mpirun", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))

needs_mpi = pytest.mark.skipif(
    MPIRUN is None or importlib.util.find_spec("mpi4py") is None,
    reason="needs mpirun and mpi4py: pip install 'xpnet[mpi]'",
)


# What mpirun says of itself, now and then, while it ends ranks.
_OF_MPIRUN = (" PMIX ERROR: ", "[warn] Epoll ")


class Ended(NamedTuple):
    """How a program of several ranks ended; `err` without the banners of mpirun."""

    code: int
    out: str
    err: str


@cache
def _options() -> tuple[str, ...]:
    version = subprocess.run([MPIRUN, "--version"], capture_output=True, text=True, timeout=60).stdout
    return ("--oversubscribe",) if "Open MPI" in version else ()


def mpi_environment(environment: dict[str, str]) -> dict[str, str]:
    """Return an environment in which mpirun also works as root, in a container without other machines."""
    own = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_btl": "self,sm"}
    return {**environment, **own}


@contextmanager
def ranks(n: int, *command: object, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Start a command of Python in n ranks, and end what is left of it. Only one such program runs on the machine."""
    with Path(tempfile.gettempdir(), f"xpnet-tests-mpirun-{os.getuid()}").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = subprocess.Popen(
            [str(MPIRUN), *_options(), "-n", str(n), sys.executable, *map(str, command)],
            env=mpi_environment(environment), stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
            text=True,
        )  # fmt: skip
        try:
            yield process
        finally:
            process.terminate()  # and with it the ranks; a killed mpirun leaves them
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
            for pipe in (process.stdout, process.stderr):
                assert pipe is not None
                pipe.close()
            process.wait()


def ended(process: subprocess.Popen[str], seconds: float = 60) -> Ended:
    """Wait for the end of a program of several ranks."""
    out, err = process.communicate(timeout=seconds)
    lines, is_banner = [], False
    for line in err.replace("\0", "").splitlines():
        if line.startswith("-" * 60):
            is_banner = not is_banner
        elif not is_banner and line.strip() and not any(own in line for own in _OF_MPIRUN):
            lines.append(line)
    return Ended(process.returncode, out, "\n".join(lines))


def run_ranks(n: int, *command: object, environment: dict[str, str], seconds: float = 60) -> Ended:
    """Run a command of Python in n ranks."""
    with ranks(n, *command, environment=environment) as process:
        return ended(process, seconds)
