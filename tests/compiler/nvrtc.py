"""NVIDIA's run-time compiler, which needs no GPU: what it makes of CUDA source text, and what each kernel needs."""

from __future__ import annotations

import ctypes
import re
from functools import cache
from importlib import metadata
from typing import Any, NamedTuple

import pytest

__all__ = ["ARCHITECTURES", "Compiled", "Kernel", "check_kernels", "compiled", "needs_nvrtc"]

ARCHITECTURES = ("sm_80", "sm_90", "sm_100")
_PACKAGE = "nvidia-cuda-nvrtc"
# What RawModule of CuPy passes, the report of what kernels need, and no warning of a variable that is not used.
_OPTIONS = (
    "--std=c++17",
    "-ftz=true",
    "--device-as-default-execution-space",
    "--ptxas-options=-v",
    "--diag-suppress=177",
)
_REGISTERS, _STATIC_SHARED = 65536, 48 << 10  # of a block, on all of the architectures


class Kernel(NamedTuple):
    """What a kernel needs: threads of its largest block, registers of a thread, bytes."""

    threads: int
    registers: int
    spilled: int
    shared: int


class Compiled(NamedTuple):
    """The compiler's results for a source text."""

    ptx: str
    cubin: bytes
    log: str

    @property
    def kernels(self) -> dict[str, Kernel]:
        """What each kernel needs."""
        found = {}
        for part in self.log.split("Compiling entry function '")[1:]:
            name = part.partition("'")[0]
            spilled = map(int, re.findall(r"(\d+) bytes spill", part))  # of the kernel and of functions that it calls
            registers = re.search(r"Used (\d+) registers", part)
            shared = re.search(r"(\d+) bytes smem", part)
            threads = re.search(rf"\.entry {name}\([^)]*\)\s*\.maxntid (\d+)", self.ptx)
            assert registers is not None, part
            found[name] = Kernel(
                int(threads[1]) if threads else 1024,
                int(registers[1]),
                sum(spilled),
                int(shared[1]) if shared else 0,
            )
        return found


@cache
def _library() -> Any:
    """Return the library, or None where its package is not installed."""
    try:
        files = metadata.files(_PACKAGE) or ()
    except metadata.PackageNotFoundError:
        return None
    return next((ctypes.CDLL(str(each.locate())) for each in files if each.match("libnvrtc.so.*")), None)


needs_nvrtc = pytest.mark.skipif(_library() is None, reason=f"no NVRTC; pip install {_PACKAGE}")


def compiled(text: str, architecture: str) -> Compiled:
    """Compile source text as CuPy does; a text with errors fails the test."""
    library, program = _library(), ctypes.c_void_p()
    options = [option.encode() for option in (*_OPTIONS, f"-arch={architecture}")]
    _check(library.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"kernels.cu", 0, None, None))
    try:
        status = library.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
        log = _result(program, "ProgramLog").decode().rstrip("\0")
        if status:
            pytest.fail(f"NVRTC, {architecture}: {log}")
        return Compiled(_result(program, "PTX").decode().rstrip("\0"), _result(program, "CUBIN"), log)
    finally:
        _check(library.nvrtcDestroyProgram(ctypes.byref(program)))


def _result(program: ctypes.c_void_p, name: str) -> bytes:
    library, size = _library(), ctypes.c_size_t()
    _check(getattr(library, f"nvrtcGet{name}Size")(program, ctypes.byref(size)))
    text = ctypes.create_string_buffer(size.value)
    _check(getattr(library, f"nvrtcGet{name}")(program, text))
    return text.raw


def _check(status: int) -> None:
    assert status == 0, f"NVRTC: status {status}"


def check_kernels(text: str, architecture: str, *, dtype: str, shared: int = _STATIC_SHARED) -> dict[str, Kernel]:
    """Compile source text and check its kernels; return what each needs.

    They fit the registers and `shared` bytes of a block without spills, they divide and take roots as IEEE 754 says,
    and in float32 they hold no float64.
    """
    result = compiled(text, architecture)
    assert "warning" not in result.log, result.log
    assert not re.findall(r".*(?:div|sqrt)\.(?:approx|full).*", result.ptx)
    if dtype == "float32" and "cos(" not in text:  # CUDA reduces large angles in float64
        assert not re.findall(r".*\.f64.*", result.ptx)
    kernels = result.kernels
    assert len(kernels) == text.count("__global__")
    for name, kernel in kernels.items():
        by_warp = -(-kernel.registers // 8) * 8  # registers are given to warps in eights a thread
        assert by_warp * kernel.threads <= _REGISTERS, (architecture, name, kernel)
        assert (kernel.spilled, kernel.shared <= shared) == (0, True), (architecture, name, kernel)
    return kernels
