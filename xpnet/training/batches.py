"""The batches of a trainer's run: of a source, or of samples that are brought to the device."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from xpnet.backend import Backend
from xpnet.communicator import Communicator
from xpnet.data.streams import Source
from xpnet.errors import InvalidParameterError
from xpnet.subnormals import in_user_state
from xpnet.training.batch_source import BatchSource, MemoryBatches, batch_rows, checked_order, epoch_order
from xpnet.training.sample_weights import add_sample_weights, class_weights
from xpnet.training.samples import Samples, to_samples
from xpnet.training.step_chunks import Sharing
from xpnet.training.streaming import StreamBatches

if TYPE_CHECKING:
    from xpnet.training.trainer import Trainer

__all__ = ["prepare_batches"]


def prepare_batches(
    trainer: Trainer, backend: Backend, communicator: Communicator | None, x: Any, y: Any, sample_weight: Any
) -> BatchSource:
    """Return the batches for the arguments of `Trainer.fit`.

    Raises
    ------
    InvalidParameterError, DataError
        An argument cannot be used.
    """
    network, dtype = trainer.network, trainer.dtype
    shuffle = in_user_state(trainer.shuffle) if callable(trainer.shuffle) else trainer.shuffle
    sharing = None if communicator is None else Sharing(communicator, dtype)
    if isinstance(x, Source):
        for refused, message in (
            (y is not None, "y must be omitted when x is a Source (it brings its own targets); received an array."),
            (sample_weight is not None, "sample_weight must be omitted when x is a Source; received an array."),
            (callable(shuffle), "shuffle must be True or False when x is a Source; received a function."),
        ):
            if refused:
                raise InvalidParameterError(message)
        weights = None
        if trainer.class_weight is not None:
            weights = class_weights(network, trainer.class_weight, lambda: (targets for _, targets in x))
        return StreamBatches(
            network, backend, dtype, x, _batch_size(trainer, x.n_samples),
            epochs=trainer.epochs, seed=trainer.seed, shuffle=bool(shuffle), drop_last=trainer.drop_last,
            class_weights=weights, sharing=sharing,
        )  # fmt: skip
    data = x if isinstance(x, Samples) else to_samples(network, backend, dtype, x, y)
    data = add_sample_weights(network, backend, dtype, data, sample_weight, trainer.class_weight)
    order = partial(checked_order, shuffle) if callable(shuffle) else partial(epoch_order, trainer.seed, shuffle)
    batch_size = _batch_size(trainer, data.x.shape[0])
    return MemoryBatches(network, backend, data, batch_size, order, trainer.drop_last, sharing)


def _batch_size(trainer: Trainer, n_samples: int) -> int:
    batch_size = batch_rows(trainer.batch_size, n_samples)
    if batch_size > n_samples:
        raise InvalidParameterError(
            f"batch_size: expected at most the number of training samples, {n_samples}; received {batch_size}."
        )
    return batch_size
