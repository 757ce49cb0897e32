"""The `Backend` protocol: what the trainer asks of an array library."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, runtime_checkable

import numpy as np

from xpnet.backend.steps import REFERENCE, Array, Kernels, RunSteps, Step, run_steps
from xpnet.errors import DeviceIndexError, InvalidParameterError

__all__ = ["Backend", "check_index"]


@runtime_checkable
class Backend(Protocol):
    """One array library on one device; an adapter derives from it and overrides what differs.

    Attributes
    ----------
    name : str
        The device in full, as the grammar writes it: ``"numpy:cpu"``, ``"torch:gpu:1"``.
    xp : namespace
        The library's namespace, conforming to the array API standard.
    device : object
        The library's own device object, as ``xp.asarray(..., device=device)`` takes it.
    kernels : Kernels
        The composite operations of a training step; the reference unless the adapter has faster ones.
    precision : {"float32", "tf32", "bf16"}
        What the factors of float32 products are rounded to in training; float64 stays as it is.
    """

    name: str
    xp: Any
    device: Any
    kernels: Kernels = REFERENCE
    precision: str = "float32"

    def __hash__(self) -> int:
        return id(self)  # there is one of each device

    def __deepcopy__(self, memo: Any) -> Backend:
        return self

    def __reduce__(self) -> Any:
        from xpnet.backend.devices import get_backend  # which makes backends

        return get_backend, (self.name,)

    def asarray(self, host: np.ndarray) -> Array:
        """Bring a host array to the device, with its dtype; it may share memory with `host`."""
        return self.xp.asarray(host, device=self.device)

    def to_numpy(self, array: Array) -> np.ndarray:
        """Bring an array to the host."""
        return np.asarray(array)

    def compile(self, step: Step, n_steps: int = 1) -> RunSteps:
        """Turn one step into a run of steps, the only place where backends differ in control flow.

        `n_steps` is how many there will be in all, to tell whether it pays to compile.
        """

        def run(params: Array, state: Any, data: tuple[Array, ...], order: Array) -> tuple[Array, Any, Array]:
            return run_steps(self.xp, step, params, state, data, order)

        return run

    def scope(self, dtype: str) -> AbstractContextManager[Any]:
        """Return the context in which all work of this backend with `dtype` is done."""
        return nullcontext()

    def set_precision(self, precision: str) -> None:
        """Take a precision other than float32, before any work is done; an adapter that has none refuses, as here."""
        raise InvalidParameterError(f"precision: expected float32, for {self.name} has no other; received {precision}.")


def check_index(name: str, kind: str, index: int, count: int) -> None:
    """Raise if a device index is not below the count of devices; adapters call it."""
    if index >= count:
        raise DeviceIndexError(
            f"no device {name}:{kind}:{index}: expected "
            + (f"an index below {count}, the number of such devices" if count else f"another kind than {kind}")
            + f"; received {index if count else kind}. Run `xpnet devices` to see what there is."
        )
