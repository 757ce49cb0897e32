"""The code of the documents on exports, logs and searches, which needs optional libraries, runs as it stands."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command_line import xpnet

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(8) + b"\0\0\0\1\0\0\0\1"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("folder"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]


def blocks(name: str) -> list[str]:
    return BLOCK.findall((ROOT / "docs" / name).read_text(encoding="utf-8"))


def test_exports(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for library in ("onnx", "onnxruntime", "skl2onnx", "torch", "mlflow", "sqlalchemy", "pandas"):
        pytest.importorskip(library)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    Path("examples").mkdir()
    shutil.copy(ROOT / "examples" / "penguins.csv", "examples")
    quick = ("--epochs", 1, "--quiet", "--device", "cpu", "--out")
    assert xpnet("train", "examples/penguins.csv", "--target", "species", *quick, "run").code == 0
    assert xpnet("train", "digits", *quick, "digits-run").code == 0
    assert xpnet("export", "run", "penguins.onnx").code == 0
    assert xpnet("export", "digits-run", "digits.safetensors").code == 0
    found = blocks("export.md")
    assert len(found) == 6
    for block in found:
        exec(block, {})
    assert "\nTrue\nmodels:/" in capsys.readouterr().out


def test_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    for library in ("tensorboardX", "mlflow", "sqlalchemy"):
        pytest.importorskip(library)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    Path("curves.png").write_bytes(PNG)
    for block in blocks("logging.md"):
        exec(block, {})
    assert any(Path("logs/first").glob("events*"))
    assert any(Path("mlruns").rglob("curves.png"))


@pytest.mark.parametrize(
    "line",
    [
        "cv=3, n_jobs=2)",
        pytest.param("from dask", marks=pytest.mark.needs("distributed")),
        pytest.param("import ray", marks=pytest.mark.needs("ray")),
    ],
)
def test_searches(line: str, environment: dict[str, str]) -> None:
    (script,) = (block for block in blocks("searches.md") if line in block)
    Path("search.py").write_text(script)
    done = subprocess.run(
        [sys.executable, "search.py"], env=environment, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "{'alpha': 0.0001, 'hidden_layer_sizes': (64, 32)} 0.95\n"
