"""The trainer: epochs, validation, early stopping."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import is_array_api_obj

from xpnet.backend import Array, Backend, backend_of, get_backend, to_host
from xpnet.batches import ClassWeight, Samples, batch_orders, epoch_order, place, weigh
from xpnet.callbacks import Callback, EpochRecord, StopTraining
from xpnet.constraints import Constraint, check_constraints, integer, one_of, optional, real
from xpnet.early_stopping import EarlyStopping, get_early_stopping
from xpnet.errors import DivergenceError, InvalidParameterError
from xpnet.evaluation import evaluate, metric_name
from xpnet.kernels import RunSteps
from xpnet.network import Network, Parameters
from xpnet.optimizers import Optimizer, get_optimizer
from xpnet.run import Run, RunState, adopt
from xpnet.schedules import Schedule, get_schedule
from xpnet.step import compile_steps, init_state

__all__ = ["Run", "RunState", "Trainer"]

_BATCH_SIZE = integer(1)
_CONSTRAINTS = {
    "learning_rate": optional(real(0, closed=False)),
    "clip_norm": optional(real(0, closed=False)),
    "batch_size": Constraint(
        f"{_BATCH_SIZE.expected}, 'auto', or None", lambda value: value in ("auto", None) or _BATCH_SIZE.holds(value)
    ),
    "epochs": integer(1),
    "shuffle": one_of(True, False),
    "seed": integer(0),
    "dtype": one_of("float32", "float64"),
}
_AUTO_BATCH_SIZE = 32


class _Plan(NamedTuple):
    """What stays the same through a run."""

    backend: Backend
    run_steps: RunSteps
    optimizer: Optimizer
    schedule: Schedule
    stopping: EarlyStopping | None
    samples: Samples
    held_out: Samples | None
    batch_size: int

    @property
    def n_samples(self) -> int:
        n: int = self.samples.x.shape[0]
        return n


@dataclass(frozen=True)
class Trainer:
    """Train a network by mini-batch gradient descent.

    Parameters
    ----------
    network : Network
    optimizer : str or Optimizer
        In `xpnet.optimizers.OPTIMIZERS`, with options: ``"adam"``, ``"momentum:momentum=0.95"``.
    learning_rate : float or None
        None takes the optimizer's default.
    schedule : str or Schedule
        In `xpnet.schedules.SCHEDULES`; it changes the learning rate from epoch to epoch.
    clip_norm : float or None
        Largest norm of the gradient.
    batch_size : int, "auto" or None
        1, a mini-batch, or None for the whole set; ``"auto"`` is 32, or all samples if there are fewer.
    epochs : int
    early_stopping : str, EarlyStopping or None
        ``"loss"``, ``"accuracy"`` or ``"r2"`` of the validation part, with options:
        ``"loss:patience=10,tolerance=0.001"``. The best epoch's parameters are restored.
    class_weight : "balanced", mapping of class index to weight, or None
    shuffle : bool
        Take the samples in another order in each epoch, not in their own.
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
    optimizer: str | Optimizer = "adam"
    learning_rate: float | None = None
    schedule: str | Schedule = "constant"
    clip_norm: float | None = None
    batch_size: int | str | None = "auto"
    epochs: int = 20
    early_stopping: str | EarlyStopping | None = None
    class_weight: ClassWeight = None
    shuffle: bool = True
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
        params: Sequence[tuple[Any, Any]] | None = None,
        state: RunState | None = None,
    ) -> Run:
        """Train from the initial weights of the seed or from given ones, or go on from a state.

        Parameters
        ----------
        x : (n_samples, n_in) array of any library
        y : (n_samples,) integers or (n_samples, n_out)
            Class indices, or targets.
        sample_weight : (n_samples,), optional
        validation : (x, y), optional
            Evaluated after each epoch.
        params : Parameters or sequence of (W, b), optional
            Initial weights, from any device; they are copied.
        state : RunState, optional
            From an earlier run of the same network and optimizer, perhaps on another device; it is consumed.

        Raises
        ------
        InvalidParameterError, DataError
            Before anything is trained.
        DivergenceError
            The loss or the parameters are no longer finite; its attribute `run` holds the last good epoch's.
        """
        backend = backend_of(x) if self.device is None and is_array_api_obj(x) else get_backend(self.device or "cpu")
        with backend.scope(self.dtype):
            plan = self._plan(backend, x, y, sample_weight, validation)
            fresh = self.initial_state(backend, params)
            return self._fit(plan, fresh if state is None else adopt(state, fresh, backend))

    def initial_state(self, backend: Backend, params: Sequence[tuple[Any, Any]] | None = None) -> RunState:
        """Return the state before the first step, with the weights of the seed or with given ones."""
        with backend.scope(self.dtype):
            if params is None:
                vector = self.network.init(self.seed, backend, self.dtype).vector
            else:
                vector = backend.asarray(to_host(self.network.pack(params).vector).astype(self.dtype))
            step = init_state(self.network, get_optimizer(self.optimizer), vector, self.seed, backend)
            total = backend.asarray(np.zeros((), dtype=self.dtype))
            return RunState(vector, step, total, schedule=get_schedule(self.schedule).memory)

    def _plan(self, backend: Backend, x: Any, y: Any, sample_weight: Any, validation: tuple[Any, Any] | None) -> _Plan:
        samples = place(self.network, backend, self.dtype, x, y)
        samples = weigh(self.network, backend, self.dtype, samples, sample_weight, self.class_weight)
        held_out = place(self.network, backend, self.dtype, *validation) if validation else None
        n_samples = samples.x.shape[0]
        sizes = {"auto": min(_AUTO_BATCH_SIZE, n_samples), None: n_samples}
        batch_size = int(sizes.get(self.batch_size, self.batch_size))  # type: ignore[arg-type]
        if batch_size > n_samples:
            raise InvalidParameterError(
                f"batch_size: expected at most the number of training samples, {n_samples}; received {batch_size}."
            )
        stopping = get_early_stopping(self.early_stopping) if self.early_stopping else None
        if stopping is not None:
            self._check_metric(stopping, held_out)
        run_steps = compile_steps(self.network, self.optimizer, backend, self.clip_norm)
        optimizer, schedule = get_optimizer(self.optimizer), get_schedule(self.schedule)
        return _Plan(backend, run_steps, optimizer, schedule, stopping, samples, held_out, batch_size)

    def _check_metric(self, stopping: EarlyStopping, held_out: Samples | None) -> None:
        if held_out is None:
            raise InvalidParameterError("early_stopping: expected a validation part; received none.")
        known = ("loss", metric_name(self.network, held_out.y.ndim))
        if stopping.metric not in known:
            raise InvalidParameterError(
                f"early_stopping: expected one of {', '.join(known)}; received {stopping.metric!r}."
            )

    def _fit(self, plan: _Plan, state: RunState) -> Run:
        good = _copy(plan, state)
        try:
            for callback in self.callbacks:
                callback.on_start(math.ceil(plan.n_samples / plan.batch_size), self.epochs)
            while state.epoch < self.epochs and not _is_over(plan, state):
                rate = (self.learning_rate or plan.optimizer.learning_rate) * plan.schedule.factor(
                    state.schedule, state.epoch, self.epochs
                )
                first, started = state.position, time.perf_counter()
                for state in self._steps(plan, state, rate):  # noqa: B020 - it goes on from it
                    for callback in self.callbacks:
                        callback.on_steps(state.epoch + 1, state.position)
                loss = float(plan.backend.to_numpy(state.total)) / plan.n_samples
                seconds = time.perf_counter() - started
                if not (math.isfinite(loss) and _is_finite(plan, state)):
                    raise self._divergence(good, state, loss, rate)
                good = _copy(plan, state)
                trained = plan.n_samples - first * plan.batch_size  # fewer where an interrupted epoch went on
                scores = self._validate(plan, good)
                record = EpochRecord(state.epoch + 1, loss, scores, rate, seconds, trained / seconds)
                state = _close_epoch(plan, state, record, good)
                for callback in self.callbacks:
                    callback.on_epoch(record)
        except StopTraining:
            return self._run(_copy(plan, state) if _is_finite(plan, state) else good, state, "interrupted")
        return self._run(good, state, "early stopping" if _is_over(plan, state) else "epochs")

    def _steps(self, plan: _Plan, state: RunState, rate: float) -> Iterator[RunState]:
        """Do the rest of an epoch, and yield the state after each call of the compiled run."""
        backend = plan.backend
        learning_rate = backend.asarray(np.asarray(rate, dtype=self.dtype))
        step = state.step._replace(optimizer=state.step.optimizer._replace(learning_rate=learning_rate))
        total = state.total
        samples = epoch_order(plan.n_samples, self.seed, state.epoch, shuffle=self.shuffle)
        for order in batch_orders(self.network, backend, samples, plan.batch_size, state.position):
            params, step, losses = plan.run_steps(state.params, step, plan.samples.arrays, order)
            total += backend.xp.sum(losses) * (order.shape[1] if self.network.reduction == "mean" else 1)
            state = state._replace(params=params, step=step, total=total, position=state.position + order.shape[0])
            yield state

    def _validate(self, plan: _Plan, vector: Array) -> dict[str, float] | None:
        if plan.held_out is None:
            return None
        params = Parameters(vector, self.network)
        return evaluate(self.network, params, plan.held_out.x, plan.held_out.y, plan.backend)

    def _run(self, good: Array, state: RunState, stopped: str) -> Run:
        """Return what there is: the parameters of the best epoch where there is one, else the last good ones."""
        return Run(Parameters(good if state.best is None else state.best, self.network), state, stopped)

    def _divergence(self, good: Array, state: RunState, loss: float, rate: float) -> DivergenceError:
        return DivergenceError(
            f"training diverged in epoch {state.epoch + 1}: expected a finite loss and finite parameters; received a "
            f"loss of {loss:g} at learning rate {rate:g}. Try a smaller learning rate, clipping the gradient "
            f"or scaling the inputs. The parameters after epoch {state.epoch} are kept.",
            self._run(good, state, "diverged"),
        )


def _close_epoch(plan: _Plan, state: RunState, record: EpochRecord, params: Array) -> RunState:
    """Return the state after an epoch: what the schedule and early stopping remember, and a new sum of losses."""
    stopping, best = state.stopping, state.best
    if plan.stopping is not None:
        stopping = plan.stopping.observe(stopping, record)
        best = params if stopping.improved else best
    return state._replace(
        epoch=state.epoch + 1,
        position=0,
        total=plan.backend.xp.zeros_like(state.total),
        schedule=plan.schedule.observe(state.schedule, record),
        stopping=stopping,
        best=best,
        history=(*state.history, record),
    )


def _is_over(plan: _Plan, state: RunState) -> bool:
    return plan.stopping is not None and state.stopping.stale >= plan.stopping.patience


def _copy(plan: _Plan, state: RunState) -> Array:
    return plan.backend.xp.asarray(state.params, copy=True)  # for the next steps consume the original


def _is_finite(plan: _Plan, state: RunState) -> bool:
    xp = plan.backend.xp
    arrays = (state.params, *state.step.optimizer.slots)  # an infinite second moment would freeze Adam unseen
    return bool(plan.backend.to_numpy(xp.all(xp.stack([xp.all(xp.isfinite(array)) for array in arrays]))))
