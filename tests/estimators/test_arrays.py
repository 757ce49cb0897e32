"""The estimators across libraries, devices, processes and formats: arrays in kind, copies, conversions."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from array_api_compat import array_namespace
from array_api_compat import device as device_of
from scipy import sparse
from sklearn import neural_network
from sklearn.datasets import load_diabetes, load_iris

import xpnet
from tests.command_line import train, write_csv
from tests.command_line import xpnet as command
from tests.traced import traced
from xpnet import MLPClassifier, MLPRegressor
from xpnet.backend import get_backend
from xpnet.data.scaling import fit_scaler
from xpnet.errors import BackendNotInstalledError, DeviceIndexError, InvalidParameterError
from xpnet.training import outputs

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

_rng = np.random.default_rng(5)
X = _rng.standard_normal((60, 4))
BINARY = (X[:, 0] + X[:, 1] > 0).astype(int)
MULTICLASS = np.digitize(X[:, 0], [-0.5, 0.5])
MULTILABEL = (X[:, :3] > 0).astype(int)
TEXT = np.asarray(["adelie", "chinstrap", "gentoo"])[MULTICLASS]
VALUES = X @ _rng.standard_normal((4, 3)) + 1
TARGETS = {"binary": BINARY, "multiclass": MULTICLASS, "multilabel": MULTILABEL, "text": TEXT}
WEIGHT = _rng.uniform(0.5, 2, 60)
SETTINGS: dict[str, Any] = {"hidden_layer_sizes": (5,), "max_iter": 4, "random_state": 0, "learning_rate_init": 0.02}


def classifier(**params: Any) -> MLPClassifier:
    return MLPClassifier(**{**SETTINGS, **params})


def regressor(**params: Any) -> MLPRegressor:
    return MLPRegressor(**{**SETTINGS, **params})


def as_host(array: Any) -> np.ndarray:
    return array if isinstance(array, np.ndarray) else get_backend_of(array).to_numpy(array)


def get_backend_of(array: Any) -> Any:
    from xpnet.backend import backend_of

    return backend_of(array)


def in_kind(array: Any, like: Any) -> None:
    assert type(array) is type(like)
    assert array_namespace(array) is array_namespace(like)
    assert device_of(array) == device_of(like)


# In kind, on every backend


@pytest.mark.parametrize("target", TARGETS)
def test_a_classifier_answers_in_kind(backend: Any, dtype: str, target: str) -> None:
    x, host = backend.asarray(X.astype(dtype)), X.astype(dtype)
    here, there = classifier().fit(host, TARGETS[target]), classifier().fit(x, TARGETS[target])
    # Through the optimizer differences of rounding grow.
    tolerance = {"float32": 2e-3, "float64": 1e-9}[dtype]
    for name in ("predict_proba", "predict_log_proba"):
        result = getattr(there, name)(x)
        in_kind(result, x)
        np.testing.assert_allclose(as_host(result), getattr(here, name)(host), rtol=tolerance, atol=tolerance)
        assert as_host(result).dtype == dtype
    for name in ("coefs_", "intercepts_"):
        for array, expected in zip(getattr(there, name), getattr(here, name), strict=True):
            in_kind(array, x)
            assert as_host(array).dtype == expected.dtype == dtype
            np.testing.assert_allclose(as_host(array), expected, rtol=tolerance, atol=tolerance)
    labels = there.predict(x)
    in_kind(labels, host if target == "text" else x)
    np.testing.assert_array_equal(as_host(labels), here.predict(host))
    assert as_host(labels).dtype == here.predict(host).dtype
    score = there.score(x, TARGETS[target])
    assert isinstance(score, float)
    assert score == here.score(host, TARGETS[target])


@pytest.mark.parametrize("y", [VALUES, VALUES[:, 0]], ids=["three outputs", "one output"])
def test_a_regressor_answers_in_kind(backend: Any, dtype: str, y: np.ndarray) -> None:
    x, host = backend.asarray(X.astype(dtype)), X.astype(dtype)
    here = regressor().fit(host, y, sample_weight=WEIGHT)
    weight = backend.asarray(WEIGHT.astype(dtype))
    there = regressor().fit(x, backend.asarray(y.astype(dtype)), sample_weight=weight)
    tolerance = {"float32": 2e-3, "float64": 1e-9}[dtype]
    result = there.predict(x)
    in_kind(result, x)
    assert result.shape == y.shape
    np.testing.assert_allclose(as_host(result), here.predict(host), rtol=tolerance, atol=tolerance)
    score = there.score(x, backend.asarray(y.astype(dtype)), sample_weight=weight)
    assert isinstance(score, float)
    assert score == pytest.approx(here.score(host, y, sample_weight=WEIGHT), abs=10 * tolerance)


def test_targets_and_weights_of_another_library(backend: Any, dtype: str) -> None:
    x, y = backend.asarray(X.astype(dtype)), backend.asarray(BINARY.astype(np.int32))
    weight = WEIGHT.astype(dtype)
    plain = classifier().fit(X.astype(dtype), BINARY, sample_weight=weight)
    mixed = classifier().fit(X.astype(dtype), y, sample_weight=backend.asarray(weight))
    np.testing.assert_array_equal(mixed.coefs_[0], plain.coefs_[0])
    assert np.any(plain.coefs_[0] != classifier().fit(X.astype(dtype), BINARY).coefs_[0])
    of_x = [classifier().fit(x, y, sample_weight=backend.asarray(weight)), classifier().fit(x, BINARY, weight)]
    np.testing.assert_array_equal(*(as_host(each.coefs_[0]) for each in of_x))


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("make", [classifier, regressor])
def test_integers(backend: Any, make: Any, solver: str) -> None:
    counts = np.rint(3 * X).astype(np.int32)
    here = make(solver=solver).fit(counts, BINARY)
    assert here.coefs_[0].dtype == "float64"
    there = make(solver=solver).fit(backend.asarray(counts), BINARY)
    in_kind(there.coefs_[0], backend.asarray(counts))
    np.testing.assert_allclose(as_host(there.coefs_[0]), here.coefs_[0], rtol=5e-3, atol=5e-3)
    assert as_host(there.predict(backend.asarray(counts))).shape == (60,)


@pytest.mark.parametrize("wanted", ["float32", "float64"])
def test_a_dtype_of_ones_own(backend: Any, dtype: str, wanted: str) -> None:
    xp = backend.xp
    if wanted not in xp.__array_namespace_info__().dtypes(device=backend.device, kind="real floating"):
        pytest.skip(f"{backend.device} has no {wanted}")
    x = backend.asarray(X.astype(dtype))
    clf = classifier(dtype=wanted).fit(x, BINARY)
    expected = classifier().fit(X.astype(dtype).astype(wanted), BINARY)
    with backend.scope(wanted):
        assert as_host(clf.coefs_[0]).dtype == as_host(clf.predict_proba(x)).dtype == wanted
        np.testing.assert_allclose(as_host(clf.coefs_[0]), expected.coefs_[0], rtol=2e-3, atol=2e-3)


BAD = {
    "one dimension": (X[:, 0], "Expected 2D array, got 1D array instead"),
    "no samples": (X[:0], r"0 sample\(s\) \(shape=\(0, 4\)\) while a minimum of 1 is required"),
    "no features": (X[:, :0], r"0 feature\(s\) \(shape=\(60, 0\)\) while a minimum of 1 is required"),
    "NaN": (np.where(np.eye(60, 4) > 0, np.nan, X), "Input X contains NaN"),
    "infinity": (np.where(np.eye(60, 4) > 0, np.inf, X), "Input X contains infinity"),
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_data_is_refused_as_scikit_learn_refuses_it(backend: Any, dtype: str, bad: str) -> None:
    values, message = BAD[bad]
    values = values.astype(dtype)
    y = BINARY[: len(values)]
    fitted = classifier(max_iter=1).fit(backend.asarray(X.astype(dtype)), BINARY)
    for x in (values, backend.asarray(values)):
        with pytest.raises(ValueError, match=message):
            classifier().fit(x, y)
        with pytest.raises(ValueError, match=message):
            fitted.predict(x)


def test_another_number_of_features_or_samples_is_refused(backend: Any, dtype: str) -> None:
    x = backend.asarray(X.astype(dtype))
    reg = regressor(max_iter=1).fit(x, VALUES)
    with pytest.raises(ValueError, match="X has 3 features, but MLPRegressor is expecting 4 features as input"):
        reg.predict(x[:, :3])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        regressor().fit(x, VALUES[:50])


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_where_to_train_is_a_choice(backend: Any, dtype: str, device: str, solver: str) -> None:
    host, x = X.astype(dtype), backend.asarray(X.astype(dtype))
    plain = classifier(solver=solver).fit(host, MULTICLASS)
    there, here = classifier(solver=solver, device=device), classifier(solver=solver, device="cpu")
    for clf, given in ((there, host), (here, x)):
        clf.fit(given, MULTICLASS)
        for array in (clf.coefs_[0], clf.predict_proba(given), clf.predict(given)):
            in_kind(array, given)
        np.testing.assert_allclose(as_host(clf.predict_proba(given)), plain.predict_proba(host), atol=2e-3)


def test_prediction_follows_the_data_wherever_the_fit_was(backend: Any, dtype: str) -> None:
    host, x = X.astype(dtype), backend.asarray(X.astype(dtype))
    fitted = classifier().fit(host, TEXT), classifier().fit(x, TEXT)
    for clf in fitted:
        for given in (host, x):
            in_kind(clf.predict_proba(given), given)
            np.testing.assert_allclose(
                as_host(clf.predict_proba(given)), fitted[0].predict_proba(host), rtol=2e-3, atol=2e-3
            )


@pytest.mark.parametrize("make", [sparse.csr_array, sparse.csc_matrix])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_sparse_data_on_any_device(backend: Any, dtype: str, device: str, solver: str, make: Any) -> None:
    dense = np.where(abs(X) > 0.7, X, 0).astype(dtype)
    clf = classifier(solver=solver, device=device).fit(make(dense), MULTICLASS)
    twin = classifier(solver=solver, device=device).fit(dense, MULTICLASS)
    tolerance = {"float32": 1e-4, "float64": 1e-9}[dtype]
    np.testing.assert_allclose(clf.coefs_[0], twin.coefs_[0], rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(clf.predict_proba(make(dense)), twin.predict_proba(dense), rtol=1e-3, atol=tolerance)
    assert isinstance(clf.predict_proba(make(dense)), np.ndarray)


def script(text: str, environment: dict[str, str], **more: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", text], env={**environment, **more}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_with_dispatch_the_data_must_lie_where_those_of_the_fit_did(environment: dict[str, str]) -> None:
    pytest.importorskip("array_api_strict")
    out = script(
        """
