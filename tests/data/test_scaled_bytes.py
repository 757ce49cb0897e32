"""Bytes that a step scales: their numbers are those of the scaling on the host, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from xpnet.data.scaled_bytes import scaled_bytes
from xpnet.data.scaling import fit_scaler
from xpnet.nn.step import to_floats

X = np.arange(256, dtype=np.uint8).reshape(-1, 1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("divisor", [*range(1, 300, 7), 255, 1.5, 65537, 2.0**63])
def test_every_byte_by_many_divisors(divisor: float, dtype: str) -> None:
    scaler = fit_scaler(f"divide:{divisor}", X)
    kept = scaled_bytes(X, scaler, dtype)
    assert kept is not None
    assert kept.values is X
    np.testing.assert_array_equal(
        to_floats(np, X, np.dtype(dtype), kept.divisor), scaler.transform(X, dtype), strict=True
    )


def test_bytes_that_are_not_scaled() -> None:
    for scaler in (None, fit_scaler("none", X)):
        assert scaled_bytes(X, scaler, "float32") == (X, 1.0)


@pytest.mark.parametrize("scale", ["standard", "minmax", "robust", "divide:0.5", "divide:0.1", "divide:1e30"])
def test_a_scaling_that_rounds_otherwise_in_a_step(scale: str) -> None:
    assert scaled_bytes(X, fit_scaler(scale, X), "float32") is None


def test_a_divisor_that_only_the_wider_type_holds() -> None:
    scaler = fit_scaler("divide:16777217", X)
    assert scaled_bytes(X, scaler, "float32") is None
    assert scaled_bytes(X, scaler, "float64") == (X, 16777217)


@pytest.mark.parametrize("dtype", ["int8", "uint16", "int64", "float32", "bool"])
def test_other_types_are_not_kept(dtype: str) -> None:
    assert scaled_bytes(X.astype(dtype), None, "float32") is None
