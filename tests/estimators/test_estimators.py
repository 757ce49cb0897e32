"""scikit-learn's conventions, beyond what its own suites check."""

from __future__ import annotations

import copy
import inspect
import pickle
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import array_api_strict
import joblib
import numpy as np
import pytest
import sklearn
from scipy import sparse
from sklearn import neural_network
from sklearn.base import clone
from sklearn.datasets import load_iris, make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from xpnet import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
X, SPECIES = load_iris(return_X_y=True)
NAMES = np.asarray(load_iris().target_names)[SPECIES]
QUANTITY = X @ [1.0, -2.0, 0.5, 1.0]
PAIRS = [(MLPClassifier, neural_network.MLPClassifier), (MLPRegressor, neural_network.MLPRegressor)]
SPARSE = {cls.__name__: cls for cls in (sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array, sparse.csc_array)}


def classifier(**params: Any) -> MLPClassifier:
    return MLPClassifier(
        **{"hidden_layer_sizes": 6, "max_iter": 30, "random_state": 0, "learning_rate_init": 0.02} | params
    )


def regressor(**params: Any) -> MLPRegressor:
    return MLPRegressor(
        **{"hidden_layer_sizes": 6, "max_iter": 30, "random_state": 0, "learning_rate_init": 0.02} | params
    )


