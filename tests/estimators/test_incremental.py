"""`partial_fit` call by call: compiled steps and arrays that stay on the device give what the trainer gives."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from sklearn import neural_network

from xpnet import Callback, MLPClassifier, MLPRegressor
from xpnet.errors import InvalidParameterError

pd = pytest.importorskip("pandas")

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:Got `batch_size` less than 1 or larger"),
]
RNG = np.random.default_rng(3)
X = RNG.normal(size=(90, 4))
CLASSES, VALUES, WEIGHT = RNG.integers(0, 3, 90), np.sin(X[:, 0]) + 0.5 * X[:, 1], RNG.uniform(0.5, 2, 90)
BOTH = pytest.mark.parametrize(("cls", "y"), [(MLPClassifier, CLASSES), (MLPRegressor, VALUES)])
SETTINGS: dict[str, dict[str, Any]] = {
    "adam": {},
    "in order": {"shuffle": False},
    "batches": {"batch_size": 20},
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling"},
    "adaptive": {"solver": "sgd", "learning_rate": "adaptive", "n_iter_no_change": 1, "tol": 1.0},
    "a rate for each step": {"learning_rate": "coslog4", "batch_size": 20},
    "dropout": {"hidden_layer_sizes": (8,), "dropout": 0.2},
    "slopes": {"activation": "prelu"},
    "clipped": {"clip_norm": 0.01},
    "l1": {"l1": 0.1, "alpha": 0.0},
    "float32": {"dtype": "float32"},
    "text": {"solver": "rmsprop:rho=0.9"},
}


def make(cls: Any, **params: Any) -> Any:
    return cls(**{"hidden_layer_sizes": (5,), "random_state": 0, "learning_rate_init": 0.02, **params})


def first_call(est: Any, y: np.ndarray, rows: slice, weight: np.ndarray | None = None) -> Any:
    more = {"classes": np.unique(y)} if y.dtype.kind == "i" else {}
    return est.partial_fit(X[rows], y[rows], **({} if weight is None else {"sample_weight": weight[rows]}), **more)


def same(est: Any, other: Any, tolerance: float = 1e-10) -> None:
    for name in ("coefs_", "intercepts_", "_slopes"):
        for a, b in zip(getattr(est, name), getattr(other, name), strict=True):
            if a is not None:
                np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
    for name in ("loss_", "loss_curve_", "best_loss_", "n_iter_", "t_", "_no_improvement_count"):
        assert getattr(est, name) == pytest.approx(getattr(other, name), rel=tolerance)
    assert est.history_["learning_rate"] == pytest.approx(other.history_["learning_rate"])


@BOTH
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["", "weights"])
@pytest.mark.parametrize("setting", SETTINGS)
def test_it_is_the_epoch_of_the_trainer(cls: Any, y: np.ndarray, setting: str, weight: np.ndarray | None) -> None:
    """A callback, even one that does nothing, makes it the trainer's."""
    plain, watched = (make(cls, **SETTINGS[setting], callbacks=callbacks) for callbacks in (None, [Callback()]))
    for est in (plain, watched):
        first_call(est, y, slice(0, 60), weight)
        for rows in [slice(0, 90)] * 3 + [slice(i, i + 1) for i in range(3)] + [slice(0, 60)]:
            est.partial_fit(X[rows], y[rows], None if weight is None else weight[rows])
    same(plain, watched, 1e-4 if setting == "float32" else 1e-10)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("task", ["classes", "values"])
def test_a_row_at_a_time_is_scikit_learns_course(task: str, solver: str) -> None:
    """There are more rows than steps are done before the step is compiled."""
    ours, theirs = {
        "classes": (MLPClassifier, neural_network.MLPClassifier),
        "values": (MLPRegressor, neural_network.MLPRegressor),
    }[task]
    y = {"classes": CLASSES, "values": VALUES}[task]
    pair = [make(cls, solver=solver) for cls in (ours, theirs)]
    for est in pair:
        first_call(est, y, slice(0, 1))
        for i in range(1, 90):
            est.partial_fit(X[i : i + 1], y[i : i + 1])
    for a, b in zip(pair[0].coefs_, pair[1].coefs_, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)
    assert pair[0].loss_curve_ == pytest.approx(pair[1].loss_curve_)


