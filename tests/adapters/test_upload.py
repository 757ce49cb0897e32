"""Rows of host arrays that come to a GPU while it works, on the double of CuPy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests import cuda_double
from tests.cuda_double.runtime import state
from xpnet.backend import Backend, get_backend

X = np.random.default_rng(0).standard_normal((40, 3)).astype(np.float32)


@pytest.fixture
def gpu() -> Iterator[Backend]:
    with cuda_double.installed():
        backend = get_backend("cupy:gpu:1")
        with backend.scope("float32"):
            yield backend


def parts() -> list[np.ndarray]:
    """Return rows of many sizes: the third is larger than the memory of the first."""
    rng = np.random.default_rng(1)
    return [rng.permutation(40)[:n].astype(np.int32) for n in (5, 8, 13, 7, 13, 2)]


def test_rows_by_indices_and_by_slices(gpu: Backend) -> None:
    slices = [slice(0, 0), slice(0, 7), slice(7, 40), slice(7, 7), slice(None), slice(39, 60)]
    for rows in (parts(), slices):
        found = [gpu.to_numpy(part) for part in gpu.upload((X, each) for each in rows)]
        for part, each in zip(found, rows, strict=True):
            np.testing.assert_array_equal(part, X[each], strict=True)


def test_arrays_of_any_kind(gpu: Backend) -> None:
    arrays = [(X * 50).astype(np.uint8), X, X.astype(np.float64)[::-1], np.asfortranarray(X), np.arange(40)]
    for array, part in zip(arrays, gpu.upload((array, slice(3, 9)) for array in arrays), strict=True):
        np.testing.assert_array_equal(gpu.to_numpy(part), array[3:9], strict=True)


def test_the_host_does_not_wait_for_the_work_on_a_part(gpu: Backend) -> None:
    """The work is read at the end only. A copy that overtakes it, or pinned memory that is filled early, changes it."""
    import cupy

    total, waits, current = gpu.xp.zeros(3, dtype=np.float32), state.waits, cupy.cuda.get_current_stream()
    rows = [np.arange(5 * i, 5 * i + 5, dtype=np.int32) for i in range(8)]
    done = [2**31, 2**31]  # the place of the work on a part in its stream
    for part in gpu.upload((X, each) for each in rows):
        assert state.host.get(current, 0) < done[-2]  # the host may be two parts ahead
        total += gpu.xp.sum(part, axis=0)
        done.append(current.clock[current])
    assert state.waits - waits == len(rows) + 1  # for copies from pinned memory
    np.testing.assert_allclose(gpu.to_numpy(total), X.sum(axis=0), rtol=1e-5, atol=1e-5)


def test_work_on_a_stream_of_its_own(gpu: Backend) -> None:
    import cupy

    own, current = cupy.cuda.Stream(non_blocking=True), cupy.cuda.get_current_stream()
    total = gpu.xp.zeros(3, dtype=np.float32)
    for part in gpu.upload((X, each) for each in parts()):
        own.wait_event(current.record())
        with own:
            total += gpu.xp.sum(part, axis=0)
        current.wait_event(own.record())
    np.testing.assert_allclose(gpu.to_numpy(total), sum(X[each].sum(axis=0) for each in parts()), rtol=1e-5, atol=1e-5)


def test_memory_is_bounded_and_given_back(gpu: Backend) -> None:
    before, most = state.used(1), 0
    for _part in gpu.upload((X, slice(i, i + 4)) for i in range(0, 40, 4)):
        most = max(most, state.used(1) - before)
    assert most == 2 * X[:4].nbytes
    del _part
    assert state.used(1) == before


def test_one_that_is_left_early(gpu: Backend) -> None:
    uploaded: Any = gpu.upload((X, each) for each in parts())
    next(uploaded), next(uploaded)
    uploaded.close()
    assert not state.copies


def test_a_large_array_is_copied_without_pinned_memory(gpu: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    import cupy

    monkeypatch.setattr("xpnet_backends.cuda.upload._LARGEST_PINNED", X.nbytes - 1)
    monkeypatch.setattr(cupy, "asarray", None)
    waits = state.waits
    array = gpu.asarray(X)
    assert state.waits == waits + 1  # until then the copy may read the host array
    np.testing.assert_array_equal(gpu.to_numpy(array), X, strict=True)
