"""Batches of data that need not fit into memory: one window of samples is read while another is trained on.

In each epoch the blocks of the source are put into a new order, in which blocks from all over the data follow each
other. The samples are cut into windows of as many batches as the buffer holds, and shuffled within each window. Order
and windows follow from the seed, the epoch and the sizes alone, so that a run can go on at any batch by reading the
window of that batch.

Ranks that train together have the same windows as a single process. Each reads its share of a window, and gets the rows
of its part of each batch from the others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Any

import numpy as np

from xpnet.backend import Backend, get_backend, to_host
from xpnet.communicator import Communicator, agreed, share_of
from xpnet.data.shared_rows import SharedRows
from xpnet.data.streams.source import Source
from xpnet.errors import DataError, InvalidParameterError, XpnetError
from xpnet.nn.network import Network
from xpnet.seeds import Purpose, seed_sequence
from xpnet.subnormals import UserState
from xpnet.training.batch_source import BatchSource, samples_of_epoch
from xpnet.training.evaluation import evaluate_chunks
from xpnet.training.history import Scores
from xpnet.training.metrics import DEFAULT_SCORING, Scoring
from xpnet.training.outputs import Members
from xpnet.training.samples import Samples, host_inputs, to_samples
from xpnet.training.step_chunks import Sharing, StepChunk, step_chunks

__all__ = ["StreamBatches", "evaluate_source"]

_WINDOWS = 3  # held at once: one that is trained on, one that is read, and one while they are exchanged

_Key = tuple[int, int]  # epoch, window


class StreamBatches(BatchSource):
    """Batches of a source, read in windows.

    Parameters
    ----------
    network : Network
    backend : Backend
        Where the batches go.
    dtype : str
    source : Source
    batch_size : int
    epochs : int
        Nothing is read ahead after the last epoch.
    seed : int
    shuffle : bool
        Without it blocks and samples keep their own order.
    drop_last : bool
        Leave out a last batch that is smaller than the others.
    class_weights : (n_classes,), optional
        Weight of the samples of each class.
    buffer_bytes : int, optional
        Size of the buffer; the default is that of the source.
    sharing : Sharing, optional
        The ranks that share the batches.

    Raises
    ------
    InvalidParameterError
        The buffer is too small for a batch, or the source does not have the network's number of features.
    """

    def __init__(
        self,
        network: Network,
        backend: Backend,
        dtype: str,
        source: Source,
        batch_size: int,
        *,
        epochs: int = 1,
        seed: int = 0,
        shuffle: bool = True,
        drop_last: bool = False,
        class_weights: np.ndarray | None = None,
        buffer_bytes: int | None = None,
        sharing: Sharing | None = None,
    ) -> None:
        n_in = network.layer_sizes[0]
        if source.n_features != n_in:
            raise InvalidParameterError(
                f"x: expected a source of {n_in} features, as the network has; received {source.n_features}."
            )
        self.batch_size, self._sharing = batch_size, sharing
        self._network, self._backend, self._dtype, self._source = network, backend, dtype, source.reader()
        self._epochs, self._seed, self._shuffle, self._class_weights = epochs, seed, shuffle, class_weights
        self._n_samples = samples_of_epoch(source.n_samples, batch_size, drop_last=drop_last)
        buffer_bytes = buffer_bytes or source.buffer_bytes
        held = max(buffer_bytes - _block_bytes(source), 0) // (_WINDOWS * _sample_bytes(network, dtype))
        if batch_size > held:
            raise InvalidParameterError(
                f"batch_size: expected at most {held}, because a buffer of {buffer_bytes >> 20} MiB must hold "
                f"{_WINDOWS} batches and a block of {int(source.sizes.max())} samples; received {batch_size}. "
                "Use a smaller batch or smaller blocks (row groups), or allow more memory."
            )
        self._window = min(held // batch_size, self.steps_per_epoch) * batch_size
        self._host = get_backend("cpu")
        self._ahead: tuple[_Key, Future[Samples | None]] | None = None
        # Only the worker uses these: the order of an epoch's blocks with the end of each, and the block read last.
        self._blocks: tuple[int, np.ndarray, np.ndarray] = (-1, source.sizes, source.sizes)
        self._last: tuple[int, int, tuple[np.ndarray, np.ndarray]] | None = None

    @property
    def n_samples(self) -> int:
        """Samples of an epoch."""
        return self._n_samples

    def epoch(self, number: int, position: int) -> Iterator[StepChunk]:
        """Yield the batches of an epoch, counted from 0, starting with step `position`."""
        steps = self._window // self.batch_size
        for window, samples in self._windows(number, position // steps):
            n = samples.x.shape[0]
            order = np.arange(n, dtype=np.int32)
            if self._shuffle:
                rng = np.random.default_rng(seed_sequence(self._seed, Purpose.SHUFFLE, number, window))
                order = rng.permutation(n).astype(np.int32)
            first = max(position - window * steps, 0)
            yield from step_chunks(self._network, self._backend, samples, order, self.batch_size, first, self._sharing)

    def windows(self) -> Iterator[Samples]:
        """Yield the samples of the first epoch, window by window, not shuffled, each until the next is taken."""
        return (samples for _, samples in self._windows(0, 0))

    def _windows(self, epoch: int, first: int) -> Iterator[tuple[int, Samples]]:
        others = deque[tuple[int, tuple[Any, ...]]]()  # what belongs to the inputs that are on their way

        def inputs() -> Iterator[tuple[np.ndarray, slice]]:
            for window, samples in self._host_windows(epoch, first):
                others.append((window, samples.arrays[1:]))
                yield to_host(samples.x), slice(None)

        if self._sharing is not None:
            for window, samples in self._host_windows(epoch, first):
                yield window, self._shared(samples, self._sharing.communicator)
            return
        for x in self._backend.upload(inputs()):
            window, arrays = others.popleft()
            yield window, Samples(x, *map(self._backend.asarray, arrays))

    def _shared(self, own: Samples | None, communicator: Communicator) -> Samples:
        """Return a window of which each rank has read its share."""
        x = np.empty((0, self._source.n_features), self._dtype) if own is None else to_host(own.x)
        rest = [each for each in communicator.gather(own and tuple(map(to_host, own.arrays[1:]))) if each]
        arrays = (self._backend.asarray(np.concatenate(each)) for each in zip(*rest, strict=True))
        return Samples(host_inputs(self._backend, SharedRows(x, communicator), self._dtype), *arrays)

    def _host_windows(self, epoch: int, first: int) -> Iterator[tuple[int, Any]]:
        """Yield the samples that this process has read of each window; None for none."""
        communicator = self._sharing and self._sharing.communicator
        n_windows = -(-self.n_samples // self._window)
        for window in range(first, n_windows):
            samples = agreed(communicator, partial(self._take, (epoch, window)))
            following = (epoch, window + 1) if window + 1 < n_windows else (epoch + 1, 0)
            if following[0] < self._epochs:
                self._ahead = following, self._start(following)
            yield window, samples

    def _take(self, key: _Key) -> Samples | None:
        """Return a window, which may have been read ahead. An error of the worker is raised here."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            if ahead[0] == key:
                return ahead[1].result()
            wait([ahead[1]])  # one worker at a time
        return self._start(key).result()

    def _start(self, key: _Key) -> Future[Samples | None]:
        """Read a window in a thread of its own."""
        worker = ThreadPoolExecutor(1, "xpnet-stream")
        try:
            with UserState():  # in which the thread starts, for it may run code of the user
                future = worker.submit(self._load, key)
        except RuntimeError as exc:  # the limit of the user or of the container is reached
            raise XpnetError(
                f"cannot start a thread to read the data in pieces: {exc}. Raise the limit of processes and threads."
            ) from exc
        worker.shutdown(wait=False)
        return future

    def _load(self, key: _Key) -> Samples | None:
        """Read a window, or this rank's share of it, into arrays on the host; None if it has no share."""
        epoch, window = key
        start = window * self._window
        n = min(self._window, self.n_samples - start)
        if self._sharing is not None:
            share = share_of(n, self._sharing.communicator.rank, self._sharing.communicator.size)
            start, n = start + share.start, share.stop - share.start
        if not n:
            return None
        x = np.empty((n, self._source.n_features), self._dtype)
        targets, places, done = [], [], 0
        with np.errstate(over="ignore"):  # a value that the dtype cannot hold becomes infinite, and is refused below
            for block, rows in self._stretches(epoch, start, start + n):
                block_x, block_y = self._read(epoch, block)
                count = rows.stop - rows.start
                x[done : done + count], block_y = block_x[rows], block_y[rows]
                targets.append(block_y.copy())  # the source may put its next block into the same memory
                places.append((block, slice(done, done + count)))
                done += count
            y = np.concatenate(targets)
            y = y.astype(self._dtype) if y.dtype.kind == "f" else y
        try:
            samples = to_samples(self._network, self._host, self._dtype, x, y)
        except (DataError, InvalidParameterError):
            for block, rows in places:  # find the block of the error
                try:
                    to_samples(self._network, self._host, self._dtype, x[rows], y[rows])
                except (DataError, InvalidParameterError) as exc:
                    raise type(exc)(f"{self._source.where(block)}: in epoch {epoch + 1}: {exc}") from exc
            raise
        if self._class_weights is not None:
            if samples.y.ndim > 1:
                raise InvalidParameterError(
                    f"class_weight: expected class indices as targets; received an array of shape {samples.y.shape}."
                )
            samples = samples._replace(sample_weight=self._class_weights[to_host(samples.y)].astype(self._dtype))
        return samples

    def _stretches(self, epoch: int, start: int, stop: int) -> Iterator[tuple[int, slice]]:
        """Yield blocks, and rows of each, that make up the samples from `start` to `stop` of an epoch."""
        if self._blocks[0] != epoch:
            order = np.arange(len(self._source.sizes))
            if self._shuffle and not self._source.is_sequential:
                order = self._spread(np.random.default_rng(seed_sequence(self._seed, Purpose.SHUFFLE, epoch)))
            self._blocks = epoch, order, np.cumsum(self._source.sizes[order])
        _, order, ends = self._blocks
        i = int(np.searchsorted(ends, start, "right"))
        while start < stop:
            size, end = int(self._source.sizes[order[i]]), int(ends[i])
            if size:
                upto = min(end, stop)
                yield int(order[i]), slice(start - end + size, upto - end + size)
                start = upto
            i += 1

    def _spread(self, rng: np.random.Generator) -> np.ndarray:
        """Return a random order of blocks in which each window has a block from every stretch of the data.

        This is stratified sampling: if the data is sorted by class, each window still has about the proportions of the
        whole data. With blocks drawn from anywhere some windows would lack some classes.
        """
        n_blocks, n_windows = len(self._source.sizes), -(-self.n_samples // self._window)
        stretches = np.tile(np.arange(n_windows), (-(-n_blocks // n_windows), 1))
        windows = rng.permuted(stretches, axis=1).ravel()[:n_blocks]
        return np.lexsort((rng.random(n_blocks), windows))

    def _read(self, epoch: int, block: int) -> tuple[np.ndarray, np.ndarray]:
        """Read a block. The last block of a window is kept, because it is the first of the next window."""
        if self._last is None or self._last[:2] != (epoch, block):
            self._last = None  # free it before the next is read
            data = self._source.read(block, epoch)
            size = int(self._source.sizes[block])
            if (len(data[0]), len(data[1])) != (size, size):
                raise DataError(
                    f"{self._source.where(block)}: expected {size} samples, as in the first pass; received "
                    f"{len(data[0])} samples and {len(data[1])} targets; do not change the data during a run"
                )
            self._last = epoch, block, data
        return self._last[2]


def _sample_bytes(network: Network, dtype: str) -> int:
    """Return the size of a sample in a window: features, targets, weight, and place in the order."""
    return (network.layer_sizes[0] + network.layer_sizes[-1] + 2) * np.dtype(dtype).itemsize


def _block_bytes(source: Source) -> int:
    return 2 * int(source.sizes.max()) * source.row_bytes  # the largest block, as it is read and converted


def evaluate_source(
    network: Network,
    params: Members,
    source: Source,
    backend: Backend,
    dtype: str,
    communicator: Communicator | None = None,
    scoring: Scoring = DEFAULT_SCORING,
) -> Scores:
    """Return the scores of `evaluate` for the samples of a source, shared by the ranks."""
    # A part of the buffer: the windows of the training part stay in memory.
    buffer_bytes = max(source.buffer_bytes // _WINDOWS, _sample_bytes(network, dtype) * _WINDOWS) + _block_bytes(source)
    sharing = None if communicator is None else Sharing(communicator, dtype)
    options: Any = {"shuffle": False, "buffer_bytes": buffer_bytes, "sharing": sharing}
    windows = StreamBatches(network, backend, dtype, source, 1, **options).windows()
    chunks = ((window.x, window.y) for window in windows)
    return evaluate_chunks(network, params, chunks, backend, scoring=scoring)
