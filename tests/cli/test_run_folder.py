"""The folder of a run: nothing of others in it is replaced, removed, followed or waited for."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.command_line import Outcome, listing, records, train, xpnet
from tests.test_files import without_locks
from xpnet.cli.folder import RunFolder
from xpnet.model.model_file import load_model

pytestmark = [
    pytest.mark.usefixtures("folder"),
    pytest.mark.timeout(60),
    pytest.mark.skipif(os.name != "posix", reason="links and pipes as POSIX has them"),
]

SMALL = ("iris", "--epochs", 2, "--hidden", 4, "--preset", "plain", "--device", "cpu", "--quiet")


def refused(*arguments: object) -> str:
    before = links_and_files()
    outcome = xpnet(*arguments)
    assert (outcome.code, outcome.out, len(outcome.err.splitlines())) == (2, "", 1)
    assert links_and_files() == before
    return outcome.err


def links_and_files() -> dict[Path, object]:
    found: dict[Path, object] = {}
    for path in Path().rglob("*"):
        found[path] = os.readlink(path) if path.is_symlink() else path.is_file() and path.read_bytes()
    return found


def during(monkeypatch: pytest.MonkeyPatch, action: Callable[[], object]) -> None:
    """Do something once, after the first epoch."""
    actions = [action]

    def on_epoch(self: RunFolder, *_: object) -> None:
        while actions:
            actions.pop()()

    monkeypatch.setattr(RunFolder, "on_epoch", on_epoch)


NAMES = (
    "model.safetensors", "config.toml", "metrics.jsonl", "metrics-2.jsonl", "data.json", "checkpoints", "curves.png",
    "confusion.png", "columns.md",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_new_run_takes_no_name_of_others(kind: str, name: str) -> None:
    Path("out").mkdir()
    if kind == "file":
        Path("out", name).write_text("mine")
    else:
        Path("out", name).symlink_to("../nowhere")
    assert "--out: expected a folder without a run; received out" in refused(
        "train", *SMALL, "--ensemble", 2, "--out", "out"
    )


def test_what_else_is_in_the_folder_stays() -> None:
    Path("out/.x.part").mkdir(parents=True)
    mine = [".download.part", ".notes.12345678.part", ".x.1a2b3c4d.part", "metrics-2.jsonl", ".lock", "notes"]
    for name in mine:
        Path("out", name).write_text("mine")
    Path("out/.model.safetensors.12345678.part").write_text("left by a kill")
    train(*SMALL, "--out", "out")
    assert [Path("out", name).read_text() for name in mine] == ["mine"] * len(mine)
    assert not Path("out/.model.safetensors.12345678.part").exists()


@pytest.mark.parametrize("name", ["model.safetensors", "curves.png", "confusion.png"])
@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_name_that_is_taken_during_the_run(kind: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("victim").write_text("mine")
    path = Path("out", name)
    during(monkeypatch, lambda: path.symlink_to("../victim") if kind == "link" else path.write_text("mine"))
    outcome = train(*SMALL, "--out", "out")
    other = path.with_stem(f"{path.stem}-2")
    assert outcome.err == f"xpnet: {path}: another program has made a file of this name; wrote {other}.\n"
    assert path.read_text() == Path("victim").read_text() == "mine"
    assert path.is_symlink() == (kind == "link")
    assert other.stat().st_size > 1000


def test_metrics_whose_name_is_taken_during_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file that the run opened is written to the end, and no other."""
    Path("victim").write_text("mine")

    def exchange() -> None:
        Path("out/metrics.jsonl").rename("kept")
        Path("out/metrics.jsonl").symlink_to("../victim")

    during(monkeypatch, exchange)
    train(*SMALL, "--out", "out")
    assert Path("victim").read_text() == "mine"
    assert Path("kept").read_text().count("\n") == 2


def test_a_folder_that_is_made_again_for_another_run(monkeypatch: pytest.MonkeyPatch) -> None:
    train(*SMALL, "--out", "other")
    before = {path.name: path.read_bytes() for path in Path("other").iterdir()}

    def exchange() -> None:
        shutil.rmtree("out")
        shutil.copytree("other", "out")

    during(monkeypatch, exchange)
    code, _, err = xpnet("train", *SMALL, "--out", "out")
    assert (code, err.startswith("xpnet: out: expected the folder in which the run began")) == (2, True)
    assert {path.name: path.read_bytes() for path in Path("out").iterdir()} == before


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    train(*SMALL, "--checkpoint-every", 1, "--out", out)
    return out


