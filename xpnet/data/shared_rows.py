"""Features of which each rank of a run holds a part."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from xpnet.communicator import Communicator, agreed, in_turn, share_of
from xpnet.data.checks import check_finite, check_lengths, warn_of_merged
from xpnet.data.dataset import Dataset
from xpnet.data.scaled_bytes import ScaledBytes
from xpnet.data.scaling import Moments, Scaler, add_for_scaler, fit_scaler, scaler_from_moments
from xpnet.errors import DataError

__all__ = ["SharedRows", "check_shared", "fit_shared_scaler", "scattered", "take_rows", "warn_of_merged_rows"]

Array: TypeAlias = NDArray[Any]


class SharedRows:
    """A matrix whose rows are held by the ranks of a run, each of them a stretch of consecutive rows.

    Each rank makes one, at the same time as the others, of its own rows. Ranks may hold different numbers of rows, or
    none.

    Parameters
    ----------
    own : ndarray or pyarrow.Table, shape (n_own, n_features)
        The rows of this rank; they follow those of the rank before it.
    communicator : Communicator

    Attributes
    ----------
    own
        The rows of this rank.
    positions : slice
        Their places among all rows.
    shape : tuple of int
        Of all rows together.
    """

    ndim = 2

    def __init__(self, own: Any, communicator: Communicator) -> None:
        self.own, self.communicator = own, communicator
        self._ends = np.cumsum(communicator.gather(len(own)))
        last = int(self._ends[communicator.rank])
        self.positions = slice(last - len(own), last)
        self.shape: tuple[int, int] = (int(self._ends[-1]), own.shape[1])

    @property
    def dtype(self) -> Any:
        """The type of the values."""
        return self.own.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> Array:
        """Return rows as a new array, in the order in which this rank asks for them.

        All ranks must ask at the same time; each gets its own rows, from the ranks that hold them.

        Parameters
        ----------
        rows : slice or (n,) ndarray of int
            Places from 0, also repeated or none.
        """
        wanted = np.arange(self.shape[0])[rows] if isinstance(rows, slice) else np.asarray(rows, np.int64)
        owners = np.searchsorted(self._ends, wanted, "right")
        order = np.argsort(owners, kind="stable")
        places = np.split(order, np.cumsum(np.bincount(owners, minlength=len(self._ends)))[:-1])
        starts = np.concatenate([[0], self._ends[:-1]])
        asked = self.communicator.exchange([wanted[mine] - starts[r] for r, mine in enumerate(places)])
        received = self.communicator.exchange([np.ascontiguousarray(self.own[local]) for local in asked])
        taken = np.empty((len(wanted), self.shape[1]), self.own.dtype)
        for mine, values in zip(places, received, strict=True):
            taken[mine] = values
        return taken

    def part(self, rows: Array) -> SharedRows:
        """Return some of the rows, given by their places in ascending order; each rank keeps those that it holds."""
        first, last = np.searchsorted(rows, (self.positions.start, self.positions.stop))
        local = rows[first:last] - self.positions.start
        if len(local) == len(self.own):  # no copy is needed
            return SharedRows(self.own, self.communicator)
        return SharedRows(_chosen(self.own, local), self.communicator)

    def map(self, function: Callable[[Any], Any]) -> Any:
        """Return the rows that a function makes of those of each rank; an error of one rank is raised on all.

        If it makes `ScaledBytes` of them, these are returned, with shared rows as their values.
        """
        own = agreed(self.communicator, lambda: function(self.own))
        if isinstance(own, ScaledBytes):
            return ScaledBytes(SharedRows(own.values, self.communicator), own.divisor)
        return SharedRows(own, self.communicator)


def _chosen(rows: Any, indices: Array) -> Any:
    return rows[indices] if isinstance(rows, np.ndarray) else rows.take(indices)


def take_rows(x: Any, rows: Array) -> Any:
    """Return rows, by their ascending indices, of an array, an Arrow table or of `SharedRows`."""
    return x.part(rows) if isinstance(x, SharedRows) else _chosen(x, rows)


def scattered(communicator: Communicator, load: Callable[[], Dataset]) -> Dataset:
    """Return a data set that rank 0 loads, and of whose features each rank gets a share."""
    whole = agreed(communicator, lambda: load() if communicator.rank == 0 else None)
    rest: Dataset = communicator.broadcast(whole and replace(whole, x=_NOTHING, x_test=None))
    x: Any = _scattered(communicator, whole and whole.x)
    x_test: Any = None if rest.y_test is None else _scattered(communicator, whole and whole.x_test)
    return replace(rest, x=x, x_test=x_test)


_NOTHING: Array = np.empty(0)


def _scattered(communicator: Communicator, x: Any) -> SharedRows:
    """Return features, an array or an Arrow table of rank 0, as shared rows."""
    none: Any = communicator.broadcast(x is not None and x[:0])
    parts = [none] * communicator.size
    if x is not None:
        parts = [x[share_of(len(x), rank, communicator.size)] for rank in range(communicator.size)]
    if isinstance(none, np.ndarray):
        return SharedRows(communicator.exchange([np.ascontiguousarray(part) for part in parts])[0], communicator)
    packed = [np.frombuffer(pickle.dumps(part), np.uint8) for part in parts]
    return SharedRows(pickle.loads(communicator.exchange(packed)[0].data), communicator)  # of rank 0


def check_shared(x: SharedRows, y: Array | None = None, names: Sequence[str] | None = None) -> None:
    """Check features that are shared, and their targets, as `xpnet.data.checks.check_data` does.

    Raises
    ------
    DataError
        On each rank the same.
    """
    if x.shape[0] == 0 or x.shape[1] == 0:
        raise DataError(f"no samples: expected at least one row and one column; received features of shape {x.shape}")
    if x.dtype.kind not in "biuf":
        raise DataError(f"features: expected real numbers; received dtype {x.dtype}; encode text as numbers first")
    agreed(x.communicator, lambda: check_finite(x.own, "features", names, x.positions.start))
    if y is not None:
        check_lengths(x, y)
        check_finite(y, "targets", None)


def fit_shared_scaler(spec: str, x: SharedRows) -> Scaler:
    """Fit a scaling to all rows, as `xpnet.data.scaling.fit_scaler` does."""
    fit_scaler(spec, np.zeros((1, 1)))  # refuses an unknown one

    def add(moments: Moments) -> None:
        if len(x.own):
            add_for_scaler(spec, moments, x.own)

    scaler: Scaler = in_turn(
        x.communicator, Moments(x.shape[1]), add, lambda moments: scaler_from_moments(spec, moments)
    )
    return scaler


def warn_of_merged_rows(x: Any, converted: Any, what: str, names: Sequence[str] | None = None) -> None:
    """Warn as `xpnet.data.checks.warn_of_merged` does, also of rows that are shared.

    The least and the greatest value of each column on each rank stand for all of its rows.
    """
    if not isinstance(x, SharedRows):
        warn_of_merged(x, converted, what, names)
        return
    extremes = [[f(axis=0) for each in (x.own, converted.own) for f in (each.min, each.max)]] if len(x.own) else []
    found = [each for ranks in x.communicator.gather(extremes) for each in ranks]
    before, after = (np.stack([row for each in found for row in each[i : i + 2]]) for i in (0, 2))
    warn_of_merged(before, after, what, names)
