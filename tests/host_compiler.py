"""C++ for the host: kernels and doubles of libraries, each text built once, with headers that are compiled before."""

from __future__ import annotations

import ctypes
import itertools
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

__all__ = ["COMPILER", "HostCompilerError", "build"]

COMPILER = shutil.which("g++")
_HEADERS = (
    "algorithm", "barrier", "cmath", "cstddef", "cstring", "memory", "random", "setjmp.h", "ucontext.h", "vector"
)  # fmt: skip
# No numbers may be fused or reordered, and jumps between fibers are no errors.
_OPTIONS = ("-std=c++20", "-O1", "-fwrapv", "-ffp-contract=off", "-fPIC", "-pthread", "-w", "-U_FORTIFY_SOURCE")

_NUMBERS = itertools.count()


class HostCompilerError(Exception):
    """The compiler refuses a text."""


@cache
def _folder() -> Path:
    """Return a folder with the compiled headers, which take longer to read than most texts to compile."""
    folder = Path(tempfile.mkdtemp(prefix="xpnet_host_"))
    headers = folder / "host.hpp"
    headers.write_text("".join(f"#include <{name}>\n" for name in _HEADERS))
    _run("-x", "c++-header", "-o", f"{headers}.gch", str(headers))
    return folder


def _run(*arguments: str) -> None:
    done = subprocess.run([str(COMPILER), *_OPTIONS, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise HostCompilerError(done.stderr)


@cache
def build(text: str) -> ctypes.CDLL:
    """Return the library of a text, which has the names of the headers."""
    folder, name = _folder(), f"text{next(_NUMBERS)}"  # two threads may build one text at once
    source, library = folder / f"{name}.cpp", folder / f"{name}.so"
    source.write_text('#include "host.hpp"\n' + text)
    _run("-shared", "-o", str(library), str(source))
    return ctypes.CDLL(str(library))
