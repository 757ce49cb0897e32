"""Backends: array libraries on devices, what the trainer asks of them, and how they are found."""

from xpnet.backend.array import NUMPY, Array, Namespace, Rows, namespace_of
from xpnet.backend.devices import (
    PRECISIONS,
    backend_of,
    dtype_name,
    flushes_subnormals,
    get_backend,
    kind_of,
    probe_devices,
    to_host,
    without_float_warnings,
)
from xpnet.backend.nested import arrays_in, map_arrays
from xpnet.backend.protocol import Backend, check_index
from xpnet.backend.registry import list_backends
from xpnet.backend.steps import RunSteps, Step, run_steps

__all__ = [
    "NUMPY",
    "PRECISIONS",
    "Array",
    "Backend",
    "Namespace",
    "Rows",
    "RunSteps",
    "Step",
    "arrays_in",
    "backend_of",
    "check_index",
    "dtype_name",
    "flushes_subnormals",
    "get_backend",
    "kind_of",
    "list_backends",
    "map_arrays",
    "namespace_of",
    "probe_devices",
    "run_steps",
    "to_host",
    "without_float_warnings",
]
