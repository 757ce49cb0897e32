"""The trainer: epochs, validation, early stopping. All state of a run is one value, `RunState`."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import is_array_api_obj

from xpnet.backend import Array, Backend, backend_of, get_backend
from xpnet.batches import ClassWeight, Samples, batch_orders, place, weigh
from xpnet.callbacks import Callback, EpochRecord, StopTraining
from xpnet.constraints import check_constraints, integer, one_of, optional, real
from xpnet.early_stopping import StoppingMemory, get_early_stopping
from xpnet.errors import DivergenceError, InvalidParameterError
from xpnet.evaluation import evaluate, metric_name
from xpnet.kernels import RunSteps
from xpnet.network import Network, Parameters
from xpnet.optimizers import get_optimizer
from xpnet.schedules import Memory, get_schedule
from xpnet.step import StepState, init_state, make_step

__all__ = ["Run", "RunState", "Trainer"]

_CONSTRAINTS = {
    "learning_rate": optional(real(0, closed=False)),
    "clip_norm": optional(real(0, closed=False)),
    "batch_size": optional(integer(1)),
    "epochs": integer(1),
    "seed": integer(0),
    "dtype": one_of("float32", "float64"),
}


class RunState(NamedTuple):
    """All that a run needs to go on, as one value.

    Attributes
    ----------
    params : (n_parameters,)
    step : StepState
        The optimizer's state and the generator's key.
    total : scalar array
        Sum of the samples' losses in this epoch so far.
    epoch, position : int
        Epochs done, and steps done of the next; the order of an epoch follows from the seed and its number.
    schedule : tuple of float
        Memory of the learning-rate schedule.
    stopping : StoppingMemory
        Memory of early stopping.
    best : (n_parameters,) or None
        Parameters of the best epoch, where there is early stopping.
    """

    params: Array
    step: StepState
    total: Array
    epoch: int = 0
    position: int = 0
    schedule: Memory = ()
    stopping: StoppingMemory = StoppingMemory()
    best: Array | None = None


class Run(NamedTuple):
    """What training gives.

    Attributes
    ----------
    params : Parameters
        Of the best epoch with early stopping, else of the last; on the device.
    history : list of EpochRecord
    state : RunState
    stopped : str
        Why it ended: ``"epochs"``, ``"early stopping"``, ``"interrupted"`` or ``"diverged"``.
    """

    params: Parameters
    history: list[EpochRecord]
    state: RunState
    stopped: str


@dataclass(frozen=True)
class Trainer:
    """Train a network by mini-batch gradient descent.

    Parameters
    ----------
    network : Network
    optimizer : str
        In `xpnet.optimizers.OPTIMIZERS`, with options: ``"adam"``, ``"momentum:momentum=0.95"``.
    learning_rate : float or None
        None takes the optimizer's default.
    schedule : str
        In `xpnet.schedules.SCHEDULES`; it changes the learning rate from epoch to epoch.
    clip_norm : float or None
        Largest norm of the gradient.
    batch_size : int or None
        1, a mini-batch, or None for the whole set.
    epochs : int
    early_stopping : str or None
        ``"loss"``, ``"accuracy"`` or ``"r2"`` of the validation part, with options:
        ``"loss:patience=10,tolerance=0.001"``. The best epoch's parameters are restored.
    class_weight : "balanced", mapping of class index to weight, or None
    seed : int
        Of the initial weights, the shuffles and the dropout masks, the same on every backend.
    dtype : {"float32", "float64"}
    device : str, Backend or None
        Where to train; None trains where the data lies, which is the CPU for NumPy arrays.
    callbacks : sequence of Callback

    Examples
    --------
    >>> import numpy as np, xpnet
    >>> x = np.asarray([[0., 0.], [0., 1.], [1., 0.], [1., 1.]])
    >>> network = xpnet.Network([2, 8, 2], activation="tanh")
    >>> run = xpnet.Trainer(network, learning_rate=0.1, batch_size=None, epochs=100).fit(x, np.asarray([0, 1, 1, 0]))
    >>> network.predict(run.params, x.astype("float32")).argmax(axis=1)
    array([0, 1, 1, 0])
    """

    network: Network
    optimizer: str = "adam"
    learning_rate: float | None = None
    schedule: str = "constant"
    clip_norm: float | None = None
    batch_size: int | None = 32
    epochs: int = 20
    early_stopping: str | None = None
    class_weight: ClassWeight = None
    seed: int = 0
    dtype: str = "float32"
    device: str | Backend | None = None
    callbacks: Sequence[Callback] = ()

    def __post_init__(self) -> None:
        check_constraints(self, _CONSTRAINTS)
        get_optimizer(self.optimizer)
        get_schedule(self.schedule)
        if self.early_stopping:
            get_early_stopping(self.early_stopping)

    def fit(
        self,
        x: Any,
        y: Any,
        *,
        sample_weight: Any = None,
        validation: tuple[Any, Any] | None = None,
        state: RunState | None = None,
    ) -> Run:
        """Train from the initial weights of the seed, or go on from a state.

        Parameters
        ----------
        x : (n_samples, n_in) array of any library
        y : (n_samples,) integers or (n_samples, n_out)
            Class indices, or targets.
        sample_weight : (n_samples,), optional
        validation : (x, y), optional
            Evaluated after each epoch.
        state : RunState, optional
            From an earlier run; it is consumed.

        Raises
        ------
        InvalidParameterError, DataError
            Before anything is trained.
        DivergenceError
            The loss or the parameters are no longer finite; its attribute `run` holds the last good epoch's.
        """
        backend = backend_of(x) if self.device is None and is_array_api_obj(x) else get_backend(self.device or "cpu")
        with backend.scope(self.dtype):
            samples = place(self.network, backend, self.dtype, x, y)
            samples = weigh(self.network, backend, self.dtype, samples, sample_weight, self.class_weight)
            held_out = place(self.network, backend, self.dtype, *validation) if validation else None
            if (self.batch_size or 1) > samples.x.shape[0]:
                raise InvalidParameterError(
                    f"batch_size: expected at most the number of training samples, {samples.x.shape[0]}; "
                    f"received {self.batch_size}."
                )
            if self.early_stopping:
                self._check_metric(held_out)
            return self._fit(backend, samples, held_out, state or self.initial_state(backend))

    def initial_state(self, backend: Backend) -> RunState:
        """Return the state before the first step."""
        with backend.scope(self.dtype):
            params = self.network.init(self.seed, backend, self.dtype).vector
            step = init_state(self.network, get_optimizer(self.optimizer), params, self.seed, backend)
            return RunState(params, step, backend.xp.sum(params) * 0, schedule=get_schedule(self.schedule).memory)

    def _fit(self, backend: Backend, samples: Samples, held_out: Samples | None, state: RunState) -> Run:
        optimizer, schedule = get_optimizer(self.optimizer), get_schedule(self.schedule)
        stopping = get_early_stopping(self.early_stopping) if self.early_stopping else None
        run_steps = backend.compile(make_step(self.network, optimizer, backend, clip_norm=self.clip_norm))
        n_samples = samples.x.shape[0]
        history: list[EpochRecord] = []
        stopped = "epochs"
        good = self._copy(backend, state)
        try:
            for callback in self.callbacks:
                callback.on_start(math.ceil(n_samples / (self.batch_size or n_samples)), self.epochs)
            while state.epoch < self.epochs:
                if stopping and state.stopping.stale >= stopping.patience:
                    stopped = "early stopping"
                    break
                rate = (self.learning_rate or optimizer.learning_rate) * schedule.factor(
                    state.schedule, state.epoch, self.epochs
                )
                started = time.perf_counter()
                for state in self._epoch(backend, run_steps, samples, state, rate):  # noqa: B020 - it goes on from it
                    for callback in self.callbacks:
                        callback.on_steps(state.epoch + 1, state.position)
                loss = float(backend.to_numpy(state.total)) / n_samples
                seconds = time.perf_counter() - started
                if not (math.isfinite(loss) and self._is_finite(backend, state)):
                    raise self._divergence(state, loss, rate, good, history)
                good = self._copy(backend, state)
                metrics = (
                    evaluate(self.network, self._view(good), held_out.x, held_out.y, backend) if held_out else None
                )
                state = state._replace(
                    epoch=state.epoch + 1,
                    position=0,
                    total=state.total * 0,
                    schedule=schedule.observe(state.schedule, metrics["loss"] if metrics else loss),
                )
                if stopping and metrics:
                    state = state._replace(stopping=stopping.observe(state.stopping, metrics))
                    state = state._replace(best=good if state.stopping.stale == 0 else state.best)
                history.append(EpochRecord(state.epoch, loss, metrics, rate, seconds, n_samples / seconds))
                for callback in self.callbacks:
                    callback.on_epoch(history[-1])
        except StopTraining:
            stopped = "interrupted"
            if self._is_finite(backend, state):
                good = self._copy(backend, state)
        return Run(self._view(good if state.best is None else state.best), history, state, stopped)

    def _epoch(
        self, backend: Backend, run_steps: RunSteps, samples: Samples, state: RunState, rate: float
    ) -> Iterator[RunState]:
        """Do the rest of an epoch, and yield the state after each call of the compiled run."""
        xp = backend.xp
        learning_rate = backend.asarray(np.asarray(rate, dtype=self.dtype))
        step = state.step._replace(optimizer=state.step.optimizer._replace(learning_rate=learning_rate))
        n_samples = samples.x.shape[0]
        batch_size = self.batch_size or n_samples
        orders = batch_orders(self.network, backend, n_samples, batch_size, self.seed, state.epoch, state.position)
        for order in orders:
            params, step, losses = run_steps(state.params, step, samples.arrays, order)
            total = xp.sum(losses) * (order.shape[1] if self.network.reduction == "mean" else 1)
            state = state._replace(
                params=params, step=step, total=state.total + total, position=state.position + order.shape[0]
            )
            yield state

    def _view(self, vector: Array) -> Parameters:
        return Parameters(vector, self.network)

    @staticmethod
    def _copy(backend: Backend, state: RunState) -> Array:
        return backend.xp.asarray(state.params, copy=True)  # for the next steps consume the original

    @staticmethod
    def _is_finite(backend: Backend, state: RunState) -> bool:
        return bool(backend.to_numpy(backend.xp.all(backend.xp.isfinite(state.params))))

    def _divergence(
        self, state: RunState, loss: float, rate: float, good: Array, history: list[EpochRecord]
    ) -> DivergenceError:
        return DivergenceError(
            f"training diverged in epoch {state.epoch + 1}: expected a finite loss and finite parameters; received a "
            f"loss of {loss:g} at learning rate {rate:g}. Try a smaller learning rate, clipping the gradient "
            f"or scaling the inputs. The parameters after epoch {state.epoch} are kept.",
            Run(self._view(good if state.best is None else state.best), history, state, "diverged"),
        )

    def _check_metric(self, held_out: Samples | None) -> None:
        if held_out is None:
            raise InvalidParameterError("early_stopping: expected a validation part; received none.")
        metric = get_early_stopping(str(self.early_stopping)).metric
        known = ("loss", metric_name(self.network, held_out.y.ndim))
        if metric not in known:
            raise InvalidParameterError(f"early_stopping: expected one of {', '.join(known)}; received {metric!r}.")
