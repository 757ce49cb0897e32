"""What ``auto`` chooses by: the costs of devices, their file, and the choice."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from tests import cuda_double
from tests.command_line import refused, xpnet
from tests.host_compiler import COMPILER
from xpnet.backend import costs as module
from xpnet.backend import devices, get_backend
from xpnet.backend.costs import Choice, Costs, Work, choose_backend, costs_path, load_costs, save_costs
from xpnet.bench.workloads import WORKLOADS
from xpnet.data.scaled_bytes import ScaledBytes
from xpnet.data.streams.source import ArraySource, Concatenated
from xpnet.errors import InvalidParameterError, XpnetError
from xpnet.estimators import MLPClassifier
from xpnet.nn.network import Network
from xpnet.training import auto_device
from xpnet.training.samples import to_samples
from xpnet.training.trainer import Trainer

SOME = {"cpu": Costs(0.0, 1e-5, 1e-5, 1e11, 1e10), "gpu": Costs(1.0, 1e-6, 1e-6, 1e13, 1e12)}
SMALL, LARGE = Work.of((64, 15, 10), 10, 100), Work.of((1024, 4096, 4096, 1000), 1024, 100)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "cache" / "costs.json"
    monkeypatch.setattr(module, "costs_path", lambda: path)
    return path


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Any:
    if COMPILER is None:
        pytest.skip("no g++ to compile kernels for the host")
    with cuda_double.installed() as state:
        monkeypatch.setattr(devices, "has_driver", lambda name: True)
        yield state


def test_work_counts_the_products_of_a_workload() -> None:
    for workload in WORKLOADS.values():
        work = Work.of(workload.sizes, workload.batch, 7)
        assert work.flops == workload.flops
        assert work[:2] == (7, len(workload.sizes) - 1)
        assert work.bytes > workload.traffic(2)


def test_seconds() -> None:
    assert SOME["gpu"].seconds(Work(10, 3, 1e12, 1e12)) == pytest.approx(1 + 10 * (4e-6 + 0.1 + 1))


def test_a_small_network_stays_on_the_cpu(gpu: Any) -> None:
    for work, device in ((SMALL, "cpu"), (LARGE, "gpu")):
        backend, reason = choose_backend("auto", work)
        assert devices.kind_of(backend) == device
        other = {"cpu": "gpu", "gpu": "cpu"}[device]
        times = [f"{kind} about {_time(work, kind)}" for kind in (device, other)]
        first = times[0].replace(" ", ", ", 1)
        assert reason == f"auto: {first} for 100 steps and the start; {times[1]}, with --device {other}"


def _time(work: Work, kind: str) -> str:
    return module._duration(load_costs()[kind].seconds(work))


def test_a_long_run_pays_for_the_start(gpu: Any) -> None:
    save_costs(SOME)
    few, many = (Work.of((784, 512, 512, 10), 256, n) for n in (10, 100_000))
    assert choose_backend("auto", few).backend is get_backend("cpu")
    assert choose_backend("auto", many).backend is get_backend("gpu")


@pytest.mark.parametrize("device", ["gpu", "cpu", "gpu:1", "auto@tf32", "cupy:auto"])
def test_what_is_named_is_no_choice(device: str, gpu: Any) -> None:
    backend, reason = choose_backend(device, SMALL)
    assert (backend, reason) == (get_backend(device), "")
    assert choose_backend(backend, SMALL) == (backend, "")


def test_without_a_gpu_there_is_nothing_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "has_driver", lambda name: False)
    assert choose_backend("auto", LARGE) == (get_backend("cpu"), "")


def test_a_calibration_is_kept_for_this_computer(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_costs() == module._defaults()
    monkeypatch.setattr(platform, "node", lambda: "another")
    save_costs(SOME)
    monkeypatch.undo()
    monkeypatch.setattr(module, "costs_path", lambda: cache)
    assert load_costs() == module._defaults()
    assert save_costs({"cpu": SOME["cpu"]}) == cache
    assert load_costs() == {"cpu": SOME["cpu"], "gpu": module._GPU}
    assert set(json.loads(cache.read_text())) == {"another", platform.node()}


@pytest.mark.parametrize(
    "text",
    ["", "[", "[]", "3", '{"NODE": 3}', '{"NODE": {"cpu": []}}', '{"NODE": {"cpu": {"start": 1}}}', "[" * 100_000]
    + [
        json.dumps({"NODE": {"cpu": {**SOME["cpu"]._asdict(), name: value}}})
        for name in ("flops", "step")
        for value in (-1.0, float("nan"), 10**400, "many", None, [1])
    ]
    + [json.dumps({"NODE": {"cpu": {**SOME["cpu"]._asdict(), "bytes": 0}}})],
)
def test_a_damaged_file_is_like_none(text: str, cache: Path) -> None:
    cache.parent.mkdir()
    cache.write_text(text.replace("NODE", platform.node()))
    assert load_costs() == module._defaults()
    save_costs(SOME)  # it is written anew
    assert load_costs() == SOME


def test_the_file_is_in_the_users_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = costs_path()
    assert path is not None
    assert path.name == "costs.json"
    assert path.parent.name == "xpnet"


def test_no_folder_for_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "costs_path", lambda: None)
    assert load_costs() == module._defaults()
    with pytest.raises(XpnetError, match="no home folder"):
        save_costs(SOME)


def test_a_folder_that_cannot_be_written(cache: Path) -> None:
    cache.parent.write_text("a file")
    with pytest.raises(XpnetError, match=r"cannot write .*costs.json: .* Check the folder"):
        save_costs(SOME)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_trainers_and_estimators(gpu: Any) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((50, 4)).astype("f4"), np.arange(50) % 2
    trainer = Trainer(Network((4, 5, 2)), epochs=2, device="auto")
    assert trainer.fit(x, y).params.vector.__class__ is np.ndarray
    save_costs({**SOME, "gpu": Costs(0.0, 0.0, 0.0, 1e15, 1e15)})
    assert trainer.fit(x, y).params.vector.__class__.__module__ == "cupy"
    fitted = []
    for costs in (SOME, {**SOME, "gpu": Costs(0.0, 0.0, 0.0, 1e15, 1e15)}):
        save_costs(costs)
        before = gpu.waits
        MLPClassifier(hidden_layer_sizes=(5,), max_iter=2, device="auto", random_state=0, n_iter_no_change=9).fit(x, y)
        fitted.append(gpu.waits > before)
    assert fitted == [False, True]


def test_inputs_of_all_kinds(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, network = np.zeros((50, 4), np.uint8), np.arange(50) % 2, Network((4, 5, 2))
    trainer, numbers = Trainer(network, batch_size=10, epochs=2, device="auto"), []
    for wrong in (np.float64(3), None, 3):
        with pytest.raises(InvalidParameterError, match="x: expected the shape"):
            trainer.fit(wrong, y)

    def choose(device: str, work: Work) -> Choice:
        numbers.append(work.n_steps)
        return Choice(get_backend("cpu"))

    monkeypatch.setattr(auto_device, "choose_backend", choose)
    for each in (x, ScaledBytes(x, 255.0), x.tolist(), csr_matrix(x), Concatenated([ArraySource(x, y)])):
        auto_device.backend_for(trainer, each)
    assert numbers == [10] * 5
    samples = to_samples(network, get_backend("gpu"), "float32", x, y)
    assert auto_device.backend_for(trainer, samples) is get_backend("gpu")


# The command line.


def test_train_says_what_it_chose(gpu: Any, folder: Path) -> None:
    code, out, err = xpnet("train", "iris", "--epochs", 2, "--quiet")
    assert (code, err) == (0, "")
    assert "auto:" not in out
    code, out, err = xpnet("train", "iris", "--epochs", 2)
    assert code == 0
    assert "auto: cpu, about " in out + err
    save_costs({**SOME, "gpu": Costs(0.0, 0.0, 0.0, 1e15, 1e15)})
    code, out, err = xpnet("train", "iris", "--epochs", 2)
    assert "auto: gpu, about " in out + err
    assert "on cupy:gpu" in out
    code, out, err = xpnet("train", "iris", "--epochs", 2, "--device", "cpu")
    assert "auto:" not in out + err


def test_resume_says_what_it_chose(gpu: Any, folder: Path) -> None:
    assert xpnet("train", "iris", "--epochs", 1, "--device", "cpu", "--checkpoint-every", 1, "--out", "run")[0] == 0
    _, out, err = xpnet("resume", "run", "--epochs", 2, "--device", "auto")
    assert "auto: cpu, about " in out + err


@pytest.mark.timeout(60)
@pytest.mark.skipif(os.name != "posix", reason="links and pipes as POSIX has them")
def test_a_pipe_or_a_link_in_place_of_the_file(cache: Path, tmp_path: Path) -> None:
    cache.parent.mkdir()
    os.mkfifo(cache)
    assert load_costs() == module._defaults()
    with pytest.raises(XpnetError, match="a pipe, not a regular file"):
        save_costs(module._defaults())
    cache.unlink()
    cache.symlink_to(tmp_path / "there")
    with pytest.raises(XpnetError, match="a link, not a regular file"):
        save_costs(module._defaults())
    assert not (tmp_path / "there").exists()


def test_calibrate(cache: Path) -> None:
    code, out, _ = xpnet("bench", "--calibrate", "--quick")
    assert code == 0
    assert "costs of training" in out
    assert not cache.exists()
    assert "--calibrate: expected no other option" in refused("bench", "tiny", "--calibrate")


@pytest.mark.slow
def test_a_calibration_is_used(cache: Path) -> None:
    code, out, _ = xpnet("bench", "--calibrate")
    assert code == 0
    assert f"kept in {cache}" in out.replace("\n", "")
    found = load_costs()["cpu"]
    assert found != module._defaults()["cpu"]
    assert 1e9 < found.flops < 1e14
    assert 1e-7 < found.step + 2 * found.layer < 1e-2
