"""What a result depends on besides the code: processor, GPU, threads, versions, and the BLAS."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from xpnet.bench.caches import cache_sizes
from xpnet.threads import THREAD_VARIABLES, process_cpu_count

__all__ = ["machine"]

_PACKAGES = (
    "numpy", "scikit-learn", "scipy", "threadpoolctl", "array-api-compat", "numba",
    "torch", "jax", "jaxlib", "cupy-cuda12x", "cupy-cuda13x",
)  # fmt: skip
_VARIABLES = ("OPENBLAS_CORETYPE", *THREAD_VARIABLES, "XLA_FLAGS")


def machine() -> dict[str, Any]:
    """Describe this machine, the installed packages, and the threads of the libraries that are loaded."""
    from threadpoolctl import threadpool_info

    return {
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "usable cpus": process_cpu_count(),
        "caches": cache_sizes(),
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
    """Return the names and driver versions of the GPUs that NVIDIA's driver lists, or nothing without the driver."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return []
    query = [command, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True)
    return done.stdout.split("\n")[:-1] if done.returncode == 0 else []
