"""Checkpoints: the state of a run as one file, from which it goes on as if it had never stopped."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from xpnet.backend import to_host
from xpnet.callbacks import Callback, EpochRecord
from xpnet.constraints import Constraint, check_constraints, integer
from xpnet.early_stopping import StoppingMemory
from xpnet.errors import ModelFormatError
from xpnet.network import Network
from xpnet.optimizers import OptimizerState
from xpnet.run import Run, RunState
from xpnet.step import StepState
from xpnet.tensors import Format

__all__ = ["Checkpoint", "load_state", "save_state"]

_FORMAT = Format("xpnet_state", "checkpoint", 1)

_BOOLEAN = Constraint("True or False", lambda value: isinstance(value, bool))
# Unlike those of settings these may be NaN or infinite.
_NUMBER = Constraint("a number", lambda value: isinstance(value, int | float) and not isinstance(value, bool))
_SCORES = Constraint(
    "numbers by name, or None",
    lambda value: value is None or (isinstance(value, dict) and all(map(_NUMBER.holds, value.values()))),
)
_STATE = {"epoch": integer(0), "position": integer(0), "schedule": _NUMBER}
_STOPPING = {"best": _NUMBER, "reference": _NUMBER, "stale": integer(0), "improved": _BOOLEAN}
_RECORD = {
    "epoch": integer(1),
    "validation": _SCORES,
    **dict.fromkeys(("loss", "learning_rate", "seconds", "samples_per_second"), _NUMBER),
}


def save_state(path: str | Path, network: Network, state: RunState) -> None:
    """Write the state of a run as one safetensors file, beside its place and renamed.

    The tensors are ``params``, ``total``, ``key``, ``learning_rate``, ``count``, ``slots.<i>`` and, where there is
    early stopping, ``best``.

    Raises
    ------
    XpnetError
        The file cannot be written; an old one is untouched.

    Examples
    --------
    >>> import numpy as np, tempfile, xpnet
    >>> network, x, y = xpnet.Network([2, 3, 2]), np.eye(2), np.asarray([0, 1])
    >>> run = xpnet.Trainer(network, epochs=2).fit(x, y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     xpnet.save_state(f"{folder}/state.safetensors", network, run.state)
    ...     network, state = xpnet.load_state(f"{folder}/state.safetensors")
    >>> len(xpnet.Trainer(network, epochs=5).fit(x, y, state=state).history)
    5
    """
    optimizer, key = state.step
    tensors = {"params": state.params, "total": state.total, "key": key}
    tensors |= {"learning_rate": optimizer.learning_rate, "count": optimizer.count}
    tensors |= {f"slots.{i}": slot for i, slot in enumerate(optimizer.slots)}
    if state.best is not None:
        tensors["best"] = state.best
    values = {
        "network": network.to_dict(),
        "epoch": state.epoch,
        "position": state.position,
        "schedule": state.schedule,
        "stopping": state.stopping._asdict(),
        "history": [record._asdict() for record in state.history],
    }
    _FORMAT.write(path, values, {name: to_host(array) for name, array in tensors.items()})


def load_state(path: str | Path) -> tuple[Network, RunState]:
    """Read a checkpoint.

    Returns
    -------
    network : Network
    state : RunState
        Its arrays are NumPy's; `Trainer.fit` brings them to its device. The optimizer, the schedule and the early
        stopping are the trainer's: give it the same ones.

    Raises
    ------
    ModelFormatError
        The file is missing, truncated, no safetensors file, no checkpoint, or its parts do not fit together.
    """
    return _FORMAT.read(path, _build)


def _build(values: dict[str, Any], tensors: dict[str, np.ndarray]) -> tuple[Network, RunState]:
    if len(values["network"]["layer_sizes"]) > tensors["params"].size:  # before much is made of a long list
        raise ModelFormatError("expected the sizes of at most as many layers as there are parameters; received more")
    network = Network(**values["network"])
    slots = [f"slots.{i}" for i in range(sum(name.startswith("slots.") for name in tensors))]
    _check_tensors(network, tensors, slots)
    optimizer = OptimizerState(tensors["learning_rate"], tensors["count"], tuple(tensors[name] for name in slots))
    state = RunState(
        tensors["params"],
        StepState(optimizer, tensors["key"]),
        tensors["total"],
        values["epoch"],
        values["position"],
        tuple(values["schedule"]),
        StoppingMemory(**values["stopping"]),
        tensors.get("best"),
        tuple(EpochRecord(**record) for record in values["history"]),
    )
    check_constraints(state, _STATE)
    check_constraints(state.stopping, _STOPPING)
    for record in state.history:
        check_constraints(record, _RECORD)
    return network, state


def _check_tensors(network: Network, tensors: dict[str, np.ndarray], slots: list[str]) -> None:
    dtype = tensors["params"].dtype.name
    if dtype not in ("float32", "float64"):
        raise ModelFormatError(f"tensor params: expected float32 or float64; received {dtype}")
    expected: dict[str, tuple[str, tuple[int, ...]]] = {"count": ("int32", ()), "key": ("int32", (2,))}
    expected |= dict.fromkeys(("total", "learning_rate"), (dtype, ()))
    expected |= dict.fromkeys(("params", *slots, *({"best"} & tensors.keys())), (dtype, (network.n_parameters,)))
    for name, form in expected.items():
        received = tensors[name].dtype.name, tensors[name].shape
        if received != form:
            raise ModelFormatError(f"tensor {name}: expected {form[0]} {form[1]}; received {received[0]} {received[1]}")


class Checkpoint(Callback):
    """Writes the state of a run into a file, again and again; a killed process leaves the last whole one.

    Parameters
    ----------
    path : str or Path
    every : int
        Write after each so many epochs.
    best_only : bool
        Of these, write only after one that is the best so far: by the metric of early stopping or, without that, by
        the loss.

    Raises
    ------
    XpnetError
        In training: the file cannot be written.
    """

    def __init__(self, path: str | Path, every: int = 1, best_only: bool = False) -> None:
        self.path = Path(path)
        self.every = every
        self.best_only = best_only
        check_constraints(self, {"every": integer(1), "best_only": _BOOLEAN})

    def on_epoch(self, record: EpochRecord, run: Run) -> None:
        """Write the file, if it is time."""
        if record.epoch % self.every == 0 and (not self.best_only or _is_best(run.state)):
            save_state(self.path, run.network, run.state)


def _is_best(state: RunState) -> bool:
    if state.best is not None:
        return state.stopping.improved
    *earlier, last = (record.loss for record in state.history)
    return last < min(earlier, default=math.inf)
