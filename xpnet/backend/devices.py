"""Devices: their grammar, the backend of a device, and the backend of an array.

A device is written ``[backend:]cpu|gpu|auto[:index][@precision]``: ``cpu`` is NumPy, ``numba:cpu`` is NumPy compiled,
``gpu`` is CuPy, ``torch:gpu:1`` is PyTorch on its second GPU, ``auto`` takes a GPU when one works, and ``gpu@tf32``
rounds the factors of its matrix products. Nothing is imported or probed before a backend is asked for.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from typing import Any

import array_api_compat
import numpy as np

from xpnet.backend.array import Array
from xpnet.backend.protocol import Backend
from xpnet.backend.registry import BUILTIN, DEFAULTS, has_driver, list_backends, load_factory
from xpnet.errors import (
    BackendNotInstalledError,
    DeviceIndexError,
    DeviceUnavailableError,
    InvalidParameterError,
    UnknownBackendError,
    UnknownNameError,
    shown,
)

__all__ = [
    "PRECISIONS",
    "backend_of",
    "backend_or_name",
    "dtype_name",
    "flushes_subnormals",
    "get_backend",
    "kind_of",
    "probe_devices",
    "to_host",
    "without_float_warnings",
]

PRECISIONS = ("float32", "tf32", "bf16")

without_float_warnings = np.errstate(all="ignore")
"""Decorator of functions that users call outside `Backend.scope`.

On some processors NumPy's matrix product sets floating-point flags for finite numbers, which would cause false
warnings.
"""

_KINDS = ("cpu", "gpu", "auto")
# What others call a kind of device, for hints in errors.
_SYNONYMS = {"cuda": "gpu"}


@lru_cache(maxsize=64)
def _create(name: str, kind: str, index: int, precision: str) -> Backend:
    """Create the backend of a device. Later calls return the same object, so that it can be the key of a cache."""
    backend: Backend = load_factory(name)(kind, index)
    if precision != PRECISIONS[0]:
        backend.set_precision(precision)
        backend.precision, backend.name = precision, f"{backend.name}@{precision}"
    return backend


def _parse(device: str) -> tuple[str | None, str, int, str]:
    """Return the backend's name, the kind, the index and the precision."""
    given = device
    device, _, precision = device.partition("@")
    precision = precision or PRECISIONS[0]
    if precision not in PRECISIONS:
        raise UnknownNameError.among("precision", precision, PRECISIONS)
    parts = device.split(":")
    index = 0
    if len(parts) > 1 and parts[-1].isdecimal():
        index = int(parts.pop())
    kind = parts.pop() if parts[-1] in _KINDS else "auto"
    if len(parts) > 1 or (parts and parts[0] not in list_backends()):
        known = [*_KINDS, *list_backends()]
        if (meant := _as_here(given)) != given:
            raise UnknownBackendError.among("device", given, known, {given.lower(): meant})
        if len(parts) == 1 and ":" in device and device.partition(":")[2]:
            raise UnknownBackendError.among("backend", parts[0], list_backends())
        raise UnknownBackendError.among("device", device, known)
    return (parts[0] if parts else None), kind, index, precision


def _as_here(device: str) -> str:
    """Return a device that is written with synonyms as it is written here, or unchanged if it would be no device."""
    where, at, precision = device.partition("@")
    meant = ":".join(_SYNONYMS.get(part, part) for part in where.lower().split(":")) + at + precision
    if meant == device.lower():
        return device
    try:
        _parse(meant)
    except UnknownNameError:
        return device
    return meant


def get_backend(device: str | Backend = "auto") -> Backend:
    """Return the backend of a device.

    Parameters
    ----------
    device : str or Backend
        ``[backend:]cpu|gpu|auto[:index][@precision]``; a backend's name alone means ``name:auto``.
        A backend is returned as it is.

    Raises
    ------
    UnknownBackendError
        No such name; the message lists the known ones.
    BackendNotInstalledError
        The array library is missing; the message gives the command that installs it.
    DeviceUnavailableError
        The library finds no driver or no device of that kind.
    DeviceIndexError
        There are fewer devices of that kind.

    Examples
    --------
    >>> import xpnet
    >>> xpnet.get_backend("cpu").name
    'numpy:cpu'
    """
    if not isinstance(device, str):
        if isinstance(device, Backend):
            return device
        raise InvalidParameterError(
            f"device: expected a Backend, or a text such as 'cpu' or 'gpu:1'; received {shown(device)}."
        )
    name, kind, index, precision = _parse(device)
    if kind != "auto":
        return _create(name or DEFAULTS[kind], kind, index, precision)
    if name is None and index == 0 and not has_driver(DEFAULTS["gpu"]):  # do not import the library in vain
        return _create(DEFAULTS["cpu"], "cpu", index, precision)
    try:
        return _create(name or DEFAULTS["gpu"], "gpu", index, precision)
    except (BackendNotInstalledError, DeviceUnavailableError, DeviceIndexError) as no_gpu:
        try:
            return _create(name or DEFAULTS["cpu"], "cpu", index, precision)
        except DeviceIndexError as no_cpu:
            # If the backend has no CPU device, report the GPU error.
            wrong = no_gpu if isinstance(no_gpu, DeviceUnavailableError) else no_cpu
            raise wrong from wrong.__cause__


