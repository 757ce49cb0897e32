"""Scaling of features and targets."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from xpnet.data import row_sample
from xpnet.data.scaling import Moments, add_for_scaler, fit_scaler, scaler_from_moments
from xpnet.errors import DataError, InvalidParameterError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 3))


@pytest.mark.parametrize("spec", ["none", "standard", "minmax", "divide:16"])
@given(x=hnp.arrays(np.float64, st.tuples(st.integers(1, 8), st.integers(1, 4)), elements=st.floats(-1e6, 1e6)))
@settings(deadline=None, max_examples=50)
def test_scaling_is_undone_by_its_inverse(spec, x):
    scaler = fit_scaler(spec, x)
    assert scaler.kind == spec.partition(":")[0]
    assert scaler.shift.dtype == scaler.scale.dtype == np.float64
    assert scaler.shift.shape == scaler.scale.shape == (x.shape[1],)
    z = scaler.transform(x, "float64")
    np.testing.assert_allclose(scaler.inverse(z), x, rtol=1e-12, atol=1e-12 * (1 + np.abs(x).max()))
    np.testing.assert_array_equal(z, (x - scaler.shift) / scaler.scale)


def test_what_each_scaling_does():
    x = RNG.normal(3, 5, size=(2000, 600))
    x[:, 1] = 0.1
    z = fit_scaler("standard", x).transform(x, "float64")
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(np.delete(z.std(axis=0), 1), 1, rtol=1e-12)
    z = fit_scaler("minmax", x).transform(x, "float64")
    assert np.delete(z.min(axis=0), 1).tolist() == [0] * 599
    assert np.delete(z.max(axis=0), 1).tolist() == [1] * 599
    np.testing.assert_allclose(fit_scaler("divide:16", x).transform(x, "float64"), x / 16)
    np.testing.assert_array_equal(fit_scaler("none", x).transform(x, "float64"), x)


@pytest.mark.parametrize("spec", ["standard", "minmax"])
def test_a_constant_column_has_scale_one(spec):
    scaler = fit_scaler(spec, np.full((1000, 1), 0.1))
    assert scaler.scale.tolist() == [1.0]
    assert abs(scaler.transform(np.array([[0.1]]), "float64")[0, 0]) < 1e-12


def test_large_offsets_keep_their_digits_in_float32():
    x = 1e9 + np.arange(4.0)[:, None]
    z = fit_scaler("minmax", x).transform(x, np.float32)
    assert z.dtype == np.float32
    np.testing.assert_allclose(z[:, 0], [0, 1 / 3, 2 / 3, 1], rtol=1e-6)


@pytest.mark.parametrize("spec", ["none", "standard", "minmax", "divide:255"])
def test_images_are_scaled_without_a_float64_copy(spec):
    x = RNG.integers(0, 256, size=(20000, 784), dtype=np.uint8)
    before = x.copy()
    scaler = fit_scaler(spec, x)
    tracemalloc.start()
    z = scaler.transform(x, np.float32)
    fit_scaler(spec, x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert z.dtype == np.float32
    assert peak < z.nbytes + 40 * 2**20
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize(
    "spec",
    [
        "",
        "Standard",
        "standart",
        "standard:2",
        "none:",
        "divide",
        "divide:",
        "divide:0",
        "divide:-1",
        "divide:nan",
        "divide:inf",
        "divide:x",
    ],
)
def test_unknown_scalings(spec):
    with pytest.raises(InvalidParameterError) as caught:
        fit_scaler(spec, X)
    assert "expected" in str(caught.value)
    assert repr(spec) in str(caught.value)


def test_scaling_refuses_what_it_cannot_represent():
    with pytest.raises(DataError, match="column 2 is too large"):
        fit_scaler("standard", np.array([[0.0, 1e308], [0.0, -1e308]]))
    with pytest.raises(DataError, match=r"float32 can hold; received 1e\+300 in column 1, row 2"):
        fit_scaler("none", X[:, :1]).transform(np.array([[0.0], [1e300]]), "float32")
    scaler = fit_scaler("standard", X)
    for use in (lambda x: scaler.transform(x, "float64"), scaler.inverse):
        with pytest.raises(DataError, match=r"expected shape \(n_samples, 3\); received \(12, 2\)"):
            use(X[:, :2])
    with pytest.raises(DataError, match=r"received \(0, 3\)"):
        fit_scaler("standard", X[:0])


# The half of the smallest subnormal number is 0.
NORMAL = st.floats(-1e6, 1e6, allow_subnormal=False)


@given(x=hnp.arrays(np.float64, st.tuples(st.integers(1, 9), st.integers(1, 4)), elements=NORMAL))
@settings(deadline=None, max_examples=50)
def test_robust_scaling_is_by_quartiles_with_a_smooth_clip(x):
    scaler = fit_scaler("robust", x)
    low, q25, median, q75, high = np.percentile(x, [0, 25, 50, 75, 100], axis=0)
    iqr = np.where(q75 > q25, q75 - q25, (high - low) / 2)
    np.testing.assert_allclose(scaler.shift, median, rtol=1e-12)
    np.testing.assert_allclose(scaler.scale, np.where(iqr > 0, iqr, 1), rtol=1e-12)
    z = scaler.transform(x, "float64")
    exact = (x - scaler.shift) / scaler.scale
    np.testing.assert_allclose(z, exact / np.hypot(1, exact / 3), rtol=1e-12, atol=1e-12)
    assert np.abs(z).max() <= 3
    mild = np.abs(exact) < 30
    np.testing.assert_allclose(
        np.where(mild, scaler.inverse(np.where(mild, z, 0)), 0), np.where(mild, x, 0), rtol=1e-9, atol=1e-6
    )


def test_robust_scaling_leaves_missing_values_out():
    x = np.array([[1.0, np.nan, 5.0], [3.0, np.nan, 5.0], [np.nan, np.nan, 5.0], [2.0, np.nan, 6.0]])
    scaler = fit_scaler("robust", x)
    assert scaler.shift.tolist() == [2, 0, 5]
    assert scaler.scale.tolist() == [1, 1, 0.25]


def test_robust_scaling_of_many_rows_is_fitted_to_every_kth_row(monkeypatch):
    monkeypatch.setattr(row_sample, "_MAX_ROWS", 64)
    monkeypatch.setattr(row_sample, "_MIN_ROWS", 64)
    x = RNG.normal(size=(1000, 3))
    scaler, every = fit_scaler("robust", x), fit_scaler("robust", x[::16])
    assert scaler.shift.tolist() == every.shift.tolist()
    for cut in (1, 7, 64, 333):
        moments = Moments(3)
        for start in range(0, 1000, cut):
            add_for_scaler("robust", moments, x[start : start + cut])
        assert scaler_from_moments("robust", moments).scale.tolist() == every.scale.tolist()
        assert len(moments.sample.rows()) == 63