import numpy as np, sklearn, array_api_strict as strict, xpnet
x, y = np.eye(4), np.asarray([0, 1, 0, 1])
sklearn.set_config(array_api_dispatch=True)
for here, there in ((x, strict.asarray(x)), (strict.asarray(x), x)):
    clf = xpnet.MLPClassifier(max_iter=3, early_stopping=False, scoring="accuracy").fit(here, y)
    assert type(clf.predict(here)) is type(here) and isinstance(clf.score(here, y), float)
    try:
        clf.predict(there)
    except ValueError as exc:
        print(exc)
    with sklearn.config_context(array_api_dispatch=False):
        assert type(clf.predict(there)) is type(there)
""",
        environment,
        SCIPY_ARRAY_API="1",
    )
    assert out.count("Inputs passed to MLPClassifier.predict() must use the same namespace and the same device") == 2


# Copies that leave the process


class HostUnpickler(pickle.Unpickler):
    """Load what needs no other array library than NumPy."""

    def find_class(self, module: str, name: str) -> Any:
        assert module.partition(".")[0] in {"builtins", "numpy", "xpnet", "functools", "collections", "cloudpickle"}
        return super().find_class(module, name)


@pytest.mark.parametrize("pickler", ["pickle", "cloudpickle"])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_a_pickle_lies_on_the_host(backend: Any, dtype: str, solver: str, pickler: str) -> None:
    x = backend.asarray(X.astype(dtype))
    clf = classifier(solver=solver, activation="prelu").fit(x, MULTICLASS)
    twin = HostUnpickler(BytesIO(pytest.importorskip(pickler).dumps(clf))).load()
    for array in (*twin.coefs_, *twin.intercepts_, twin._slopes[0]):
        assert type(array) is np.ndarray
        assert array.dtype == dtype
    in_kind(clf.coefs_[0], x)  # the original is as it was
    np.testing.assert_array_equal(as_host(twin.predict_proba(x)), as_host(clf.predict_proba(x)))


@pytest.mark.parametrize("solver", ["adam", "sgd", "rmsprop"])
def test_training_goes_on_from_a_pickle_as_if_there_were_none(backend: Any, dtype: str, solver: str) -> None:
    x = backend.asarray(X.astype(dtype))
    params: dict[str, Any] = {"solver": solver, "dropout": 0.2, "activation": "prelu", "shuffle": False}
    # One epoch's dropout differs from the next's, so a state that is lost would show.
    direct, moved = (classifier(**params).fit(x, MULTICLASS) for _ in range(2))
    moved = pickle.loads(pickle.dumps(moved))
    for clf in (direct, moved):
        clf.partial_fit(x, MULTICLASS)
        clf.partial_fit(x, MULTICLASS)
    assert moved.t_ == direct.t_ == 6 * 60
    for array, expected in zip(moved.coefs_, direct.coefs_, strict=True):
        np.testing.assert_array_equal(as_host(array), as_host(expected))


@pytest.mark.parametrize("given", ["arrays", "name", "backend"])
def test_a_pickle_loads_where_the_library_is_not(given: str, tmp_path: Any, environment: dict[str, str]) -> None:
    torch = pytest.importorskip("torch")
    device = {"arrays": None, "name": "torch:cpu", "backend": get_backend("torch:cpu")}[given]
    clf = classifier(dropout=0.1, device=device).fit(torch.asarray(X), TEXT)
    (tmp_path / "clf.pickle").write_bytes(pickle.dumps(clf))
    np.save(tmp_path / "x.npy", X)
    out = script(
        f"""
