"""The registry: which backends there are, and where their adapters are; none is imported before it is asked for."""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable
from contextlib import suppress
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from xpnet.errors import (
    BackendNotInstalledError,
    DeviceUnavailableError,
    DuplicateBackendError,
    UnknownBackendError,
)

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["BUILTIN", "DEFAULTS", "has_driver", "list_backends", "load_factory"]

ENTRY_POINT_GROUP = "xpnet.backends"
# What libraries raise when they are imported: for lack of a part, for another version of it, for a variable.
_DOES_NOT_IMPORT = (ImportError, OSError, ValueError, RuntimeError, AttributeError, TypeError)

# An adapter's entry: the kind of device ("cpu" or "gpu") and its index, to a backend.
Factory = Callable[[str, int], Any]


class _Builtin(NamedTuple):
    """An adapter of this project.

    Attributes
    ----------
    library : str
        The package that the adapter imports.
    module : str
        The adapter's module.
    install : str
        The command that installs the library.
    array_modules : tuple of str
        Further packages that define the types of the library's arrays.
    drivers : tuple of str
        Names of the GPU driver's library, by system. Where none of them loads, the library finds no GPU.
    """

    library: str
    module: str
    install: str
    array_modules: tuple[str, ...] = ()
    drivers: tuple[str, ...] = ()


BUILTIN = {
    "numpy": _Builtin("numpy", "xpnet_backends.numpy", "pip install numpy"),
    "numba": _Builtin("numba", "xpnet_backends.numba", "pip install numba"),
    "cupy": _Builtin(
        "cupy",
        "xpnet_backends.cupy",
        "pip install 'cupy-cuda13x[ctk]' (CUDA 12: 'cupy-cuda12x[ctk]')",
        drivers=("libcuda.so.1", "nvcuda.dll"),
    ),
    "torch": _Builtin("torch", "xpnet_backends.torch", "pip install torch"),
    "jax": _Builtin("jax", "xpnet_backends.jax", "pip install jax", ("jaxlib",)),
    "strict": _Builtin("array_api_strict", "xpnet_backends.strict", "pip install array-api-strict"),
}


# The backend of a device that is given without one: "cpu", "gpu".
DEFAULTS = {"cpu": "numpy", "gpu": "cupy"}


@lru_cache(maxsize=1)
def _registry() -> dict[str, _Builtin | EntryPoint]:
    from importlib.metadata import entry_points  # slow to import

    table: dict[str, _Builtin | EntryPoint] = dict(BUILTIN)
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        if entry.name in table:
            raise DuplicateBackendError(
                f"duplicate backend {entry.name!r}: expected each name once; received it again from {entry.value!r} "
                f"(entry-point group {ENTRY_POINT_GROUP!r}). Uninstall or rename one of the two."
            )
        table[entry.name] = entry
    return table


def list_backends() -> tuple[str, ...]:
    """Return the names of all registered backends, installed or not; none is imported.

    Examples
    --------
    >>> import xpnet
    >>> "numpy" in xpnet.list_backends()
    True
    """
    return tuple(_registry())


@cache
def has_driver(name: str) -> bool:
    """Return whether the GPU driver of a built-in backend loads, if it is known to need one; its library stays out."""
    drivers = BUILTIN[name].drivers
    for driver in drivers:
        with suppress(OSError):
            ctypes.CDLL(driver)
            return True
    return not drivers


def load_factory(name: str) -> Factory:
    """Import the adapter of a backend."""
    registry = _registry()
    if name not in registry:
        raise UnknownBackendError.among("backend", name, registry)
    entry = registry[name]
    if not isinstance(entry, _Builtin):
        factory: Factory = entry.load()
        return factory
    try:
        module = importlib.import_module(entry.module)
    except _DOES_NOT_IMPORT as exc:
        if isinstance(exc, ModuleNotFoundError) and (exc.name or "").partition(".")[0] == entry.library:
            raise BackendNotInstalledError(
                f"backend {name!r} is not installed: expected the package {entry.library!r}; "
                f"received {exc.msg}. Run: {entry.install}"
            ) from exc
        reason = " ".join(str(exc).split())
        raise DeviceUnavailableError(
            f"backend {name!r} is installed but does not work: expected to import {entry.library!r}; "
            f"received {type(exc).__name__}: {reason}. Check its environment variables, or reinstall it: "
            f"{entry.install}"
        ) from exc
    built_in: Factory = module.create
    return built_in
