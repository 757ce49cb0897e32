"""Draws of rows: those of scikit-learn, bit for bit, so that splits of earlier versions stay."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from xpnet.data.draw import draw, draw_in_proportion


@pytest.mark.parametrize(("n", "size"), [(10, 1), (10, 3), (57, 20), (1000, 999)])
@pytest.mark.parametrize("seed", [0, 1, 12345, 2**32 - 1])
def test_it_draws_as_scikit_learn_does(n: int, size: int, seed: int) -> None:
    _, expected = train_test_split(np.arange(n), test_size=size, random_state=seed)
    assert draw(n, size, seed).tolist() == sorted(expected)


@pytest.mark.parametrize("labels", ["integers", "texts", "few", "equal"])
@pytest.mark.parametrize("seed", range(8))
def test_it_draws_in_proportion_as_scikit_learn_does(labels: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    y = {
        "integers": rng.integers(0, 5, 203),
        "texts": rng.choice(np.array(["a", "b", "ccc"], dtype=object), 100, p=[0.6, 0.3, 0.1]),
        "few": np.repeat([0, 1, 2], [2, 30, 31]),
        "equal": np.tile([3, 1, 2, 0], 15),
    }[labels]
    for size in (5, 20, len(y) // 2):
        _, expected = train_test_split(np.arange(len(y)), test_size=size, stratify=y, random_state=seed)
        assert draw_in_proportion(y, size, seed).tolist() == sorted(expected)
