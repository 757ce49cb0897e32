"""The estimators beside scikit-learn's: from the same random state, the same weights after every step."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from sklearn import neural_network
from sklearn.base import clone
from sklearn.datasets import make_classification, make_multilabel_classification, make_regression

import xpnet
from xpnet.backend import Backend, backend_of
from xpnet.training.callbacks import Callback, EpochRecord
from xpnet.training.state import Run

CLASSES = ("binary", "multiclass", "multilabel")
QUANTITIES = ("quantity", "quantities", "poisson")
TOLERANCES = {"float32": 2e-4, "float64": 1e-10}  # what rounding becomes in some dozen epochs
EQUAL = ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_")
CLOSE = ("coefs_", "intercepts_", "loss_", "loss_curve_", "best_loss_", "validation_scores_", "best_validation_score_")
LOSSES = ("loss_", "loss_curve_", "best_loss_")


def samples(task: str, dtype: str = "float64", n: int = 70) -> tuple[np.ndarray, np.ndarray]:
    if task == "multilabel":
        x, y = make_multilabel_classification(n, n_features=6, n_classes=3, random_state=0)
        x = (x - x.mean(axis=0)) / x.std(axis=0)
    elif task in CLASSES:
        n_classes = 2 if task == "binary" else 4
        x, y = make_classification(n, n_features=6, n_informative=5, n_redundant=0, n_classes=n_classes, random_state=0)
    else:
        n_targets = 3 if task == "quantities" else 1
        x, y = make_regression(n, n_features=6, n_targets=n_targets, noise=5, random_state=0)
        y = y / y.std()
        if task == "poisson":
            y = np.floor(np.exp(y))
    return x.astype(dtype), y


def sample_weight(kind: str | None, n: int = 70) -> np.ndarray | None:
    """Return weights, or counts of which every fifth is zero."""
    return {None: None, "weights": np.linspace(0.1, 2, n), "zeros": np.arange(n, dtype=float) % 5}[kind]


def twins(task: str, **params: Any) -> tuple[Any, Any]:
    """Return our estimator and scikit-learn's with the same parameters."""
    name = "MLPClassifier" if task in CLASSES else "MLPRegressor"
    params = {"hidden_layer_sizes": (7, 5), "max_iter": 12, "random_state": 3, "learning_rate_init": 0.01} | params
    if task == "poisson":
        params["loss"] = "poisson"
    return getattr(xpnet, name)(**params), getattr(neural_network, name)(**params)


def call(method: Any, *args: Any, **options: Any) -> list[tuple[type, str]]:
    """Call a method, and return the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        method(*args, **options)
    return [(warning.category, str(warning.message)) for warning in caught]


def fit(pair: tuple[Any, Any], *args: Any, method: str = "fit", **options: Any) -> None:
    ours, theirs = (call(getattr(estimator, method), *args, **options) for estimator in pair)
    # NumPy's product raises floating-point flags for finite numbers on some processors; ours are to stay silent then.
    assert ours == [warning for warning in theirs if warning[0] is not RuntimeWarning]


def assert_close(actual: Any, expected: Any, tolerance: float) -> None:
    if expected is None:
        assert actual is None
        return
    many = isinstance(expected, list) and expected and np.ndim(expected[0])
    for one, other in zip(actual, expected, strict=True) if many else [(actual, expected)]:
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


def assert_same(
    pair: tuple[Any, Any], x: np.ndarray, y: np.ndarray, tolerance: float = 1e-10, besides: tuple[str, ...] = ()
) -> None:
    """Hold all fitted attributes and predictions to scikit-learn's, but for some attributes."""
    ours, theirs = pair
    for name in EQUAL:
        assert getattr(ours, name) == getattr(theirs, name), name
    for name in CLOSE:
        assert hasattr(ours, name) == hasattr(theirs, name), name
        if hasattr(theirs, name) and name not in besides:
            assert_close(getattr(ours, name), getattr(theirs, name), tolerance)
    assert [array.dtype for array in ours.coefs_] == [array.dtype for array in theirs.coefs_]
    if hasattr(theirs, "classes_"):
        np.testing.assert_array_equal(ours.classes_, theirs.classes_)
        np.testing.assert_array_equal(ours.predict(x), theirs.predict(x))
        assert ours.predict(x).dtype == theirs.predict(x).dtype
        for method in ("predict_proba", "predict_log_proba"):
            with np.errstate(divide="ignore"):
                actual, expected = (getattr(estimator, method)(x) for estimator in pair)
            assert actual.dtype == expected.dtype
            assert_close(actual, expected, 100 * tolerance)
    else:
        assert_close(ours.predict(x), theirs.predict(x), 10 * tolerance)
        assert ours.predict(x).dtype == theirs.predict(x).dtype
    assert_close(ours.score(x, y), theirs.score(x, y), 10 * tolerance)


