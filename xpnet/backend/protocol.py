"""The `Backend` protocol: what the trainer asks of an array library."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, Protocol, runtime_checkable

import numpy as np

from xpnet.backend.array import Array, Namespace
from xpnet.backend.steps import RunSteps, Step, run_steps
from xpnet.errors import DeviceIndexError, InvalidParameterError

__all__ = ["Backend", "check_index"]


@runtime_checkable
class Backend(Protocol):
    """One array library on one device. An adapter subclasses it and overrides the methods that differ.

    Attributes
    ----------
    name : str
        The device in full, in the grammar of `get_backend`: ``"numpy:cpu"``, ``"torch:gpu:1"``.
    xp : namespace
        The library's namespace, conforming to the array API standard.
    device : object
        The library's own device object, as ``xp.asarray(..., device=device)`` takes it.
    precision : {"float32", "tf32", "bf16"}
        Precision to which training rounds the factors of float32 products; float64 is never rounded.
    can_share : bool
        Whether several processes can train one network together, each with arrays of this library: its compiled step
        calls a communicator, which knows the arrays.
    """

    name: str
    xp: Namespace
    device: Any
    precision: str = "float32"
    can_share: bool = False

    def __hash__(self) -> int:
        return id(self)  # `get_backend` makes one object for each device

    def __deepcopy__(self, memo: Any) -> Backend:
        return self

    def __reduce__(self) -> Any:
        from xpnet.backend.devices import backend_or_name  # here, because that module imports this one

        return backend_or_name, (self.name,)

    def asarray(self, host: np.ndarray) -> Array:
        """Return a host array as an array on the device, of the same dtype; it may share memory with `host`."""
        return self.xp.asarray(host, device=self.device)

    def upload(self, parts: Iterable[tuple[np.ndarray, Any]]) -> Iterator[Array]:
        """Yield rows of host arrays on the device, ``array[rows]`` for each ``(array, rows)``; `rows` may be a slice.

        An adapter may copy a part while the device still works on the part before. An array that is yielded is valid
        until the next one is taken.
        """
        return (self.asarray(array[rows]) for array, rows in parts)

    def free_bytes(self) -> int | None:
        """Return the free memory of the device in bytes; None if it is the host's, or unknown."""
        return None

    def indices(self, host: np.ndarray) -> Array:
        """Return indices of samples, (n_steps, batch), in the form in which a run of steps takes them soonest."""
        return self.asarray(host)

    def to_numpy(self, array: Array) -> np.ndarray:
        """Return an array of the device as a NumPy array."""
        return np.asarray(array)

    def compile(self, step: Step, n_steps: int | None = 1) -> RunSteps:
        """Return a function that runs one step after another; the only place where backends differ in control flow.

        Parameters
        ----------
        step : Step
        n_steps : int or None
            Number of steps that the whole training will take, from which an adapter tells whether compiling pays; None
            if it is unknown.
        """
        return partial(run_steps, self.xp, step)

    def jit(self, function: Callable[..., Any], *, repeated: bool = False) -> Callable[..., Any]:
        """Return a pure function of arrays and nested tuples of arrays, compiled if the adapter compiles functions.

        Parameters
        ----------
        function : callable
            It returns a tuple of arrays, or, if it is not `repeated`, one array. One that is passed again is compiled
            again.
        repeated : bool
            Whether the function is called often enough for compiling to pay in any case.
        """
        return function

    def scope(self, dtype: str) -> AbstractContextManager[Any]:
        """Return the context that all work of this backend with `dtype` needs."""
        return nullcontext()

    def set_precision(self, precision: str) -> None:
        """Set a precision other than float32, before any work is done. This default refuses every one.

        Raises
        ------
        InvalidParameterError
            The device does not have this precision.
        """
        raise InvalidParameterError(
            f"precision: expected float32, the only precision of {self.name}; received {precision}."
        )


def check_index(name: str, kind: str, index: int, count: int) -> None:
    """Check that a device index is below the number of devices of that kind; adapters call this.

    Raises
    ------
    DeviceIndexError
    """
    if index >= count:
        raise DeviceIndexError(
            f"no device {name}:{kind}:{index}: expected "
            + (f"an index below {count}, the number of such devices" if count else f"another kind than {kind}")
            + f"; received {index if count else kind}. Run `xpnet devices` to list them."
        )
