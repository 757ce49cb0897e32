"""``xpnet resume``: a run goes on to what it would have come to, and one that cannot is refused in one line."""

from __future__ import annotations

import itertools
import json
import os
import tomllib
from pathlib import Path

import numpy as np
import pytest

from tests.command_line import house_csv, listing, train, without_timings, write_csv, xpnet
from tests.runs import StopAt
from xpnet.cli.folder import RunFolder
from xpnet.locks import LockFile
from xpnet.model.model_file import load_model

RUN = ("--epochs", 6, "--dropout", 0.1, "--device", "cpu", "--checkpoint-every", 1)


pytestmark = pytest.mark.usefixtures("folder")


def stopped(out: str, call: int = 7, *options: object) -> None:
    """Train until a call of `on_steps`, an epoch having two."""
    with pytest.MonkeyPatch.context() as patch:
        stop = StopAt(call)
        patch.setattr(RunFolder, "on_steps", lambda self, epoch, done: stop.on_steps(epoch, done))
        outcome = xpnet("train", "iris", "--hidden", 8, *RUN, *options, "--out", out, "--quiet")
    assert (outcome.code, outcome.out) == (130, "")


def vector(out: str) -> np.ndarray:
    return load_model(f"{out}/model.safetensors").vector


def refused(*arguments: object) -> str:
    outcome = xpnet(*arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert len(outcome.err.splitlines()) == 1
    assert outcome.err.startswith("xpnet: ")
    return outcome.err


def test_it_comes_to_the_same(folder):
    train("iris", *RUN, "--out", "whole", "--quiet")
    stopped("run")
    assert len(without_timings("run")) == 3
    outcome = xpnet("resume", "run", "--json", "--quiet")
    assert (outcome.code, outcome.err) == (0, "")
    summary = json.loads(outcome.out)
    assert (summary["epochs"], summary["stopped"]) == (6, "epochs")
    assert summary["samples_per_second"] == pytest.approx(105 * 3 / summary["seconds"])  # not those done before
    assert without_timings("run") == without_timings("whole")
    names = [sorted(str(path.relative_to(out)) for path in Path(out).rglob("*")) for out in ("run", "whole")]
    assert names[0] == names[1]
    for name in ("model.safetensors", "config.toml", "curves.png", "confusion.png"):
        assert Path("run", name).read_bytes() == Path("whole", name).read_bytes()


def test_a_run_of_a_file_from_another_folder(folder, monkeypatch):
    house_csv("house.csv")
    train("house.csv", "--target", "price", "--epochs", 4, "--checkpoint-every", 2, "--out", "whole", "--quiet")
    train("house.csv", "--target", "price", "--epochs", 2, "--checkpoint-every", 2, "--out", "run", "--quiet")
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    assert xpnet("resume", "../run", "--epochs", 4, "--quiet").code == 0
    assert without_timings("../run") == without_timings("../whole")
    np.testing.assert_array_equal(vector("../run"), vector("../whole"))
    assert tomllib.loads(Path("../run/config.toml").read_text())["epochs"] == 4  # for the next time


def test_before_the_first_checkpoint_it_begins_anew():
    train("iris", *RUN, "--out", "whole", "--quiet")
    Path("run").mkdir()
    Path("run/config.toml").write_bytes(Path("whole/config.toml").read_bytes())
    assert xpnet("resume", "run", "--quiet").code == 0
    assert without_timings("run") == without_timings("whole")


def test_on_another_device():
    pytest.importorskip("jax")
    train("iris", *RUN, "--out", "whole", "--quiet")
    stopped("run")
    assert xpnet("resume", "run", "--device", "jax:cpu", "--quiet").code == 0
    np.testing.assert_allclose(vector("run"), vector("whole"), rtol=1e-3, atol=1e-4)
    assert tomllib.loads(Path("run/config.toml").read_text())["device"] == "jax:cpu"


def test_options_of_checkpoints_are_in_the_configuration():
    train("iris", "--checkpoint-every", "5steps", "--keep", 2, "--on-divergence", "halve", "--out", "run", "--quiet")
    config = tomllib.loads(Path("run/config.toml").read_text())
    assert [config[key] for key in ("checkpoint-every", "keep", "on-divergence")] == ["5steps", 2, "halve"]
    assert len(list(Path("run/checkpoints").iterdir())) == 2


def test_a_damaged_checkpoint_is_reported_and_passed_over():
    train("iris", *RUN, "--out", "whole", "--quiet")
    stopped("run")
    last = max(Path("run/checkpoints").iterdir())
    last.write_bytes(last.read_bytes()[:-9])
    outcome = xpnet("resume", "run", "--quiet")
    assert (outcome.code, outcome.out) == (0, "")
    (line,) = outcome.err.splitlines()
    assert line.startswith(f"xpnet: {last}: expected a whole safetensors file")
    assert without_timings("run") == without_timings("whole")
    np.testing.assert_array_equal(vector("run"), vector("whole"))


def test_where_all_are_damaged():
    stopped("run")
    for path in Path("run/checkpoints").iterdir():
        path.write_bytes(b"")
    outcome = xpnet("resume", "run")
    assert outcome.code == 2
    *lines, last = outcome.err.splitlines()
    assert len(lines) == 3
    assert "run/checkpoints: expected a folder with a checkpoint; received one with 3 that cannot be used" in last


def table(path: str | Path, rows: list[str], header: str = "a,b,label") -> None:
    write_csv(path, header, *rows)


ROWS = [f"{i % 9},{i % 4},{i % 2}" for i in range(120)]


def begin(data: str = "d.csv", *options: object) -> None:
    train(data, "--epochs", 2, "--checkpoint-every", 1, "--quiet", "--out", "run", *options)


@pytest.mark.parametrize("way", ["absolute", "relative", "config"])
def test_data_that_have_moved(way, folder, monkeypatch):
    Path("old").mkdir()
    table("old/d.csv", ROWS)
    begin("old/d.csv")
    train("old/d.csv", "--epochs", 4, "--checkpoint-every", 1, "--quiet", "--out", "whole")
    Path("old").rename("new")
    message = refused("resume", "run", "--epochs", 4)
    assert "d.csv: expected the data of the run run; received no such file or folder." in message
    assert "--data PATH" in message
    if way == "config":
        config = Path("run/config.toml")
        config.write_text(config.read_text().replace("old/d.csv", "new/d.csv"))
    monkeypatch.chdir("new")
    place = {"absolute": [folder / "new/d.csv"], "relative": ["d.csv"], "config": []}[way]
    arguments = [part for path in place for part in ("--data", path)]
    assert xpnet("resume", "../run", "--epochs", 4, "--quiet", *arguments) == (0, "", "")
    np.testing.assert_array_equal(vector("../run"), vector("../whole"))
    assert tomllib.loads(Path("../run/config.toml").read_text())["data"] == str(folder / "new/d.csv")


def test_arrays_that_have_moved(folder):
    Path("old").mkdir()
    np.save("old/x.npy", np.random.default_rng(0).normal(size=(60, 3)))
    np.save("old/labels.npy", np.arange(60) % 2)
    begin("old/x.npy", "--target", "old/labels.npy")
    Path("old").rename("new")
    assert xpnet("resume", "run", "--epochs", 3, "--quiet", "--data", "new/x.npy") == (0, "", "")
    assert tomllib.loads(Path("run/config.toml").read_text())["target"] == str(folder / "new/labels.npy")


CHANGED = {
    "order": (ROWS[::-1], "a,b,label", "the same rows in another order"),
    "values": ([f"{i % 7},{i % 4},{i % 2}" for i in range(120)], "a,b,label", "other values in the column 'a'"),
    "rows": (ROWS + ROWS[:10], "a,b,label", "130 rows in place of 120"),
    "class": ([*ROWS[:-1], "1,1,2"], "a,b,label", "other values in all columns"),
    "columns": (
        [row.replace(",", f",{i % 5},", 1) for i, row in enumerate(ROWS)],
        "a,c,b,label",
        "with the new column 'c'",
    ),
    "name": (ROWS, "a,B,label", "without the column 'b' and with the new column 'B'"),
}


@pytest.mark.parametrize("in_pieces", [False, True])
@pytest.mark.parametrize("change", CHANGED)
def test_data_that_have_changed(change, in_pieces):
    rows, header, expected = CHANGED[change]
    Path("data").mkdir()
    data = "data" if in_pieces else "data/d.csv"
    table("data/d.csv", ROWS)
    begin(data)
    table("data/d.csv", rows, header)
    before = listing(Path("run"))
    message = refused("resume", "run", "--epochs", 4)
    assert f"expected the data with which the run began; received {expected}. Restore the file" in message
    assert listing(Path("run")) == before
    table("data/d.csv", ROWS)
    assert xpnet("resume", "run", "--epochs", 4, "--quiet") == (0, "", "")


def test_the_same_data_in_another_file():
    table("d.csv", ROWS)
    begin()
    table("other.csv", [*ROWS, ""])  # an empty line at the end: other bytes, the same rows
    assert xpnet("resume", "run", "--epochs", 3, "--quiet", "--data", "other.csv") == (0, "", "")


def test_another_test_part():
    rng = np.random.default_rng(0)
    arrays = {"x_train": rng.normal(size=(60, 3)), "y_train": np.arange(60) % 2}
    np.savez("d.npz", **arrays, x_test=np.ones((9, 3)), y_test=np.zeros(9, int))
    begin("d.npz")
    np.savez("d.npz", **arrays, x_test=np.ones((9, 3)), y_test=np.ones(9, int))
    assert "expected the test part with which the run began" in refused("resume", "run", "--epochs", 3)


@pytest.mark.parametrize(
    ("option", "before", "now"),
    [("seed", "0", "1"), ("val-fraction", "0.1", "0.2"), ("test-fraction", "0.2", "0.3"), ("scale", "None", "'none'")],
)
def test_options_of_the_split_that_have_changed(option, before, now):
    table("d.csv", ROWS)
    begin()
    config = Path("run/config.toml")
    kept = "".join(line for line in config.read_text().splitlines(True) if not line.startswith(option))
    config.write_text(f"{kept}{option} = {now}\n")
    message = refused("resume", "run", "--epochs", 4)
    assert f"config.toml: expected {option} = {before}, with which the run began; received {now}." in message


def test_other_options_may_change():
    table("d.csv", ROWS)
    begin()
    config = Path("run/config.toml")
    config.write_text(config.read_text().replace("keep = 3", "keep = 1"))
    assert xpnet("resume", "run", "--epochs", 4, "--quiet") == (0, "", "")


def test_a_run_without_a_fingerprint():
    """Runs of earlier versions have none; they get one when they go on."""
    table("d.csv", ROWS)
    begin()
    Path("run/data.json").unlink()
    assert xpnet("resume", "run", "--epochs", 3, "--quiet") == (0, "", "")
    table("d.csv", ROWS[::-1])
    assert "the same rows in another order" in refused("resume", "run", "--epochs", 4)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"options": {}, "data": {"data": {}}}', b"\xff"])
