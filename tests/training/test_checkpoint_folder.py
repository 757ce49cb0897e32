"""Checkpoints while a run goes on: when they are written, which are kept, and the way back from the newest."""

from __future__ import annotations

import dataclasses
import math
import os
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.runs import StopAt
from xpnet import files
from xpnet.errors import DivergenceError, InvalidParameterError, ModelFormatError, XpnetError, XpnetWarning
from xpnet.nn.network import Network
from xpnet.training import checkpoint, step_chunks
from xpnet.training.callbacks import Callback
from xpnet.training.checkpoint import Checkpoint
from xpnet.training.checkpoint_file import load_state, save_state
from xpnet.training.history import EpochRecord
from xpnet.training.metrics_file import MetricsFile
from xpnet.training.state import Run, RunState
from xpnet.training.trainer import Trainer

NETWORK = Network([4, 8, 3], activation="prelu", dropout=0.25)
_rng = np.random.default_rng(9)
X = _rng.standard_normal((23, 4))
Y = _rng.integers(0, 3, 23)
TRAINER = Trainer(NETWORK, "momentum", batch_size=4, epochs=4, learning_rate=0.02, seed=5, dtype="float64")
# Six steps an epoch: two calls of two, one of one, and the short batch.


@pytest.fixture(autouse=True)
def _short_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_chunks, "_STEPS_PER_CHUNK", 2)


def fit(*callbacks: Callback, **options: Any) -> Run:
    validation = options.pop("validation", (X[:9], Y[:9]))
    return dataclasses.replace(TRAINER, callbacks=callbacks, **options).fit(X, Y, validation=validation)


def resume(path: Path, *callbacks: Callback, **options: Any) -> Run:
    trainer = dataclasses.replace(TRAINER, callbacks=callbacks, **options)
    return trainer.resume(path, X, Y, validation=(X[:9], Y[:9]))


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def moments(folder: Path) -> list[tuple[int, int]]:
    """Epochs and steps of the checkpoints that are there, each held to being what its name says."""
    found = []
    for name in names(folder):
        _, epoch, _, step = name.removesuffix(".safetensors").split("-")
        state = load_state(folder / name)[1]
        assert (state.epoch, state.position) == (int(epoch), int(step))
        found.append((state.epoch, state.position))
    return found


def assert_same(a: Run, b: Run) -> None:
    np.testing.assert_array_equal(a.params.vector, b.params.vector)
    np.testing.assert_array_equal(a.state.params, b.state.params)
    timeless = [[record._replace(seconds=0, samples_per_second=0) for record in run.history] for run in (a, b)]
    assert timeless[0] == timeless[1]


# When


@pytest.mark.parametrize(
    ("every", "expected"),
    [
        (1, [(1, 0), (2, 0), (3, 0), (4, 0)]),
        ("3", [(3, 0), (4, 0)]),  # at the end too
        (9, [(4, 0)]),
        ("1steps", [(e, p) for e in range(4) for p in (2, 4, 5, 6)] + [(4, 0)]),
        ("5steps", [(0, 5), (1, 4), (2, 4), (3, 4), (4, 0)]),
        ("10min", [(1, 2), (2, 4), (3, 5), (4, 0)]),
    ],
)
def test_when(every: int | str, expected: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]

    class Clock(Callback):
        def on_steps(self, epoch: int, done: int) -> None:
            now[0] += 130  # ten minutes are five calls

    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now[0])
    fit(Clock(), Checkpoint(tmp_path / "c", every, keep=99))
    assert moments(tmp_path / "c") == expected


def test_the_newest_are_kept(tmp_path: Path) -> None:
    fit(Checkpoint(tmp_path, "1steps", keep=2))
    assert moments(tmp_path) == [(3, 6), (4, 0)]