@pytest.fixture
def run(finished: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a run that has ended into the working folder; pictures take most of the time of another epoch."""
    monkeypatch.setattr("xpnet.cli.run_pictures.draw_pictures", lambda *_: [])
    shutil.copytree(finished, folder / "run")


def resumed() -> Outcome:
    return xpnet("resume", "run", "--epochs", 3, "--quiet")


OUTCOMES = ("model.safetensors", "curves.png", "confusion.png", "metrics.jsonl")


@pytest.mark.parametrize("name", OUTCOMES)
def test_a_resumed_run_keeps_files_of_others(name: str, run: None) -> None:
    Path("run", name).write_text("mine")
    message = refused("resume", "run", "--epochs", 3)
    assert message == f"xpnet: run: expected files of a run; received others: {name}. Move them elsewhere.\n"


def test_a_picture_that_another_program_drew(run: None) -> None:
    figure = pytest.importorskip("matplotlib.figure").Figure()
    figure.savefig("run/curves.png")
    assert "received others: curves.png." in refused("resume", "run", "--epochs", 3)


def test_a_resumed_run_replaces_its_own_files(finished: Path) -> None:
    shutil.copytree(finished, "run")
    assert resumed() == (0, "", "")
    assert {path.name for path in Path("run").iterdir()} == {path.name for path in finished.iterdir()}
    for name in set(OUTCOMES) - {"confusion.png"}:
        assert Path("run", name).read_bytes() != Path(finished, name).read_bytes()


def test_columns_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xpnet.cli.run_pictures.draw_pictures", lambda *_: [])
    Path("d.csv").write_text("a,b,target\n" + "".join(f"{i % 9},{i * i % 7},{i % 2}\n" for i in range(60)))
    train("d.csv", *SMALL[1:], "--checkpoint-every", 1, "--out", "run")
    own = Path("run/columns.md").read_bytes()
    Path("run/columns.md").write_text("mine")
    assert "received others: columns.md." in refused("resume", "run", "--epochs", 3)
    Path("run/columns.md").write_bytes(own)
    assert resumed() == (0, "", "")


@pytest.mark.parametrize("name", [*(name for name in NAMES if name not in ("metrics-2.jsonl", "columns.md")), ".lock"])
def test_a_link_or_a_pipe_in_a_run(name: str, run: None) -> None:
    path = Path("run", name)
    path.rename("kept")
    path.symlink_to("../kept")
    assert f"run: expected files of a run; received a link: {name}." in refused("resume", "run", "--epochs", 3)
    path.unlink()
    os.mkfifo(path)
    message = refused("resume", "run", "--epochs", 3)
    assert ("expected a folder; received a file" if name == "checkpoints" else "a pipe, not a regular file") in message


def test_a_checkpoint_that_is_a_pipe_is_passed_over(run: None) -> None:
    last = max(Path("run/checkpoints").iterdir())
    last.unlink()
    os.mkfifo(last)
    outcome = resumed()
    assert outcome.code == 2  # its name is needed again
    assert "a pipe, not a regular file" in outcome.err.splitlines()[0]
    last.unlink()
    assert resumed() == (0, "", "")


def test_a_refused_run_makes_no_lock(run: None) -> None:
    Path("run/.lock").unlink()
    Path("run/data.json").write_text("{")
    assert "received a damaged file" in refused("resume", "run")
    Path("empty").mkdir()
    assert "empty/config.toml: expected a configuration file" in refused("resume", "empty")


def test_a_pipe_in_place_of_a_file_that_is_named() -> None:
    os.mkfifo("pipe")
    assert "pipe: expected a model file; received: a pipe" in refused("predict", "pipe", "iris")
    assert "pipe: expected a configuration file; received: a pipe" in refused("train", "iris", "--config", "pipe")


@pytest.mark.parametrize("name", ["d.csv", "d.parquet", "d.npz", "d.npy", "d.libsvm", "d.txt.gz"])
def test_a_pipe_in_place_of_data(name: str) -> None:
    os.mkfifo(name)
    assert name in refused("train", name)
    Path("folder").mkdir()
    Path(name).rename(Path("folder", name))
    assert "folder" in refused("train", "folder")


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    without_locks(monkeypatch, code)
    outcome = train(*SMALL, "--checkpoint-every", 1, "--out", "run")
    assert outcome.err.splitlines()[0].startswith("xpnet: run: this file system has no locks (")
    assert resumed().code == 0
    assert len(records("run")) == 3


def test_two_new_runs_where_there_are_no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have seen that the folder is free; the second finds that the first has written its configuration."""
    without_locks(monkeypatch, errno.ENOLCK)
    Path("run").mkdir()
    real = RunFolder.check_free

    def check_free(self: RunFolder) -> None:
        real(self)
        if self.path.joinpath(".lock").exists():  # this is the check within the lock
            Path("run/config.toml").write_text("of the other run")

    monkeypatch.setattr(RunFolder, "check_free", check_free)
    code, _, err = xpnet("train", *SMALL, "--out", "run")
    assert (code, "cannot write run/config.toml: File exists" in err) == (2, True)
    assert Path("run/config.toml").read_text() == "of the other run"


def test_the_model_is_saved_before_the_summary(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("xpnet.cli.summary.print_summary", fail)
    monkeypatch.setattr("xpnet.cli.run_pictures.draw_pictures", lambda *_: [])
    assert xpnet("train", *SMALL[:-1], "--out", "run").code == 2
    assert load_model("run/model.safetensors")
    assert len(records("run")) == 2
    assert listing(Path("run/checkpoints")) == {}
