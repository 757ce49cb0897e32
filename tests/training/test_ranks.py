"""Training by several ranks, which are threads here, gives the result of a single process."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.thread_ranks import ThreadCommunicator, run_ranks
from xpnet.communicator import share_of
from xpnet.errors import DivergenceError, InvalidParameterError, RankError
from xpnet.nn.network import Network
from xpnet.training.callbacks import Callback, StopTraining
from xpnet.training.checkpoint import Checkpoint
from xpnet.training.history import EpochRecord
from xpnet.training.state import Run
from xpnet.training.trainer import Trainer

RNG = np.random.default_rng(0)
N = 203
X, Y, WEIGHT = RNG.random((N, 9)), RNG.integers(0, 4, N), RNG.random(N) * (np.arange(N) % 7 > 0)
VALIDATION = RNG.random((51, 9)), RNG.integers(0, 4, 51)
NETWORK = Network((9, 20, 7, 4), ("relu", "rrelu"), dropout=0.3, l2=1e-3, l1=1e-4)
TRAINER = Trainer(NETWORK, batch_size=20, epochs=3, dtype="float64")
CASES: dict[str, dict[str, Any]] = {
    "adam": {},
    "clipped": {"clip_norm": 0.1},
    "micro-batches": {"optimizer": "momentum", "micro_batch": 4},
    "class weights": {"optimizer": "adamw", "class_weight": "balanced"},
    "penalties by batch": {"network": Network((9, 20, 4), l2=0.1, penalty_reduction="mean")},
    "sums": {"network": Network((9, 20, 4), reduction="sum"), "optimizer": "sgd", "learning_rate": 1e-3},
    "schedule and factors": {"learning_rate_factors": {"biases": 0.5}, "schedule": "coslog4"},
    "early stopping": {"early_stopping": "loss:patience=1"},
    "batches smaller than the ranks": {"batch_size": 2},
    "a last batch of one": {"batch_size": 101},
    "all samples": {"batch_size": None},
    "float32": {"dtype": "float32"},
}


def trained(trainer: Trainer, communicator: Any = None, weight: np.ndarray | None = None, n: int = N) -> Run:
    trainer = dataclasses.replace(trainer, communicator=communicator)
    weight = weight if weight is None else weight[:n]
    return trainer.fit(X[:n], Y[:n], sample_weight=weight, validation=VALIDATION)


def assert_same(expected: Run, found: Run) -> None:
    float32 = expected.params.vector.dtype == np.float32
    limits = {"rtol": 1e-4, "atol": 1e-6} if float32 else {"rtol": 1e-10, "atol": 1e-13}
    np.testing.assert_allclose(found.params.vector, expected.params.vector, **limits)
    assert len(found.history) == len(expected.history)
    for one, other in zip(expected.history, found.history, strict=True):
        assert other.loss == pytest.approx(one.loss, rel=limits["rtol"])
        assert other.validation == pytest.approx(one.validation, rel=limits["rtol"])
    for one_slot, slot in zip(expected.state.step.optimizer.slots, found.state.step.optimizer.slots, strict=True):
        np.testing.assert_allclose(slot, one_slot, **limits)
    assert found.stopped == expected.stopped


@pytest.mark.parametrize("ranks", [2, 3, 4])
@pytest.mark.parametrize("case", CASES)
def test_ranks_give_the_result_of_one_process(case: str, ranks: int) -> None:
    trainer = dataclasses.replace(TRAINER, **CASES[case])
    expected = trained(trainer)
    runs = run_ranks(ranks, lambda communicator: trained(trainer, communicator))
    for run in runs:
        assert_same(expected, run)
    assert all(np.array_equal(run.params.vector, runs[0].params.vector) for run in runs)


@pytest.mark.parametrize("optimizer", ["sgd", "nesterov", "adam", "adamw", "rmsprop", "adagrad"])
def test_sample_weights_and_each_optimizer(optimizer: str) -> None:
    trainer = dataclasses.replace(TRAINER, optimizer=optimizer)
    expected = trained(trainer, weight=WEIGHT)
    for run in run_ranks(3, lambda communicator: trained(trainer, communicator, WEIGHT)):
        assert_same(expected, run)


@pytest.mark.parametrize("device", ["numpy:cpu", pytest.param("numba:cpu", marks=pytest.mark.needs("numba"))])
def test_compiled_steps_sum_within_a_run(device: str) -> None:
    trainer = dataclasses.replace(TRAINER, device=device, batch_size=8, epochs=4)
    expected = trained(trainer)
    for run in run_ranks(2, lambda communicator: trained(trainer, communicator)):
        assert_same(expected, run)


def test_fewer_samples_than_ranks_to_validate() -> None:
    part = VALIDATION[0][:2], VALIDATION[1][:2]
    expected = TRAINER.fit(X, Y, validation=part)

    def of_rank(communicator: ThreadCommunicator) -> Run:
        return dataclasses.replace(TRAINER, communicator=communicator).fit(X, Y, validation=part)

    for run in run_ranks(4, of_rank):
        assert_same(expected, run)


def test_all_ranks_halve_the_learning_rate_together() -> None:
    network = Network((9, 5, 4), loss="squared_error", activation="identity")
    trainer = dataclasses.replace(
        TRAINER, network=network, optimizer="sgd", learning_rate=1e300, on_divergence="halve", epochs=2
    )
    with pytest.warns(match="half the learning rate"), pytest.raises(DivergenceError) as alone:
        trained(trainer)

    def of_rank(communicator: ThreadCommunicator) -> tuple[str, int]:
        with pytest.raises(DivergenceError) as raised:
            trained(trainer, communicator)
        return str(raised.value), raised.value.run.state.halvings

    with pytest.warns(match="half the learning rate"):
        found = run_ranks(3, of_rank)
    assert found == [(str(alone.value), 5)] * 3


class Seen(Callback):
    """Stops in an epoch, or fails, and keeps what it saw."""

    def __init__(self, stop: int = 0, fail: int = 0) -> None:
        self.stop, self.fail, self.epochs = stop, fail, list[int]()

    def on_epoch(self, record: EpochRecord, run: Run) -> None:
        self.epochs.append(record.epoch)
        if record.epoch == self.stop:
            raise StopTraining
        if record.epoch == self.fail:
            raise OSError("the disk is full")


def with_callback(communicator: ThreadCommunicator, **options: int) -> tuple[Run, list[int]]:
    seen = Seen(**options)
    trainer = dataclasses.replace(TRAINER, callbacks=[seen])
    return trained(trainer, communicator), seen.epochs


def test_callbacks_are_those_of_rank_0_and_stop_all() -> None:
    (first, seen), *others = run_ranks(3, lambda communicator: with_callback(communicator, stop=2))
    assert seen == [1, 2]
    for run, epochs in others:
        assert epochs == []
        assert (run.stopped, len(run.history)) == ("interrupted", 2)
        np.testing.assert_array_equal(run.params.vector, first.params.vector)


def test_an_error_of_a_callback_ends_all_ranks() -> None:
    def of_rank(communicator: ThreadCommunicator) -> str:
        with pytest.raises((OSError, RankError)) as raised:
            with_callback(communicator, fail=1)
        return type(raised.value).__name__

    assert run_ranks(3, of_rank) == ["OSError", "RankError", "RankError"]


@pytest.mark.parametrize(("before", "after"), [(3, 1), (1, 4), (4, 2)])
@pytest.mark.parametrize("every", ["3steps", "1"])
def test_a_run_resumes_on_another_number_of_ranks(before: int, after: int, every: str, tmp_path: Path) -> None:
    whole = dataclasses.replace(TRAINER, epochs=4, on_divergence="halve")
    expected = trained(whole)

    class Stop(Callback):
        def on_steps(self, epoch: int, done: int) -> None:
            if epoch == 3:
                raise StopTraining

    def begin(communicator: Any) -> None:
        callbacks = [Checkpoint(tmp_path, every), Stop()]
        run = dataclasses.replace(whole, callbacks=callbacks, communicator=communicator).fit(
            X, Y, validation=VALIDATION
        )
        assert run.stopped == "interrupted"

    def go_on(communicator: Any) -> Run:
        trainer = dataclasses.replace(whole, communicator=communicator)
        return trainer.resume(tmp_path, X, Y, validation=VALIDATION)

    run_ranks(before, begin) if before > 1 else begin(None)
    for run in run_ranks(after, go_on) if after > 1 else [go_on(None)]:
        assert_same(expected, run)


def test_a_rank_holds_a_piece_of_the_moments_within_an_epoch() -> None:
    states = []

    class Look(Callback):
        def on_state(self, run: Run) -> None:
            if run.state.position:
                states.append((run.is_complete, run.state.step.optimizer.slots[0].copy()))

    trainer = dataclasses.replace(TRAINER, callbacks=[Look()], optimizer="momentum", epochs=1)
    run_ranks(2, lambda communicator: trained(trainer, communicator))
    complete, velocity = states[0]
    own = share_of(len(velocity), 0, 2)
    assert not complete
    assert velocity[own].any()
    assert not velocity[own.stop :].any()


def test_a_communicator_is_checked() -> None:
    with pytest.raises(InvalidParameterError, match="communicator: expected None, a Communicator, or one of"):
        Trainer(NETWORK, communicator="nccl")
