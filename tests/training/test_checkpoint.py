"""Checkpoints: a run goes on from one as if it had never stopped, and a bad one is refused in one line."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save

from tests.models import make
from tests.runs import StopAt
from xpnet.backend import Backend, arrays_in, get_backend
from xpnet.errors import InvalidParameterError, ModelFormatError
from xpnet.model.model_file import load_model, save_model
from xpnet.nn.network import Network
from xpnet.nn.optimizers import OPTIMIZERS
from xpnet.training import checkpoint_file, step_chunks
from xpnet.training.checkpoint import Checkpoint
from xpnet.training.checkpoint_file import load_state, save_state
from xpnet.training.early_stopping import StoppingState
from xpnet.training.history import EpochRecord
from xpnet.training.state import Run, RunState
from xpnet.training.trainer import Trainer

NETWORK = Network([4, 8, 6, 3], activation=("prelu", "rrelu"), dropout=0.25, l2=0.01)
_rng = np.random.default_rng(9)
X = _rng.standard_normal((23, 4)).astype("float32").astype("float64")
Y = _rng.integers(0, 3, 23)
HELD_OUT = (X[:9] + 0.5, Y[:9])
CASES: dict[str, dict[str, Any]] = {
    **{name: {"optimizer": name} for name in OPTIMIZERS},
    "early stopping": {"early_stopping": "loss:patience=50"},
    "adaptive": {"optimizer": "momentum", "schedule": "adaptive:patience=1", "early_stopping": "accuracy:patience=9"},
    "adaptive before an epoch": {"schedule": "adaptive"},
    "sums": {"clip_norm": 0.5, "schedule": "inverse_scaling"},
}


def fit(
    case: str, epochs: int = 5, device: Any = "cpu", dtype: str = "float64", state: Any = None, **options: Any
) -> Run:
    settings = {"learning_rate": 0.02, "batch_size": 3, "seed": 5, **CASES[case], **options}
    trainer = Trainer(NETWORK, epochs=epochs, device=device, dtype=dtype, **settings)
    return trainer.fit(X, Y, validation=HELD_OUT, state=state)


def assert_equal(a: RunState, b: RunState, backend: Backend) -> None:
    """Hold two states to being equal, bit for bit and type for type, but for the times that were measured."""

    def untimed(state: RunState) -> list[Any]:
        history = tuple(record._replace(seconds=0, samples_per_second=0) for record in state.history)
        # Between two epochs what the next one begins with is the state itself.
        return arrays_in(state._replace(history=history, start=state.start if state.position else None))

    for one, other in zip(untimed(a), untimed(b), strict=True):
        if hasattr(one, "dtype"):
            assert isinstance(other, np.ndarray)
            host = backend.to_numpy(one)
            assert (other.dtype, other.shape) == (host.dtype, host.shape)
            np.testing.assert_array_equal(other, host)
        else:
            assert type(one) is type(other)
            assert one == other or (math.isnan(one) and math.isnan(other))


def newest(folder: Path) -> Path:
    return max(folder.iterdir())


# Going on.


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_two_epochs_and_three_more_are_five(case: str, dtype: str, tmp_path: Path) -> None:
    first = fit(case, 2, dtype=dtype, callbacks=[Checkpoint(tmp_path / "ö")])
    network, state = load_state(str(newest(tmp_path / "ö")))
    assert network == NETWORK
    assert_equal(first.state, state, get_backend("cpu"))
    expected, rest = fit(case, dtype=dtype), fit(case, dtype=dtype, state=state)
    assert_equal(expected.state, rest.state, get_backend("cpu"))
    np.testing.assert_array_equal(rest.params.vector, expected.params.vector)
    assert rest.stopped == expected.stopped


@pytest.mark.parametrize("call", [1, 2, 4])
def test_within_an_epoch(call: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_chunks, "_STEPS_PER_CHUNK", 2)
    first = fit("early stopping", callbacks=[StopAt(call)])
    assert first.state.position > 0
    save_state(tmp_path / "s", NETWORK, first.state)
    _, state = load_state(tmp_path / "s")
    assert_equal(first.state, state, get_backend("cpu"))
    rest = fit("early stopping", state=state)
    np.testing.assert_array_equal(rest.params.vector, fit("early stopping").params.vector)


def test_from_device_to_device(backend: Backend, dtype: str, tmp_path: Path) -> None:
    case, host = "early stopping", get_backend("cpu")
    here = fit(case, 2, backend, dtype, callbacks=[Checkpoint(tmp_path / "device")])
    fit(case, 2, host, dtype, callbacks=[Checkpoint(tmp_path / "host")])
    states = {name: load_state(newest(tmp_path / name))[1] for name in ("device", "host")}
    assert_equal(here.state, states["device"], backend)
    vector = fit(case, dtype=dtype).params.vector
    tolerance = {"float64": 1e-9, "float32": 1e-3}[dtype]
    for origin, goal in (("device", backend), ("device", host), ("host", backend)):
        rest = fit(case, 5, goal, dtype, load_state(newest(tmp_path / origin))[1])
        np.testing.assert_allclose(goal.to_numpy(rest.params.vector), vector, rtol=tolerance, atol=tolerance)
    again = fit(case, 5, backend, dtype, states["device"])
    expected = backend.to_numpy(fit(case, 5, backend, dtype).params.vector)
    np.testing.assert_array_equal(backend.to_numpy(again.params.vector), expected)


def test_nan_and_infinity_survive(tmp_path: Path) -> None:
    state = fit("adaptive before an epoch", 1, callbacks=[StopAt(1)]).state
    records = (
        EpochRecord(1, math.inf, {"loss": math.nan, "odd": -0.0, "library's": np.float32(0.1)}, 1e-300, 0.1, math.inf),
        EpochRecord(2, math.nan, None, 0.1, 0.1 + 0.2, 1.0),
    )
    assert state.schedule == (1.0, math.inf, 0)
    state = state._replace(
        schedule=(math.nan, -math.inf, 3),
        stopping=StoppingState(best=math.nan, reference=-math.inf, stale=2, improved=True),
        history=records,
        params=np.where(np.arange(state.params.size) == 1, np.nan, state.params),
    )
    save_state(tmp_path / "s", NETWORK, state)
    _, loaded = load_state(tmp_path / "s")
    scores = dict(records[0].validation or {})
    assert repr(loaded.history[0].validation) == repr({**scores, "library's": float(np.float32(0.1))})
    plain = (records[0]._replace(validation=None), records[1])
    loaded_plain = (loaded.history[0]._replace(validation=None), loaded.history[1])
    assert repr(loaded_plain) == repr(plain)
    assert_equal(state._replace(history=()), loaded._replace(history=()), get_backend("cpu"))


def test_the_file_is_plain_safetensors(tmp_path: Path) -> None:
    run = fit("early stopping", 2)
    save_state(tmp_path / "s", NETWORK, run.state)
    tensors = load_file(tmp_path / "s")
    assert sorted(tensors) == ["best", "count", "key", "learning_rate", "params", "slots.0", "slots.1", "total"]
    np.testing.assert_array_equal(tensors["params"], run.state.params)
    assert tensors["count"].shape == ()
    network, state = load_state(tmp_path / "s")
    save_state(tmp_path / "again", network, state)
    assert (tmp_path / "again").read_bytes() == (tmp_path / "s").read_bytes()


@pytest.mark.skipif(os.name != "posix", reason="links as POSIX has them")
def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("there")
    save_state(tmp_path / "link", NETWORK, fit("adam", 1).state)
    assert (tmp_path / "link").is_symlink()
    assert load_state(tmp_path / "there")[0] == NETWORK


# Bad files.


def refused(path: Path, message: str) -> None:
    with pytest.raises(ModelFormatError, match=message) as caught:
        load_state(path)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 600
    assert text.startswith(str(path))


OTHERS = {
    "header of 2^60 bytes": ((1 << 60).to_bytes(8, "little") + b"{}" * 50, "expected a whole safetensors file"),
    "empty": (b"", "expected a whole safetensors file"),
    "text": (b"epoch,loss\n1,0.5\n" * 20, "expected a whole safetensors file"),
    "no metadata": (save({"a": np.ones(3)}), "expected a checkpoint written by xpnet; .* without the metadata"),
    "no json": (save({"a": np.ones(3)}, {"xpnet_state": "{"}), "no usable xpnet checkpoint: expected whole metadata"),
    "a list": (save({"a": np.ones(3)}, {"xpnet_state": "[]"}), "expected whole metadata"),
    "100 levels": (save({"a": np.ones(3)}, {"xpnet_state": "[" * 100 + "]" * 100}), "expected whole metadata"),
    "deep json": (save({"a": np.ones(3)}, {"xpnet_state": "[" * 100_000}), "expected whole metadata"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_no_checkpoint(case: str, tmp_path: Path) -> None:
    data, message = OTHERS[case]
    (tmp_path / "s").write_bytes(data)
    refused(tmp_path / "s", message)


def test_no_file(tmp_path: Path) -> None:
    refused(tmp_path / "s", "expected a checkpoint file; received: No such file")
    refused(tmp_path, "expected a checkpoint file; received a folder")


def test_a_model_is_no_checkpoint_and_a_checkpoint_no_model(tmp_path: Path) -> None:
    save_model(tmp_path / "m", make("text"))
    refused(tmp_path / "m", "expected a checkpoint written by xpnet")
    save_state(tmp_path / "s", NETWORK, fit("adam", 1).state)
    with pytest.raises(ModelFormatError, match="expected a model written by xpnet"):
        load_model(tmp_path / "s")


def test_truncated_anywhere(tmp_path: Path) -> None:
    save_state(tmp_path / "s", NETWORK, fit("early stopping", 2).state)
    data = (tmp_path / "s").read_bytes()
    for size in {*range(40), *range(40, len(data), 29), len(data) - 1}:
        (tmp_path / "cut").write_bytes(data[:size])
        refused(tmp_path / "cut", "expected a whole safetensors file")


Change = Callable[[dict[str, Any], dict[str, np.ndarray]], Any]


def put(*place: Any) -> Change:
    """Return a change of the JSON: the way to a value, and what is put there."""
    *way, key, value = place

    def change(values: Any, tensors: Any) -> None:
        for step in way:
            values = values[step]
        values[key] = value

    return change


def put_tensor(key: str, value: Callable[[np.ndarray], np.ndarray]) -> Change:
    return lambda v, t: t.__setitem__(key, value(t[key]))


SPOILED: dict[str, tuple[Change, str]] = {
    "newer": (put("format_version", 3), "expected the format version 2; received version 3. Update xpnet"),
    "older": (put("format_version", 1), "expected the format version 2; received version 1."),
    "version text": (put("format_version", "2"), "expected the format version 2; received version '2'"),
    "no version": (lambda v, t: v.pop("format_version"), "KeyError: 'format_version'"),
    "no network": (lambda v, t: v.pop("network"), "KeyError: 'network'"),
    "network list": (put("network", [4, 3]), "TypeError"),
    "network option": (put("network", "depth", 3), "TypeError"),
    "activation": (put("network", "activation", "rely"), "unknown activation"),
    "size 0": (put("network", "layer_sizes", [4, 0, 6, 3]), "layer_sizes: expected an integer of at least 1"),
    "other sizes": (put("network", "layer_sizes", [4, 8, 7, 3]), "tensor params: expected float64 (135,); received"),
    "absurd sizes": (put("network", "layer_sizes", [4, 10**15, 10, 3]), "tensor params: expected float64 ("),
    "absurd layers": (put("network", "layer_sizes", [4] * 3_000_000), "expected at most as many layer sizes"),
    "epoch": (put("epoch", 1.5), "epoch: expected an integer of at least 0; received 1.5"),
    "epoch -1": (put("epoch", -1), "epoch: expected an integer of at least 0"),
    "position": (put("position", None), "position: expected an integer of at least 0"),
    "schedule": (put("schedule", 3), "TypeError"),
    "schedule text": (put("schedule", "abc"), "schedule: expected a number; received 'a'"),
    "schedule list": (put("schedule", [1.0, [2.0], 3]), "schedule: expected a number"),
    "stopping": (put("stopping", None), "TypeError"),
    "stopping field": (put("stopping", "worst", 1.0), "TypeError"),
    "stale": (put("stopping", "stale", 0.5), "stale: expected an integer"),
    "improved": (put("stopping", "improved", 1), "improved: expected True or False; received 1"),
    "best text": (put("stopping", "best", "-inf"), "best: expected a number; received '-inf'"),
    "best bool": (put("stopping", "best", True), "best: expected a number"),
    "no history": (lambda v, t: v.pop("history"), "KeyError: 'history'"),
    "history": (put("history", {"epoch": 1}), "TypeError"),
    "record": (put("history", 0, [1, 2.0, None, 0.1, 1.0, 1.0]), "TypeError"),
    "record field": (lambda v, t: v["history"][0].pop("loss"), "TypeError"),
    "loss": (put("history", 1, "loss", "0.5"), "loss: expected a number; received '0.5'"),
    "loss null": (put("history", 1, "loss", None), "loss: expected a number; received None"),
    "record epoch": (put("history", 0, "epoch", 0), "epoch: expected an integer of at least 1"),
    "validation": (put("history", 0, "validation", 0.5), "validation: expected numbers by name, or None"),
    "score": (put("history", 0, "validation", "loss", "low"), "validation: expected numbers by name, or None"),
    "half": (put_tensor("params", lambda a: a.astype("float16")), "tensor params: expected float32 or float64"),
    "mixed dtypes": (put_tensor("slots.1", lambda a: a.astype("float32")), "tensor slots.1: expected float64"),
    "count": (put_tensor("count", lambda a: a.astype("float64")), "tensor count: expected int32 (); received float64"),
    "key": (put_tensor("key", lambda a: a[:1]), "tensor key: expected int32 (2,); received int32 (1,)"),
    "total": (put_tensor("total", lambda a: a.reshape(1)), "tensor total: expected float64 (); received float64 (1,)"),
    "best": (put_tensor("best", lambda a: a[1:]), "tensor best: expected float64 (123,); received float64 (122,)"),
    "gap": (lambda v, t: t.update({"slots.3": t.pop("slots.1")}), "KeyError: 'slots.1'"),
    "missing": (lambda v, t: t.pop("key"), "KeyError: 'key'"),
    "no params": (lambda v, t: t.pop("params"), "KeyError: 'params'"),
}


def spoiled(path: Path, change: Change) -> None:
    """Write a valid file after a change to its JSON and its tensors."""
    save_state(path, NETWORK, fit("early stopping", 2).state)
    tensors = load_file(path)
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    values = json.loads(header["__metadata__"]["xpnet_state"])
    change(values, tensors)
    path.write_bytes(save(tensors, {"xpnet_state": json.dumps(values)}))


@pytest.mark.parametrize("case", SPOILED)
def test_parts_that_do_not_fit(case: str, tmp_path: Path) -> None:
    change, message = SPOILED[case]
    spoiled(tmp_path / "s", change)
    refused(tmp_path / "s", re.escape(message))


def test_unspoiled_it_loads(tmp_path: Path) -> None:
    spoiled(tmp_path / "s", lambda v, t: None)
    assert load_state(tmp_path / "s")[1].epoch == 2


def test_another_optimizers_state_is_refused_by_the_trainer(tmp_path: Path) -> None:
    save_state(tmp_path / "s", NETWORK, fit("adam", 1).state)
    with pytest.raises(InvalidParameterError, match="Resume with the optimizer that the run began with"):
        fit("sgd", state=load_state(tmp_path / "s")[1])


def test_every_part_of_a_state_is_in_the_file() -> None:
    others = {"params", "step", "total", "best", "history", "stopping", "start", "rollback"}
    assert set(RunState._fields) == {*others, *checkpoint_file._STATE}
    assert set(EpochRecord._fields) == set(checkpoint_file._RECORD)
    assert set(StoppingState._fields) == set(checkpoint_file._STOPPING)
