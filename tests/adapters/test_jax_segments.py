"""Vectors in segments: the same numbers as vectors, and no join within a compiled run of steps."""

import numpy as np
import pytest

from xpnet.backend import get_backend
from xpnet.nn.network import Network
from xpnet.nn.optimizers import OPTIMIZERS, get_optimizer
from xpnet.nn.step import init_state, make_step

jax = pytest.importorskip("jax")
import jax.numpy as jnp  # noqa: E402

from xpnet_backends.jax_segments import XP, SegmentedVector, split_like  # noqa: E402

A, B = np.arange(1.0, 4, dtype=np.float32), np.asarray([-5, 6], dtype=np.float32)
WHOLE = np.concatenate([A, B])
OTHER = np.asarray([2, 1, 4, 3, 5], dtype=np.float32)


def segments():
    return SegmentedVector([jnp.asarray(A), jnp.asarray(B)])


@pytest.mark.parametrize(
    "function",
    [
        lambda v, w: v + w,
        lambda v, w: w - v,
        lambda v, w: 2.0 * v / w,
        lambda v, w: (1 - v) * np.float32(0.5),
        lambda v, w: 1 / -v,
        lambda v, w: XP.sqrt(XP.abs(v)) + XP.sign(v),
        lambda v, w: XP.maximum(v, 0.0) + XP.minimum(v, w) + XP.zeros_like(v),
    ],
)
def test_an_elementwise_function_of_pieces_stays_in_pieces(function):
    result = function(segments(), jnp.asarray(OTHER))
    assert isinstance(result, SegmentedVector)
    assert result.sizes == (3, 2)
    np.testing.assert_allclose(result.joined(), function(jnp.asarray(WHOLE), jnp.asarray(OTHER)), rtol=1e-6)


def test_sum_and_maximum_are_those_of_the_vector():
    assert float(XP.sum(segments())) == WHOLE.sum()
    assert float(XP.max(segments())) == WHOLE.max()
    assert float(XP.sum(jnp.asarray(WHOLE))) == WHOLE.sum()


@pytest.mark.parametrize("key", [slice(0, 3), slice(3, 5), slice(None), slice(None, 3), slice(1, 4)])
def test_a_slice_is_that_of_the_vector(key):
    result = segments()[key]
    np.testing.assert_array_equal(result.joined() if isinstance(result, SegmentedVector) else result, WHOLE[key])


def test_a_vector_is_cut_and_joined_as_another_one_is():
    whole, cut = jnp.asarray(WHOLE), segments()
    assert split_like(whole, cut).sizes == (3, 2)
    assert split_like(cut, cut) is cut
    assert split_like(SegmentedVector([whole]), cut).sizes == (3, 2)
    np.testing.assert_array_equal(split_like(cut, whole), WHOLE)
    assert split_like(whole, whole) is whole


def test_only_vectors_that_are_traced_stay_in_pieces():
    assert isinstance(XP.concat([A, B]), jax.Array)
    assert XP.concat([jnp.ones((1, 2)), jnp.ones((1, 2))], axis=1).shape == (1, 4)
    seen = []
    jax.jit(lambda a, b: seen.append(XP.concat([a, b])))(A, B)
    assert isinstance(seen[0], SegmentedVector)
    assert seen[0].shape == WHOLE.shape
    assert seen[0].dtype == WHOLE.dtype


def primitives(jaxpr):
    """Names of the operations in the scan's body, and in what it calls."""
    for equation in jaxpr.eqns:
        yield equation.primitive.name
        for value in equation.params.values():
            if hasattr(value, "jaxpr"):
                yield from primitives(value.jaxpr)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_no_vector_is_joined_in_a_compiled_step(optimizer):
    backend, network = get_backend("jax:cpu"), Network((4, 3, 2), l2=0.1, l1=0.1)
    chosen = get_optimizer(optimizer)
    run = backend.compile(make_step(network, chosen, backend, clip_norm=1.0))
    with backend.scope("float32"):
        params = network.init(0, backend, "float32").vector
        state = init_state(network, chosen, params, 0, backend)
        data, order = (jnp.ones((6, 4)), jnp.zeros(6, dtype=jnp.int32)), jnp.zeros((3, 2), dtype=jnp.int32)
        jaxpr = jax.make_jaxpr(run)(params, state, data, order)
    (call,) = jaxpr.eqns
    (scan,) = [equation for equation in call.params["jaxpr"].eqns if equation.primitive.name == "scan"]
    names = set(primitives(scan.params["jaxpr"].jaxpr))
    assert "dot_general" in names
    assert "concatenate" not in names
    assert "dynamic_update_slice" not in names
