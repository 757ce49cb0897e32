"""The number of threads of BLAS, chosen by what is faster on the machine as it is."""

from __future__ import annotations

import math
import time
from itertools import pairwise
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from xpnet.nn.network import Network
from xpnet.training.callbacks import Callback
from xpnet.training.history import EpochRecord
from xpnet.training.state import Run

__all__ = ["BlasThreads"]

_LONGEST_SUM = 256  # terms; longer sums may be cut at other places with another number of threads, and differ in bits
_SMALL = 1 << 21  # multiplications below which libraries use one thread anyway
_BUDGET, _ROUNDS = 0.05, 8  # seconds and rounds of a measurement
_INTERVAL = 10.0  # seconds from one measurement to the next


class BlasThreads(Callback):
    """Choose between one thread and all threads of NumPy's BLAS, at the start of a run and every ten seconds.

    Two threads halve the time of a product on a machine that is free. Where other processes need its processors, they
    wait for each other, and a product may take 50 times as long. The choice does not change results: it is made only
    where no sum has more than 256 terms, which BLAS computes in the same order with any number of threads.

    Parameters
    ----------
    network : Network
    batch_size : int
    dtype : str
    """

    def __init__(self, network: Network, batch_size: int, dtype: str) -> None:
        sizes = network.layer_sizes
        n_in, n_out = max(pairwise(sizes), key=math.prod)
        self._controller: Any = None
        self._limit: Any = None
        self._last, self._most = 0.0, 1
        if batch_size * n_in * n_out >= _SMALL and max(batch_size, *sizes) <= _LONGEST_SUM:
            self._controller = ThreadpoolController().select(user_api="blas")
            self._most = max((library.num_threads for library in self._controller.lib_controllers), default=1)
            self._factors = np.ones((batch_size, n_in), dtype), np.ones((n_in, n_out), dtype)

    def on_start(self, n_steps: int, epochs: int) -> None:
        """Choose for the first time."""
        self._choose()

    def on_epoch(self, record: EpochRecord, run: Run) -> None:
        """Choose again if some time has passed."""
        if time.perf_counter() - self._last >= _INTERVAL:
            self._choose()

    def on_end(self) -> None:
        """Restore the number of threads."""
        self._set(self._most)

    def _choose(self) -> None:
        if self._most == 1:
            return
        seconds = {1: 0.0, self._most: 0.0}
        deadline = time.perf_counter() + _BUDGET
        for _ in range(_ROUNDS):
            for count in seconds:
                self._set(count)
                started = time.perf_counter()
                np.matmul(*self._factors)
                np.matmul(*self._factors)
                seconds[count] += time.perf_counter() - started
            if time.perf_counter() > deadline:
                break
        self._set(min(seconds, key=lambda count: seconds[count]))
        self._last = time.perf_counter()

    def _set(self, count: int) -> None:
        if self._limit is not None:
            self._limit.restore_original_limits()
        self._limit = None if count == self._most else self._controller.limit(limits=count)
