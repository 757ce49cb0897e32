"""Pure functions of NumPy arrays, compiled for each set of shapes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np

from xpnet.backend import arrays_in
from xpnet_backends.compiler.numpy_codegen import NumpyProgram
from xpnet_backends.compiler.ops import UntraceableError
from xpnet_backends.compiler.trace import trace_function

__all__ = ["HostFunction"]

# With more elements in its arguments a function spends its time in NumPy anyway, and a program would copy them and keep
# all its values.
_FEW = 1 << 19
_PROGRAMS = 4  # kept for the shapes that came last

_Program = tuple[NumpyProgram, list[np.ndarray]] | None


@dataclass
class HostFunction:
    """A function that runs without Python between NumPy's calls if its arguments are small and it can be traced.

    Attributes
    ----------
    function : callable
        It takes arrays and nested tuples of arrays, and returns a tuple of arrays.
    matmul : callable
        The matrix product, ``matmul(a, b, out)``.
    """

    function: Callable[..., tuple[Any, ...]]
    matmul: Callable[..., Any] = np.matmul
    _programs: dict[Any, _Program] = field(default_factory=dict)
    _lock: Any = field(default_factory=Lock)

    def __call__(self, *arguments: Any) -> tuple[np.ndarray, ...]:
        """Return the results in new arrays."""
        arrays = arrays_in(arguments)
        if sum([array.size for array in arrays]) > _FEW:
            return self.function(*arguments)
        key = tuple([(array.shape, array.dtype) for array in arrays])
        with self._lock:  # several threads may train the same network, and a program has one set of arrays
            if key not in self._programs:
                if len(self._programs) == _PROGRAMS:
                    del self._programs[next(iter(self._programs))]
                self._programs[key] = self._compiled(arguments)
            found = self._programs[key]
            if found is not None:
                program, results = found
                program.call(arrays)
                return tuple([result.copy() for result in results])
        return self.function(*arguments)

    def _compiled(self, arguments: tuple[Any, ...]) -> _Program:
        try:
            program = trace_function(self.function, arguments)
        except UntraceableError:
            return None
        if sum(instruction.out.size for instruction in program.instructions) > _FEW:
            return None
        results = [np.empty(value.shape, value.dtype) for value in program.state]
        return NumpyProgram(program, results, self.matmul), results
