"""``xpnet parity --ranks``: ranks that mpirun starts give what one process gives."""

from __future__ import annotations

import json
import os

import pytest

from tests.mpi import MPIRUN, mpi_environment, needs_mpi
from xpnet.bench import rank_parity
from xpnet.cli import main


@pytest.fixture
def mpirun_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in mpi_environment({}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", os.pathsep.join([os.path.dirname(str(MPIRUN)), os.environ["PATH"]]))


@needs_mpi
@pytest.mark.subprocess
@pytest.mark.usefixtures("mpirun_on_path")
def test_two_and_three_ranks_are_in_parity(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["parity", "iris", "--ranks", "1,2,3", "--epochs", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    devices = {row["device"] for row in found["comparisons"]}
    assert devices == {"2 ranks", "3 ranks"}
    assert all(row["agrees"] for row in found["comparisons"])
    longest = [row for row in found["comparisons"] if len(row["differences"]) == 2]
    assert len(longest) == 4  # two dtypes, two numbers of ranks
    assert len(found["comparisons"]) == 60


@needs_mpi
@pytest.mark.subprocess
@pytest.mark.usefixtures("mpirun_on_path")
def test_a_difference_is_a_failure(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    train = rank_parity.train
    # One process trains with another seed than the ranks.
    monkeypatch.setattr(
        rank_parity, "train",
        lambda case, *rest: train(case._replace(y=case.y[::-1]), *rest),
    )  # fmt: skip
    assert main(["parity", "iris", "--ranks", "2", "--epochs", "1"]) == 1
    assert "FAILED" in capsys.readouterr().out


@pytest.mark.parametrize("numbers", ["0", "2,x", "-1", "1.5"])
def test_other_numbers_of_ranks_are_refused(numbers: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["parity", f"--ranks={numbers}"]) == 2
    assert "--ranks: expected numbers above 0 joined by commas" in capsys.readouterr().err


def test_without_mpirun(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_parity.shutil, "which", lambda name: None)
    assert main(["parity", "iris", "--ranks", "2"]) == 2
    assert "pip install 'xpnet[mpi]'" in capsys.readouterr().err


@needs_mpi
@pytest.mark.subprocess
@pytest.mark.usefixtures("mpirun_on_path")
def test_ranks_that_fail_are_said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_parity, "_CASES", "elsewhere.pickle")
    assert main(["parity", "iris", "--ranks", "2"]) == 2
    assert "expected 2 processes that train; received exit code" in capsys.readouterr().err
