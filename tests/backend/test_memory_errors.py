"""Out of memory: one line that says what was needed, what is free, and which batch size would fit."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from tests.command_line import xpnet
from xpnet.backend import get_backend
from xpnet.errors import InvalidParameterError, OutOfMemoryError
from xpnet.nn.network import Network
from xpnet.training.trainer import Trainer
from xpnet_backends.memory_errors import memory_errors

_MESSAGES = {
    "Unable to allocate 1.50 TiB for an array with shape (9,) and data type float32": int(1.5 * 2**40),
    "Out of memory allocating 1,024 bytes (allocated so far: 512 bytes).": 1024,
    "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79.11 GiB": 20 * 2**30,
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate "
    "4096 bytes. Error code 12 (Cannot allocate memory)": 4096,
    "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 160000000000 bytes.": 160000000000,
    "RESOURCE_EXHAUSTED: out of memory": None,
}


@pytest.mark.parametrize(("message", "needed"), _MESSAGES.items())
def test_what_the_libraries_say(message: str, needed: int | None) -> None:
    kind = MemoryError if "Unable" in message else RuntimeError
    said = r"^out of memory on here: expected room for .*; received 3 kB free\. "
    with pytest.raises(OutOfMemoryError, match=said) as e, memory_errors("here", lambda: 3072):
        raise kind(message)
    assert (e.value.needed, e.value.free) == (needed, 3072)
    assert isinstance(e.value.__cause__, kind)
    assert isinstance(e.value, MemoryError)


@pytest.mark.parametrize(
    "error", [RuntimeError("shapes differ"), ValueError("out of memory"), InvalidParameterError("x")]
)
def test_other_errors_pass(error: Exception) -> None:
    with pytest.raises(type(error)) as e, memory_errors("here"):
        raise error
    assert e.value is error


def test_sizes() -> None:
    for n, text in ((1023, "1 kB"), (1_500_000, "2 MB"), (1536 * 2**20, "1.6 GB"), (0, "0 kB")):
        assert f"room for {text};" in str(OutOfMemoryError("here", n, None))
    assert "received an unknown number of bytes free" in str(OutOfMemoryError("here", 1, None))


@pytest.mark.parametrize(
    "device", ["numpy:cpu", "torch:cpu", "jax:cpu", "cupy:gpu", "torch:gpu", "jax:gpu"], indirect=True
)
def test_every_library_is_understood(backend: Any, dtype: str) -> None:
    n = 1 << 44
    with pytest.raises(OutOfMemoryError) as e, backend.scope(dtype):
        backend.xp.zeros((n,), dtype=getattr(backend.xp, dtype))
    assert e.value.device == backend.name
    assert e.value.needed == pytest.approx(n * np.dtype(dtype).itemsize, rel=0.01)
    assert e.value.free is None or e.value.free < e.value.needed
    assert "\n" not in str(e.value)


def test_what_was_being_computed_is_let_go() -> None:
    import weakref

    class Block:
        pass

    kept: list[Any] = []

    def compute() -> None:
        block = Block()
        kept.append(weakref.ref(block))
        raise MemoryError

    with pytest.raises(OutOfMemoryError) as e, memory_errors("here", lambda: int(kept[0]() is not None)):
        compute()
    assert e.value.free == 0  # it is gone when what is free is asked for


def _short_of_memory(free: int) -> Any:
    """NumPy on a device where the first step finds no room."""
    numpy = get_backend("cpu")

    class Short(type(numpy)):  # type: ignore[misc]
        name = "short:cpu"

        def compile(self, step: Any, n_steps: int = 1) -> Any:
            def run(*_: Any) -> Any:
                raise MemoryError("Unable to allocate 1.00 GiB for an array")

            return run

        def scope(self, dtype: str) -> Any:
            return memory_errors(self.name, lambda: free)

    return Short()


@pytest.mark.parametrize(
    ("free", "advice"),
    [
        # In float32, 10 inputs and 6 arrays of 15 units: 400 bytes a sample.
        (400 * 40, "Use micro_batch=32 (--micro-batch 32): it gives the same result and takes less memory."),
        (400 * 32, "Use micro_batch=32 (--micro-batch 32): it gives the same result and takes less memory."),
        (400 * 31, "Use micro_batch=16 (--micro-batch 16): it gives the same result and takes less memory."),
        (
            10**9,
            "Use micro_batch=32 (--micro-batch 32): it gives the same result and takes less memory.",
        ),  # whatever was counted, 64 did not
        (300, "Use a smaller batch, fewer samples or a smaller network."),
    ],
)
def test_which_batch_would_fit(free: int, advice: str) -> None:
    x, y = np.zeros((64, 10)), np.arange(64) % 5
    trainer = Trainer(Network([10, 10, 5]), batch_size=64, epochs=1, device=_short_of_memory(free))
    with pytest.raises(OutOfMemoryError, match=f"expected room for 1.1 GB; .*{re.escape(advice)}$"):
        trainer.fit(x, y)


def test_command_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("xpnet.cli.ranks.get_backend", lambda _: _short_of_memory(10**9))
    code, _, err = xpnet("train", "iris", "--batch-size", "64", "--quiet", "--device", "cpu")
    assert code == 2
    assert err.splitlines()[-1].startswith("xpnet: out of memory on short:cpu: expected room for 1.1 GB; ")
    assert err.endswith("Use micro_batch=32 (--micro-batch 32): it gives the same result and takes less memory.\n")