def test_a_damaged_fingerprint(content):
    begin("iris")
    Path("run/data.json").write_bytes(content)
    message = refused("resume", "run", "--epochs", 3)
    assert "data.json: expected the fingerprint of the run's data; received a damaged file. Remove it" in message


def test_links_in_the_folder_of_a_run():
    begin("iris")
    Path("victim").write_text("precious")
    for name in ("metrics.jsonl", "checkpoints", ".lock"):
        path = Path("run", name)
        path.rename("kept")
        path.symlink_to("../victim")
        assert f"run: expected files of a run; received a link: {name}." in refused("resume", "run", "--epochs", 3)
        path.unlink()
        Path("kept").rename(path)
    assert Path("victim").read_text() == "precious"


def test_a_link_to_the_folder_of_a_run():
    begin("iris")
    Path("link").symlink_to("run")
    assert xpnet("resume", "link", "--epochs", 3, "--quiet") == (0, "", "")


def test_what_cannot_be_resumed():
    assert "run/config.toml: expected a configuration file; received: No such file" in refused("resume", "run")
    train("iris", "--out", "plain", "--quiet")
    assert "plain: expected a run with checkpoints; received one without" in refused("resume", "plain")
    stopped("run")
    assert "--epochs: expected an integer of at least 1" in refused("resume", "run", "--epochs", 0)
    Path("run/config.toml").write_text("epochs = [")
    assert "run/config.toml: expected TOML" in refused("resume", "run")


