"""The trainer: it makes a run from a network, data and settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xpnet.backend import Backend, flushes_subnormals, get_backend
from xpnet.communicator import COMMUNICATORS, Communicator
from xpnet.constraints import Constraint, boolean, check_constraints, instance_of, integer, one_of, optional, real
from xpnet.data.streams import Source
from xpnet.errors import InvalidParameterError, OutOfMemoryError, shown_settings
from xpnet.nn.network import Network
from xpnet.nn.optimizers import Optimizer, get_optimizer
from xpnet.nn.step import compile_steps, init_state, micro_batch_advice
from xpnet.training.auto_device import backend_for
from xpnet.training.batch_source import BatchSource, Order
from xpnet.training.batches import prepare_batches
from xpnet.training.callback_list import check_callbacks
from xpnet.training.callbacks import Callback
from xpnet.training.checkpoint import load_newest
from xpnet.training.early_stopping import EarlyStopping, get_early_stopping
from xpnet.training.loop import Evaluate, TrainingLoop
from xpnet.training.metrics import Scoring, get_metric
from xpnet.training.ranks import Ranks, communicator_for
from xpnet.training.rate_factors import check_rate_factors, rate_factors
from xpnet.training.sample_weights import ClassWeight
from xpnet.training.samples import to_device
from xpnet.training.schedules import Schedule, get_schedule
from xpnet.training.state import Run, RunState, adopt
from xpnet.training.validation import prepare_validation

__all__ = ["Run", "RunState", "Trainer"]

_CONSTRAINTS = {
    "network": instance_of(Network),
    "learning_rate": optional(real(float(np.finfo(np.float32).tiny))),  # a smaller one may become 0: nothing is trained
    "clip_norm": optional(real(0, closed=False)),
    "batch_size": Constraint(
        "an integer of at least 1, 'auto', or None", lambda v: one_of("auto", None).holds(v) or integer(1).holds(v)
    ),
    "micro_batch": optional(integer(1)),
    "epochs": integer(1),
    "shuffle": Constraint("True, False or a function", lambda value: boolean().holds(value) or callable(value)),
    "seed": integer(0),
    "dtype": one_of("float32", "float64"),
    "on_divergence": one_of("stop", "halve"),
    "drop_last": boolean(),
    "communicator": Constraint(
        f"None, a Communicator, or one of {', '.join(COMMUNICATORS)}",
        lambda v: v is None or isinstance(v, Communicator) or one_of(*COMMUNICATORS).holds(v),
    ),
}
_MAX_HALVINGS = {"stop": 0, "halve": 5}  # of the learning rate, in a run


@dataclass(frozen=True)
class Trainer:
    """Train a network by mini-batch gradient descent.

    Parameters
    ----------
    network : Network
    optimizer : str or Optimizer
        Name in `xpnet.nn.optimizers.OPTIMIZERS`, with options: ``"adam"``, ``"momentum:momentum=0.95"``.
    learning_rate : float or None
        None takes the optimizer's default.
    schedule : str or Schedule
        Name in `xpnet.training.schedules.SCHEDULES`; changes the learning rate from epoch to epoch, or step to step.
    clip_norm : float or None
        Largest norm of the gradient; a longer gradient is scaled down.
    batch_size : int, "auto" or None
        Samples of a batch. None trains on all samples at once; ``"auto"`` is 32, or all samples if there are fewer.
    epochs : int
    early_stopping : str, EarlyStopping or None
        ``"loss"`` or a metric of the validation part, or ``"training_loss"``, with options:
        ``"loss:patience=10,tolerance=0.001"``. The parameters of the best epoch are restored.
    class_weight : "balanced", mapping of class index to weight, or None
    shuffle : bool or callable
        Whether to take the samples in a new order in each epoch. A function of the epoch, counted from 0, and the
        number of samples returns the indices in the order of that epoch.
    seed : int
        Random seed for initial weights, shuffling and dropout; it gives the same numbers on every backend.
    dtype : {"float32", "float64"}
    on_divergence : {"stop", "halve"}
        What to do if the loss or the parameters are not finite. ``"stop"`` raises `DivergenceError`. ``"halve"`` warns,
        goes back to the parameters after the epoch of the lowest loss and repeats the epoch with half the learning
        rate, at most 5 times.
    micro_batch : int or None
        Samples of a batch that a step holds at once. The step sums the gradients of the micro-batches, so it takes less
        memory and more time. The result is the same to rounding, dropout masks included.
    learning_rate_factors : mapping of str to float, or None
        Factor on the learning rate of each kind of parameter, ``"weights"``, ``"biases"``, ``"slopes"`` or
        ``"input_scale"``; 1 for kinds that are not given.
    drop_last : bool
        Leave out the last batch of an epoch if it is smaller than the others. All steps then weigh the same.
    device : str, Backend or None
        Where to train. None trains where the data lies, which is the CPU for NumPy arrays; ``"auto"`` on a GPU if one
        works and is likely to be faster with this network.
    callbacks : sequence of Callback
        In a run of several ranks, those of rank 0.
    communicator : str, Communicator or None
        ``"mpi"``: this process and others, which a launcher started with the same program, train one network together:
        each does its rows of every batch. ``"auto"`` does so where there are others. None trains alone. All ranks pass
        the same arguments, and all get the same result, that of a single process to rounding.
    metrics : sequence of str
        Further scores of the validation part, in `xpnet.training.metrics.METRICS`: ``"balanced_accuracy"``, ``"f1"``
        and ``"auc"`` of classes, ``"rmse"`` and ``"mae"`` of values.
    target_scale : sequence of float or None
        For each output, the factor from its targets to the unit in which ``"rmse"`` and ``"mae"`` are given.

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
    shuffle: bool | Order = True
    seed: int = 0
    dtype: str = "float32"
    on_divergence: str = "stop"
    micro_batch: int | None = None
    learning_rate_factors: Mapping[str, float] | None = None
    drop_last: bool = False
    device: str | Backend | None = None
    callbacks: Sequence[Callback] = ()
    communicator: str | Communicator | None = None
    metrics: Sequence[str] = ()
    target_scale: Sequence[float] | None = None

    __repr__ = shown_settings

    def __post_init__(self) -> None:
        check_constraints(self, _CONSTRAINTS)
        check_callbacks(self.callbacks)
        get_optimizer(self.optimizer)
        get_schedule(self.schedule)
        for name in self.metrics:
            get_metric(name)
        check_rate_factors(self.network, self.learning_rate_factors or {})
        if self.early_stopping:
            get_early_stopping(self.early_stopping)

    def fit(
        self,
        x: Any,
        y: Any = None,
        *,
        sample_weight: Any = None,
        validation: tuple[Any, Any] | Source | Evaluate | None = None,
        params: Sequence[tuple[Any, Any]] | None = None,
        state: RunState | None = None,
    ) -> Run:
        """Train from the initial weights of the seed, from given weights, or from the state of an earlier run.

        Parameters
        ----------
        x : (n_samples, n_in) array of any library, ScaledBytes, SciPy sparse matrix, Source, or Samples
            Bytes stay bytes; a sparse matrix is made dense a few batches at a time. A source brings its own targets;
            only its buffer is in memory. `xpnet.training.samples.Samples` are checked data, with targets.
        y : (n_samples,) integers or (n_samples, n_out)
            Class indices or targets; omitted for a source.
        sample_weight : (n_samples,), optional
        validation : (x, y), Source or callable, optional
            Validation part, evaluated after each epoch. A function of the `Parameters` returns the scores as a
            dictionary.
        params : Parameters or sequence of (W, b), optional
            Initial weights, from any device; they are copied.
        state : RunState, optional
            State of an earlier run of the same network and optimizer, on any device. Do not use it afterwards.

        Raises
        ------
        InvalidParameterError, DataError
            An argument cannot be used. Nothing was trained.
        OutOfMemoryError
            The device is out of memory. The message says what was needed, what is free and what would fit.
        DivergenceError
            The loss or the parameters are no longer finite. The attribute `run` has the parameters after the epoch of
            the lowest loss with ``on_divergence="halve"``, and after the last finite epoch with ``"stop"``.
        """
        backend = backend_for(self, x)
        batches = None
        try:
            with backend.scope(self.dtype):
                communicator = communicator_for(self.communicator, backend)
                batches = prepare_batches(self, backend, communicator, x, y, sample_weight)
                loop = self._loop(backend, communicator, batches, validation)
                if state is None:
                    return loop.run(self.initial_state(backend, params))
                return loop.run(adopt(state, self.network, get_optimizer(self.optimizer), backend, self.dtype))
        except OutOfMemoryError as exc:
            advice = "Stream the data (--memory-limit, or xpnet.open_source), or use a smaller network."
            if batches is not None:
                held = min(self.micro_batch or batches.batch_size, batches.batch_size)
                advice = micro_batch_advice(self.network, self.dtype, held, exc.free)
            raise OutOfMemoryError(exc.device, exc.needed, exc.free, advice) from exc.__cause__

    def resume(
        self,
        path: str | Path,
        x: Any,
        y: Any = None,
        *,
        sample_weight: Any = None,
        validation: tuple[Any, Any] | Source | Evaluate | None = None,
    ) -> Run:
        """Go on from the newest usable checkpoint in a folder of `Checkpoint`, or from a single checkpoint file.

        With the same settings and the same data the result is that of a run that never stopped: bit for bit on NumPy
        with the same number of threads, and to rounding on another device. `epochs` may be larger than before.
        The other parameters are those of `fit`.

        Raises
        ------
        ModelFormatError
            No checkpoint of this run can be used. A warning names each damaged checkpoint.

        Examples
        --------
        >>> import dataclasses, numpy as np, tempfile, xpnet
        >>> x, y, folder = np.eye(2), np.asarray([0, 1]), tempfile.TemporaryDirectory()
        >>> trainer = xpnet.Trainer(xpnet.Network([2, 3, 2]), epochs=2, callbacks=[xpnet.Checkpoint(folder.name)])
        >>> run = trainer.fit(x, y)
        >>> len(dataclasses.replace(trainer, epochs=5).resume(folder.name, x, y).history)
        5
        >>> folder.cleanup()
        """
        state = load_newest(path, self._accept)
        return self.fit(x, y, sample_weight=sample_weight, validation=validation, state=state)

    def _accept(self, network: Network, state: RunState) -> RunState:
        if network != self.network:
            raise InvalidParameterError(f"network: expected the state of {self.network}; received that of {network}.")
        return adopt(state, network, get_optimizer(self.optimizer), get_backend("cpu"), self.dtype)

    def initial_state(self, backend: Backend, params: Sequence[tuple[Any, Any]] | None = None) -> RunState:
        """Return the state before the first step, with the initial weights of the seed or with given weights."""
        with backend.scope(self.dtype):
            if params is None:
                vector = self.network.init(self.seed, backend, self.dtype).vector
            else:
                given = to_device(backend, self.network.pack(params).vector, self.dtype)
                vector = backend.xp.asarray(given, copy=True)  # the steps overwrite it
            step = init_state(self.network, get_optimizer(self.optimizer), vector, self.seed, backend)
            total, schedule = backend.asarray(np.zeros((), self.dtype)), get_schedule(self.schedule).initial
            return RunState(vector, step, total, schedule=schedule, flushes_subnormals=flushes_subnormals(backend))

    def _loop(
        self,
        backend: Backend,
        communicator: Communicator | None,
        batches: BatchSource,
        validation: tuple[Any, Any] | Source | Evaluate | None,
    ) -> TrainingLoop:
        unit = None if self.target_scale is None else np.asarray(self.target_scale, dtype=np.float64)
        scoring = Scoring(tuple(self.metrics), unit)
        held_out = prepare_validation(
            self.network, backend, self.dtype, validation, self.early_stopping, self.epochs, scoring, communicator
        )
        schedule = get_schedule(self.schedule)
        total_steps = self.epochs * batches.steps_per_epoch
        run_steps = compile_steps(
            self.network, self.optimizer, backend, self.clip_norm, total_steps, self.micro_batch, schedule.step_factor,
            batches.divisor, communicator,
        )  # fmt: skip
        return TrainingLoop(
            network=self.network,
            backend=backend,
            dtype=self.dtype,
            run_steps=run_steps,
            batches=batches,
            epochs=self.epochs,
            learning_rate=self.learning_rate or get_optimizer(self.optimizer).learning_rate,
            rate_factors=rate_factors(self.network, self.learning_rate_factors or {}),
            schedule=schedule,
            evaluate=held_out[0],
            stopping=held_out[1],
            max_halvings=_MAX_HALVINGS[self.on_divergence],
            callbacks=tuple(self.callbacks),
            ranks=Ranks(communicator, backend, self.network.n_parameters),
        )
