"""``mpirun -n N xpnet train``: one voice, the result of a single process, and each fault said once, in limited time.

What befalls one rank is played by a program that patches xpnet there, before it runs the command.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.command_line import NO_BETTER, listing, records, train, write_csv, xpnet
from tests.mpi import Ended, ended, needs_mpi, ranks, run_ranks
from xpnet.launchers import launched_size
from xpnet.model.model_file import load_model
from xpnet.training.checkpoint_file import load_state

pytestmark = [
    needs_mpi,
    pytest.mark.slow,
    pytest.mark.subprocess,
    pytest.mark.timeout(120),
    pytest.mark.usefixtures("folder"),
]

_PATIENCE = 60  # seconds until something happens; the machine may be busy
_SOON = 10  # seconds in which all ranks end
SMALL = (
    "train", "iris", "--epochs", 5, "--hidden", 8, "--device", "cpu", "--dtype", "float64", "--no-report", "--lr", 0.02,
)  # fmt: skip
ENDLESS = (*SMALL[:3], 10**7, *SMALL[4:], "--out", "run", "--checkpoint-every", 1)

# Runs the command, after a statement on one rank; each rank leaves its process number.
PROGRAM = """
import errno, os, sys
from pathlib import Path
rank = int(os.environ.get("OMPI_COMM_WORLD_RANK") or os.environ["PMI_RANK"])
Path(f"pid-{{rank}}").write_text(str(os.getpid()))
def fail(error):
    def failing(*_, **__):
        raise error
    return failing
if rank == {rank}:
    {statement}
