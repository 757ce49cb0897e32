"""Subnormal numbers: flushed to zero where xpnet computes, and as the user has it where the user's code runs.

Subnormal numbers are those closer to zero than the smallest number of full precision: in float32 below 1.2e-38. Many
processors compute with them many times as slowly as with others. Training makes them: a velocity or a moment of an
input that is always zero decays until it is subnormal, and stays so. A bit in the control register of each thread
flushes them to zero, as operands and as results. Python has no call for it, so this module uses those of C:
``fegetenv`` and ``fesetenv`` copy the register to memory and back, and Windows has ``_controlfp_s``.

Worker threads of BLAS have registers of their own, and keep them: other code of the process uses them too, and it would
gain nothing. If the thread that calls BLAS flushes, 2 billion operands of products in training held no subnormal
number, and of 1 billion results 154 were one.
"""

from __future__ import annotations

import ctypes
import platform
import sys
import threading
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, NamedTuple, ParamSpec, TypeVar

import numpy as np

__all__ = ["FlushSubnormals", "UserState", "can_flush", "in_user_state"]

_P = ParamSpec("_P")
_T = TypeVar("_T")


class _Layout(NamedTuple):
    """Which 32-bit word of C's ``fenv_t`` is the control register, and its bits that flush operands and results."""

    word: int
    flush: int


_SSE = 0x8040  # MXCSR: flush to zero, denormals are zero
_FZ = 1 << 24  # FPCR: both
_LAYOUTS = {
    ("linux", "x86_64"): _Layout(7, _SSE),  # glibc and musl
    ("linux", "aarch64"): _Layout(0, _FZ),  # glibc and musl
    ("darwin", "x86_64"): _Layout(1, _SSE),
    ("darwin", "arm64"): _Layout(2, _FZ),
}
_LIBRARIES: dict[str, tuple[str | None, ...]] = {"linux": ("libm.so.6", None), "darwin": (None,)}
_WINDOWS_FLUSH, _WINDOWS_MASK = 0x0100_0000, 0x0300_0000  # _DN_FLUSH and _MCW_DN of <float.h>

# Set the bits of this thread that say what is done with subnormal numbers, and return the earlier ones.
_Swap = Callable[[int], int]


class _Control(NamedTuple):
    swap: _Swap
    flush: int


class _Thread(threading.local):
    """What is known of a thread.

    Attributes
    ----------
    user : int or None
        The bits that the user's code has in this thread; None outside `FlushSubnormals`, where the register has them.
    """

    def __init__(self) -> None:
        self.user: int | None = None
        self.environment = (ctypes.c_uint32 * 16)()  # larger than any fenv_t
        self.reference = ctypes.byref(self.environment)


_thread = _Thread()


def _fenv_swap(library: Any, layout: _Layout) -> _Swap:
    """Return the swap of a system with C's floating-point environment."""
    word, flush = layout
    get, put = library.fegetenv, library.fesetenv

    def swap(bits: int) -> int:
        reference = _thread.reference
        get(reference)
        environment = _thread.environment
        before: int = environment[word] & flush
        if before != bits:
            environment[word] ^= before ^ bits
            put(reference)
        return before

    return swap


def _windows_swap(library: Any) -> _Swap:
    """Return the swap of Windows' C library."""
    control = library._controlfp_s

    def swap(bits: int) -> int:
        word = ctypes.c_uint()
        control(ctypes.byref(word), 0, 0)
        before = word.value & _WINDOWS_MASK
        control(ctypes.byref(word), bits, _WINDOWS_MASK)
        return before

    return swap


def _open(name: str | None) -> Any:
    # Not CDLL, which releases the interpreter's lock: another thread may then keep it for 5 milliseconds.
    return ctypes.PyDLL(name)


def _find(system: str, machine: str) -> _Control | None:
    """Return the control of a system, untried, or None if none is known."""
    if system == "win32":
        return _Control(_windows_swap(_open("ucrtbase")), _WINDOWS_FLUSH)
    layout = _LAYOUTS.get((system, machine))
    if layout is None:
        return None
    for name in _LIBRARIES[system]:
        try:
            return _Control(_fenv_swap(_open(name), layout), layout.flush)
        except (OSError, AttributeError):  # no such library, or it has no such function
            continue
    return None


def _works(control: _Control) -> bool:
    """Try in this thread whether the bits do what they should."""
    half, one = (np.float64(number).item() for number in (0.5, 1.0))  # variables: constants are computed beforehand
    least = sys.float_info.min
    before = control.swap(0)
    try:
        subnormal = least * half
        kept = subnormal * one != 0
        control.swap(control.flush)
        flushed = least * half == 0 and subnormal * one == 0
    finally:
        control.swap(before)
    return kept and flushed


@lru_cache(maxsize=1)
def _control() -> _Control | None:
    """Return the control of this system, or None if it has none that works."""
    try:
        control = _find(sys.platform, platform.machine())
    except (OSError, AttributeError):
        return None
    if control is None or not _works(control):
        return None
    # If NumPy finds its limits while subnormals are flushed, it warns, and the smallest subnormal is 0 from then on.
    for dtype in (np.float16, np.float32, np.float64, np.longdouble, np.complex64, np.complex128, np.clongdouble):
        _ = np.finfo(dtype).smallest_subnormal
    return control


def can_flush() -> bool:
    """Return whether `FlushSubnormals` has an effect on this system."""
    return _control() is not None


class FlushSubnormals:
    """Flush subnormal numbers to zero in the calling thread; a context manager for one use.

    On leaving, the thread has its former state, also after an exception. Within another such context it does nothing.
    Other threads are not changed. A thread that is started inside inherits the state on Linux; on other systems it has
    the default. Where the system has no call for it, nothing happens.

    Examples
    --------
    >>> import numpy as np
    >>> subnormal = np.asarray([1e-40], np.float32)
    >>> with FlushSubnormals():
    ...     (subnormal * 1).tolist() == [0.0] or not can_flush()
    True
    >>> (subnormal * 1).tolist() == [0.0]
    False
    """

    def __init__(self) -> None:
        self._owner: int | None = None

    def __enter__(self) -> None:
        control = _control()
        if control is not None and _thread.user is None:
            _thread.user = control.swap(control.flush)
            self._owner = threading.get_ident()

    def __exit__(self, *_: object) -> None:
        control = _control()
        # The collector may end an abandoned generator in another thread.
        if control is not None and self._owner == threading.get_ident() and _thread.user is not None:
            user, _thread.user = _thread.user, None
            control.swap(user)


class UserState:
    """Give code of the user the state that the thread had before `FlushSubnormals`; a context manager for one use.

    Outside `FlushSubnormals` it does nothing. If the user's code changes the state, it has the new one from then on.
    """

    def __init__(self) -> None:
        self._user: int | None = None

    def __enter__(self) -> None:
        self._user = _thread.user
        control = _control()
        if control is not None and self._user is not None:
            _thread.user = None
            control.swap(self._user)

    def __exit__(self, *_: object) -> None:
        control = _control()
        if control is not None and self._user is not None:
            _thread.user = control.swap(control.flush)


def in_user_state(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """Return a function of the user so that it runs in the `UserState`."""

    @wraps(function)
    def call(*args: _P.args, **options: _P.kwargs) -> _T:
        with UserState():
            return function(*args, **options)

    return call
