"""The operations of backpropagation on every backend, against NumPy in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from xpnet.nn.activations import ACTIVATIONS, get_activation
from xpnet.nn.backprop import dense, dense_backward
from xpnet.nn.losses import get_loss

_rng = np.random.default_rng(6)


def _normal(*shape: int) -> np.ndarray:
    return _rng.standard_normal(shape).astype("float32").astype("float64")


def _slope(name: str, batch: int, units: int) -> Any:
    f = get_activation(name)
    if f.slope is None:
        return None
    return np.abs(_normal(units)) if f.learned else np.abs(_normal(batch, units)) if f.slope_range else f.slope


def _dense_inputs(batch: int, n_in: int, units: int) -> Iterator[tuple[Any, ...]]:
    for name in ACTIVATIONS:
        slope = _slope(name, batch, units)
        yield get_activation(name), _normal(batch, n_in), _normal(n_in, units), _normal(units), slope


def _dense_backward_inputs(batch: int, n_in: int, units: int) -> Iterator[tuple[Any, ...]]:
    for name in ACTIVATIONS:
        f, slope, z = get_activation(name), _slope(name, batch, units), _normal(batch, units)
        saved = f.function(np, z, slope).astype("float32").astype("float64") if f.from_output else z
        yield f, _normal(batch, n_in), saved, slope, _normal(batch, units)


def _softmax_inputs(batch: int, n_in: int, units: int) -> Iterator[tuple[Any, ...]]:
    yield _normal(batch, units), np.eye(units)[_rng.integers(0, units, batch)]
    yield 100 * _normal(batch, units), np.full((batch, units), 1 / units).astype("float32").astype("float64")


OPERATIONS: dict[str, tuple[Callable[..., tuple[Any, ...]], Callable[[int, int, int], Iterator[tuple[Any, ...]]]]] = {
    "dense": (dense, _dense_inputs),
    "dense_backward": (dense_backward, _dense_backward_inputs),
    "cross_entropy": (get_loss("cross_entropy").value_and_gradient, _softmax_inputs),
}


@pytest.mark.parametrize("shape", [(5, 7, 3), (1, 1, 2), (64, 33, 17)], ids=str)
@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_agree_with_numpy(name: str, shape: Any, backend: Any, put: Any, close: Any) -> None:
    operation, inputs = OPERATIONS[name]
    for arguments in inputs(*shape):
        expected = operation(np, *arguments)
        on_device = [put(a) if isinstance(a, np.ndarray) else a for a in arguments]
        actual = operation(backend.xp, *on_device)
        assert len(actual) == len(expected)
        for one, other in zip(actual, expected, strict=True):
            scale = max(1.0, float(np.max(np.abs(other))))
            close(one / scale, other / scale, terms=4 * max(shape))
        for argument, array in zip(arguments, on_device, strict=True):
            if isinstance(argument, np.ndarray):  # none of its arguments is written
                np.testing.assert_array_equal(backend.to_numpy(array), argument.astype(backend.to_numpy(array).dtype))