def backend_or_name(name: str) -> Backend | str:
    """Return what the pickle of a backend becomes: the backend, or its name on a machine without such a device.

    So a fitted estimator that was given a backend loads there, as one that was given the name does.
    """
    try:
        return get_backend(name)
    except (BackendNotInstalledError, DeviceIndexError, DeviceUnavailableError):
        return name


def kind_of(backend: Backend) -> str:
    """Return the kind of a backend's device: ``"cpu"`` or ``"gpu"``."""
    parts = backend.name.partition("@")[0].split(":")
    return next((kind for kind in DEFAULTS if kind in parts), "cpu")


@lru_cache(maxsize=64)
def flushes_subnormals(backend: Backend) -> bool:
    """Return whether a CPU backend flushes subnormal numbers to zero in its scope; the first call tries it.

    False for GPUs, which compute with subnormal numbers at full speed.
    """
    if kind_of(backend) != "cpu":
        return False
    with backend.scope("float32"):
        least = backend.asarray(np.finfo(np.float32).tiny.reshape(1))
        return bool(backend.to_numpy(least * 0.5)[0] == 0)


def probe_devices(name: str) -> Iterator[tuple[str, Backend | Exception]]:
    """Try each device of a backend; yield its name and its backend, or the error that says why it cannot be used."""
    for kind in ("cpu", "gpu"):
        for index in itertools.count():
            device = f"{name}:{kind}:{index}" if index else f"{name}:{kind}"
            try:
                yield device, get_backend(device)
            except DeviceIndexError:
                break
            except DeviceUnavailableError as exc:
                yield device, exc
                break
            except BackendNotInstalledError as exc:
                yield name, exc
                return


def _numbered(name: str, device: Any) -> Iterator[Backend]:
    """Yield the backends of the devices that have the number of a library's device object."""
    numbers = (getattr(device, attribute, None) for attribute in ("id", "index"))
    index = next((number for number in numbers if isinstance(number, int)), 0)
    for kind in ("cpu", "gpu"):
        with suppress(DeviceIndexError, DeviceUnavailableError, BackendNotInstalledError):
            yield get_backend(f"{name}:{kind}:{index}")


def backend_of(array: Any) -> Backend:
    """Return the backend on whose device an array lies, so that it is trained there.

    Raises
    ------
    InvalidParameterError
        The array's library or device has no backend.
    """
    module = type(array).__module__.partition(".")[0]
    for name, entry in BUILTIN.items():
        if module in (entry.library, *entry.array_modules):
            where = array_api_compat.device(array)
            # Its own number first: the first use of a GPU takes time and memory on it.
            for backend in itertools.chain(_numbered(name, where), (backend for _, backend in probe_devices(name))):
                if not isinstance(backend, Exception) and backend.device == where:
                    return backend
    raise InvalidParameterError(
        f"no backend for this array: expected an array of one of {', '.join(BUILTIN)}; "
        f"received {type(array).__module__}.{type(array).__qualname__}. Convert it with numpy.asarray."
    )


def to_host(array: Any) -> np.ndarray:
    """Bring an array of any library, from whatever device it lies on, to the host; NumPy's own is returned as it is."""
    return array if isinstance(array, np.ndarray) else backend_of(array).to_numpy(array)


def dtype_name(array: Array) -> str:
    """Return the standard's name of an array's dtype, of whatever library: ``"float32"``."""
    return _numpy_name(array.dtype) if isinstance(array, np.ndarray) else str(array.dtype).rpartition(".")[2]


@lru_cache(maxsize=64)
def _numpy_name(dtype: np.dtype[Any]) -> str:  # NumPy takes as long to make it as for a product of small matrices
    return str(dtype)
