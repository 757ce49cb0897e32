"""Sums of GPU arrays over ranks, on the double: ranks are threads, each with a GPU of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from tests import cuda_double
from tests.cuda_double.runtime import CUDARuntimeError
from tests.thread_ranks import RankOfMachine, ThreadCommunicator, run_ranks
from xpnet.cli.ranks import get_device
from xpnet.errors import InvalidParameterError, LibraryNotInstalledError


@pytest.fixture
def cupy() -> Iterator[Any]:
    with cuda_double.installed():
        import cupy

        yield cupy


def on_gpus(cupy: Any, function: Callable[[Any, int], Any], gpus: tuple[int, ...] = (0, 1)) -> list[Any]:
    """Return what each rank's function returns, given a sum on the rank's GPU and the rank."""
    from xpnet_backends.cuda.nccl import NcclSum

    def of_rank(ranks: ThreadCommunicator) -> Any:
        with cupy.cuda.Device(gpus[ranks.rank]):
            return function(NcclSum(ranks.rank, ranks.size, ranks.broadcast), ranks.rank)

    return run_ranks(len(gpus), of_rank)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64"])
def test_a_sum_in_place(cupy: Any, dtype: str) -> None:
    def summed(nccl: Any, rank: int) -> np.ndarray:
        array = cupy.array(np.arange(5) + 10 * rank, dtype)
        nccl(array)
        return array.get()

    for array in on_gpus(cupy, summed):
        assert array.dtype == dtype
        np.testing.assert_array_equal(array, 2 * np.arange(5) + 10)


def test_a_captured_sum_is_done_at_each_launch(cupy: Any) -> None:
    def summed(nccl: Any, rank: int) -> np.ndarray:
        array, stream = cupy.full(3, 1.0 + rank, "f4"), cupy.cuda.Stream(non_blocking=True)
        stream.wait_event(cupy.cuda.get_current_stream().record())
        with stream:
            stream.begin_capture()
            nccl(array)
            graph = stream.end_capture()
            for _ in range(3):
                graph.launch()
        stream.synchronize()
        return array.get()

    for array in on_gpus(cupy, summed):
        np.testing.assert_array_equal(array, 12)  # 1 + 2 = 3, and twice itself


def test_the_sum_is_on_the_current_stream(cupy: Any) -> None:
    def raced(nccl: Any, rank: int) -> None:
        array, stream = cupy.zeros(3, "f4"), cupy.cuda.Stream(non_blocking=True)
        stream.wait_event(cupy.cuda.get_current_stream().record())
        with stream:
            nccl(array)
        threading.Event().wait(0.01)
        with pytest.raises(cuda_double.DoubleError, match="two streams race"):
            array + 1
        stream.synchronize()

    on_gpus(cupy, raced)


def test_two_ranks_on_one_gpu(cupy: Any) -> None:
    with pytest.raises(CUDARuntimeError, match="two ranks on one GPU"):
        on_gpus(cupy, lambda nccl, rank: None, gpus=(1, 1))


def test_a_cupy_without_nccl(cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from cupy.cuda import nccl

    from xpnet_backends.cuda.nccl import NcclSum

    monkeypatch.setattr(nccl, "available", False)

    with pytest.raises(LibraryNotInstalledError, match="expected CuPy with NCCL"):
        NcclSum(0, 2, lambda value: value)


@pytest.mark.parametrize(
    ("device", "rank", "visible", "name"),
    [
        ("gpu", 0, [None, None], "cupy:gpu"),
        ("gpu", 1, [None, None], "cupy:gpu:1"),
        ("cupy:gpu", 1, ["0,1", "0,1"], "cupy:gpu:1"),
        ("gpu@tf32", 1, [None, None], "cupy:gpu:1@tf32"),
        ("gpu", 1, ["0", "1"], "cupy:gpu"),  # whoever started the ranks gave each a GPU
        ("cpu", 1, [None, None], "numpy:cpu"),
    ],
)
def test_each_rank_has_a_gpu(cupy: Any, device: str, rank: int, visible: list[str | None], name: str) -> None:
    ranks: Any = RankOfMachine(rank, visible)
    assert get_device(device, ranks).name == name


def test_more_ranks_than_gpus(cupy: Any) -> None:
    ranks: Any = RankOfMachine(2, [None] * 3)
    with pytest.raises(InvalidParameterError, match="expected a GPU for each of the 3 ranks"):
        get_device("gpu", ranks)


def test_one_gpu_for_all_ranks(cupy: Any) -> None:
    ranks: Any = RankOfMachine(0, [None] * 2)
    with pytest.raises(InvalidParameterError, match="expected a GPU without an index"):
        get_device("gpu:1", ranks)
