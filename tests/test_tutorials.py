"""The pages that teach: their shell commands run as written, in a folder with nothing but the examples."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command_line import idx_folder

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "docs" / "get-started.md", *sorted((ROOT / "docs" / "tutorials").glob("*.md"))]
LIBRARIES = {"table": ("onnx", "onnxruntime")}  # what a page needs beside xpnet
SHELL = re.compile(r"^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)  # what is not run has no language


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=page.stem, marks=[pytest.mark.needs(library) for library in LIBRARIES.get(page.stem, ())])
        for page in PAGES
        if SHELL.search(page.read_text(encoding="utf-8"))
    ],
)
def test_its_commands_run(page: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    commands = "".join(SHELL.findall(page.read_text(encoding="utf-8")))
    shutil.copytree(ROOT / "examples", tmp_path / "work" / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    command = tmp_path / "bin" / "xpnet"  # in place of the installed one, which may belong to another checkout
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m xpnet "$@"\n')
    command.chmod(0o755)
    environment |= {
        "PATH": os.pathsep.join([str(command.parent), str(Path(sys.executable).parent), environment["PATH"]]),
        "XPNET_DATA": str(idx_folder(tmp_path / "data")),  # in place of 60,000 images
    }
    shell = ["bash", "-euo", "pipefail", "-c", commands]
    done = subprocess.run(
        shell, cwd=tmp_path / "work", env=environment, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr
