"""The device of a training run: given, that of the data, or with ``auto`` the one that is likely to be faster."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

from array_api_compat import is_array_api_obj

from xpnet.backend import Backend, backend_of, get_backend
from xpnet.backend.costs import Choice, Work, choose_backend, is_open
from xpnet.data.scaled_bytes import ScaledBytes
from xpnet.data.streams.source import Source
from xpnet.nn.optimizers import get_optimizer
from xpnet.training.batch_source import batch_rows
from xpnet.training.samples import Samples

if TYPE_CHECKING:
    from xpnet.training.trainer import Trainer

__all__ = ["backend_for", "choice_for"]


def backend_for(trainer: Trainer, x: Any) -> Backend:
    """Return the backend on which a trainer trains with this data."""
    if trainer.device is None:
        return backend_of(x) if is_array_api_obj(x) else get_backend("cpu")
    if not is_open(trainer.device):
        return get_backend(trainer.device)
    if isinstance(x, Samples):  # they lie on a device already
        return backend_of(x.y)
    return choice_for(trainer, trainer.device, _n_samples(x)).backend


def _n_samples(x: Any) -> int:
    """Return the number of samples of inputs that are not checked yet; 0 if they are nothing of the kind."""
    if isinstance(x, Source):
        return x.n_samples
    values = x.values if isinstance(x, ScaledBytes) else x
    shape = getattr(values, "shape", None) or (len(values) if isinstance(values, Sequence) else 0,)
    return int(shape[0])


def choice_for(trainer: Trainer, device: str | Backend, n_samples: int) -> Choice:
    """Return the backend of a device for training with so many samples, and why."""
    batch_size = batch_rows(trainer.batch_size, n_samples)
    work = Work.of(
        trainer.network.layer_sizes,
        batch_size,
        trainer.epochs * ceil(n_samples / max(1, batch_size)),
        len(get_optimizer(trainer.optimizer).slots),
    )
    return choose_backend(device, work)
