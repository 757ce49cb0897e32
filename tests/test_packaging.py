"""The wheel, as a user gets it: built, installed in an empty environment, run from another folder."""

import json
import os
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def run(*command, cwd):
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV_", "PYTEST"))}
    done = subprocess.run([str(part) for part in command], cwd=cwd, env=clean, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", folder, ROOT, cwd=folder)
    (built,) = folder.glob("xpnet-*.whl")
    return built


def test_wheel_holds_both_packages_and_the_licence_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names} == {
        "xpnet",
        "xpnet_backends",
        f"xpnet-{PROJECT['version']}.dist-info",
    }
    assert {"xpnet/py.typed", "xpnet_backends/py.typed", "xpnet/cli/train.py"} <= set(names)
    assert any(name.endswith("LICENSE") for name in names)


@pytest.mark.timeout(600)
def test_wheel_trains_in_an_empty_environment_from_another_folder(wheel, tmp_path):
    venv.create(tmp_path / "env", with_pip=True)
    scripts = tmp_path / "env" / ("Scripts" if os.name == "nt" else "bin")
    run(scripts / "python", "-m", "pip", "install", "--quiet", wheel, cwd=tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    summary = json.loads(run(scripts / "xpnet", "train", "digits", "--json", "--out", "run", cwd=elsewhere))
    assert summary["test"]["accuracy"] > 0.94
    assert summary["device"] == "numpy:cpu"
    assert (elsewhere / "run" / "model.safetensors").exists()
    # Without extras no picture is drawn, and nothing is missed.
    assert not (elsewhere / "run" / "curves.png").exists()


def test_version_is_said_once():
    import xpnet

    assert xpnet.__version__ == PROJECT["version"]


def test_no_extra_for_all_brings_a_gpu_package():
    extras = PROJECT["optional-dependencies"]
    (everything,) = extras["all"]
    named = everything.removeprefix("xpnet[").removesuffix("]").split(",")
    assert {"torch", "jax", "plot", "data", "fast"} == set(named)
    assert not any("cu" in requirement for name in named for requirement in extras[name])


@pytest.mark.parametrize("extra", ["cuda12", "cuda13"])
def test_cuda_extras_leave_out_the_broken_release(extra):
    (requirement,) = PROJECT["optional-dependencies"][extra]
    assert requirement.startswith(f"cupy-{extra}x[ctk]")
    assert "!=14.1.0" in requirement
