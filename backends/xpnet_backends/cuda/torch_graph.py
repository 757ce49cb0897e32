"""A step of PyTorch as a CUDA graph: on small networks, launches take most of the time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from xpnet.backend import Step, arrays_in
from xpnet_backends.compiler.ops import UntraceableError
from xpnet_backends.compiler.program_cache import ProgramCache

__all__ = ["TorchGraph", "capture", "captured_runs"]

Array = Any  # PyTorch's own, which has more than the standard

_WARM_UP = 3  # steps before a capture, in which libraries allocate their workspaces
_MOST_GRAPHS = 8  # data that are new in each call, as dense copies of sparse ones are, are not worth more captures

# It runs a function a few times and returns a function that repeats the same launches.
Capture = Callable[[Callable[[], None]], Callable[[], None]]


def capture(body: Callable[[], None]) -> Callable[[], None]:
    """Run a function a few times, capture its launches, and return a function that repeats them.

    Raises
    ------
    RuntimeError
        The function does something that a graph cannot hold.
    """
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(_WARM_UP):
            body()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):
        body()
    replay: Callable[[], None] = graph.replay
    return replay


def captured_runs(step: Step, xp: Any, capture: Capture = capture) -> ProgramCache:
    """Return runs of a step that is captured for each batch size and each data set; a single step is not."""
    compile_step = partial(TorchGraph, capture=capture)
    return ProgramCache(step, xp, compile_step, key_of=_addresses, at_least=2, at_most=_MOST_GRAPHS)


def _addresses(data: tuple[Array, ...]) -> tuple[Any, ...]:
    """Return what a graph depends on: it reads the data where they are."""
    return tuple((array.data_ptr(), tuple(array.shape)) for array in data)


class TorchGraph:
    """A captured step, bound to parameters, state and data.

    Raises
    ------
    UntraceableError
        The step cannot be captured; parameters and state are as before.
    """

    def __init__(
        self, step: Step, params: Array, state: Any, data: tuple[Array, ...], order: Array, capture: Capture
    ) -> None:
        own = arrays_in((params, state))
        self._rows, self._counter = order.clone(), torch.zeros(1, dtype=torch.int64, device=params.device)
        self._losses = torch.empty(order.shape[0], dtype=params.dtype, device=params.device)
        self._data = data  # kept, for the graph reads them where they are

        def body() -> None:
            row = self._rows.index_select(0, self._counter).view(-1)
            after: Any
            loss: Any
            *after, loss = step(params, state, tuple(array.index_select(0, row) for array in data))
            for new, array in zip(arrays_in(tuple(after)), own, strict=True):
                if new is not array:
                    array.copy_(new)
            self._losses.index_copy_(0, self._counter, loss.view(1))
            self._counter.add_(1).remainder_(self._rows.shape[0])

        before = [array.clone() for array in own]
        try:
            self._replay = capture(body)
        except RuntimeError as exc:
            raise UntraceableError(" ".join(str(exc).split())) from exc
        finally:
            for array, value in zip(own, before, strict=True):
                array.copy_(value)

    def run(self, data: tuple[Array, ...], order: Array) -> Array:
        """Do a step for each row of `order`, (n_steps, batch), and return the losses, (n_steps,)."""
        losses, size = self._losses.new_empty(order.shape[0]), self._rows.shape[0]
        for part, out in zip(order.split(size), losses.split(size), strict=True):
            n = part.shape[0]
            self._rows[:n].copy_(part)
            self._counter.zero_()
            for _ in range(n):
                self._replay()
            out.copy_(self._losses[:n])
        return losses