from xpnet.cli import main
sys.exit(main(sys.argv[1:]))
"""


def with_fault(rank: int, statement: str, *arguments: object) -> tuple[object, ...]:
    return ("-c", PROGRAM.format(rank=rank, statement=statement), *arguments)


def wait_until(what: Callable[[], object]) -> None:
    end = time.monotonic() + _PATIENCE
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


def checkpoints() -> list[Path]:
    return sorted(Path("run", "checkpoints").glob("epoch-*.safetensors"))


def check_said_once(outcome: Ended, code: int, *words: str) -> None:
    """Hold the ranks to one line and an exit code."""
    assert outcome.code == code, outcome.err
    assert outcome.out == ""
    (line,) = [line for line in outcome.err.splitlines() if not line.startswith("epoch ")]
    assert line.startswith("xpnet: ")
    for each in words:
        assert each in line


# One voice


def test_one_voice_and_the_result_of_a_single_process(environment: dict[str, str]) -> None:
    code, out, err = run_ranks(3, "-m", "xpnet", *SMALL, "--out", "run", "--json", environment=environment)
    assert code == 0, err
    summary = json.loads(out)
    assert summary["ranks"] == 3
    assert summary["samples_per_second_per_rank"] == pytest.approx(summary["samples_per_second"] / 3)
    assert 0 < summary["communication"] < 1
    lines = [line.partition("  ")[0] for line in err.splitlines() if NO_BETTER not in line]
    assert lines == [f"epoch {i}/5" for i in range(1, 6)]
    assert {path.name for path in Path("run").iterdir()} - {".lock"} == {
        "config.toml", "confusion.png", "curves.png", "metrics.jsonl", "model.safetensors", "summary.json",
    }  # fmt: skip
    assert {path.name for path in Path().iterdir()} == {"run"}
    assert "ranks" not in Path("run/config.toml").read_text()
    assert "distributed" not in Path("run/config.toml").read_text()
    alone = json.loads(xpnet(*SMALL, "--out", "alone", "--json").out)
    assert "ranks" not in alone
    for part in ("train", "validation", "test"):
        assert summary[part] == pytest.approx(alone[part], rel=1e-9)
    model, expected = (load_model(f"{run}/model.safetensors") for run in ("run", "alone"))
    np.testing.assert_allclose(model.vector, expected.vector, rtol=1e-9, atol=1e-9)


def test_the_summary_has_a_line_for_ranks(environment: dict[str, str]) -> None:
    code, out, err = run_ranks(2, "-m", "xpnet", *SMALL, "--out", "run", environment=environment)
    assert code == 0, err
    (line,) = [line for line in out.splitlines() if " ranks, " in line]
    assert line.startswith("2 ranks, ")
    assert line.endswith("of the time in their sums")
    assert out.count("run/model.safetensors") == 1
    assert "\x1b" not in out


def test_notes_are_said_once(environment: dict[str, str]) -> None:
    write_csv("table.csv", "number,a,b,label", *(f"{i},{i % 5},,{'xy'[i % 2]}" for i in range(60)))
    arguments = ("train", "table.csv", "--target", "label", "--epochs", 1, "--device", "cpu", "--out", "run", "--quiet")
    outcome = run_ranks(2, "-m", "xpnet", *arguments, environment=environment)
    assert (outcome.code, outcome.out) == (0, "")
    lines = outcome.err.splitlines()
    assert lines
    assert len({*lines}) == len(lines)


def test_off_trains_each_by_itself(environment: dict[str, str]) -> None:
    outcome = run_ranks(2, "-m", "xpnet", *SMALL, "--distributed", "off", environment=environment)
    assert outcome.code == 0, outcome.err
    runs = [path for path in Path("runs").iterdir() if not path.is_symlink()]
    assert len(runs) == 2
    first, second = (load_model(run / "model.safetensors").vector for run in runs)
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("launcher", [{}, {"OMPI_COMM_WORLD_SIZE": "1"}, {"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}])
def test_a_single_process_imports_no_mpi(environment: dict[str, str], launcher: dict[str, str]) -> None:
    code = "import sys; from xpnet.cli import main; main(); print('modules', *sys.modules)"
    command = [sys.executable, "-c", code, *map(str, SMALL), "--out", "run", "--quiet"]
    done = subprocess.run(command, env=environment | launcher, capture_output=True, text=True, timeout=_PATIENCE)
    assert (done.returncode, done.stderr) == (0, "")
    modules = done.stdout.split()
    assert modules[0] == "modules"
    assert not {"mpi4py", "xpnet_backends.mpi"} & {*modules}


@pytest.mark.parametrize(
    ("environment", "size"),
    [
        ({"OMPI_COMM_WORLD_SIZE": "4", "SLURM_STEP_NUM_TASKS": "2"}, 4),  # mpirun within a step
        ({"PMI_SIZE": "2", "PMI_RANK": "1"}, 2),
        ({"SLURM_STEP_NUM_TASKS": "8", "SLURM_NTASKS": "16"}, 8),
        ({"SLURM_NTASKS": "16", "SLURM_NPROCS": "16", "SLURM_PROCID": "0"}, 1),  # a batch script, before srun
        ({"PMI_SIZE": "two"}, 1),
    ],
)
def test_launchers(environment: dict[str, str], size: int) -> None:
    assert launched_size(environment) == size


# Errors that all ranks have


@pytest.mark.parametrize(
    ("n", "arguments", "words"),
    [
        (2, [*SMALL, "--epoch", 3], "Did you mean --epochs?"),
        (4, [*SMALL, "--batch-size", 0], "--batch-size: expected"),
        (2, ["train", "none.csv"], "none.csv"),
        (3, [*SMALL, "--out", "taken"], "--out: expected a folder without a run"),
        (
            2,
            [*SMALL[:6], "--device", "strict:cpu"],
            "expected one whose arrays 2 ranks can sum, such as cpu or gpu; received str",
        ),
        (2, [*SMALL, "--ensemble", 2], "--ensemble: expected 1 for ranks"),
        (2, ["resume", "taken"], "expected a run with checkpoints"),
    ],
    ids=["option", "value", "data", "folder", "backend", "ensemble", "resume"],
)
def test_bad_input_is_said_once(environment: dict[str, str], n: int, arguments: list[object], words: str) -> None:
    train("--out", "taken", "--quiet")
    before = listing(Path())
    check_said_once(run_ranks(n, "-m", "xpnet", *arguments, environment=environment), 2, words)
    assert listing(Path()) == before


def test_divergence_is_said_once(environment: dict[str, str]) -> None:
    arguments = ("train", "digits", "--optimizer", "sgd", "--lr", "1e30", "--device", "cpu", "--out", "run")
    check_said_once(run_ranks(2, "-m", "xpnet", *arguments, environment=environment), 3, "diverged", "run/model.safe")


# Errors of one rank


_READ = "import xpnet.cli.job as at; at.read_arrays = fail(OSError(errno.EIO, 'broken', 'a.npz'))"
_STEP = "from xpnet.training.batch_source import MemoryBatches; MemoryBatches.epoch = fail(MemoryError())"
_ASSESS = "from xpnet.cli.job import Job; Job.assess = fail(MemoryError())"
_DISK = (
    "from xpnet.training.metrics_file import MetricsFile as at; at.on_epoch = fail(OSError(errno.ENOSPC, 'full', 'm'))"
)


@pytest.mark.parametrize(
    ("n", "rank", "statement", "words"),
    [
        (3, 1, _READ, "a.npz: broken"),
        (2, 1, _STEP, "out of memory"),
        (2, 0, _STEP, "out of memory"),
        (4, 2, _ASSESS, "out of memory"),
    ],
    ids=["preparation", "training", "training-0", "assessment"],
)
def test_an_error_of_one_rank_ends_all(
    environment: dict[str, str], n: int, rank: int, statement: str, words: str
) -> None:
    outcome = run_ranks(n, *with_fault(rank, statement, *SMALL, "--out", "run", "--quiet"), environment=environment)
    check_said_once(outcome, 2, words, f"rank {rank} on " if rank else "xpnet: ")


def test_a_full_disk_on_rank_0(environment: dict[str, str]) -> None:
    check_said_once(run_ranks(3, *with_fault(0, _DISK, *ENDLESS), environment=environment), 2, "m: full")
    assert Path("run/config.toml").exists()


def test_an_error_in_a_program_is_shown_once(environment: dict[str, str]) -> None:
    code = """