def message(estimator: Any, *args: Any, method: str = "fit", **options: Any) -> str:
    """Return what an estimator says when it refuses, without its own name."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is compared
        getattr(estimator, method)(*args, **options)
    return str(caught.value)


# Labels.


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("labels", [NAMES, NAMES.astype(object), np.where(NAMES == "setosa", "yes", "no")])
def test_text_labels(early_stopping: bool, labels: np.ndarray) -> None:
    clf = classifier(early_stopping=early_stopping, max_iter=200, n_iter_no_change=100).fit(X, labels)
    assert clf.classes_.tolist() == sorted(set(labels))
    assert set(clf.predict(X)) <= set(labels)
    assert clf.score(X, labels) > 0.9
    assert clf.predict_proba(X).shape == (150, len(clf.classes_))


@pytest.mark.parametrize("how", ["pickle", "joblib", "deepcopy"])
def test_a_copy_predicts_the_same_and_goes_on(how: str, tmp_path: Path) -> None:
    clf = classifier().fit(X, NAMES)
    if how == "joblib":
        joblib.dump(clf, tmp_path / "clf.joblib")
    twin = {
        "pickle": lambda: pickle.loads(pickle.dumps(clf)),
        "joblib": lambda: joblib.load(tmp_path / "clf.joblib"),
        "deepcopy": lambda: copy.deepcopy(clf),
    }[how]()
    np.testing.assert_array_equal(twin.predict_proba(X), clf.predict_proba(X))
    np.testing.assert_array_equal(twin.predict(X), clf.predict(X))
    before = clf.coefs_[0].copy()
    twin.partial_fit(X, NAMES)
    np.testing.assert_array_equal(clf.coefs_[0], before)
    clf.partial_fit(X, NAMES)
    np.testing.assert_array_equal(twin.coefs_[0], clf.coefs_[0])


@pytest.mark.parametrize(
    "params", [{"activation": "selu"}, {"activation": ["elu"]}, {"loss": "huber:delta=0.5"}], ids=str
)
def test_functions_with_options_are_pickled_by_name(params: dict[str, Any]) -> None:
    clf = classifier(**params).fit(X, NAMES)
    twin = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(twin.predict_proba(X), clf.predict_proba(X))
    assert twin.network_ == clf.network_


def test_a_clone_is_unfitted_with_the_same_parameters() -> None:
    clf = classifier(class_weight={"setosa": 2.0}, dropout=(0.1,)).fit(X, NAMES)
    twin = clone(clf)
    assert not hasattr(twin, "coefs_")
    assert twin.get_params() == clf.get_params()


# In scikit-learn's company.


def test_in_a_pipeline_with_data_frames_out() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcd"))
    model = make_pipeline(StandardScaler(), classifier()).set_output(transform="pandas")
    model.fit(frame, pandas.Series(NAMES))
    assert model[-1].feature_names_in_.tolist() == list("abcd")
    plain = make_pipeline(StandardScaler(), classifier()).fit(X, NAMES)
    np.testing.assert_array_equal(model.predict(frame), plain.predict(X))


@pytest.mark.subprocess
@pytest.mark.slow
def test_a_grid_search_in_processes() -> None:
    grid = {"mlp__hidden_layer_sizes": [(), (6,), (5, 4)], "mlp__solver": ["adam", "lbfgs"]}
    pipeline = Pipeline([("scale", StandardScaler()), ("mlp", classifier(max_iter=15))])
    search = GridSearchCV(pipeline, grid, n_jobs=2, cv=2).fit(X, NAMES)
    alone = GridSearchCV(pipeline, grid, cv=2).fit(X, NAMES)
    np.testing.assert_array_equal(search.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"])
    assert search.best_score_ > 0.8


def test_cross_validation_as_scikit_learns() -> None:
    params = {"hidden_layer_sizes": 6, "max_iter": 15, "random_state": 0}
    for (ours, theirs), y in zip(PAIRS, (SPECIES, QUANTITY), strict=True):
        scores = cross_val_score(ours(**params), X, y, cv=3)
        np.testing.assert_allclose(scores, cross_val_score(theirs(**params), X, y, cv=3), rtol=1e-9)


def test_sample_weights_are_routed() -> None:
    weight = np.linspace(0, 2, 150)
    with sklearn.config_context(enable_metadata_routing=True):
        clf = classifier().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        model = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), clf)
        routed = model.fit(X, NAMES, sample_weight=weight)[-1]
        search = GridSearchCV(model, {"mlpclassifier__alpha": [0.1, 1]}, cv=2).fit(X, NAMES, sample_weight=weight)
        partial = classifier().set_partial_fit_request(sample_weight=True, classes=True)
        assert partial.get_metadata_routing().partial_fit.requests == {"sample_weight": True, "classes": True}
    assert search.best_estimator_[-1].n_iter_ == 30
    scaled = StandardScaler().fit_transform(X)
    np.testing.assert_array_equal(routed.coefs_[0], classifier().fit(scaled, NAMES, weight).coefs_[0])
    assert not np.array_equal(routed.coefs_[0], classifier().fit(scaled, NAMES).coefs_[0])


def test_feature_names_are_kept_and_missed() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcd"))
    clf = classifier().fit(frame, NAMES)
    assert clf.feature_names_in_.tolist() == list("abcd")
    with pytest.warns(UserWarning, match="X does not have valid feature names, but MLPClassifier was fitted with"):
        clf.predict(X)
    with pytest.raises(ValueError, match="The feature names should match those that were passed during fit"):
        clf.predict(frame.rename(columns={"a": "z"}))
    with pytest.raises(ValueError, match="X has 3 features, but MLPClassifier is expecting 4 features as input"):
        classifier().fit(X, NAMES).predict(X[:, :3])
    classifier(early_stopping=True).fit(frame, NAMES)  # and no warning of the names that the parts have lost
    classifier(early_stopping=True, scoring="balanced_accuracy").fit(frame, NAMES)


# Forms of data.


@pytest.mark.parametrize("form", SPARSE)
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_sparse_inputs_equal_dense_ones(form: str, solver: str) -> None:
    matrix = SPARSE[form](X)
    for make, y in ((classifier, NAMES), (regressor, QUANTITY)):
        one, other = make(solver=solver).fit(matrix, y), make(solver=solver).fit(X, y)
        if solver != "lbfgs":
            one.partial_fit(matrix, y)
            other.partial_fit(X, y)
        np.testing.assert_allclose(one.coefs_[0], other.coefs_[0], rtol=1e-9)
        np.testing.assert_array_equal(one.predict(matrix), one.predict(X))
        if make is classifier:
            np.testing.assert_array_equal(one.predict_proba(matrix), one.predict_proba(X))


@pytest.mark.parametrize("early_stopping", [False, True])
def test_sparse_label_matrices_equal_dense_ones(early_stopping: bool) -> None:
    x, y = make_multilabel_classification(80, random_state=0)
    one, other = (classifier(early_stopping=early_stopping).fit(x, labels) for labels in (sparse.csr_matrix(y), y))
    np.testing.assert_array_equal(one.coefs_[0], other.coefs_[0])
    assert one.score(x, sparse.csr_matrix(y)) == other.score(x, y)


def test_one_column_of_targets_is_taken_with_a_warning() -> None:
    for make, y in ((classifier, NAMES), (regressor, QUANTITY)):
        with pytest.warns(DataConversionWarning, match="A column-vector y was passed when a 1d array was expected"):
            column = make().fit(X, y[:, None])
        np.testing.assert_array_equal(column.coefs_[0], make().fit(X, y).coefs_[0])
        assert column.predict(X).shape == (150,)


# Parameters.


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_parameters_come_in_scikit_learns_order_with_its_defaults(ours: Any, theirs: Any) -> None:
    expected = list(inspect.signature(theirs).parameters.values())
    actual = list(inspect.signature(ours).parameters.values())[: len(expected)]
    assert [(p.name, p.default, p.kind) for p in actual] == [(p.name, p.default, p.kind) for p in expected]


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
@pytest.mark.parametrize(
    "params",
    [
        {"alpha": -1}, {"max_iter": 0}, {"max_iter": 1.5}, {"momentum": 2}, {"learning_rate_init": 0}, {"power_t": -1},
        {"tol": -1}, {"validation_fraction": 1}, {"beta_1": 1}, {"beta_2": -0.1}, {"epsilon": 0}, {"max_fun": 0},
        {"n_iter_no_change": 0}, {"batch_size": 0}, {"batch_size": "all"}, {"shuffle": "yes"}, {"random_state": "no"},
        {"warm_start": 2}, {"early_stopping": "no"}, {"hidden_layer_sizes": 0}, {"hidden_layer_sizes": (3, -1)},
        {"nesterovs_momentum": "no"}, {"verbose": -1},
    ],
    ids=str,
)  # fmt: skip
def test_refusals_of_parameters_are_scikit_learns(ours: Any, theirs: Any, params: dict[str, Any]) -> None:
    assert message(ours(**params), X, SPECIES) == message(theirs(**params), X, SPECIES)


# Errors and warnings that callers match.


THREE, TWO = (X, SPECIES), (X[:100], SPECIES[:100])
CALLS: dict[str, tuple[dict[str, Any], list[tuple[str, tuple[Any, ...]]]]] = {
    "validation too small": ({"early_stopping": True, "validation_fraction": 0.005}, [("fit", (X, QUANTITY > 0))]),
    "no classes": ({}, [("partial_fit", (X, SPECIES))]),
    "other classes": ({}, [("fit", THREE), ("partial_fit", (X, SPECIES, None, [0, 1]))]),
    "unknown label": ({}, [("partial_fit", (X, SPECIES, None, [0, 1]))]),
    "warm start with fewer": ({"warm_start": True}, [("fit", THREE), ("fit", TWO)]),
    "warm start with more": ({"warm_start": True}, [("fit", TWO), ("fit", THREE)]),
    "early stopping in parts": ({"early_stopping": True}, [("partial_fit", (X, SPECIES, None, [0, 1, 2]))]),
    "NaN": ({}, [("fit", (np.where(X > 7, np.nan, X), SPECIES))]),
    "infinity": ({}, [("fit", (np.where(X > 7, np.inf, X), SPECIES))]),
    "too few labels": ({}, [("fit", (X, SPECIES[:-1]))]),
    "quantities as labels": ({}, [("fit", (X, QUANTITY))]),
    "weights of other length": ({}, [("fit", (X, SPECIES, [1.0]))]),
    "no weight": ({}, [("fit", (X, SPECIES, np.zeros(150)))]),
}  # fmt: skip


@pytest.mark.parametrize("case", CALLS)
def test_errors_are_scikit_learns(case: str) -> None:
    params, calls = CALLS[case]
    said = []
    for cls in PAIRS[0]:
        estimator = cls(max_iter=2, **params)
        for method, args in calls[:-1]:
            getattr(estimator, method)(*args)
        method, args = calls[-1]
        said.append(message(estimator, *args, method=method))
    assert said[0] == said[1]


@pytest.mark.parametrize("cls", [MLPClassifier, MLPRegressor])
def test_lbfgs_has_no_partial_fit(cls: Any) -> None:
    assert hasattr(cls(), "partial_fit")
    assert not hasattr(cls(solver="lbfgs"), "partial_fit")
    with pytest.raises(AttributeError, match="has no attribute 'partial_fit'"):
        cls(solver="lbfgs").partial_fit(X, SPECIES)


def test_a_batch_larger_than_the_samples_is_clipped_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="Got `batch_size` less than 1 or larger than sample size"):
        clipped = classifier(batch_size=1000).fit(X, SPECIES)
    np.testing.assert_array_equal(clipped.coefs_[0], classifier(batch_size=150).fit(X, SPECIES).coefs_[0])


def test_weights_that_overflow_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"Solver produced non-finite parameter weights\. The input data may contain large"
    ):
        regressor(solver="sgd", learning_rate_init=1e6, max_iter=300).fit(1e3 * X, QUANTITY)


def test_reaching_max_iter_warns() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ConvergenceWarning, match=r"Maximum iterations \(3\) reached"):
            classifier(max_iter=3).fit(X, SPECIES)


@pytest.mark.parametrize("y", [SPECIES, NAMES])
def test_a_class_weight_is_that_of_its_samples(y: np.ndarray) -> None:
    """And the balanced weights count what samples weigh, so that a weight of 2 is as good as a copy."""
    first = y == y[0]
    copies = np.where(first, 2, 1)
    twice = np.repeat(np.arange(150), copies)
    by_class = classifier(class_weight={y[0]: 3.0}).fit(X, y)
    np.testing.assert_array_equal(by_class.coefs_[0], classifier().fit(X, y, np.where(first, 3.0, 1.0)).coefs_[0])
    balanced = classifier(class_weight="balanced", solver="lbfgs", alpha=1, max_iter=5)
    weighted = clone(balanced).fit(X, y, copies)
    np.testing.assert_allclose(weighted.coefs_[0], balanced.fit(X[twice], y[twice]).coefs_[0], rtol=1e-6)


def test_partial_fit_takes_class_weights_where_a_class_is_not_in_the_part() -> None:
    clf = classifier(class_weight={0: 2.0, 1: 3.0}).partial_fit(X[[0, 149]], [0, 2], classes=[0, 1, 2])
    plain = classifier().partial_fit(X[[0, 149]], [0, 2], [2.0, 1.0], classes=[0, 1, 2])
    np.testing.assert_array_equal(clf.coefs_[0], plain.coefs_[0])


def test_importing_the_library_does_not_import_scikit_learn(environment: dict[str, str]) -> None:
    code = "import sys, xpnet; assert 'sklearn' not in sys.modules; from xpnet import MLPClassifier; MLPClassifier()"
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=120)


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix, array_api_strict.asarray])
@pytest.mark.parametrize("value", [1e39, -1e39, 3.5e38, -3.5e38])
def test_features_that_the_weights_type_cannot_hold_are_refused(make: Any, value: float) -> None:
    """As float32 they would be infinite, the output NaN, and the predicted class always the first."""
    model = classifier(max_iter=1).fit(X.astype(np.float32), SPECIES)
    with pytest.raises(ValueError, match="features: expected numbers that float32 can hold"):
        model.predict(make(np.full((2, 4), value)))
    assert model.predict(make(np.full((2, 4), value / 10))).shape == (2,)
