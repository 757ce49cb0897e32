"""Search spaces: each value that they can draw is one that training takes."""

from __future__ import annotations

import numpy as np
import pytest

from xpnet.nn.activations import ACTIVATIONS
from xpnet.nn.optimizers import get_optimizer
from xpnet.training.recipes import PLAIN, TABULAR
from xpnet.training.search_spaces import Choice, LogUniform

SPACES = [recipe.search_space for recipes in (PLAIN, TABULAR) for recipe in recipes.values()]


def draws(distribution: Choice | LogUniform, n: int = 4000) -> list:
    state = np.random.RandomState(0)
    return [distribution.rvs(random_state=state) for _ in range(n)]


def test_a_choice_follows_its_probabilities() -> None:
    drawn = draws(Choice(("a", "b", "c"), (0.6, 0.3, 0.1)))
    assert [drawn.count(value) / len(drawn) for value in "abc"] == pytest.approx([0.6, 0.3, 0.1], abs=0.03)
    equal = draws(Choice((True, False)))
    assert np.mean(equal) == pytest.approx(0.5, abs=0.03)
    assert isinstance(equal[0], bool)


def test_each_decade_of_a_log_uniform_number_is_as_likely() -> None:
    drawn = np.asarray(draws(LogUniform(1e-4, 1e-1)))
    assert (drawn >= 1e-4).all()
    assert (drawn <= 1e-1).all()
    shares = np.histogram(np.log10(drawn), bins=(-4, -3, -2, -1))[0] / len(drawn)
    assert shares == pytest.approx([1 / 3] * 3, abs=0.03)
    assert all(float(f"{value:.3g}") == value for value in drawn)  # short on a command line


@pytest.mark.parametrize("space", SPACES, ids=range(len(SPACES)))
def test_values_are_valid(space) -> None:
    for name in ("optimizer", "activation"):
        if name in space:
            assert all(get_optimizer(v) if name == "optimizer" else v[0] in ACTIVATIONS for v in space[name].values)
    for distribution in space.values():
        if isinstance(distribution, Choice) and distribution.probabilities is not None:
            assert sum(distribution.probabilities) == pytest.approx(1)
            assert len(distribution.probabilities) == len(distribution.values)


def test_only_classes_have_smoothed_labels() -> None:
    assert [task for task, recipe in TABULAR.items() if "label_smoothing" in recipe.search_space] == ["classification"]