@BOTH
def test_weights_stay_where_they_are(cls: Any, y: np.ndarray) -> None:
    est = first_call(make(cls), y, slice(0, 90))
    weights = est.coefs_[0]
    before = weights.copy()
    est.partial_fit(X, y)
    assert est.coefs_[0] is weights
    assert not np.array_equal(weights, before)


@BOTH
def test_what_happens_to_an_estimator_between_two_calls_counts(cls: Any, y: np.ndarray) -> None:
    def trained() -> Any:
        return first_call(make(cls), y, slice(0, 90)).partial_fit(X, y)

    def by_pickle(change: Any) -> Any:
        est = trained()
        change(est)
        return pickle.loads(pickle.dumps(est)).partial_fit(X, y)

    def zeroed(est: Any) -> None:
        est.coefs_[0] = np.zeros_like(est.coefs_[0])

    def zeroed_in_place(est: Any) -> None:
        est.coefs_[0][...] = 0

    def fitted(est: Any) -> None:
        est.set_params(warm_start=True, max_iter=2).fit(X, y)

    def other_momentum(est: Any) -> None:
        est.set_params(beta_1=0.5, alpha=0.1)

    for change in (zeroed, zeroed_in_place, fitted, other_momentum):
        est = trained()
        change(est)
        same(est.partial_fit(X, y), by_pickle(change))


@BOTH
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copy_trains_by_itself(cls: Any, y: np.ndarray, copied: Any) -> None:
    est = first_call(make(cls), y, slice(0, 90)).partial_fit(X, y)
    twin = copied(est)
    before = [W.copy() for W in est.coefs_]
    for trains, rests in ((est, twin), (twin, est)):
        kept = [W.copy() for W in rests.coefs_]
        trains.partial_fit(X, y)
        for W, b in zip(rests.coefs_, kept, strict=True):
            np.testing.assert_array_equal(W, b)
    same(est, twin)
    assert not np.array_equal(est.coefs_[0], before[0])


def test_weights_that_overflow_are_refused_and_those_before_kept() -> None:
    reg = first_call(make(MLPRegressor, solver="sgd"), VALUES, slice(0, 90)).partial_fit(X, VALUES)
    before = [W.copy() for W in reg.coefs_]
    reg.set_params(learning_rate_init=1e200)
    for _ in range(2):
        with pytest.raises(
            ValueError, match=r"Solver produced non-finite.*received a loss of .* at learning rate 1e\+200.*smaller"
        ):
            reg.partial_fit(X * 1e100, VALUES)
        for W, b in zip(reg.coefs_, before, strict=True):
            np.testing.assert_array_equal(W, b)
    reg.set_params(learning_rate_init=0.001).partial_fit(X, VALUES)
    assert np.isfinite(reg.loss_)


def test_early_stopping_is_refused() -> None:
    with pytest.raises(ValueError, match="partial_fit does not support early_stopping=True"):
        make(MLPRegressor, early_stopping=True).partial_fit(X, VALUES)


def test_a_label_that_was_not_declared_is_refused() -> None:
    clf = first_call(make(MLPClassifier), CLASSES, slice(0, 90))
    for label in (-1, 3):
        with pytest.raises(ValueError, match="`y` has classes not in"):
            clf.partial_fit(X[:1], np.asarray([label]))


