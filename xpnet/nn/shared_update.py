"""The step of processes that share each batch: the gradient is summed over the ranks, and each updates a piece.

Each rank has the sum of one piece of the gradient, updates that piece of the parameters, and gets the others from the
ranks that updated them: Rajbhandari et al. (2020), arXiv:1910.02054, stage 1. No more bytes travel than if each had the
whole sum, and the time of the update is divided by the number of ranks. A rank keeps up to date only its own piece of
the optimizer's slots; `complete_slots` gets the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from xpnet.backend import Array, Backend, Namespace, kind_of
from xpnet.backend.steps import call_in_place
from xpnet.communicator import Communicator, share_of
from xpnet.nn.optimizers import Optimizer, OptimizerState

__all__ = ["SharedUpdate"]


@dataclass(frozen=True)
class _SumPieces:
    """Sum a gradient over the ranks, each its own piece, and say where the gradient is best computed."""

    communicator: Communicator

    def __call__(self, gradient: Array) -> None:
        self.communicator.sum_pieces(gradient)

    def empty(self, size: int, dtype: Any) -> Any:
        return self.communicator.vector("gradient", size, dtype, common=False)


@dataclass(frozen=True)
class SharedUpdate:
    """How the ranks of a run update the parameters together.

    Parameters
    ----------
    communicator : Communicator
    backend : Backend
    n_parameters : int
    """

    communicator: Communicator
    backend: Backend
    n_parameters: int

    @cached_property
    def own(self) -> slice:
        """The piece that this rank updates: all parameters on a GPU, where the update takes less time than a launch."""
        if kind_of(self.backend) != "cpu":
            return slice(0, self.n_parameters)
        return share_of(self.n_parameters, self.communicator.rank, self.communicator.size)

    @property
    def is_divided(self) -> bool:
        """Whether the ranks update different pieces."""
        return self.own != slice(0, self.n_parameters)

    def sum(self, gradient: Array, *, whole: bool) -> None:
        """Sum a gradient over the ranks: the `whole` or, if that is enough, the piece of this rank."""
        whole = whole or not self.is_divided
        call_in_place(self.communicator.sum if whole else _SumPieces(self.communicator), gradient)

    def update(
        self, xp: Namespace, optimizer: Optimizer, gradient: Array, state: OptimizerState, params: Array
    ) -> tuple[Array, OptimizerState]:
        """Update the parameters in place, and the optimizer's state: as `Optimizer.update`, but for other pieces."""
        if not self.is_divided:
            return optimizer.update(xp, gradient, state, params)
        own, slots, rate = self.own, state.slots, state.learning_rate
        piece = OptimizerState(rate[own] if rate.ndim else rate, state.count, tuple(slot[own] for slot in slots))
        _, piece = optimizer.update(xp, gradient[own], piece, params[own])
        call_in_place(self.communicator.gather_pieces, params)
        return params, piece._replace(slots=slots)

    def placed(self, params: Array) -> Array:
        """Return the parameters in the memory in which they are best gathered."""
        if not self.is_divided:
            return params
        place = self.communicator.vector("parameters", self.n_parameters, params.dtype, common=True)
        place[...] = params
        self.communicator.barrier()
        return place

    def complete_slots(self, state: OptimizerState) -> None:
        """Give each rank the other ranks' pieces of the slots."""
        if self.is_divided:
            for slot in state.slots:
                self.communicator.gather_pieces(slot)
