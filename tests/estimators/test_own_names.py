"""An estimator's errors speak its own parameters and list all values, scikit-learn's too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from xpnet import MLPClassifier, MLPRegressor
from xpnet.errors import InvalidParameterError

X = np.random.default_rng(0).normal(size=(40, 3))
Y = (X[:, 0] > 0).astype(int)


def message(params: dict[str, Any], cls: Any = MLPClassifier) -> str:
    with pytest.raises(ValueError, match=r"expected|must be") as caught:
        cls(**params, max_iter=2).fit(X, Y)
    return str(caught.value)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"activation": "logistc"}, ("activation", "logistic, ", "relu", "Did you mean 'logistic'?")),
        ({"activation": None}, ("activation", "logistic", "relu", "None")),
        ({"activation": ["relx"]}, ("activation", "logistic", "'relx'")),
        ({"activation": [3]}, ("activation", "logistic", "received 3")),
        ({"activation": "leaky_relu:slpe=1"}, ("activation", "slope", "'slpe'")),
        ({"solver": "lbgfs"}, ("solver", "lbfgs, ", "adam", "Did you mean 'lbfgs'?")),
        ({"solver": 3}, ("solver", "lbfgs", "adam", "received 3")),
        ({"solver": "adamw:weight_decay=-1"}, ("solver", "weight_decay", "'-1'")),
        ({"learning_rate": "invscale"}, ("learning_rate", "invscaling, ", "constant", "Did you mean 'invscaling'?")),
        ({"learning_rate": 0.1}, ("learning_rate", "invscaling", "received 0.1")),
        ({"learning_rate": "step:evry=2"}, ("learning_rate", "every", "'evry'")),
        ({"loss": "logloss"}, ("loss", "log_loss, ", "cross_entropy", "Did you mean 'log_loss'?")),
        ({"loss": None}, ("loss", "log_loss", "None")),
        ({"initializer": "glorot"}, ("initializer", "glorot_normal", "'glorot'")),
        ({"device": "numpyy:cpu"}, ("device", "numpyy")),
        ({"device": "cpu@half"}, ("device", "precision", "half")),
        ({"class_weight": {0: -1}}, ("class_weight", "received -1 for 0")),
        ({"class_weight": {0: "a"}}, ("class_weight", "received 'a' for 0")),
        ({"scoring": {"mine": 3}}, ("scoring", "received 3")),
        ({"scoring": [3]}, ("scoring", "received 3")),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_a_name_that_is_unknown(params: dict[str, Any], words: tuple[str, ...]) -> None:
    said = message(params)
    assert [word for word in words if word not in said] == []
    assert "\n" not in said


def test_a_regressor_lists_its_own_losses() -> None:
    said = message({"loss": "log_loss"}, MLPRegressor)
    assert "squared_error" in said
    assert "huber" in said
    assert "cross_entropy" not in said


@pytest.mark.parametrize(
    ("sizes", "shown"),
    [
        ((16.0, 8.0), "received (16.0, 8.0). Write (16, 8)."),
        (np.asarray([4.0, 3.0]), "Write (4, 3)."),
        (((3, 2),), "received ((3, 2),)."),
        ([(3,), 2], "received [(3,), 2]."),
        (np.asarray([[4, 3]]), "received array([[4, 3]])."),
        (np.asarray(4), "received array(4)."),
        (("16",), "received ('16',)."),
        ((4, None), "received (4, None)."),
        ((4, True), "received (4, True)."),
        (True, "received True."),
        ((2.5,), "received (2.5,)."),
        ((float("nan"),), "received (nan,)."),
        ((4, -1), "got [4, -1]."),
        ("16", "Got '16' instead."),
        (16.0, "Got 16.0 instead."),
    ],
    ids=str,
)
@pytest.mark.parametrize("cls", [MLPClassifier, MLPRegressor])
def test_sizes_that_are_refused(cls: Any, sizes: Any, shown: str) -> None:
    with pytest.raises(ValueError, match="hidden_layer_sizes") as caught:
        cls(hidden_layer_sizes=sizes, max_iter=2).fit(X, Y)
    assert str(caught.value).endswith(shown)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    ("sizes", "taken"),
    [
        (5, (5,)), ((5,), (5,)), ([4, 3], (4, 3)), ((), ()), (np.int64(5), (5,)), ((np.int32(4),), (4,)),
        (np.asarray([4, 3]), (4, 3)), (range(3, 5), (3, 4)),
    ],
    ids=str,
)  # fmt: skip
def test_sizes_that_are_taken(sizes: Any, taken: tuple[int, ...]) -> None:
    assert MLPClassifier(hidden_layer_sizes=sizes, max_iter=2).fit(X, Y).network_.layer_sizes == (3, *taken, 1)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_penalty_of_true_is_one() -> None:
    """scikit-learn takes it as a number."""
    one, true = (MLPClassifier(alpha=alpha, max_iter=2, random_state=0).fit(X, Y) for alpha in (1, True))
    np.testing.assert_array_equal(one.coefs_[0], true.coefs_[0])


def test_the_error_is_the_projects() -> None:
    with pytest.raises(InvalidParameterError):
        MLPClassifier(solver="lbgfs").fit(X, Y)