def besides(task: str, params: dict[str, Any]) -> tuple[str, ...]:
    """Name what differs by design: the mean over outputs is taken of the penalty too, as its gradient has it."""
    return LOSSES if task == "quantities" and params.get("alpha", 1e-4) else ()


# One at a time, for each task; then together, by chance.
CHOICES: dict[str, list[Any]] = {
    "solver": ["adam", "sgd"],
    "learning_rate": ["constant", "invscaling", "adaptive"],
    "momentum": [0.9, 0.0, 0.5],
    "nesterovs_momentum": [True, False],
    "activation": ["relu", "identity", "logistic", "tanh"],
    "alpha": [1e-4, 0.0, 0.3],
    "batch_size": ["auto", 16, 70, 1],
    "early_stopping": [False, True],
    "shuffle": [True, False],
    "hidden_layer_sizes": [(7, 5), (), 4, [3]],
    "beta_1": [0.9, 0.5],
    "beta_2": [0.999, 0.9],
    "epsilon": [1e-8, 1e-3],
    "sample_weight": [None, "weights", "zeros"],
}


def one_at_a_time() -> list[dict[str, Any]]:
    of_sgd = ("learning_rate", "momentum", "nesterovs_momentum")
    singles = [{name: value} for name, values in CHOICES.items() for value in values[1:]]
    return [{}] + [{"solver": "sgd"} | single if set(single) & set(of_sgd) else single for single in singles]


