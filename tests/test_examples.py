"""The examples: each runs as a user runs it, and prints what it claims."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from xpnet.nn.activations import ACTIVATIONS

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[1] / "examples"
NUMBER = re.compile(r"-?\d+\.\d+")


@pytest.fixture
def printed(request: pytest.FixtureRequest, environment: dict[str, str]) -> str:
    """Run the example that the test is named after; a warning is an error there.

    Only NumPy's product may warn: on some processors it does so for finite numbers, in scikit-learn too.
    """
    path = EXAMPLES / f"{request.node.name.removeprefix('test_')}.py"
    command = [sys.executable, "-W", "error", "-W", "ignore:invalid value encountered in matmul", str(path)]
    environment |= {"MPLBACKEND": "template"}  # draws nothing, so that `plt.show` opens no window
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def numbers(text: str) -> list[float]:
    return [float(number) for number in NUMBER.findall(text)]


def test_pipeline_scaling(printed: str) -> None:
    plain, scaled = numbers(printed)
    assert scaled > plain
    assert scaled > 0.95


def test_grid_search(printed: str) -> None:
    best, score = printed.splitlines()
    assert best.startswith("best of 8: {'activation': ")
    assert numbers(score)[0] > 0.93


def test_text_labels(printed: str) -> None:
    assert "classes: setosa, versicolor, virginica; the first flower is setosa\n" in printed
    best, epochs = map(int, re.search(r"best epoch: (\d+) of (\d+)", printed).groups())  # type: ignore[union-attr]
    assert best < epochs < 500
    assert numbers(printed)[-1] > 0.9


def test_imbalanced(printed: str) -> None:
    share, plain, better = numbers(printed)
    assert share < 0.1
    assert better > plain + 0.05


def test_gpu_arrays(printed: str) -> None:
    if printed.startswith("skipped: "):
        pytest.skip(printed.strip())
    assert re.match(r"in: cupy\S*, out: cupy\S*, accuracy 0\.9|in: cupy\S*, out: cupy\S*, accuracy 1\.0", printed)
    assert "the same on the host: True" in printed


def test_poisson_regression(printed: str) -> None:
    mean, _, network, explained = numbers(printed)
    assert network < 0.7 * mean
    assert explained > 0.3


def test_plot_activations(printed: str) -> None:
    largest = dict(re.findall(r"(\w+) +largest derivative (\S+)", printed))
    assert list(largest) == list(ACTIVATIONS)
    assert (largest["sigmoid"], largest["tanh"], largest["relu"]) == ("0.25", "1.00", "1.00")


def test_plot_batch_size(printed: str) -> None:
    steps, losses = zip(*re.findall(r"(\d+) steps, loss (\S+)", printed), strict=True)
    assert steps == ("35940", "3600", "360", "40")
    assert sorted(losses, key=float) == list(losses)


def test_plot_decision_regions(printed: str) -> None:
    assert numbers(printed)[0] > 0.95


def test_plot_learning(printed: str) -> None:
    first, *_, last = numbers(printed)
    assert first < 0.7
    assert last > 0.95


def test_plot_hidden_units(printed: str) -> None:
    assert numbers(printed)[0] > 0.98


def test_plot_passes(printed: str) -> None:
    loss, first, second = numbers(printed)
    assert 0 < loss < 1
    assert first == -second > 0  # softmax and cross-entropy: the gradient is shared out


def test_plot_symmetry(printed: str) -> None:
    equal, nothing, random, differences = numbers(printed)
    assert nothing == 0 < differences
    assert random < 0.5 * equal


def test_plot_vanishing_gradients(printed: str) -> None:
    norms = re.findall(r"first layer (\S+), last layer (\S+)", printed)
    (sigmoid, relu) = (float(first) / float(last) for first, last in norms)
    assert sigmoid < 1e-4
    assert 0.1 < relu < 10


def test_plot_where_it_fails(printed: str) -> None:
    assert numbers(printed)[0] > 0.93


def test_each_example_has_a_test() -> None:
    assert {f"test_{path.stem}" for path in EXAMPLES.glob("*.py")} < set(globals())