@pytest.mark.parametrize("method", ["fit", "partial_fit", "predict"])
@BOTH
def test_ordinary_arrays_are_looked_through_once(
    cls: Any, y: np.ndarray, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    est = make(cls, max_iter=2).fit(X, y)

    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("scikit-learn's validation")

    monkeypatch.setattr("xpnet.estimators.inputs.validate_data", fail)
    arguments = (X,) if method == "predict" else (X, y)
    getattr(est, method)(*arguments)
    for other in (X.tolist(), X[:, :3], np.where(X > 2, np.nan, X), X.astype(np.float16)):
        with pytest.raises(AssertionError):
            est.partial_fit(other, y)


@BOTH
@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"learning_rate_init": -1}, r"learning_rate: expected a finite number of at least 1.*received -1"),
        ({"learning_rate_init": 0}, r"learning_rate: expected a finite number of at least 1.*received 0"),
        ({"clip_norm": -1}, r"clip_norm: expected a finite number above 0.*received -1"),
        ({"clip_norm": "x"}, r"clip_norm: expected a finite number above 0.*received 'x'"),
        ({"batch_size": -3}, r"batch_size: expected an integer of at least 1.*received -3"),
        ({"batch_size": 0}, r"batch_size: expected an integer of at least 1.*received 0"),
        ({"dtype": "int8"}, r"dtype: expected one of 'float32', 'float64'; received 'int8'"),
        ({"dropout": "abc"}, r"dropout: expected a finite number.*received 'abc'"),
        ({"dropout": [[0.1]]}, r"dropout: expected a finite number.*received \[0.1\]"),
        ({"initializer": ["x"]}, r"initializer: expected one value, or one for each of the 2 layers.*\['x'\]"),
        ({"loss": ["a"]}, r"loss: expected one of.*received \['a'\]"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_a_parameter_that_became_invalid_is_refused(cls: Any, y: np.ndarray, params: dict[str, Any], said: str) -> None:
    est = first_call(make(cls), y, slice(0, 90)).partial_fit(X, y)
    valid, twin = est.get_params(), copy.deepcopy(est)
    for _ in range(2):
        with pytest.raises(InvalidParameterError, match=said):
            est.set_params(**params).partial_fit(X, y)
    same(est.set_params(**valid).partial_fit(X, y), twin.partial_fit(X, y))


def test_a_learning_rate_for_each_call() -> None:
    """As in a schedule that the user's own loop follows."""
    plain, watched = (make(MLPRegressor, callbacks=callbacks) for callbacks in (None, [Callback()]))
    for est in (plain, watched):
        for rate in (0.02, 0.01, 0.005, 0.005):
            est.set_params(learning_rate_init=rate).partial_fit(X, VALUES)
    same(plain, watched)


@pytest.mark.parametrize(
    ("classes", "y"),
    [
        ([0, 1, 2], np.asarray(["a", "b"] * 45, dtype=object)),
        ([0, 1, 2], np.asarray(["a", "b"] * 45)),
        ([0, 1, 2], pd.Series(["a", "b"] * 45)),
        ([0, 1, 2], pd.Categorical(["a", "b"] * 45)),
        ([0, 1, 2], np.asarray(["2020-01-01", "2020-02-02"] * 45, dtype="M8[D]")),
        ([0, 1, 2], pd.Series(pd.date_range("2020-01-01", periods=90))),
        ([0, 1, 2], np.asarray([0.0, 0.5] * 45)),
        (["a", "b"], np.asarray([0, 1] * 45)),
        (np.asarray(["a", "b"], dtype=object), np.asarray([0, 1] * 45)),
    ],
    ids=[
        "objects",
        "texts",
        "series",
        "categorical",
        "dates",
        "series of dates",
        "halves",
        "texts known",
        "objects known",
    ],
)
def test_labels_of_another_type_are_refused(classes: Any, y: Any) -> None:
    with pytest.raises(ValueError, match=r"`y` has classes not in `self.classes_`"):
        make(MLPClassifier).partial_fit(X, y, classes=classes)


@pytest.mark.parametrize("y", [CLASSES.astype(float), CLASSES.astype(str), CLASSES.astype(str).astype(object)])
def test_labels_of_any_type_are_learned(y: np.ndarray) -> None:
    numbered = make(MLPClassifier).partial_fit(X, CLASSES, classes=[0, 1, 2])
    for given in (y, pd.Series(y)):
        same(make(MLPClassifier).partial_fit(X, given, classes=np.unique(y)), numbered)
