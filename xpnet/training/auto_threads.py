"""The number of threads of a run: it follows from the work of a step, and from what is faster on the machine now."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Self, TypeVar

import numpy as np

from xpnet.backend import Array, Backend, RunSteps
from xpnet.nn.network import Network
from xpnet.threads import BlasThreads

__all__ = ["AutoThreads"]

T = TypeVar("T")

# Counted in multiplications of matrix products.
_PER_THREAD = 1 << 22  # of the largest product: with fewer, waiting for a thread takes the time that it saves
_SHORT_RUN = 1 << 26  # of the run: it ends before the libraries are found
_PIECE = 1 << 28  # between two looks at the clock: some milliseconds
_SLOWEST = 2e9  # a second, on a machine that is not busy

_SLOWER = 1.25  # times that all threads may take longer than one
_WINDOW = 0.25  # seconds of steps that are judged together
_SUSPECT = 1.5  # times that steps may take longer than before
_MISSING = 0.4  # processors that the threads may get fewer than their number: idle threads of BLAS keep theirs
_SOON, _LATER = 0.5, 8.0  # seconds from one comparison to the next, which double as long as it changes nothing
_RETURN = 5.0  # seconds on one thread
_BUDGET = 0.08  # seconds of each side of a comparison
_SETTLE = 0.12  # seconds until idle threads sleep
_COMPARED = 512  # rows and columns of the factors in a comparison, at most


class AutoThreads:
    """Run steps with the number of threads that suits their work; a context manager.

    A network with small products uses one thread of BLAS. Others use as many as their largest product has work for, of
    those that the process may use. Where other processes need the processors, the threads of a product wait for each
    other, and it may take 100 times as long: then the run uses one thread until all are faster again.

    With another number of threads BLAS cuts a long sum at other places, and the last bits differ. So the number changes
    on a busy machine only; otherwise two runs with the same seed are the same, bit for bit.

    Parameters
    ----------
    network : Network
    backend : Backend
        Only libraries that compute with NumPy's arrays are concerned.
    batch_size : int
    n_steps : int
        Steps of the run.
    dtype : str

    Attributes
    ----------
    fewest : int or None
        The smallest number of threads so far; None if the number is not chosen.
    """

    def __init__(self, network: Network, backend: Backend, batch_size: int, n_steps: int, dtype: str) -> None:
        n_in, n_out = max(pairwise(network.layer_sizes), key=math.prod)
        self._shape = batch_size, n_in, n_out
        self._step = 3 * batch_size * network.n_weights  # forward, and backward to the weights and to the inputs
        self._backend, self._dtype = backend, dtype
        self._is_active = n_steps * self._step >= _SHORT_RUN and isinstance(backend.asarray(np.empty(0)), np.ndarray)
        self._blas = BlasThreads(max(1, math.prod(self._shape) // _PER_THREAD))
        self._most = self._count = 1
        self.fewest: int | None = None

    def __enter__(self) -> Self:
        if self._is_active:
            self._blas.__enter__()
            self.fewest = self._most = self._count = self._blas.most
            now = time.perf_counter()
            self._next, self._interval = now, _SOON
            self._usual, self._piece = self._step / _SLOWEST, 1
            self._window = 0, 0.0, 0.0  # steps, their seconds and their processor time
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_active:
            self._blas.__exit__()

    def steps(self, run_steps: RunSteps) -> RunSteps:
        """Return a function that runs the same steps in pieces, and adapts the number of threads between them."""

        def run(params: Array, state: Any, data: tuple[Array, ...], order: Array) -> tuple[Array, Any, Array]:
            losses, start = [], 0
            while start < order.shape[0]:
                rows = order[start : start + self._piece_of(order.shape[0]), :]
                start += rows.shape[0]
                begun = _clocks()
                params, state, loss = run_steps(params, state, data, rows)
                self._adapt(rows.shape[0], begun)
                losses.append(loss)
            return params, state, losses[0] if len(losses) == 1 else self._backend.xp.concat(losses)

        return run if self._is_active else run_steps

    def call(self, n_steps: int, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function that does some steps, and adapt the number of threads to the time that it takes."""
        if not self._is_active:
            return function(*arguments)
        begun = _clocks()
        result = function(*arguments)
        self._adapt(n_steps, begun)
        return result

    def _adapt(self, n_steps: int, begun: tuple[float, float]) -> None:
        """Adapt the number of threads to the time that some steps took."""
        now, cpu = _clocks()
        used = self._use(self._count)  # the first step may have loaded a library
        self.fewest = min(self.fewest or used, used)
        if self._most > 1:
            self._observe(n_steps, now - begun[0], cpu - begun[1], now)

    def _piece_of(self, n_steps: int) -> int:
        """Return the number of steps until the next look at the clock: few at first, because a step may be slow."""
        if self._count == 1:
            return n_steps
        piece = self._piece
        self._piece = min(2 * piece, max(1, _PIECE // self._step))
        return piece

    def _observe(self, n_steps: int, seconds: float, cpu: float, now: float) -> None:
        """Compare the numbers of threads if steps are slower than before or do not get their processors.

        On one thread nothing tells that the others are free, so time does.
        """
        if self._count == 1:
            if now >= self._next:
                self._choose()
            return
        steps, all_seconds, all_cpu = self._window
        self._window = n_steps, seconds, cpu = steps + n_steps, all_seconds + seconds, all_cpu + cpu
        if seconds < _WINDOW:
            return
        slower = seconds / n_steps > _SUSPECT * self._usual
        self._usual, self._window = min(self._usual, seconds / n_steps), (0, 0.0, 0.0)
        if now >= self._next and (slower or cpu / seconds < self._count - _MISSING):
            self._choose()

    def _choose(self) -> None:
        """Choose the number of threads to use from now on."""
        before, chosen = self._count, self._count
        if self._blas.is_alone:  # else the runs would measure each other
            one, every = self._seconds()
            chosen = 1 if every > (_SLOWER if before > 1 else 1) * one else self._most
        self._use(chosen)
        self._interval = _SOON if chosen != before else min(2 * self._interval, _LATER)
        self._next = time.perf_counter() + (_RETURN if chosen == 1 else self._interval)
        self._usual, self._piece, self._window = math.inf, 1, (0, 0.0, 0.0)

    def _use(self, count: int) -> int:
        """Set the number of threads, and return the number that the run has."""
        self._count = count
        return self._blas.use(count)

    def _seconds(self) -> tuple[float, float]:
        """Return the seconds of a product with one thread and with all."""
        m, k, n = (min(size, _COMPARED) for size in self._shape)
        a, b = (self._backend.asarray(np.ones(shape, self._dtype)) for shape in ((m, k), (k, n)))

        def mean(count: int, seconds: float) -> float:
            self._use(count)
            n_products, started = 0, time.perf_counter()
            while (passed := time.perf_counter() - started) < seconds:
                self._backend.xp.matmul(a, b)
                n_products += 1
            return passed / n_products

        if self._count == 1:
            return mean(1, _BUDGET), mean(self._most, _BUDGET)
        every = mean(self._most, _BUDGET)
        mean(1, _SETTLE)  # an idle thread that does not sleep yet takes time from this one
        return mean(1, _BUDGET), every


def _clocks() -> tuple[float, float]:
    """Return the time, and the processor time of the process, in seconds."""
    return time.perf_counter(), time.process_time()
