"""Warm starts and `partial_fit`: with the same settings, with others, and with arrays that cannot be written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest

from xpnet import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 3))
CLASSES, VALUES, WEIGHT = RNG.integers(0, 3, 60), np.sin(X[:, 0]) + 0.5 * X[:, 1], RNG.uniform(1, 2, 60)
BOTH = pytest.mark.parametrize(("cls", "y"), [(MLPClassifier, CLASSES), (MLPRegressor, VALUES)])
SETTINGS: dict[str, dict[str, Any]] = {
    "adam": {},
    "lbfgs": {"solver": "lbfgs"},
    "sgd": {"solver": "sgd"},
    "without momentum": {"solver": "sgd", "momentum": 0},
    "momentum": {"solver": "momentum"},
    "rmsprop": {"solver": "rmsprop"},
    "adaptive": {"solver": "sgd", "learning_rate": "adaptive"},
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling"},
    "early stopping": {"early_stopping": True},
    "float32": {"dtype": "float32"},
}
USUAL: dict[str, Any] = {"hidden_layer_sizes": (4,), "max_iter": 3, "random_state": 0}


def make(cls: Any, setting: str, **more: Any) -> Any:
    return cls(**{**USUAL, **SETTINGS[setting], **more})


@BOTH
@pytest.mark.parametrize("then", SETTINGS)
@pytest.mark.parametrize("first", ["adam", "lbfgs", "momentum", "adaptive", "early stopping"])
def test_training_goes_on_with_other_settings(cls: Any, y: np.ndarray, first: str, then: str) -> None:
    est = make(cls, first).fit(X, y)
    before = est.coefs_[0].copy()
    est.set_params(**make(cls, then, warm_start=True).get_params())
    est.fit(X, y)
    assert est.n_iter_ <= 3
    assert np.isfinite(est.predict(X).astype(float)).all()
    assert not np.array_equal(est.coefs_[0], before) or then == "early stopping"
    if then not in ("lbfgs", "early stopping") and first != "early stopping":
        est = make(cls, first).fit(X, y)
        est.set_params(**make(cls, then).get_params()).partial_fit(X, y)
        assert est.n_iter_ == 1
        assert not np.array_equal(est.coefs_[0], before)


@BOTH
def test_moments_of_another_optimizer_are_not_taken(cls: Any, y: np.ndarray) -> None:
    """Both optimizers keep one array a parameter, so that nothing but the name tells them apart."""
    went_on = make(cls, "momentum").fit(X, y)
    anew = make(cls, "momentum").fit(X, y)
    del anew._state
    for est in (went_on, anew):
        est.set_params(solver="rmsprop").partial_fit(X, y)
    np.testing.assert_array_equal(went_on.coefs_[0], anew.coefs_[0])


@BOTH
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"hidden_layer_sizes": (7, 3)}, r"hidden_layer_sizes: expected \(4,\), .* warm_start .* received \(7, 3\)"),
        ({"hidden_layer_sizes": 5}, r"hidden_layer_sizes: expected \(4,\), .* warm_start .* received \(5,\)"),
        ({"hidden_layer_sizes": ()}, r"hidden_layer_sizes: expected \(4,\), .* warm_start .* received \(\)"),
        ({"activation": "prelu"}, "activation: expected 'relu', .* warm_start .* received 'prelu'"),
    ],
    ids=str,
)
def test_another_network_is_refused(cls: Any, y: np.ndarray, method: str, other: dict[str, Any], said: str) -> None:
    est = make(cls, "adam", warm_start=True).fit(X, y)
    predicted = est.predict(X)
    with pytest.raises(ValueError, match=said):
        getattr(est.set_params(**other), method)(X, y)
    np.testing.assert_array_equal(est.predict(X), predicted)
    assert est.set_params(warm_start=False).fit(X, y).coefs_[0].shape == est.network_.layer_sizes[:2]


def test_other_data_are_refused() -> None:
    reg = make(MLPRegressor, "adam", warm_start=True).fit(X, VALUES)
    with pytest.raises(ValueError, match=r"targets of a sample: expected 1, .* received 2"):
        reg.fit(X, np.column_stack([VALUES, VALUES]))
    with pytest.raises(ValueError, match="X has 2 features, but MLPRegressor is expecting 3 features"):
        reg.fit(X[:, :2], VALUES)
    clf = make(MLPClassifier, "adam", warm_start=True).fit(X, CLASSES)
    with pytest.raises(ValueError, match="same classes"):
        clf.fit(X, np.asarray(["p", "q", "r"])[CLASSES])


@BOTH
@pytest.mark.parametrize("then", ["adam", "lbfgs", "adaptive", "early stopping", "float32"])
@pytest.mark.parametrize("first", ["adam", "lbfgs", "adaptive", "early stopping"])
def test_a_second_fit_does_not_depend_on_the_first(cls: Any, y: np.ndarray, first: str, then: str) -> None:
    est = make(cls, first, hidden_layer_sizes=(7, 2)).fit(X[:, :2], y[::-1])
    est.set_params(**make(cls, then).get_params()).fit(X, y)
    fresh = make(cls, then).fit(X, y)
    assert set(vars(est)) == set(vars(fresh))
    np.testing.assert_array_equal(est.coefs_[0], fresh.coefs_[0])
    assert getattr(est, "loss_curve_", None) == getattr(fresh, "loss_curve_", None)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_the_curve_goes_on(early_stopping: bool) -> None:
    reg = make(MLPRegressor, "adam", warm_start=True, early_stopping=early_stopping).fit(X, VALUES)
    reg.set_params(max_iter=5).fit(X, VALUES)
    assert reg.n_iter_ == 5
    assert len(reg.loss_curve_) == 8


def test_single_iterations_of_lbfgs_learn() -> None:
    reg = MLPRegressor(hidden_layer_sizes=(10,), solver="lbfgs", max_iter=1, warm_start=True, random_state=0)
    for _ in range(100):
        reg.fit(X, VALUES)
    assert reg.score(X, VALUES) > 0.9


# Arrays that cannot be written.


@pytest.mark.parametrize("device", [None, "torch:cpu"])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_read_only_data(solver: str, device: str | None, tmp_path: Path) -> None:
    if device is not None:
        pytest.importorskip("torch")
    np.save(tmp_path / "x.npy", X)
    frozen = [array.copy() for array in (X, CLASSES, WEIGHT)]
    for array in frozen:
        array.flags.writeable = False
    clf = MLPClassifier(**USUAL, solver=solver, device=device)
    expected = clf.fit(X, CLASSES, WEIGHT).predict_proba(X)
    for x in (frozen[0], np.load(tmp_path / "x.npy", mmap_mode="r")):
        np.testing.assert_array_equal(clf.fit(x, *frozen[1:]).predict_proba(x), expected)
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), X)


@pytest.mark.parametrize("solver", ["adam", "sgd", "rmsprop"])
def test_a_model_that_is_mapped_from_a_file_goes_on(solver: str, tmp_path: Path) -> None:
    clf = MLPClassifier(**USUAL, solver=solver).fit(X, CLASSES)
    joblib.dump(clf, tmp_path / "clf.joblib")
    mapped = joblib.load(tmp_path / "clf.joblib", mmap_mode="r")
    np.testing.assert_array_equal(mapped.predict_proba(X), clf.predict_proba(X))
    for est in (mapped, clf):
        est.partial_fit(X, CLASSES)
    np.testing.assert_array_equal(mapped.coefs_[0], clf.coefs_[0])
    again = joblib.load(tmp_path / "clf.joblib", mmap_mode="r").set_params(warm_start=True, solver="lbfgs")
    assert again.fit(X, CLASSES).n_iter_ == 3


FORMS: dict[str, Any] = {
    "Fortran order": np.asfortranarray,
    "strided": lambda a: np.repeat(a, 2, axis=0)[::2],
    "reversed": lambda a: np.flip(np.flip(a).copy()),
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "list": lambda a: a.tolist(),
}


@pytest.mark.parametrize("form", [*FORMS, "object"])
@BOTH
def test_any_layout_of_memory(cls: Any, y: np.ndarray, form: str) -> None:
    x = X.astype(object) if form == "object" else FORMS[form](X)
    targets, weight = (FORMS.get(form, np.asarray)(array) for array in (y, WEIGHT))
    expected = cls(**USUAL).fit(X, y, WEIGHT).predict(X)
    np.testing.assert_array_equal(cls(**USUAL).fit(x, targets, weight).predict(x), expected)


@BOTH
def test_nullable_types_of_pandas(cls: Any, y: np.ndarray) -> None:
    pandas = pytest.importorskip("pandas")
    expected = cls(**USUAL).fit(X, y, WEIGHT).predict(X)
    frame = pandas.DataFrame(X, columns=list("abc")).astype("Float64")
    series = [pandas.Series(array).convert_dtypes() for array in (y, WEIGHT)]
    np.testing.assert_array_equal(cls(**USUAL).fit(frame, *series).predict(frame), expected)


def test_half_precision_is_widened() -> None:
    half = X.astype(np.float16)
    clf = MLPClassifier(**USUAL).fit(half, CLASSES)
    expected = MLPClassifier(**USUAL).fit(half.astype(float), CLASSES)
    np.testing.assert_array_equal(clf.coefs_[0], expected.coefs_[0])
