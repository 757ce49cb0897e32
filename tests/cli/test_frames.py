"""From ``xpnet train digits`` to the first matrix product a reader passes at most ten functions."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import xpnet
import xpnet_backends

# Each runs the command as its installed script does, and prints a stack, the innermost frame first.
START = """
import atexit, collections, os, sys
import numpy

def stack(frame):
    while frame is not None:
        yield f"{frame.f_code.co_filename}\\t{frame.f_code.co_name}"
        frame = frame.f_back

sys.argv = ["xpnet", *sys.argv[1:]]
"""
# A step that runs as it is: the stack of the first call of matmul in the loop, at which the process ends.
PLAIN = """
product = numpy.matmul

def matmul(*arguments, **keywords):
    frames = list(stack(sys._getframe(1)))
    if not any(each.endswith("loop.py\\trun") for each in frames):
        return product(*arguments, **keywords)
    print(*frames, sep="\\n", flush=True)
    os._exit(0)

numpy.matmul = matmul
from xpnet.cli import main

main()
"""
# A compiled step: the stack of the generated function in which a step runs; it calls matmul itself.
COMPILED = """
calls = collections.Counter()

def profile(frame, event, _):
    if event == "call" and frame.f_code.co_filename == "<step>":
        frames = tuple(stack(frame))
        calls[frames] += any(each.endswith("loop.py\\trun") for each in frames)

atexit.register(lambda: print(*calls.most_common(1)[0][0], sep="\\n", flush=True))
sys.setprofile(profile)
from xpnet.cli import main

main()
"""
OURS = [str(Path(package.__file__ or "").parent) for package in (xpnet, xpnet_backends)]


def _is_ours(file: str) -> bool:
    """Tell a frame of the packages, or of code that they generated."""
    generated = file.startswith("<") and not file.startswith(("<frozen ", "<string>"))
    return generated or any(file.startswith(folder) for folder in OURS)


# One step is too few to compile it.
@pytest.mark.parametrize(
    ("script", "arguments"),
    [(PLAIN, ["--epochs", "1", "--batch-size", "all"]), (COMPILED, ["--epochs", "2"])],
    ids=["plain", "compiled"],
)
def test_at_most_ten_frames_of_ours(
    script: str, arguments: list[str], environment: dict[str, str], tmp_path: Path
) -> None:
    options = ["--device", "numpy:cpu", "--quiet", *arguments]
    command = [sys.executable, "-c", START + script, "train", "digits", *options]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
    frames = [line.split("\t") for line in done.stdout.splitlines()]
    ours = [f"{Path(file).name} {function}" for file, function in reversed(frames) if _is_ours(file)]
    assert ours[:2] == ["__init__.py main", "train.py train"], ours
    assert "loop.py run" in ours
    assert len(ours) <= 10, "\n".join(ours)