def test_an_older_one_is_there_until_the_newer_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        seen.append([name for name in names(tmp_path) if not name.startswith(".")])
        real(descriptor)

    monkeypatch.setattr(files.os, "fsync", fsync)
    fit(Checkpoint(tmp_path, keep=1), epochs=2)
    one, two = (f"epoch-00000{epoch}-step-0000000.safetensors" for epoch in (1, 2))
    # The file and then its folder, twice.
    assert seen == [[], [one], [one], [one, two]]


def test_what_is_not_a_checkpoint_stays(tmp_path: Path) -> None:
    (tmp_path / "notes-000009.txt").write_text("mine")
    (tmp_path / ".epoch-000002-step-0000000.safetensors.1a2b3c4d.part").write_text("left by a kill")
    (tmp_path / ".x.safetensors.1a2b3c4d.part").write_text("mine")
    fit(Checkpoint(tmp_path, keep=1))
    kept = [".x.safetensors.1a2b3c4d.part", "epoch-000004-step-0000000.safetensors", "notes-000009.txt"]
    assert names(tmp_path) == kept


def scores_in_turn(*values: float) -> Callable[[Any], dict[str, float]]:
    given = iter(values)
    return lambda params: {"loss": next(given)}


@pytest.mark.parametrize(("every", "epochs"), [(1, [1, 2, 4, 7]), (2, [2, 4])])
def test_the_best_only_by_early_stopping(every: int, epochs: list[int], tmp_path: Path) -> None:
    scores = scores_in_turn(9.0, 7.0, 7.0, 6.0, math.nan, 6.5, 5.0)
    keeper = Checkpoint(tmp_path, every, keep=9, best_only=True)
    fit(keeper, epochs=7, early_stopping="loss:patience=9", validation=scores)
    assert moments(tmp_path) == [(epoch, 0) for epoch in epochs]


def test_the_best_only_by_the_loss(tmp_path: Path) -> None:
    options = {"learning_rate": 0.1, "schedule": "step:every=1,factor=1.5", "optimizer": "sgd", "epochs": 9}
    keeper = Checkpoint(tmp_path, keep=9, best_only=True)
    losses = [record.loss for record in fit(keeper, **options).history]
    best = [epoch for epoch in range(1, 10) if losses[epoch - 1] < min(losses[: epoch - 1], default=math.inf)]
    assert moments(tmp_path) == [(epoch, 0) for epoch in best]
    assert len(best) > 1
    assert best[-1] < 9
    # A run that goes on knows how good it has been.
    resume(tmp_path, keeper, **options)
    assert moments(tmp_path) == [(epoch, 0) for epoch in best]


@pytest.mark.parametrize("options", [{"keep": 0}, {"keep": 1.5}, {"keep": True}, {"best_only": 1}])
def test_options_that_are_none(options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(InvalidParameterError, match=f"^{name}: expected .*; received"):
        Checkpoint("s", **options)


@pytest.mark.parametrize("every", [0, "0", -1, 1.5, True, None, "", "5 epochs", "1h", "1.5min", "1\n", "9" * 16])
def test_no_period(every: Any) -> None:
    with pytest.raises(InvalidParameterError) as caught:
        Checkpoint("s", every)
    assert str(caught.value) == (
        f"every: expected a number of epochs, as 1, or 500steps, or 10min; received {every!r}."
    )


# Going on


@pytest.mark.parametrize("early_stopping", [None, "loss:patience=3"])
@pytest.mark.parametrize("call", range(1, 17))
def test_stopped_anywhere_it_goes_on_to_the_same(call: int, early_stopping: str | None, tmp_path: Path) -> None:
    options = {"early_stopping": early_stopping}
    stopped = fit(Checkpoint(tmp_path), StopAt(call), **options)
    assert stopped.stopped == "interrupted"
    assert moments(tmp_path)[-1] == (stopped.state.epoch, stopped.state.position)  # nothing is lost
    expected = fit(**options)
    assert_same(resume(tmp_path, **options), expected)
    assert_same(resume(max(tmp_path.iterdir()), **options), expected)


@pytest.mark.parametrize("number", range(17))
def test_from_every_checkpoint_the_rest_is_the_same(number: int, tmp_path: Path) -> None:
    expected = fit(Checkpoint(tmp_path, "1steps", keep=99))
    rest = resume(tmp_path / names(tmp_path)[number])
    assert_same(rest, expected)
    assert all(record.samples_per_second >= 0 for record in rest.history)


def test_more_epochs(tmp_path: Path) -> None:
    fit(Checkpoint(tmp_path), epochs=2)
    assert_same(resume(tmp_path, epochs=5), fit(epochs=5))


def test_on_another_device(tmp_path: Path) -> None:
    pytest.importorskip("jax")
    fit(Checkpoint(tmp_path), StopAt(6))
    rest = resume(tmp_path, device="jax:cpu")
    np.testing.assert_allclose(np.asarray(rest.params.vector), fit().params.vector, rtol=1e-9, atol=1e-9)


def test_a_finished_run_is_finished(tmp_path: Path) -> None:
    expected = fit(Checkpoint(tmp_path))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    again = resume(tmp_path, Checkpoint(tmp_path))
    assert_same(again, expected)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_files_that_a_kill_at_the_end_has_left_are_removed(tmp_path: Path) -> None:
    fit(Checkpoint(tmp_path, "1steps", keep=4))
    resume(tmp_path, Checkpoint(tmp_path, keep=2))
    assert moments(tmp_path) == [(3, 6), (4, 0)]


# Damage

DAMAGES: dict[str, Callable[[Path], Any]] = {
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "text": lambda path: path.write_text("no checkpoint " * 99),
    "a header of 2^60 bytes": lambda path: path.write_bytes((1 << 60).to_bytes(8, "little") + bytes(99)),
    "other tensors": lambda path: save_file({"a": np.ones(3)}, path),
    "another network": lambda path: save_state(path, OTHER, Trainer(OTHER, "momentum", epochs=1).fit(X, Y).state),
    "another optimizer": lambda path: save_state(path, NETWORK, fit(optimizer="adam", epochs=1).state),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}
OTHER = Network([4, 5, 3])


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_one_is_passed_over(damage: str, tmp_path: Path) -> None:
    expected = fit(Checkpoint(tmp_path))
    *_, last = names(tmp_path)
    DAMAGES[damage](tmp_path / last)
    with pytest.warns(XpnetWarning) as caught:
        rest = resume(tmp_path)
    (warning,) = caught
    text = str(warning.message)
    assert text.startswith(str(tmp_path / last))
    assert text.endswith("Skipping it; trying the previous checkpoint.")
    assert "\n" not in text
    assert_same(rest, expected)


def test_where_all_are_damaged(tmp_path: Path) -> None:
    fit(Checkpoint(tmp_path))
    for path in tmp_path.iterdir():
        path.write_bytes(b"")
    with pytest.warns(XpnetWarning) as caught, pytest.raises(ModelFormatError, match="one with 3 that cannot be used"):
        resume(tmp_path)
    assert len(caught) == 3


def test_where_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(ModelFormatError, match="expected a folder with a checkpoint; received one with none"):
        resume(tmp_path)
    with pytest.raises(ModelFormatError, match="expected a checkpoint file; received"):
        resume(tmp_path / "nothing")


def test_of_other_data(tmp_path: Path) -> None:
    fit(Checkpoint(tmp_path), StopAt(3))
    with pytest.raises(InvalidParameterError, match="at most the 2 steps of an epoch; received 5"):
        TRAINER.resume(tmp_path, X[:8], Y[:8])


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failure_leaves_the_last_one(call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    class Fill(Callback):
        def on_epoch(self, record: EpochRecord, run: Run) -> None:
            if record.epoch == 2:
                monkeypatch.setattr(files.os, call, fail)

    with pytest.raises(XpnetError, match=r"cannot write .*epoch-000002.*: No space left"):
        fit(Checkpoint(tmp_path), Fill())
    assert moments(tmp_path) == [(1, 0)]


@pytest.mark.parametrize("path", ["a\0b", "file/c"])
def test_paths_that_cannot_be_written(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")

    class Untrained(Callback):
        def on_steps(self, epoch: int, done: int) -> None:
            raise AssertionError("trained")

    with pytest.raises(XpnetError, match=r"^cannot write [^\n]*$"):
        fit(Checkpoint(path), Untrained())


# on_state


def test_what_on_state_is_told() -> None:
    seen: list[Any] = []

    class Look(Callback):
        def on_steps(self, epoch: int, done: int) -> None:
            seen.append((epoch - 1, done))

        def on_state(self, run: Run) -> None:
            seen.append((run.state.epoch, run.state.position, run.stopped, len(run.history)))

    fit(Look(), epochs=1)
    expected: list[Any] = [(0, 0, "running", 0)]
    for done in (2, 4, 5, 6):
        expected += [(0, done), (0, done, "running", 0)]
    assert seen == [*expected, (1, 0, "running", 1), (1, 0, "epochs", 1)]


# Divergence

LINEAR = Network([4, 1], loss="squared_error")
TARGETS = X @ np.asarray([[1.0], [2.0], [-1.0], [0.5]])


def diverge(rate: float, *callbacks: Callback, path: Path | None = None, **options: Any) -> Run:
    options = {"on_divergence": "halve", "epochs": 60, "early_stopping": "training_loss:patience=99", **options}
    state = options.pop("state", None)
    trainer = Trainer(LINEAR, "momentum", rate, batch_size=4, callbacks=callbacks, dtype="float32", **options)
    return trainer.fit(X, TARGETS, state=state) if path is None else trainer.resume(path, X, TARGETS)


RATE = 3.0  # it takes two halvings and more


def test_halving_finds_a_rate_that_works() -> None:
    with pytest.warns(XpnetWarning, match="training diverged in epoch") as caught:
        run = diverge(RATE)
    n = run.state.halvings
    assert 1 < n <= 5
    assert len(caught) == n
    assert [f"({i} of 5 times)" in str(warning.message) for i, warning in enumerate(caught, 1)] == [True] * n
    assert [record.epoch for record in run.history] == list(range(1, 61))
    assert run.history[-1].learning_rate == RATE / 2**n
    assert all(math.isfinite(record.loss) for record in run.history)
    assert np.isfinite(run.params.vector).all()


def test_it_goes_on_from_the_epoch_of_the_lowest_loss() -> None:
    """The last one is beyond help: from its parameters the loss overflows at any rate."""
    kept: dict[int, Any] = {}

    class Keep(Callback):
        def on_epoch(self, record: EpochRecord, run: Run) -> None:
            step = run.state.step
            copied = step._replace(optimizer=step.optimizer._replace(slots=(step.optimizer.slots[0].copy(),)))
            kept[record.epoch] = record.loss, run.state.params.copy(), copied

    with pytest.raises(DivergenceError):
        diverge(RATE, Keep(), epochs=12, on_divergence="stop")
    lowest = min(kept, key=lambda epoch: kept[epoch][0])
    assert len(kept) > lowest + 3
    with pytest.warns(XpnetWarning, match=f"parameters after epoch {lowest} with half") as caught:
        run = diverge(RATE, epochs=12)
    # The same by hand: that epoch begun again, from there, at the rate that it came to.
    _, params, step = kept[lowest]
    state = RunState(params, step, np.zeros((), "float32"), len(kept), history=run.history[: len(kept)])
    rest = diverge(RATE / 2 ** len(caught), epochs=12, on_divergence="stop", state=state)
    np.testing.assert_array_equal(rest.state.params, run.state.params)


@pytest.mark.slow
@pytest.mark.parametrize("every", [1, "3steps"])
def test_a_halved_run_goes_on_to_the_same(every: Any, tmp_path: Path) -> None:
    with pytest.warns(XpnetWarning):
        expected = diverge(RATE)
    with pytest.warns(XpnetWarning):
        diverge(RATE, Checkpoint(tmp_path / "all", every, keep=10**6))
    keys = set()
    for call in range(1, 240, 20):
        folder = tmp_path / str(call)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", XpnetWarning)
            stopped = diverge(RATE, StopAt(call), Checkpoint(folder, every, keep=1))
            keys.add((stopped.state.position > 0, stopped.state.halvings))
            if any(folder.iterdir()):
                assert_same(diverge(RATE, path=folder), expected)
                assert diverge(RATE, path=folder).state.halvings == expected.state.halvings
    assert len({halvings for _, halvings in keys}) > 2


def test_at_most_five_times() -> None:
    with (
        pytest.warns(XpnetWarning) as caught,
        pytest.raises(DivergenceError, match="5 halvings were not enough") as raised,
    ):
        diverge(1e30)
    assert len(caught) == 5
    assert raised.value.run.stopped == "diverged"
    assert np.isfinite(raised.value.run.params.vector).all()


def test_what_is_kept_where_halving_is_not_enough() -> None:
    kept: dict[int, Any] = {}

    class Keep(Callback):
        def on_epoch(self, record: EpochRecord, run: Run) -> None:
            kept[record.epoch] = run.state.params.copy()

    with (
        pytest.warns(XpnetWarning),
        pytest.raises(DivergenceError, match="after epoch 1 are kept, 5 halvings") as raised,
    ):
        diverge(100.0, Keep(), early_stopping=None)
    assert len(kept) > 1
    np.testing.assert_array_equal(raised.value.run.params.vector, kept[1])


def test_checkpoints_of_a_course_that_was_given_up_go(tmp_path: Path) -> None:
    with pytest.warns(XpnetWarning) as caught:
        diverge(RATE, Checkpoint(tmp_path, "1steps", keep=10**6), epochs=12)
    diverged = int(str(caught[-1].message).split("epoch ")[1].split(":")[0]) - 1
    states = [load_state(path)[1] for path in tmp_path.iterdir()]
    within = [state.halvings for state in states if state.epoch == diverged and state.position > 0]
    assert within == [len(caught)] * 4


@pytest.mark.parametrize("rate", [RATE, 1e30])
def test_a_diverged_state_is_not_written(rate: float, tmp_path: Path) -> None:
    options = {"on_divergence": "stop", "early_stopping": None}
    with pytest.raises(DivergenceError) as first:
        diverge(rate, Checkpoint(tmp_path, "1steps", keep=10**6), **options)
    states = [load_state(path)[1] for path in tmp_path.iterdir()]
    assert all(np.isfinite([state.params, *state.step.optimizer.slots]).all() for state in states)
    if not states:
        assert rate == 1e30
        return
    assert max((state.epoch, state.position) for state in states)[1] > 0  # within the epoch that diverges
    with pytest.raises(DivergenceError) as again:
        diverge(rate, path=tmp_path, **options)
    np.testing.assert_array_equal(again.value.run.params.vector, first.value.run.params.vector)
    assert str(again.value) == str(first.value)


def test_a_folder_of_another_run_is_left_as_it_is(tmp_path: Path) -> None:
    fit(Checkpoint(tmp_path))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(InvalidParameterError, match=r"folder: expected a folder without checkpoints .* Resume the run"):
        fit(Checkpoint(tmp_path))
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_what_was_to_go_back_to_is_forgotten_where_a_run_is_to_stop() -> None:
    state = fit(on_divergence="halve", epochs=2).state
    assert state.rollback is not None
    run = dataclasses.replace(TRAINER, epochs=3).fit(X, Y, validation=(X[:9], Y[:9]), state=state)
    assert run.state.rollback is None


# One run at a time


class During(Callback):
    """Call a function after the second epoch, when the first one has its checkpoint."""

    def __init__(self, action: Callable[[], object]) -> None:
        self.action = action

    def on_epoch(self, record: EpochRecord, run: Run) -> None:
        if record.epoch == 2:
            self.action()


LOCKED = "expected a folder for the checkpoints of one run; received that of another run, which lasts"
PART = ".epoch-000002-step-0000000.safetensors.1a2b3c4d.part"


@pytest.mark.parametrize("again", ["another", "the same", "in a thread", "resume"])
def test_a_second_run_is_refused_before_it_touches_a_file(again: str, tmp_path: Path) -> None:
    first = Checkpoint(tmp_path, keep=9)
    refused: list[bool] = []

    def second() -> None:
        (tmp_path / PART).write_text("being written")  # which on Windows nobody could remove
        before = names(tmp_path)
        callback = Checkpoint(tmp_path, keep=1) if again in ("another", "resume") else first
        with pytest.raises(XpnetError, match=LOCKED):
            resume(tmp_path, callback) if again == "resume" else fit(callback)
        assert names(tmp_path) == before
        refused.append(True)

    def in_a_thread() -> None:
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()

    fit(first, During(in_a_thread if again == "in a thread" else second))
    assert refused
    (tmp_path / PART).unlink()
    assert moments(tmp_path) == [(1, 0), (2, 0), (3, 0), (4, 0)]  # and no lock


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_releases_the_folder(error: type[BaseException], tmp_path: Path) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(error):
        fit(During(fail), Checkpoint(tmp_path))
    assert moments(tmp_path) == [(1, 0)]
    resume(tmp_path, Checkpoint(tmp_path))


def test_what_a_kill_leaves_locks_nobody_out(tmp_path: Path) -> None:
    (tmp_path / ".xpnet.lock").touch()
    fit(Checkpoint(tmp_path))
    assert moments(tmp_path) == [(2, 0), (3, 0), (4, 0)]


def test_a_refused_run_leaves_its_other_files(tmp_path: Path) -> None:
    """The metrics come first, and it is the checkpoints that refuse the run."""
    metrics = MetricsFile(tmp_path / "metrics")
    fit(metrics, Checkpoint(tmp_path / "c"))
    before = (tmp_path / "metrics").read_bytes()
    with pytest.raises(InvalidParameterError, match="expected a folder without checkpoints"):
        fit(metrics, Checkpoint(tmp_path / "c"))
    with pytest.raises(InvalidParameterError, match="expected a folder without checkpoints"):
        fit(MetricsFile(tmp_path / "new"), Checkpoint(tmp_path / "c"))
    assert (tmp_path / "metrics").read_bytes() == before
    assert names(tmp_path) == ["c", "metrics"]


@pytest.mark.skipif(os.name != "posix", reason="links as POSIX has them")
def test_links_and_folders_with_the_name_of_a_checkpoint(tmp_path: Path) -> None:
    folder, victim = tmp_path / "c", tmp_path / "victim"
    victim.write_text("mine")

    def plant() -> None:
        (folder / "epoch-000009-step-0000000.safetensors").mkdir()
        (folder / "epoch-000008-step-0000000.safetensors").symlink_to(victim)
        (folder / "epoch-000003-step-0000000.safetensors").symlink_to(victim)

    with pytest.raises(XpnetError, match=r"cannot write .*epoch-000003.*: a link, not a regular file"):
        fit(Checkpoint(folder, keep=1), During(plant))
    assert victim.read_text() == "mine"
    kept = [f"epoch-00000{epoch}-step-0000000.safetensors" for epoch in (2, 3, 8, 9)]
    assert names(folder) == kept


@pytest.mark.skipif(os.name != "posix", reason="an open file may be moved")
def test_a_folder_that_is_made_again_for_another_run(tmp_path: Path) -> None:
    folder = tmp_path / "c"

    def exchange() -> None:
        folder.rename(tmp_path / "kept")
        fit(Checkpoint(folder, keep=9), epochs=2)
        (folder / ".xpnet.lock").touch()  # a third run

    with pytest.raises(XpnetError, match="expected the folder in which the run began"):
        fit(Checkpoint(folder, keep=1), During(exchange))
    assert names(folder)[1:] == [f"epoch-00000{epoch}-step-0000000.safetensors" for epoch in (1, 2)]
