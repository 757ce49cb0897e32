"""The content of a checkpoint: the state of a run as one file.

A run that continues from it gives the result of a run that never stopped. `xpnet.training.checkpoint` decides when a
run writes such files.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from xpnet.backend import to_host
from xpnet.constraints import Constraint, boolean, check_constraints, integer
from xpnet.errors import ModelFormatError
from xpnet.files import write_output
from xpnet.nn.network import Network
from xpnet.nn.optimizers import OptimizerState
from xpnet.nn.step import StepState
from xpnet.tensors import Format
from xpnet.training.early_stopping import StoppingState
from xpnet.training.history import EpochRecord
from xpnet.training.state import Rollback, RunState

__all__ = ["load_state", "save_state", "state_parts"]

_FORMAT = Format("xpnet_state", "checkpoint", 2)

# Unlike settings these may be NaN or infinite.
_NUMBER = Constraint("a number", lambda value: isinstance(value, int | float) and not isinstance(value, bool))
_SCORES = Constraint(
    "numbers by name, or None",
    lambda value: value is None or (isinstance(value, dict) and all(map(_NUMBER.holds, value.values()))),
)
_STATE = {
    "epoch": integer(0),
    "position": integer(0),
    "schedule": _NUMBER,
    "halvings": integer(0),
    "flushes_subnormals": boolean(),
}
_STOPPING = {"best": _NUMBER, "reference": _NUMBER, "stale": integer(0), "improved": boolean()}
_RECORD = {
    "epoch": integer(1),
    "validation": _SCORES,
    **dict.fromkeys(("loss", "learning_rate", "seconds", "samples_per_second"), _NUMBER),
}


def save_state(path: str | Path, network: Network, state: RunState) -> None:
    """Write the state of a run as one safetensors file.

    The file is written under another name and then renamed, so it is never incomplete. A link is followed, and a pipe
    or a device is written in place.

    Parameters
    ----------
    path : str or Path
    network : Network
    state : RunState

    Raises
    ------
    XpnetError
        The file cannot be written. An existing file stays as it is.

    Notes
    -----
    The tensors are ``params``, ``total``, ``key``, ``learning_rate``, ``count`` and ``slots.<i>``. With early stopping
    there is ``best``, within an epoch ``start``, and with ``on_divergence="halve"`` the tensors of the rollback, whose
    names begin with ``refuge.``. Everything else is JSON, about 200 bytes for each completed epoch.

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
    write_output(path, *state_parts(network, state))


def state_parts(network: Network, state: RunState) -> Iterator[bytes | memoryview]:
    """Yield the content of a checkpoint, piece by piece."""
    return _FORMAT.parts(_values(network, state), _tensors(state))


def _values(network: Network, state: RunState) -> dict[str, Any]:
    return {
        "network": network.to_dict(),
        "epoch": state.epoch,
        "position": state.position,
        "schedule": state.schedule,
        "stopping": state.stopping._asdict(),
        "history": [record._asdict() for record in state.history],
        "halvings": state.halvings,
        "flushes_subnormals": state.flushes_subnormals,
        "versions": {"Python": platform.python_version(), "NumPy": np.__version__},
    }


def _tensors(state: RunState) -> dict[str, np.ndarray]:
    tensors = {"params": state.params, "total": state.total, "learning_rate": state.step.optimizer.learning_rate}
    tensors |= _step_tensors("", state.step)
    if state.best is not None:
        tensors["best"] = state.best
    if state.start is not None and state.position > 0:  # otherwise it equals `params`
        tensors["start"] = state.start
    if state.rollback is not None:
        tensors |= {"refuge.params": state.rollback.params, **_step_tensors("refuge.", state.rollback.step)}
    return {name: to_host(array) for name, array in tensors.items()}


def _step_tensors(prefix: str, step: StepState) -> dict[str, Any]:
    slots = {f"{prefix}slots.{i}": slot for i, slot in enumerate(step.optimizer.slots)}
    return {f"{prefix}key": step.key, f"{prefix}count": step.optimizer.count, **slots}


def load_state(path: str | Path) -> tuple[Network, RunState]:
    """Read a checkpoint.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    network : Network
    state : RunState
        The arrays are NumPy arrays; `Trainer.fit` moves them to its device. The optimizer, the schedule and the early
        stopping are not in the file: give the trainer the same ones.

    Raises
    ------
    ModelFormatError
        The file is missing, truncated, not a safetensors file, not a checkpoint, or inconsistent.
    """
    return _FORMAT.read(path, _build)


def _build(values: dict[str, Any], tensors: dict[str, np.ndarray]) -> tuple[Network, RunState]:
    if len(values["network"]["layer_sizes"]) > tensors["params"].size:  # before a long list takes memory
        raise ModelFormatError("expected at most as many layer sizes as parameters; received more")
    network = Network(**values["network"])
    _check_tensors(network, tensors)
    rollback = Rollback(tensors["refuge.params"], _step("refuge.", tensors)) if "refuge.params" in tensors else None
    state = RunState(
        tensors["params"],
        _step("", tensors),
        tensors["total"],
        values["epoch"],
        values["position"],
        tuple(values["schedule"]),
        StoppingState(**values["stopping"]),
        tensors.get("best"),
        tuple(EpochRecord(**record) for record in values["history"]),
        values["halvings"],
        tensors.get("start"),
        rollback,
        values.get("flushes_subnormals", False),  # not in the files of earlier versions
    )
    check_constraints(state, _STATE)
    check_constraints(state.stopping, _STOPPING)
    for record in state.history:
        check_constraints(record, _RECORD)
    return network, state


def _step(prefix: str, tensors: dict[str, np.ndarray]) -> StepState:
    n_slots = sum(name.startswith(f"{prefix}slots.") for name in tensors)
    slots = tuple(tensors[f"{prefix}slots.{i}"] for i in range(n_slots))
    # The learning rate and the clock are set before each epoch, the rate factors before the first.
    return StepState(
        OptimizerState(tensors["learning_rate"], tensors[f"{prefix}count"], slots), tensors[f"{prefix}key"]
    )


def _check_tensors(network: Network, tensors: dict[str, np.ndarray]) -> None:
    dtype = tensors["params"].dtype.name
    if dtype not in ("float32", "float64"):
        raise ModelFormatError(f"tensor params: expected float32 or float64; received {dtype}")
    forms: dict[str, tuple[str, tuple[int, ...]]] = {"count": ("int32", ()), "key": ("int32", (2,))}
    forms |= dict.fromkeys(("total", "learning_rate"), (dtype, ()))
    for name in ("params", *tensors):
        # All others have the length of the parameters.
        form = forms.get(name.removeprefix("refuge."), (dtype, (network.n_parameters,)))
        received = tensors[name].dtype.name, tensors[name].shape
        if received != form:
            raise ModelFormatError(f"tensor {name}: expected {form[0]} {form[1]}; received {received[0]} {received[1]}")
