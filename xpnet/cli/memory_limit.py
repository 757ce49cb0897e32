"""The memory limit of a run: whether its data fits into memory, and the buffer that is left to read it in pieces."""

from __future__ import annotations

import math
from typing import NamedTuple, Self

import numpy as np

from xpnet.data.streams import Source
from xpnet.errors import InvalidParameterError, size_text
from xpnet.memory import current_bytes, parse_size
from xpnet.nn.optimizers import get_optimizer
from xpnet.nn.step import step_bytes
from xpnet.training.batch_source import batch_rows
from xpnet.training.trainer import Trainer

__all__ = ["MemoryLimit", "data_bytes", "training_bytes"]

# The memory of Python and the libraries is rounded up to a multiple of this, so that the buffer, on which the order of
# the samples depends, is the same in each run.
_LIBRARIES_UNIT = 256 * 10**6


class MemoryLimit(NamedTuple):
    """Limit on the memory of this process.

    Attributes
    ----------
    limit : int
        Bytes that the process may use.
    libraries : int
        Bytes that Python and the libraries use.
    """

    limit: int
    libraries: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the limit that a user wrote, e.g. ``"512MB"``. Call it after the backend's library is loaded."""
        units = math.ceil((current_bytes() + _LIBRARIES_UNIT / 4) / _LIBRARIES_UNIT)
        return cls(parse_size(text), units * _LIBRARIES_UNIT)

    def fits(self, n_bytes: int) -> bool:
        """Return whether data of this size can be held beside the libraries."""
        return self.libraries + n_bytes <= self.limit

    def buffer_bytes(self, trainer: Trainer, n_samples: int, *, checkpoints: bool) -> int:
        """Return the bytes that are left for samples.

        Raises
        ------
        InvalidParameterError
            Nothing is left.
        """
        needed = self.libraries + training_bytes(trainer, n_samples, checkpoints=checkpoints)
        if needed >= self.limit:
            raise InvalidParameterError(
                f"memory_limit: expected more than {size_text(needed)}, the memory of the libraries, this network and "
                f"a batch; received {size_text(self.limit)}. Raise the limit, or use a smaller network or batch."
            )
        return self.limit - needed


def data_bytes(source: Source, dtype: str) -> int:
    """Return the memory that the data of a source takes if it is read at once, split and scaled."""
    return source.n_samples * (2 * source.row_bytes + source.n_features * np.dtype(dtype).itemsize)


def training_bytes(trainer: Trainer, n_samples: int, *, checkpoints: bool) -> int:
    """Return the memory of the parameters and a step.

    These are parameters, gradient, copies of the last and the best parameters, and activations. Going back after a
    divergence takes one more state, and two while it is copied. A checkpoint takes one more state. Factors on the
    learning rate are one vector of the state.
    """
    network = trainer.network
    slots = len(get_optimizer(trainer.optimizer).slots) + (trainer.learning_rate_factors is not None)
    batch = batch_rows(trainer.batch_size, n_samples)
    copies = 6 + slots + 2 * (1 + slots) * (trainer.on_divergence == "halve") + (4 + 2 * slots) * checkpoints
    parameters = network.n_parameters * copies * np.dtype(trainer.dtype).itemsize
    return parameters + step_bytes(network, min(trainer.micro_batch or batch, batch, n_samples), trainer.dtype)
