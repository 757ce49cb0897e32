"""A step of PyTorch's recorded once as a CUDA graph, and replayed: on small networks launching takes the time."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from xpnet.backend import RunSteps, Step
from xpnet.errors import XpnetWarning
from xpnet_backends.compiler.trace import leaves

__all__ = ["Captured", "capture"]

Array = Any  # PyTorch's own, which has more than the standard

_WARM_UP = 3  # steps before a capture, in which libraries make their workspaces
_SMALL = 2  # numbers: a learning rate, a counter, a generator's key are copied to where the graph has its own
_MOST_GRAPHS = 8  # data that are new in each call, as sparse ones made dense, are not worth more captures


def capture(body: Callable[[], None]) -> Callable[[], None]:
    """Record what a function launches, and return what launches it again; the function has run some times then.

    Raises
    ------
    RuntimeError
        It does what a graph cannot hold.
    """
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(_WARM_UP):
            body()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        body()
    replay: Callable[[], None] = graph.replay
    return replay


class _Program(NamedTuple):
    replay: Callable[[], None]
    rows: Array  # (capacity, batch)
    counter: Array  # (1,): which row is next
    losses: Array  # (capacity,)
    data: tuple[Array, ...]  # held, for the graph reads them where they are


class Captured:
    """Runs of a step, captured for each batch size with the arrays that it updates and those that it reads.

    Parameters
    ----------
    step : callable
    eager : callable
        The plain run of steps, for what is not captured: a single step, as that of a short last batch is.
    capture : callable
        As `capture` here.
    """

    def __init__(
        self, step: Step, eager: RunSteps, capture: Callable[[Callable[[], None]], Callable[[], None]]
    ) -> None:
        self._step, self._eager, self._capture = step, eager, capture
        self._bound: Any = ()
        self._programs: dict[tuple[Any, ...], _Program] = {}
        self._captures = 0

    def __call__(self, params: Array, state: Any, data: tuple[Array, ...], order: Array) -> tuple[Array, Any, Array]:
        """Do the steps of an order."""
        params, state = self._bind(params, state)
        n = order.shape[0]
        key = (order.shape[1], *((array.data_ptr(), tuple(array.shape)) for array in data))
        program = self._programs.get(key)
        if program is None or program.rows.shape[0] < n:
            if n >= 2 and self._captures >= _MOST_GRAPHS:
                self._programs.clear()  # the data are others each time, and those that they hold do not come again
            if n < 2 or self._captures >= _MOST_GRAPHS:
                return self._eager(params, state, data, order)
            self._captures += 1
            program = self._record(params, state, data, order)
            if program is None:
                return self._eager(params, state, data, order)
            self._programs[key] = program
        program.rows[:n].copy_(order)
        program.counter.zero_()
        for _ in range(n):
            program.replay()
        return params, state, program.losses[:n].clone()

    def _bind(self, params: Array, state: Any) -> tuple[Array, Any]:
        """Return these values in the arrays that graphs are captured with."""
        given, bound = leaves((params, state)), leaves(self._bound)
        alike = len(given) == len(bound) and all(
            a is b or a.numel() <= _SMALL for a, b in zip(given, bound, strict=True)
        )
        if not alike:
            self._bound, self._programs, self._captures = (params, state), {}, 0
            return params, state
        for new, own in zip(given, bound, strict=True):
            if new is not own:
                own.copy_(new)
        own_params, own_state = self._bound
        return own_params, own_state

    def _record(self, params: Array, state: Any, data: tuple[Array, ...], order: Array) -> _Program | None:
        """Return the step captured, or None where it cannot be; parameters and state are as before."""
        own = leaves((params, state))
        rows, counter = order.clone(), torch.zeros(1, dtype=torch.int64, device=params.device)
        losses = torch.empty(order.shape[0], dtype=params.dtype, device=params.device)

        def body() -> None:
            row = rows.index_select(0, counter).view(-1)
            after: Any
            loss: Any
            *after, loss = self._step(params, state, tuple(array.index_select(0, row) for array in data))
            for new, array in zip(leaves(tuple(after)), own, strict=True):
                if new is not array:
                    array.copy_(new)
            losses.index_copy_(0, counter, loss.view(1))
            counter.add_(1).remainder_(rows.shape[0])

        before = [array.clone() for array in own]
        try:
            return _Program(self._capture(body), rows, counter, losses, data)
        except RuntimeError as exc:
            self._captures = _MOST_GRAPHS
            reason = " ".join(str(exc).split())
            warnings.warn(
                f"training runs uncaptured: expected a CUDA graph; received: {reason}", XpnetWarning, stacklevel=2
            )
            return None
        finally:
            for array, value in zip(own, before, strict=True):
                array.copy_(value)