@pytest.mark.parametrize("option", [("--checkpoint-every", "5h"), ("--checkpoint-every", "0"), ("--keep", "0")])
def test_options_that_are_none(option):
    options = {"--checkpoint-every": "1", **dict([option])}
    message = refused("train", "iris", *itertools.chain(*options.items()), "--out", "run")
    assert message.startswith(f"xpnet: {option[0]}: expected ")
    assert not Path("run").exists()


@pytest.mark.parametrize("command", ["train", "resume"])
def test_a_folder_in_which_another_trains(command):
    def written():
        return {path: path.stat().st_mtime_ns for path in Path("run").rglob("*") if path.name != ".lock"}

    stopped("run")
    before = written()
    if command == "train":
        for path in sorted(before, reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        before = {}
    arguments = {"train": ("train", "iris", "--out", "run"), "resume": ("resume", "run")}[command]
    lock = LockFile(Path("run/.lock"))
    lock.acquire()
    message = refused(*arguments)
    lock.release(remove=True)
    assert message == (
        "xpnet: run: expected a folder that no other process trains in; received a locked folder. Wait for that "
        "run, or choose another folder.\n"
    )
    assert written() == before
    assert xpnet(*arguments, "--quiet").code == 0


@pytest.mark.subprocess
def test_the_lock_holds_until_all_is_written(monkeypatch):
    held = []

    def draw(*_: object) -> list[Path]:
        held.append(os.system("flock --nonblock run/.lock true") != 0)
        return []

    monkeypatch.setattr("xpnet.cli.run_pictures.draw_pictures", draw)
    train("iris", "--out", "run", "--quiet")
    assert held == [True]
    assert os.system("flock --nonblock run/.lock true") == 0


def test_halving_is_said_on_stderr():
    house_csv()
    wild = ("--hidden", "none", "--optimizer", "sgd", "--lr", 3, "--batch-size", "all", "--epochs", 400)
    house = (
        "train",
        "house.csv",
        "--preset",
        "plain",
        "--target",
        "price",
        *wild,
        "--on-divergence",
        "halve",
        "--quiet",
    )
    code, out, err = xpnet(*house, "--out", "run")
    assert (code, out) == (0, "")
    assert len(err.splitlines()) >= 1
    for number, line in enumerate(err.splitlines(), 1):
        assert line.startswith("xpnet: training diverged in epoch ")
        assert line.endswith(f"with half the learning rate ({number} of 5 times).")
    assert len(without_timings("run")) == 400
    assert without_timings("run")[-1]["learning_rate"] == 3 / 2**number


def test_a_limit_of_memory_holds_for_one_device():
    np.save("x.npy", np.random.default_rng(0).standard_normal((60, 4)))
    np.save("y.npy", np.arange(60) % 2)
    train("x.npy", "--memory-limit", "100GB", "--checkpoint-every", 1, "--epochs", 1, "--out", "run", "--quiet")
    outcome = xpnet("resume", "run", "--device", "cpu")
    assert outcome.code == 2
    assert "--device: expected none for a run with --memory-limit" in outcome.err