import sys
from dataclasses import replace
class NoTorch:
    def find_spec(name, *_):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, NoTorch)
import pickle, numpy as np
clf = pickle.load(open({str(tmp_path / "clf.pickle")!r}, "rb"))
x = np.load({str(tmp_path / "x.npy")!r})
np.save({str(tmp_path / "p.npy")!r}, clf.predict_proba(x))
clf.set_params(device=None)
print(type(clf.partial_fit(x, clf.predict(x)).coefs_[0]))
""",
        environment,
    )
    assert out == "<class 'numpy.ndarray'>\n"
    np.testing.assert_allclose(np.load(tmp_path / "p.npy"), clf.predict_proba(X), rtol=1e-9)


# L-BFGS


@pytest.mark.parametrize("make", [classifier, regressor])
def test_lbfgs_on_any_backend(backend: Any, dtype: str, make: Any) -> None:
    host, x = X.astype(dtype), backend.asarray(X.astype(dtype))
    here, there = (make(solver="lbfgs", alpha=1.0, max_iter=300).fit(given, BINARY) for given in (host, x))
    in_kind(there.coefs_[0], x)
    assert as_host(there.coefs_[0]).dtype == dtype
    # Where the line search has float64 digits both end in the same minimum; there is a device without.
    assert there.loss_ == pytest.approx(here.loss_, rel=1e-3)
    assert here.loss_ < 0.4


@pytest.mark.parametrize(("factor", "shift"), [(1e18, 0.0), (1e4, 1e6), (1.0, 0.0)])
def test_lbfgs_computes_float32_data_in_float64(factor: float, shift: float) -> None:
    x, y = X.astype("float32"), (shift + factor * X[:, 0]).astype("float32")
    rng, shapes = np.random.default_rng(0), ((4, 10), (10, 1))
    start = {
        "coefs_init": [rng.normal(size=shape).astype("float32") for shape in shapes],
        "intercepts_init": [np.zeros(shape[1], "float32") for shape in shapes],
    }
    params: dict[str, Any] = {"solver": "lbfgs", "hidden_layer_sizes": (10,), "max_iter": 10}
    narrow, wide = (regressor(**params).fit(given, y, **start) for given in (x, x.astype("float64")))
    assert narrow.coefs_[0].dtype == "float32"
    assert narrow.loss_ == pytest.approx(wide.loss_, rel=1e-9)


def test_lbfgs_takes_the_largest_float32_numbers() -> None:
    clf = classifier(solver="lbfgs", max_iter=5).fit(np.full((60, 5), 3e38, "float32"), BINARY)
    assert np.isfinite(clf.loss_)


@pytest.mark.parametrize("wrap", [np.asarray, sparse.csr_array], ids=["dense", "sparse"])
def test_lbfgs_over_chunks(monkeypatch: pytest.MonkeyPatch, wrap: Any) -> None:
    params: dict[str, Any] = {"solver": "lbfgs", "alpha": 0.1, "l1": 0.01, "max_iter": 15}
    whole = classifier(**params).fit(wrap(X), MULTICLASS, sample_weight=WEIGHT)
    sizes = []
    monkeypatch.setattr(outputs, "_CHUNK_ELEMENTS", 5 * 7)
    whole_chunks = outputs.sample_chunks
    monkeypatch.setattr(
        "xpnet.estimators.lbfgs.sample_chunks",
        lambda *args: (sizes.append(rows.stop - rows.start) or rows for rows in whole_chunks(*args)),
    )
    parts = classifier(**params).fit(wrap(X), MULTICLASS, sample_weight=WEIGHT)
    assert set(sizes) == {7, 60 % 7}
    assert parts.loss_ == pytest.approx(whole.loss_, rel=1e-9)
    np.testing.assert_allclose(parts.coefs_[0], whole.coefs_[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(parts.predict_proba(wrap(X)), whole.predict_proba(wrap(X)), rtol=1e-5)


@pytest.mark.parametrize("name", ["dropout", "scoring", "eval_set"])
def test_lbfgs_refuses_what_it_would_ignore(name: str) -> None:
    params = {"dropout": {"dropout": 0.2}, "scoring": {"scoring": "accuracy"}, "eval_set": {}}[name]
    options = {"eval_set": (X, BINARY)} if name == "eval_set" else {}
    with pytest.raises(InvalidParameterError, match=f"{name} cannot be used with solver='lbfgs': expected none"):
        classifier(solver="lbfgs", **params).fit(X, BINARY, **options)


def test_a_model_predicts_on_a_machine_without_its_device() -> None:
    clf = classifier().fit(X, BINARY)
    expected = clf.predict_proba(X)
    clf.set_params(device="strict:cpu:99")
    with pytest.warns(UserWarning, match="no device strict:cpu:99: .* Predicting on numpy:cpu"):
        np.testing.assert_array_equal(clf.predict_proba(X), expected)
    with pytest.raises(DeviceIndexError, match="no device strict:cpu:99"):
        clf.fit(X, BINARY)


# From and to scikit-learn

THEIRS = {
    **{name: (neural_network.MLPClassifier, y, {}) for name, y in TARGETS.items()},
    "one class": (neural_network.MLPClassifier, np.ones(60), {}),
    "one class of text": (neural_network.MLPClassifier, np.full(60, "only"), {}),
    "booleans": (neural_network.MLPClassifier, BINARY.astype(bool), {}),
    "one output": (neural_network.MLPRegressor, VALUES[:, 0], {}),
    "three outputs": (neural_network.MLPRegressor, VALUES, {}),
    "poisson": (neural_network.MLPRegressor, abs(VALUES[:, 0]), {"loss": "poisson"}),
    "early stopping": (neural_network.MLPClassifier, BINARY, {"early_stopping": True, "max_iter": 9}),
    "lbfgs": (neural_network.MLPClassifier, MULTICLASS, {"solver": "lbfgs"}),
    "sgd": (neural_network.MLPRegressor, VALUES, {"solver": "sgd", "learning_rate": "adaptive"}),
    "float32": (neural_network.MLPClassifier, TEXT, {}),
    "no hidden layer": (neural_network.MLPClassifier, TEXT, {"hidden_layer_sizes": ()}),
    **{
        activation: (neural_network.MLPRegressor, VALUES, {"activation": activation, "hidden_layer_sizes": (5, 4)})
        for activation in ("identity", "logistic", "tanh", "relu")
    },
}


def answers(estimator: Any, x: np.ndarray) -> list[np.ndarray]:
    return [
        getattr(estimator, name)(x) for name in ("predict", "predict_proba", "predict_log_proba")
        if hasattr(estimator, name)
    ]  # fmt: skip


def same_answers(one: Any, other: Any, x: np.ndarray, rtol: float = 1e-12) -> None:
    for a, b in zip(answers(one, x), answers(other, x), strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        if a.dtype.kind == "f":
            with np.errstate(divide="ignore"):
                np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)
        else:
            np.testing.assert_array_equal(a, b)


@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.parametrize("case", THEIRS)
def test_from_scikit_learn_and_back(case: str) -> None:
    cls, y, params = THEIRS[case]
    x = X.astype("float32" if case == "float32" else "float64")
    theirs = cls(**{**SETTINGS, **params}).fit(x, y)
    ours = getattr(xpnet, cls.__name__).from_sklearn(theirs)
    back = ours.to_sklearn()
    rtol = 1e-4 if case == "float32" else 1e-12
    same_answers(ours, theirs, x, rtol)
    same_answers(back, theirs, x, 0)
    assert {**back.get_params(), "activation": theirs.activation} == theirs.get_params()
    assert case == "no hidden layer" or back.activation == theirs.activation
    for name in ("n_iter_", "t_", "loss_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
        assert getattr(ours, name) == getattr(back, name) == getattr(theirs, name)
    # Each has arrays of its own, and can be trained on.
    kept = [W.copy() for W in theirs.coefs_]
    for each in (ours, back):
        assert each.coefs_[0] is not theirs.coefs_[0]
        if params.get("solver") == "lbfgs":
            each.set_params(warm_start=True).fit(x, y)
        elif not params.get("early_stopping"):
            before = each.n_iter_, each.coefs_[-1].copy()
            each.partial_fit(x, y)
            assert np.any(each.coefs_[-1] != before[1])
    for W, expected in zip(theirs.coefs_, kept, strict=True):
        np.testing.assert_array_equal(W, expected)


@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.parametrize("case", THEIRS)
def test_to_scikit_learn_and_back(case: str) -> None:
    cls, y, params = THEIRS[case]
    x = X.astype("float32" if case == "float32" else "float64")
    ours = getattr(xpnet, cls.__name__)(**{**SETTINGS, **params}).fit(x, y)
    theirs = ours.to_sklearn()
    assert type(theirs) is cls
    rtol = 1e-4 if case == "float32" else 1e-12
    same_answers(theirs, ours, x, rtol)
    same_answers(type(ours).from_sklearn(theirs), ours, x, rtol)
    theirs.set_params(warm_start=True).fit(x, y)
    assert theirs.loss_ <= 1.1 * ours.loss_ + 1e-9  # it went on from there


def test_what_matters_in_training_only_is_left_out_for_scikit_learn() -> None:
    ours = classifier(dropout=0.2, solver="rmsprop", learning_rate="cosine", class_weight="balanced").fit(X, TEXT)
    theirs = ours.to_sklearn()
    same_answers(theirs, ours, X)
    assert (theirs.solver, theirs.learning_rate) == ("adam", "constant")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"activation": "gelu"}, "expected one activation for all hidden layers, one of identity, .*; received gelu"),
        ({"activation": ["tanh", "relu"], "hidden_layer_sizes": (3, 2)}, ".*; received relu, tanh"),
        ({"loss": "squared_error"}, "expected an output that scikit-learn has for its losses; received .*sq.*logistic"),
    ],
)
def test_what_scikit_learn_cannot_hold_is_refused(params: dict[str, Any], message: str) -> None:
    clf = classifier(**params).fit(X, TEXT)
    with pytest.raises(InvalidParameterError, match=f"to_sklearn: {message}"):
        clf.to_sklearn()


def test_from_sklearn_takes_a_fitted_one_of_the_same_name() -> None:
    other = neural_network.MLPRegressor(**SETTINGS).fit(X, BINARY)
    for given in (neural_network.MLPClassifier(), other, None):
        with pytest.raises(TypeError, match=r"expected a fitted sklearn.neural_network.MLPClassifier; received"):
            MLPClassifier.from_sklearn(given)


# From and to models


@pytest.mark.parametrize("target", [*TARGETS, "one output", "three outputs", "poisson", "squared_error", "prelu"])
def test_an_estimator_goes_through_a_file(folder: Any, target: str) -> None:
    frame = pytest.importorskip("pandas").DataFrame(X, columns=["a", "b", "c", "d"])
    if target in ("one output", "three outputs", "poisson"):
        y: Any = {"one output": VALUES[:, 0], "three outputs": VALUES, "poisson": abs(VALUES)}[target]
        fitted: Any = regressor(loss="poisson" if target == "poisson" else "squared_error").fit(frame, y)
    else:
        y = TARGETS.get(target, MULTICLASS)
        more = {"squared_error": {"loss": "squared_error"}, "prelu": {"activation": "prelu"}}.get(target, {})
        fitted = classifier(**more).fit(frame, y)
    xpnet.save_model("m.safetensors", fitted.to_model())
    model = xpnet.load_model("m.safetensors")
    assert model.feature_names == ("a", "b", "c", "d")
    np.testing.assert_array_equal(model.predict(X).reshape(fitted.predict(frame).shape), fitted.predict(frame))
    twin = type(fitted).from_model(model)
    same_answers(twin, fitted, frame)
    assert list(twin.feature_names_in_) == list(frame.columns)
    before = twin.predict(frame)
    twin.partial_fit(frame, y)
    assert twin.predict(frame).shape == before.shape


def table(*arguments: object) -> np.ndarray:
    code, out, err = command("predict", *arguments)
    assert (code, err) == (0, "")
    return np.genfromtxt(out.splitlines(), delimiter=",", names=True, dtype=None, encoding=None)


def test_the_command_line_predicts_by_an_estimator(folder: Any) -> None:
    frame = pytest.importorskip("pandas").DataFrame(X, columns=["a", "b", "c", "d"])
    write_csv("x.csv", "d,c,b,a", *(",".join(map(repr, map(float, row[::-1]))) for row in X))  # names, not places
    clf, reg = classifier(max_iter=30).fit(frame, TEXT), regressor().fit(frame, VALUES[:, 0])
    for name, fitted in (("clf", clf), ("reg", reg)):
        xpnet.save_model(f"{name}.safetensors", fitted.to_model())
    predicted = table("clf.safetensors", "x.csv", "--probabilities")
    assert predicted["prediction"].tolist() == clf.predict(frame).tolist()
    np.testing.assert_allclose(predicted["probability_gentoo"], clf.predict_proba(frame)[:, 2], atol=1e-6)
    np.testing.assert_allclose(table("reg.safetensors", "x.csv")["prediction"], reg.predict(frame), rtol=1e-6)


@pytest.mark.parametrize("preset", ["plain", "tabular"])
@pytest.mark.parametrize("scale", ["none", "standard", "divide:10"])
def test_a_model_of_the_command_line_as_an_estimator(folder: Any, scale: str, preset: str) -> None:
    np.savez("species.npz", x=X, y=TEXT)
    options = ("--scale", scale, "--preset", preset, "--epochs", 20, "--dtype", "float64", "--quiet", "--out", "run")
    train("species.npz", *options)
    model = xpnet.load_model("run/model.safetensors")
    clf = MLPClassifier.from_model(model)
    np.testing.assert_allclose(clf.predict_proba(X), model.predict_proba(X), rtol=1e-9)
    assert clf.predict(X).tolist() == model.predict(X).tolist()
    clf.partial_fit(X, TEXT)
    assert clf.classes_.tolist() == sorted(set(TEXT))
    with pytest.raises(ValueError, match="classes not in"):
        clf.partial_fit(X, np.full(len(X), "other"))


def test_a_scaled_target_as_an_estimator(folder: Any) -> None:
    np.savez("house.npz", x=X, y=VALUES[:, 0])
    train("house.npz", "--preset", "plain", "--dtype", "float64", "--quiet", "--epochs", 20, "--out", "run")
    model = xpnet.load_model("run/model.safetensors")
    assert model.target_scaler is not None
    reg = MLPRegressor.from_model(model)
    np.testing.assert_allclose(reg.predict(X), model.predict(X), rtol=1e-9)
    with pytest.raises(InvalidParameterError, match="expected a model for MLPClassifier; received a regression"):
        MLPClassifier.from_model(model)


KINDS = {
    "classes": ("cross_entropy", 4, "classification"),
    "two classes": ("binary_cross_entropy", 1, "classification"),
    "labels": ("binary_cross_entropy", 3, "multilabel"),
    "values": ("squared_error", 2, "regression"),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", ["standard", "minmax", "divide:3", "none"])
def test_an_estimator_predicts_what_its_model_does(kind: str, scale: str, dtype: Any) -> None:
    loss, n_out, task = KINDS[kind]
    rng = np.random.default_rng(0)
    options = {"parametrization": "ntk", "input_scale": True} if dtype == "float64" else {}
    network = xpnet.Network([5, 16, n_out], "tanh", loss=loss, **options)
    for offset, spread in ((0, 1), (1e6, 1), (-1e9, 1), (1e6, 1e-3), (1e-30, 1e-32), (1e30, 1e28), (1e12, 1e3)):
        x = offset + spread * rng.normal(size=(1000, 5))
        model = xpnet.Model(
            network,
            network.init(1, dtype=dtype).vector,
            task,
            np.arange(max(n_out, 2)) if task == "classification" else None,
            fit_scaler(scale, x),
            fit_scaler("standard", 1e6 + rng.normal(size=(50, 2))) if task == "regression" else None,
        )
        estimator = (MLPRegressor if task == "regression" else MLPClassifier).from_model(model)
        for twin in (estimator, estimator.to_model()):
            if task == "regression":
                np.testing.assert_allclose(twin.predict(x) - 1e6, model.predict(x) - 1e6, atol=1e-5)
            else:
                np.testing.assert_array_equal(twin.predict(x), model.predict(x))
                np.testing.assert_allclose(twin.predict_proba(x), model.predict_proba(x), atol=1e-6)


def test_a_scaling_that_no_layer_can_do() -> None:
    network = xpnet.Network([4, 3])
    scaler = fit_scaler("standard", 1e15 + 1e3 * X)
    model = xpnet.Model(network, network.init().vector, "classification", np.arange(3), scaler)
    with pytest.raises(InvalidParameterError, match=r"whose offset is at most 1e\+10 times their scale; received"):
        MLPClassifier.from_model(model)


@pytest.mark.parametrize("device", [None, "torch:cpu"])
def test_thousands_of_classes_take_little_memory(device: str | None) -> None:
    if device:
        pytest.importorskip("torch")
    network, n = xpnet.Network([2, 3, 3000]), 10_000
    model = xpnet.Model(network, network.init(dtype="float32").vector, "classification", np.arange(3000))
    clf = MLPClassifier.from_model(model).set_params(device=device)
    x = np.random.default_rng(0).standard_normal((n, 2), dtype="float32")
    expected = clf.predict_proba(x).argmax(axis=1)
    with traced() as peak:
        predicted = clf.predict(x)
    np.testing.assert_array_equal(predicted, expected)
    assert peak() < 70e6  # the probabilities of all samples are 120 MB


def test_weights_of_no_class() -> None:
    with pytest.raises(InvalidParameterError, match="weights: expected at least one above 0; received none"):
        classifier(class_weight={0: 0, 1: 0}).fit(X, np.arange(len(X)) % 2)
    # A call of `partial_fit` may see none of the classes that have a weight.
    clf = classifier(class_weight={0: 0, 1: 1}).partial_fit(X, np.arange(len(X)) % 2, classes=[0, 1])
    clf.partial_fit(X, np.zeros(len(X), int))
    assert np.isfinite(clf.coefs_[0]).all()


def test_a_model_of_a_table_is_no_estimator_of_arrays() -> None:
    table = {"a": X[:, 0], "b": X[:, 1]}
    settings = {"hidden_layer_sizes": (4,), "max_iter": 1, "n_ensemble": 2}
    model = xpnet.TabularRegressor(**settings).fit(table, VALUES[:, 0]).model_
    without = replace(model, encoding=None)
    for given, part in (
        (model, "an encoding of tables"),
        (without, "an ensemble"),
        (replace(without, vector=model.vector[0]), "a range of outputs"),
        (replace(without, vector=model.vector[0], scaler=fit_scaler("robust", X[:, :2])), "a scaling with a clip"),
    ):
        with pytest.raises(InvalidParameterError, match=f"received one with {part}"):
            MLPRegressor.from_model(given)


@pytest.mark.parametrize(("load", "cls"), [(load_iris, MLPClassifier), (load_diabetes, MLPRegressor)])
def test_a_model_from_another_library_is_that_of_numpy(load: Any, cls: Any) -> None:
    try:
        torch = get_backend("torch:cpu")
    except BackendNotInstalledError as exc:
        pytest.skip(str(exc))
    x, y = load(return_X_y=True)
    fitted = cls(**SETTINGS).fit(torch.asarray(x), y)
    np.testing.assert_allclose(fitted.to_model().predict(x), as_host(fitted.predict(torch.asarray(x))), rtol=1e-9)
    assert type(fitted.to_sklearn().coefs_[0]) is np.ndarray