def by_chance(n: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(7)
    return [{name: values[rng.integers(len(values))] for name, values in CHOICES.items()} for _ in range(n)]


def spelled(params: dict[str, Any]) -> str:
    return ",".join(f"{name}={value}" for name, value in params.items()) or "defaults"


@pytest.mark.parametrize("task", CLASSES + QUANTITIES)
@pytest.mark.parametrize("params", one_at_a_time() + by_chance(12), ids=spelled)
def test_the_same_random_state_gives_the_same_course(task: str, params: dict[str, Any]) -> None:
    x, y = samples(task)
    params = dict(params)
    weight = sample_weight(params.pop("sample_weight", None))
    if weight is not None and params.get("batch_size") == 1:
        weight += 0.1  # else a batch has no weight at all, and scikit-learn divides by zero
    pair = twins(task, **params)
    fit(pair, x, y, sample_weight=weight)
    assert_same(pair, x, y, besides=besides(task, params))


@pytest.mark.parametrize("task", CLASSES + QUANTITIES)
@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_float32_follows_too(task: str, solver: str, early_stopping: bool) -> None:
    x, y = samples(task, "float32")
    pair = twins(task, solver=solver, early_stopping=early_stopping, alpha=0.0)
    fit(pair, x, y, sample_weight=sample_weight("weights"))
    assert_same(pair, x, y, TOLERANCES["float32"])


@pytest.mark.parametrize("task", CLASSES + QUANTITIES)
@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_ten_epochs_from_given_weights_without_shuffling(task: str, solver: str) -> None:
    x, y = samples(task)
    ours, theirs = twins(task, solver=solver, shuffle=False, max_iter=10, batch_size=16, alpha=0.01)
    first = clone(theirs).set_params(max_iter=1, learning_rate_init=1e-300, alpha=0.0)
    call(first.fit, x, y)  # too small a step to move the weights: those it began with
    call(theirs.fit, x, y)
    call(ours.set_params(random_state=99).fit, x, y, coefs_init=first.coefs_, intercepts_init=first.intercepts_)
    assert ours.n_iter_ == 10
    assert_close(ours.coefs_, theirs.coefs_, 1e-8)
    assert_close(ours.intercepts_, theirs.intercepts_, 1e-8)


@pytest.mark.parametrize("task", CLASSES + QUANTITIES)
@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_training_stops_at_the_same_epoch(task: str, solver: str, early_stopping: bool) -> None:
    x, y = samples(task)
    pair = twins(task, solver=solver, early_stopping=early_stopping, max_iter=200, alpha=0.0)
    for estimator in pair:
        estimator.set_params(tol=8e-3, n_iter_no_change=4)
    fit(pair, x, y)
    assert 5 < pair[0].n_iter_ < 200
    assert_same(pair, x, y, 1e-9)


@pytest.mark.parametrize("task", CLASSES + QUANTITIES)
@pytest.mark.parametrize("early_stopping", [False, True])
def test_the_adaptive_rate_falls_until_it_is_too_small(task: str, early_stopping: bool) -> None:
    x, y = samples(task)
    pair = twins(
        task,
        solver="sgd",
        learning_rate="adaptive",
        early_stopping=early_stopping,
        max_iter=300,
        tol=5e-3,
        n_iter_no_change=1,
        alpha=0.0,
    )
    fit(pair, x, y)
    ours, theirs = pair
    assert ours.n_iter_ < 300
    assert ours.history_["learning_rate"][-1] == pytest.approx(theirs._optimizer.learning_rate)
    assert ours.history_["learning_rate"][-1] <= 1e-6
    assert_same(pair, x, y, 1e-9)


@pytest.mark.parametrize("task", CLASSES + QUANTITIES)
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("learning_rate", ["constant", "invscaling", "adaptive"])
def test_a_warm_start_goes_on_alike(task: str, early_stopping: bool, learning_rate: str) -> None:
    x, y = samples(task)
    params = {"solver": "sgd", "learning_rate": learning_rate, "early_stopping": early_stopping, "alpha": 0.0}
    pair = twins(task, warm_start=True, max_iter=8, n_iter_no_change=2, tol=1e-2, **params)
    for _ in range(3):
        fit(pair, x, y)
        assert_same(pair, x, y)
        # scikit-learn goes on in the arrays that it keeps as the best, so that a second fit cannot restore them: a bug.
        pair[1]._best_coefs = [W.copy() for W in pair[1].coefs_]
        pair[1]._best_intercepts = [b.copy() for b in pair[1].intercepts_]


@pytest.mark.parametrize("task", CLASSES + QUANTITIES)
@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("learning_rate", ["constant", "invscaling", "adaptive"])
@pytest.mark.parametrize("after_a_fit", [False, True])
def test_partial_fit_goes_on_alike(task: str, solver: str, learning_rate: str, after_a_fit: bool) -> None:
    x, y = samples(task)
    pair = twins(task, solver=solver, learning_rate=learning_rate, alpha=0.0, tol=0.1, n_iter_no_change=2)
    if after_a_fit:
        fit(pair, x, y)
    labels = np.arange(3) if task == "multilabel" else np.unique(y)
    classes = {"classes": labels} if task in CLASSES and not after_a_fit else {}
    for part in range(8):
        rows = slice(10 * (part % 2), 50)
        weight = sample_weight("weights" if part % 3 else None)
        fit(pair, x[rows], y[rows], None if weight is None else weight[rows], method="partial_fit", **classes)
    assert_same(pair, x, y)


# The same way where both see the same function: scikit-learn's loss of several quantities is their mean but its
# gradient is their sum's; and in far-off trials of the line search it clips the probabilities.
@pytest.mark.parametrize("task", [*CLASSES, "quantity", "poisson"])
@pytest.mark.parametrize("weight", [None, "zeros"])
def test_lbfgs_goes_the_same_way_warns_alike_and_goes_on(task: str, weight: str | None) -> None:
    x, y = samples(task)
    pair = twins(task, solver="lbfgs", activation="tanh", alpha=0.1, max_iter=8, warm_start=True)
    for _ in range(2):
        fit(pair, x, y, sample_weight=sample_weight(weight))
        assert_same(pair, x, y, 1e-6)


@pytest.mark.parametrize("task", CLASSES + QUANTITIES)
def test_lbfgs_finds_the_same_minimum(task: str) -> None:
    x, y = samples(task)
    alpha = 0.0 if task == "quantities" else 0.1
    pair = twins(task, solver="lbfgs", hidden_layer_sizes=(), alpha=alpha, tol=1e-7, max_iter=2000)
    for estimator in pair:
        estimator.fit(x, y)
    assert_close(pair[0].coefs_, pair[1].coefs_, 1e-4)
    assert_close(pair[0].loss_, pair[1].loss_, 1e-8)


@pytest.mark.parametrize("task", [*CLASSES, "quantity", "poisson"])
def test_lbfgs_stops_at_the_same_slope(task: str) -> None:
    x, y = samples(task)
    pair = twins(task, solver="lbfgs", hidden_layer_sizes=(), alpha=0.1, tol=1e-2, max_iter=2000)
    fit(pair, x, y)
    assert_same(pair, x, y, 1e-6)


@pytest.mark.parametrize("task", ["multiclass", "quantity"])
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("learning_rate", ["constant", "adaptive"])
def test_verbose_prints_the_same(
    task: str, early_stopping: bool, learning_rate: str, capsys: pytest.CaptureFixture[str]
) -> None:
    x, y = samples(task)
    pair = twins(task, solver="sgd", learning_rate=learning_rate, early_stopping=early_stopping, verbose=True)
    printed = []
    for estimator in pair:
        estimator.set_params(max_iter=100, n_iter_no_change=2, tol=1e-2).fit(x, y)
        printed.append(capsys.readouterr().out.splitlines())
    assert printed[0] == printed[1]


class Placed(Callback):
    """Holds the training to a backend."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    def on_epoch(self, record: EpochRecord, run: Run) -> None:
        assert backend_of(run.params.vector) is self.backend


@pytest.mark.parametrize("dtype", ["float64"])
@pytest.mark.parametrize(
    ("task", "params"),
    [
        ("binary", {"early_stopping": True}),
        ("multiclass", {"solver": "sgd", "learning_rate": "invscaling"}),
        ("multiclass", {"batch_size": 16, "alpha": 0.3}),
        ("multilabel", {"activation": "logistic"}),
        ("quantity", {"solver": "sgd", "nesterovs_momentum": False}),
        ("quantities", {"activation": "tanh", "alpha": 0.0}),
        ("poisson", {"early_stopping": True}),
    ],
)
def test_every_device_follows(backend: Any, device: str, task: str, params: dict[str, Any]) -> None:
    x, y = samples(task)
    pair = twins(task, **params)
    pair[0].set_params(device=device, callbacks=[Placed(backend)])
    fit(pair, x, y, sample_weight=sample_weight("weights"))
    assert_same(pair, x, y, 1e-9)


@pytest.mark.parametrize("dtype", ["float64"])
@pytest.mark.parametrize("task", ["multiclass", "quantity"])
def test_every_device_follows_lbfgs(backend: Any, device: str, task: str) -> None:
    x, y = samples(task)
    pair = twins(task, solver="lbfgs", activation="tanh", alpha=0.1, max_iter=8)
    pair[0].set_params(device=device, callbacks=[Placed(backend)])
    fit(pair, x, y)
    assert_close(pair[0].coefs_, pair[1].coefs_, 1e-6)
