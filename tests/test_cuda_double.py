"""The double of CuPy catches what it is there to catch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import cuda_double
from tests.cuda_double.runtime import state
from tests.host_compiler import COMPILER

if COMPILER is None:
    pytest.skip("no g++ to compile kernels for the host", allow_module_level=True)

KERNEL = 'extern "C" __global__ void add(float* x) { GRID(t, 4) x[t] += 1; }'
MACRO = "#define GRID(t, n) for (int t = blockIdx.x * blockDim.x + threadIdx.x; t < (n); t += gridDim.x * blockDim.x)\n"


@pytest.fixture
def cupy() -> Iterator[Any]:
    with cuda_double.installed():
        import cupy

        yield cupy


def kernel(cupy: Any) -> Any:
    add = cupy.RawModule(code=MACRO + KERNEL).get_function("add")
    return lambda array: add((1,), (32,), (array,))


def test_two_streams_without_an_event(cupy: Any) -> None:
    array, stream = cupy.zeros(4, "f4"), cupy.cuda.Stream(non_blocking=True)
    stream.wait_event(cupy.cuda.get_current_stream().record())
    with stream:
        array += 1
    with pytest.raises(cuda_double.DoubleError, match="two streams race for 16 bytes"):
        array + 1
    cupy.cuda.get_current_stream().wait_event(stream.record())
    np.testing.assert_array_equal((array + 1).get(), 2)


def test_the_host_orders_streams(cupy: Any) -> None:
    array, stream = cupy.zeros(4, "f4"), cupy.cuda.Stream(non_blocking=True)
    cupy.cuda.get_current_stream().synchronize()
    with stream:
        array += 1
    stream.synchronize()
    np.testing.assert_array_equal(array.get(), 1)


def test_memory_that_is_freed_too_early(cupy: Any) -> None:
    array, stream = cupy.zeros(4, "f4"), cupy.cuda.Stream(non_blocking=True)
    stream.wait_event(cupy.cuda.get_current_stream().record())
    with stream:
        array += 1
    del array
    assert state.errors.pop().endswith("freed while another stream may use it")


def test_an_error_that_cannot_be_raised_at_once() -> None:
    with pytest.raises(cuda_double.DoubleError, match="freed too early"), cuda_double.installed():
        state.errors.append("freed too early")


def test_an_allocation_in_a_capture(cupy: Any) -> None:
    with cupy.cuda.Stream(non_blocking=True) as stream:
        array = cupy.zeros(4, "f4")
        stream.begin_capture()
        with pytest.raises(cuda_double.DoubleError, match="an allocation while"):
            cupy.empty(3)
        with pytest.raises(cuda_double.DoubleError, match="does not record"):
            array += 1
        with pytest.raises(RuntimeError, match="an empty capture"):
            stream.end_capture()


def test_a_captured_kernel(cupy: Any) -> None:
    add = kernel(cupy)
    with cupy.cuda.Stream(non_blocking=True) as stream:
        array = cupy.zeros(4, "f4")
        stream.begin_capture()
        with pytest.raises(RuntimeError, match="loaded during a capture"):
            add(array)
        with pytest.raises(RuntimeError, match="an empty capture"):
            stream.end_capture()
        add(array)
        stream.begin_capture()
        add(array)
        add(array)
        graph = stream.end_capture()
        np.testing.assert_array_equal(array.get(), 1)
        graph.launch(stream)
        np.testing.assert_array_equal(array.get(), 3)


def test_another_gpu(cupy: Any) -> None:
    array = cupy.zeros(4, "f4")
    stream = cupy.cuda.Stream(non_blocking=True)
    with cupy.cuda.Device(1):
        assert array.device == cupy.cuda.Device(0)
        with pytest.raises(cuda_double.DoubleError, match="memory of GPU 0 is used on GPU 1"):
            array + 1
        with pytest.raises(cuda_double.DoubleError, match="a stream of GPU 0 while GPU 1 is current"), stream:
            pass
        np.testing.assert_array_equal(array.get(), 0)  # CuPy copies from any GPU
    with pytest.raises(RuntimeError, match="invalid device ordinal"):
        cupy.cuda.Device(2)


def test_pinned_memory_is_copied_late(cupy: Any) -> None:
    pinned = np.frombuffer(cupy.cuda.alloc_pinned_memory(16), np.float32)
    array, stream = cupy.empty(4, "f4"), cupy.cuda.Stream(non_blocking=True)
    stream.wait_event(cupy.cuda.get_current_stream().record())
    pinned[:] = 1
    array.set(pinned, stream)
    pinned[:] = 2  # too early: the copy may not have begun
    stream.synchronize()
    np.testing.assert_array_equal(array.get(), 2)
    array.set(pinned, stream)
    stream.synchronize()
    pinned[:] = 3
    np.testing.assert_array_equal(array.get(), 2)


def test_memory_that_a_gpu_has_not(cupy: Any) -> None:
    state.capacity = 1000
    kept = cupy.zeros(100)
    assert cupy.cuda.Device().mem_info == (200, 1000)
    with pytest.raises(MemoryError, match="out of memory allocating 800 bytes"):
        cupy.zeros(100)
    del kept
    assert cupy.zeros(100).shape == (100,)


def test_each_wait_of_the_host_counts(cupy: Any) -> None:
    array = cupy.zeros(1)
    before = state.waits
    float(array[0]), bool(array[0] > 0), cupy.asnumpy(array), array.item()
    assert state.waits == before + 4
    with pytest.raises(TypeError, match="Implicit conversion to a NumPy array is not allowed"):
        np.asarray(array)
    with pytest.raises(TypeError, match="Unsupported type"):
        array + np.zeros(1)


def test_what_was_there_comes_back() -> None:
    def modules() -> dict[str, Any]:
        return {name: each for name, each in sys.modules.items() if name.startswith(("cupy", "xpnet_backends.cu"))}

    before = modules()
    with cuda_double.installed():
        assert "Device" in vars(modules()["cupy.cuda"])
    assert modules() == before


@pytest.mark.subprocess
def test_a_command_finds_the_double_as_it_would_find_a_gpu() -> None:
    code = "import xpnet; print(xpnet.get_backend('auto').name)"
    root = Path(__file__).parents[1]
    script = [sys.executable, "-m", "tests.cuda_double", "-m", "timeit", "-n", "1", "-r", "1", code]
    found = subprocess.run(script, cwd=root, capture_output=True, text=True, check=True)
    assert found.stdout.startswith("cupy:gpu\n")
