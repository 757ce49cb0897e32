"""What a figure depends on beside the code: processor, GPU, threads, versions, and the kernels of the BLAS."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from xpnet.constraints import integer
from xpnet.errors import InvalidParameterError

__all__ = ["machine", "threads_limited"]

_PACKAGES = (
    "numpy", "scikit-learn", "scipy", "threadpoolctl", "array-api-compat", "numba",
    "torch", "jax", "jaxlib", "cupy-cuda12x", "cupy-cuda13x",
)  # fmt: skip
_VARIABLES = ("OPENBLAS_CORETYPE", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "XLA_FLAGS")


def machine() -> dict[str, Any]:
    """Describe this machine and what is installed; the libraries that are loaded tell their threads."""
    from threadpoolctl import threadpool_info

    return {
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "usable cpus": len(_affinity()) or os.cpu_count(),
        "gpus": _gpus(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": dict(_versions()),
        "threads": [{k: v for k, v in pool.items() if k != "filepath"} for pool in threadpool_info()],
        "environment": {name: os.environ.get(name) for name in _VARIABLES},
    }


def _versions() -> Iterator[tuple[str, str]]:
    for name in _PACKAGES:
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            continue


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _gpus() -> list[str]:
    """Return the names that NVIDIA's driver lists; without it there are none."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return []
    query = [command, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True)
    return done.stdout.split("\n")[:-1] if done.returncode == 0 else []


def _affinity() -> set[int]:
    get = getattr(os, "sched_getaffinity", None)  # Linux only
    return get(0) if get else set()


@contextmanager
def threads_limited(n: int | None) -> Iterator[None]:
    """Limit BLAS, OpenMP and all that is loaded within to n threads; None limits nothing.

    The process is also bound to n processors, where the system can: thread pools that take no orders, as XLA's,
    count these when they start.

    Raises
    ------
    InvalidParameterError
        There are not as many processors.
    """
    if n is None:
        yield
        return
    from threadpoolctl import threadpool_limits

    usable = _affinity()
    count = len(usable) or os.cpu_count() or 1
    if not integer(1).holds(n) or n > count:
        raise InvalidParameterError(f"threads: expected an integer from 1 to {count}, the processors; received {n!r}.")
    # Set for children too, and for libraries that are loaded later.
    names = [name for name in _VARIABLES if name.endswith("_NUM_THREADS")]
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, str(n)))
    if usable:
        os.sched_setaffinity(0, set(sorted(usable)[:n]))
    try:
        with threadpool_limits(n):
            yield
    finally:
        if usable:
            os.sched_setaffinity(0, usable)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
