"""Pipelines with these estimators as ONNX graphs, made by skl2onnx and run by ONNX Runtime."""

from __future__ import annotations

import re
import sys
from typing import Any

import numpy as np
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import VotingRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from xpnet.errors import InvalidParameterError, LibraryNotInstalledError
from xpnet.estimators import MLPClassifier, MLPRegressor
from xpnet.estimators.onnx import register_onnx_converters

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
skl2onnx = pytest.importorskip("skl2onnx")

pytestmark = pytest.mark.filterwarnings("ignore:Stochastic Optimizer:sklearn.exceptions.ConvergenceWarning")

_rng = np.random.default_rng(0)
X = 5 * _rng.standard_normal((60, 4)) + 20
INDICES = np.digitize(X[:, 0], [18, 22])
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}


@pytest.fixture(autouse=True)
def _registered() -> None:
    register_onnx_converters()


def run(pipeline: Any, x: np.ndarray, **options: Any) -> list[Any]:
    proto = skl2onnx.to_onnx(pipeline, x[:1], **options)
    onnx.checker.check_model(proto, full_check=True)
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    outputs = session.run(None, {"X": x})
    for said, output in zip(session.get_outputs(), outputs, strict=True):
        if isinstance(output, np.ndarray):
            assert tuple(said.shape[1:]) == output.shape[1:]
    return outputs


LABELS = {
    "integers": INDICES - 7,
    "text": np.asarray(["Öl", "été", "犬"])[INDICES],
    "two classes": INDICES > 1,
    "floats": INDICES.astype(float),
    "labels": np.column_stack([INDICES > 0, INDICES > 1]).astype(int),
}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("kind", LABELS)
def test_a_classifier_behind_a_scaler(kind: str, dtype: str) -> None:
    classifier = MLPClassifier((8,), activation="gelu", max_iter=5, random_state=0)
    pipeline = make_pipeline(StandardScaler(), classifier).fit(X, LABELS[kind])
    x = X.astype(dtype)
    label, p = run(pipeline, x, options={"zipmap": False})
    np.testing.assert_array_equal(label, pipeline.predict(x))
    np.testing.assert_allclose(p, pipeline.predict_proba(x), atol=TOLERANCE[dtype])
    assert p.dtype == dtype


@pytest.mark.parametrize("n_outputs", [1, 2])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_a_regressor_among_transformers(n_outputs: int, dtype: str) -> None:
    columns = make_column_transformer((MinMaxScaler(), [0, 2]), (StandardScaler(), [1, 3]))
    y = X[:, :2] * 3 if n_outputs == 2 else X[:, 0] - X[:, 1]
    pipeline = make_pipeline(columns, MLPRegressor(hidden_layer_sizes=(8,), max_iter=5, random_state=0)).fit(X, y)
    (values,) = run(pipeline, X.astype(dtype))
    assert values.shape == (60, n_outputs)
    expected = pipeline.predict(X.astype(dtype)).reshape(60, n_outputs)
    np.testing.assert_allclose(values, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * 10)


def test_probabilities_as_a_mapping_and_whole_numbers_as_input() -> None:
    x = X.astype(np.int64)
    pipeline = make_pipeline(MLPClassifier((8,), max_iter=5, random_state=0)).fit(x, LABELS["text"])
    _, rows = run(pipeline, x)
    expected = pipeline.predict_proba(x)
    assert rows[7] == pytest.approx(dict(zip(pipeline.classes_, expected[7], strict=True)), abs=1e-5)


def test_two_networks_in_one_graph() -> None:
    """The names of the one must not be those of the other."""
    first, second = (MLPRegressor(hidden_layer_sizes=(n,), max_iter=3, random_state=n).fit(X, X[:, 0]) for n in (3, 4))
    voting = VotingRegressor([("a", first), ("b", second)]).fit(X, X[:, 0])
    (values,) = run(voting, X)
    np.testing.assert_allclose(values[:, 0], voting.predict(X), rtol=1e-10)


def test_what_is_refused() -> None:
    classifier = MLPClassifier((8,), max_iter=2).fit(X, INDICES)
    with pytest.raises(InvalidParameterError, match="opset: expected 17 to"):
        skl2onnx.to_onnx(classifier, X[:1], target_opset=15)
    with pytest.raises(ValueError, match="nocl"):
        skl2onnx.to_onnx(classifier, X[:1], options={"nocl": True, "zipmap": False})


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skl2onnx", None)
    with pytest.raises(LibraryNotInstalledError, match=re.escape("pip install 'xpnet[skl2onnx]'")):
        register_onnx_converters()
