"""What the PyTorch adapter does in array_api_compat's stead: the same results, with fewer operations on the device."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from array_api_compat import torch as compat  # noqa: E402

from xpnet.backend import get_backend  # noqa: E402

X = torch.asarray([[-1.5, float("nan")], [float("inf"), 2.0], [-float("inf"), -0.0]])


@pytest.fixture
def xp():
    return get_backend("torch:cpu").xp


@pytest.mark.parametrize("name", ["maximum", "minimum"])
@pytest.mark.parametrize("other", [0.0, 1, torch.asarray(0.5), torch.asarray([0.5, -2.0])])
def test_extremes_are_those_of_the_standard(xp, name, other):
    result = getattr(xp, name)(X, other)
    assert result.dtype == X.dtype
    np.testing.assert_array_equal(result, getattr(compat, name)(X, other))


@pytest.mark.parametrize("axis", [0, 1])
def test_take_is_that_of_the_standard(xp, axis):
    indices = torch.asarray([1, 0, 1], dtype=torch.int32)
    np.testing.assert_array_equal(xp.take(X, indices, axis=axis), compat.take(X, indices, axis=axis))


@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_no_tensor_is_made_of_a_scalar(xp, name, monkeypatch):
    for maker in ("asarray", "tensor", "as_tensor"):
        monkeypatch.delattr(torch, maker)
    assert getattr(xp, name)(X, 0.0).shape == X.shape


def test_all_else_is_array_api_compats(xp):
    assert xp.float32 is torch.float32
    assert xp.sum is compat.sum
    assert "float64" in xp.__array_namespace_info__().dtypes(kind="real floating")
