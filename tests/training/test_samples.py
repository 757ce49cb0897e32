"""The order of batches, and data as the step takes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import sparse

import xpnet.training.step_chunks
from xpnet.backend import Backend, get_backend
from xpnet.errors import DataError, InvalidParameterError, XpnetWarning
from xpnet.nn.network import Network
from xpnet.training.batch_source import epoch_order
from xpnet.training.sample_weights import add_sample_weights
from xpnet.training.samples import Samples, to_samples
from xpnet.training.step_chunks import step_chunks

NETWORK = Network([4, 3])
X = np.random.default_rng(0).standard_normal((7, 4))
Y = np.asarray([0, 1, 2, 2, 2, 1, 2])


def orders(n: int, batch_size: int, seed: int = 0, epoch: int = 0, position: int = 0) -> list[np.ndarray]:
    samples = Samples(np.zeros((n, 4)), np.zeros(n, dtype=np.int32))
    order = epoch_order(seed, True, epoch, n)
    return [chunk.rows for chunk in step_chunks(NETWORK, get_backend("cpu"), samples, order, batch_size, position)]


@pytest.mark.parametrize(("n", "batch_size"), [(23, 5), (20, 5), (23, 1), (23, 23), (3, 2), (1, 1)])
@pytest.mark.parametrize("steps_per_chunk", [1, 3, 1000])
def test_each_sample_is_visited_once_an_epoch(
    n: int, batch_size: int, steps_per_chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xpnet.training.step_chunks, "_STEPS_PER_CHUNK", steps_per_chunk)
    chunks = orders(n, batch_size)
    assert sorted(np.concatenate([chunk.ravel() for chunk in chunks])) == list(range(n))
    widths = [len(row) for chunk in chunks for row in chunk]
    assert widths == [batch_size] * (n // batch_size) + [n % batch_size] * (n % batch_size > 0)
    assert max(len(chunk) for chunk in chunks) <= steps_per_chunk
    assert all(chunk.dtype == np.int32 for chunk in chunks)


def test_the_order_follows_from_the_seed_and_the_epoch() -> None:
    def order(seed: int, epoch: int) -> bytes:
        return np.concatenate([chunk.ravel() for chunk in orders(40, 7, seed, epoch)]).tobytes()

    assert order(1, 2) == order(1, 2)
    assert len({order(seed, epoch) for seed in (1, 2) for epoch in (1, 2)}) == 4
    assert order(1, 0) != np.arange(40, dtype=np.int32).tobytes()


def test_the_order_is_the_documented_one() -> None:
    # Written out, for a saved run goes on with it.
    expected = np.random.default_rng(np.random.SeedSequence(3, spawn_key=(1, 1))).permutation(10)
    np.testing.assert_array_equal(np.concatenate([p.ravel() for p in orders(10, 4, 3, 1)]), expected)


def test_without_shuffling_the_order_is_the_samples_own() -> None:
    np.testing.assert_array_equal(epoch_order(3, False, 1, 5), np.arange(5, dtype=np.int32), strict=True)


@pytest.mark.parametrize("n", [23, 20])
def test_from_a_position_on(n: int) -> None:
    rows = [row.tolist() for chunk in orders(n, 5) for row in chunk]
    for position in range(len(rows) + 1):
        assert [row.tolist() for chunk in orders(n, 5, position=position) for row in chunk] == rows[position:]


def test_a_chunk_is_short_for_a_large_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xpnet.training.step_chunks, "_OPERATIONS_PER_CHUNK", 6 * NETWORK.n_weights * 5 * 2.5)
    assert [len(chunk) for chunk in orders(50, 5)] == [2, 2, 2, 2, 2]
    monkeypatch.setattr(xpnet.training.step_chunks, "_OPERATIONS_PER_CHUNK", 1)
    assert [len(chunk) for chunk in orders(50, 5)] == [1] * 10


@pytest.mark.parametrize("elements", [1, 2 * 2 * 4, 1 << 24])
def test_chunks_of_sparse_inputs_are_those_of_dense_ones(
    elements: int, backend: Backend, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xpnet.training.step_chunks, "_UPLOADED_ELEMENTS", elements)
    held = to_samples(NETWORK, backend, dtype, sparse.csr_matrix(X), Y)
    held = add_sample_weights(NETWORK, backend, dtype, held, sample_weight=range(7))
    order = epoch_order(0, True, 0, 7)
    for position in range(4):  # of three full steps and a short one
        taken = []
        for data, rows, _ in step_chunks(NETWORK, backend, held, order, 2, position):
            assert rows.shape[0] * rows.shape[1] * 4 <= max(elements, 2 * 4)
            taken += [[backend.to_numpy(a)[row] for a in data] for row in backend.to_numpy(rows)]
        rows_left = [order[start : start + 2] for start in range(2 * position, 7, 2)]
        for (x, y, weight), row in zip(taken, rows_left, strict=True):
            np.testing.assert_array_equal(x, X[row].astype(dtype), strict=True)
            np.testing.assert_array_equal(y, Y[row])
            np.testing.assert_array_equal(weight, row)


def test_data_on_the_device(backend: Backend, dtype: str, put: Any) -> None:
    for x, y in ((X, Y), (X.tolist(), Y.tolist()), (put(X), put(Y)), (X.astype("float32"), Y.astype("uint8"))):
        samples = to_samples(NETWORK, backend, dtype, x, y)
        assert [type(a) for a in samples.arrays] == [type(put(X)), type(put(Y))]
        np.testing.assert_allclose(backend.to_numpy(samples.x), X, rtol=1e-6)
        np.testing.assert_array_equal(backend.to_numpy(samples.y), Y)
        assert (backend.to_numpy(samples.x).dtype, backend.to_numpy(samples.y).dtype) == (dtype, "int32")
    values = to_samples(NETWORK, backend, dtype, X, np.eye(3, dtype=bool)[[0, 1, 2, 0, 1, 2, 0]])
    assert backend.to_numpy(values.y).dtype == dtype
    column = to_samples(Network([4, 1], loss="huber"), backend, dtype, X, X[:, 0])
    assert column.y.shape == (7, 1)


def test_what_lies_right_is_not_copied() -> None:
    x, y = X.copy(), Y.astype("int32")
    samples = to_samples(NETWORK, get_backend("cpu"), "float64", x, y)
    assert np.shares_memory(samples.x, x)
    assert np.shares_memory(samples.y, y)


def weights(**options: Any) -> np.ndarray | None:
    return add_sample_weights(NETWORK, get_backend("cpu"), "float64", Samples(X, Y), **options).sample_weight


def test_weights() -> None:
    assert weights() is None
    assert len(Samples(X, Y).arrays) == 2
    np.testing.assert_allclose(weights(class_weight="balanced"), np.asarray([7 / 3, 7 / 6, 7 / 12])[Y])
    np.testing.assert_allclose(weights(class_weight={2: 0.5}), np.asarray([1, 1, 0.5])[Y])
    np.testing.assert_allclose(
        weights(sample_weight=range(7), class_weight={2: 0.5}), np.arange(7) * [1, 1, *[0.5] * 3, 1, 0.5]
    )


def test_balanced_weights_of_the_classes_that_are_there() -> None:
    samples = Samples(X, np.asarray([0, 0, 0, 0, 0, 2, 2]))
    weight = add_sample_weights(NETWORK, get_backend("cpu"), "float64", samples, class_weight="balanced").sample_weight
    np.testing.assert_allclose(weight, [0.7] * 5 + [1.75] * 2)
    assert weight.sum() == pytest.approx(7)


REGRESSION = Network([4, 1], loss="squared_error")


@pytest.mark.parametrize("checked", [False, True])
def test_numbers_that_the_type_of_a_run_cannot_hold(checked: bool) -> None:
    backend, y = get_backend("cpu"), X[:, 0]
    for x, targets, what in ((X * 1e39, y, "features"), (X, y * 1e39, "targets")):
        assert np.isfinite(to_samples(REGRESSION, backend, "float64", x, targets).y).all()
        with pytest.raises(DataError, match=f"{what}: expected numbers that float32 can hold"):
            to_samples(REGRESSION, backend, "float32", x, targets, checked=checked)
    with pytest.raises(DataError, match="weights: expected numbers that float32 can hold"):
        add_sample_weights(NETWORK, backend, "float32", Samples(X, Y), sample_weight=np.full(7, 1e39))


def test_numbers_that_are_one_number_in_the_type_of_a_run() -> None:
    backend, y = get_backend("cpu"), X[:, 0]
    for x, targets, what in ((X + np.eye(4)[2] * 1e9, y, "column 3"), (X, y + 1e9, "column 1")):
        to_samples(REGRESSION, backend, "float64", x, targets)
        with pytest.warns(XpnetWarning, match=rf"{what}, .* are one number in float32"):
            to_samples(REGRESSION, backend, "float32", x, targets)


def test_text_is_no_target_of_a_network() -> None:
    with pytest.raises(DataError, match=r"expected numbers or class indices; received text such as '0\.125"):
        to_samples(REGRESSION, get_backend("cpu"), "float32", X, X[:, 0].astype(str))


@pytest.mark.parametrize("given", [{"sample_weight": np.zeros(7)}, {"class_weight": {0: 0, 1: 0, 2: 0}}])
@pytest.mark.parametrize("factor", [0, 1e-60])
def test_some_weight_is_above_0(given: Any, factor: float) -> None:
    weight = np.full(7, factor)
    for options in (given, {"sample_weight": weight}):
        with pytest.raises(InvalidParameterError, match="weights: expected at least one above 0; received none"):
            add_sample_weights(NETWORK, get_backend("cpu"), "float32", Samples(X, Y), **options)


@pytest.mark.parametrize("weight", [["1"] * 7, np.ones(7) + 1j, [10**400] * 7])
def test_weights_are_numbers(weight: Any) -> None:
    with pytest.raises(InvalidParameterError, match="sample_weight: expected numbers; received"):
        weights(sample_weight=weight)
