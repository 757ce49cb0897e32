"""The packages as users get them: the wheel, the version, the extras, and the public names."""

import json
import os
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

import xpnet

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]


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


@pytest.mark.subprocess
@pytest.mark.slow
def test_wheel_holds_both_packages_and_the_licence_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names} == {
        "xpnet",
        "xpnet_backends",
        f"xpnet-{xpnet.__version__}.dist-info",
    }
    assert {"xpnet/py.typed", "xpnet_backends/py.typed", "xpnet/cli/train.py"} <= set(names)
    assert any(name.endswith("LICENSE") for name in names)


@pytest.mark.subprocess
@pytest.mark.slow
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
    assert (elsewhere / "run" / "curves.png").exists()
    assert (elsewhere / "run" / "report.html").exists()  # its template is in the wheel


def test_the_version_has_one_source():
    assert "version" not in PROJECT
    assert PROJECT["dynamic"] == ["version"]
    assert PYPROJECT["tool"]["hatch"]["version"]["path"] == "xpnet/__init__.py"


def test_the_citation_and_the_changelog_name_the_version():
    citation = (ROOT / "CITATION.cff").read_text()
    assert re.findall(r"^version: (.*)$", citation, re.MULTILINE) == [xpnet.__version__]
    assert f"## [{xpnet.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_the_source_distribution_names_files_that_exist():
    included = PYPROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    assert [name for name in included if not (ROOT / name.removeprefix("/")).exists()] == []


def test_addresses_of_the_project_are_those_of_its_repository_and_its_site():
    addresses = ("https://github.com/xpnet/xpnet", "https://xpnet.github.io/xpnet/")
    assert all(url.startswith(addresses) for url in PROJECT["urls"].values())


def test_dir_lists_the_public_names_and_nothing_else():
    names = dir(xpnet)
    assert names == sorted(xpnet.__all__)
    assert {"MLPClassifier", "MLPRegressor", "Network", "Trainer", "__version__"} <= set(names)
    assert all(hasattr(xpnet, name) for name in names)


def test_dir_imports_no_estimator(environment):
    code = "import sys, xpnet; dir(xpnet); print('xpnet.estimators' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_no_extra_for_all_brings_a_gpu_package():
    extras = PROJECT["optional-dependencies"]
    (everything,) = extras["all"]
    named = everything.removeprefix("xpnet[").removesuffix("]").split(",")
    assert {"dask", "torch", "jax", "fast", "mlflow", "onnx", "ray", "skl2onnx", "tensorboard"} == set(named)
    assert not any("cu" in requirement for name in named for requirement in extras[name])


@pytest.mark.parametrize("extra", ["cuda12", "cuda13"])
def test_cuda_extras_leave_out_the_broken_release(extra):
    (requirement,) = PROJECT["optional-dependencies"][extra]
    assert requirement.startswith(f"cupy-{extra}x[ctk]")
    assert "!=14.1.0" in requirement