import numpy as np, xpnet
from xpnet.communicator import get_communicator
class Failing(xpnet.Callback):
    def on_epoch(self, record, run):
        raise ValueError("my own callback")
trainer = xpnet.Trainer(xpnet.Network([2, 2]), epochs=3, communicator="mpi", callbacks=[Failing()])
trainer.fit(np.eye(2), np.asarray([0, 1]))
"""
    outcome = run_ranks(2, "-c", code, environment=environment)
    assert outcome.code == 1
    assert outcome.err.count("Traceback") == 1
    assert outcome.err.endswith("ValueError: my own callback")


# Ranks that differ


def test_another_version(environment: dict[str, str]) -> None:
    outcome = run_ranks(3, *with_fault(2, "import xpnet; xpnet.__version__ = '0.0'", *SMALL), environment=environment)
    check_said_once(outcome, 2, "expected the same version of xpnet on all 3 ranks", "'0.0' on rank 2", "on ranks 0, 1")


def test_other_data(environment: dict[str, str]) -> None:
    for rank, n in enumerate((40, 44)):
        write_csv(f"{rank}.csv", "a,b,label", *(f"{i},{i % 7},{'xy'[i % 2]}" for i in range(n)))
    code = PROGRAM.format(rank=1, statement="sys.argv[2] = '1.csv'")
    outcome = run_ranks(2, "-c", code, "train", "0.csv", "--target", "label", "--epochs", 1, environment=environment)
    check_said_once(outcome, 2, "expected the same ", "on rank 0", "on rank 1")


# Ends from outside


def test_a_killed_rank_ends_all_and_the_run_goes_on_with_others(environment: dict[str, str]) -> None:
    with ranks(2, *with_fault(9, "pass", *ENDLESS), environment=environment) as process:
        wait_until(lambda: len(checkpoints()) >= 2)
        os.kill(int(Path("pid-1").read_text()), signal.SIGKILL)
        outcome = ended(process, _SOON)
    assert outcome.code != 0
    assert "Traceback" not in outcome.err
    check_goes_on(3, environment)


def check_goes_on(n: int, environment: dict[str, str]) -> None:
    """Hold what is left to being good: resumed by n ranks it comes to what an undisturbed run comes to."""
    epochs = max(load_state(path)[1].epoch for path in checkpoints()) + 2
    outcome = run_ranks(n, "-m", "xpnet", "resume", "run", "--epochs", epochs, "--quiet", environment=environment)
    assert outcome == (0, "", "")
    assert xpnet(*SMALL[:3], epochs, *SMALL[4:], "--out", "whole", "--quiet") == (0, "", "")
    losses, expected = ([record["loss"] for record in records(run)] for run in ("run", "whole"))
    assert losses == pytest.approx(expected, rel=1e-6)
    model, whole = (load_model(f"{run}/model.safetensors") for run in ("run", "whole"))
    np.testing.assert_allclose(model.vector, whole.vector, rtol=1e-6, atol=1e-6)


def test_usr1_saves_all(environment: dict[str, str]) -> None:
    with ranks(2, "-m", "xpnet", *ENDLESS, environment=environment) as process:
        wait_until(lambda: len(checkpoints()) >= 1)
        process.send_signal(signal.SIGUSR1)  # which mpirun passes on
        outcome = ended(process, _SOON)
    check_said_once(outcome, 128 + signal.SIGUSR1, "stopped in epoch", "To continue: xpnet resume run")
    assert load_model("run/model.safetensors")
    check_goes_on(1, environment)


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT"])
def test_a_signal_to_mpirun_leaves_whole_checkpoints(environment: dict[str, str], number: str) -> None:
    with ranks(3, "-m", "xpnet", *ENDLESS, environment=environment) as process:
        wait_until(lambda: len(checkpoints()) >= 2)
        process.send_signal(getattr(signal, number))  # mpirun kills its ranks a quarter of a second later
        outcome = ended(process, _SOON)
    assert outcome.code != 0
    assert "Traceback" not in outcome.err
    assert checkpoints()
    for path in checkpoints():
        load_state(path)
