"""A trained model on raw data: features, targets, predictions and scores."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, r2_score

from tests import cuda_double
from tests.models import CASES, VALUES, X, make
from tests.traced import traced
from xpnet.backend import Backend
from xpnet.data.scaled_bytes import ScaledBytes
from xpnet.data.scaling import fit_scaler
from xpnet.data.streams import ArraySource
from xpnet.errors import DataError, InvalidParameterError, ModelFormatError
from xpnet.model.model import Model
from xpnet.model.model_file import load_model, save_model
from xpnet.nn.network import Network
from xpnet.training import outputs as outputs_module


@pytest.mark.parametrize("name", CASES)
def test_predictions_are_in_the_users_terms(name: str) -> None:
    model, y = make(name), CASES[name].y
    predicted = model.predict(X)
    assert predicted.shape == y.shape
    if model.task == "classification":
        assert predicted.dtype == model.classes.dtype
        p = model.predict_proba(X)
        np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
        np.testing.assert_array_equal(predicted, model.classes[p.argmax(axis=1)])
    elif model.task == "multilabel":
        assert set(np.unique(predicted)) <= {0, 1}
        np.testing.assert_array_equal(predicted, model.predict_proba(X) > 0.5)


@pytest.mark.parametrize("name", CASES)
def test_scores_are_of_the_predictions(name: str) -> None:
    model, y = make(name, "float64"), CASES[name].y
    scores, predicted = model.evaluate(X, y), model.predict(X)
    expected = r2_score(y, predicted) if model.metric == "r2" else accuracy_score(y, predicted)
    assert scores[model.metric] == pytest.approx(expected, rel=1e-9)
    assert (model.metric == "r2") == (model.task == "regression")
    loss, _ = replace(model.network, l1=0.0, l2=0.0, reduction="mean").loss_and_grads(
        model.params, model.features(X), model.targets(y)
    )
    assert scores["loss"] == pytest.approx(float(loss), rel=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_a_source_has_the_scores_of_its_arrays(name: str) -> None:
    model, y = make(name, "float64"), CASES[name].y
    scores = model.evaluate(X, y)
    scores.pop("auc", None)  # needs the outputs of all samples
    assert model.evaluate(ArraySource(X, y)) == pytest.approx(scores, rel=1e-12)
    x, targets = model.encode((X, y))
    ((read, read_targets),) = (map(np.concatenate, zip(*model.encode(ArraySource(X, y)), strict=True)),)
    np.testing.assert_array_equal(read, x)
    np.testing.assert_array_equal(read_targets, targets)


def test_the_auc_of_many_samples_or_of_a_source_must_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    model, y = make("text"), CASES["text"].y
    auc = model.evaluate(X, y)["auc"]
    monkeypatch.setattr("xpnet.model.evaluation._MOST_OUTPUTS", 0)
    for data in ((X, y), (ArraySource(X, y),)):
        assert "auc" not in model.evaluate(*data)
        assert model.evaluate(*data, metrics=["auc"])["auc"] == pytest.approx(auc, rel=1e-6)
    assert "auc" not in model.assess(X, y)[0]
    assert model.assess(X, y, metrics=["auc"])[0]["auc"] == pytest.approx(auc, rel=1e-6)


def test_arrays_come_with_targets() -> None:
    with pytest.raises(InvalidParameterError, match=r"^y must be given when x is an array; received none"):
        make("text").evaluate(X)


@pytest.mark.parametrize("name", ["slopes", "values", "labels"])
def test_every_device_predicts_the_same(name: str, backend: Backend, dtype: str) -> None:
    model = make(name, dtype)
    allowed = {"float32": 1e-5, "float64": 1e-12}[dtype]
    np.testing.assert_allclose(model.outputs(X, backend), model.outputs(X), rtol=allowed, atol=allowed)
    np.testing.assert_allclose(model.predict(X, backend), model.predict(X), rtol=allowed, atol=allowed)
    y = CASES[name].y
    assert model.evaluate(X, y, backend.name) == pytest.approx(model.evaluate(X, y), rel=100 * allowed)


def test_parameters_from_any_device_come_to_the_host(backend: Backend, dtype: str) -> None:
    network = Network([4, 3])
    model = Model(network, network.init(0, backend, dtype).vector, "classification")
    assert type(model.vector) is np.ndarray
    assert model.vector.dtype == dtype
    np.testing.assert_array_equal(model.vector, network.init(0, dtype=dtype).vector)
    assert model.predict(X).dtype.kind == "i"  # without labels, class indices


@pytest.mark.parametrize("kind", ["standard", "minmax", "divide:16", None])
def test_features_are_scaled_as_in_training(kind: str | None) -> None:
    scaler = kind and fit_scaler(kind, X)
    model = replace(make("integers"), scaler=scaler)
    expected = scaler.transform(X, "float32") if scaler else X.astype("float32")
    np.testing.assert_array_equal(model.features(X), expected)
    assert model.features(X.tolist()).dtype == "float32"
    by_hand = model.network.predict(model.params, expected)
    np.testing.assert_allclose(model.outputs(X), by_hand, rtol=1e-6)


@pytest.mark.parametrize("kind", ["divide:255", "none", None, "divide:0.1", "standard", "minmax"])
def test_bytes_give_the_numbers_of_their_features(kind: str | None) -> None:
    x = np.random.default_rng(0).integers(0, 256, X.shape).astype(np.uint8)
    model = replace(make("integers"), scaler=kind and fit_scaler(kind, x))
    given = model.inputs(x)
    assert isinstance(given, ScaledBytes) is (kind in ("divide:255", "none", None))
    floats = replace(model, scaler=None)
    np.testing.assert_array_equal(model.outputs(x), floats.outputs(model.features(x)), strict=True)
    y = CASES["integers"].y
    assert model.evaluate(x, y) == floats.evaluate(model.features(x), y)
    with pytest.raises(ModelFormatError, match="as in training; received the shape"):
        model.predict(x[:, :2])


def test_features_of_another_kind_are_converted_once() -> None:
    class Lazy:
        conversions = 0

        def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
            self.conversions += 1
            return np.array(X, dtype)

    x, model = Lazy(), make("integers")
    np.testing.assert_array_equal(model.predict(x), model.predict(X))
    assert x.conversions == 1


@pytest.mark.parametrize("x", [X, (X * 9).astype(np.uint8)], ids=["floats", "bytes"])
def test_a_gpu_holds_a_few_chunks_of_what_it_predicts(x: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    model = replace(make("integers"), scaler=None)
    many = np.tile(x, (100, 1))
    y = np.tile(CASES["integers"].y, 100)
    expected = model.outputs(many), model.evaluate(many, y)
    rows = 16
    monkeypatch.setattr(outputs_module, "_COPIED_ELEMENTS", 2 * rows)
    monkeypatch.setattr(outputs_module, "_CHUNK_ELEMENTS", rows * max(model.network.layer_sizes))
    with cuda_double.installed() as state:
        # Two slots, and for two chunks at once the values of each layer, the targets and what the scores need
        state.capacity = model.vector.nbytes + 32 * rows * sum(model.network.layer_sizes)
        assert state.capacity < many.nbytes
        np.testing.assert_allclose(model.outputs(many, "cupy:gpu"), expected[0], rtol=1e-5, atol=1e-6)
        assert model.evaluate(many, y, "cupy:gpu") == pytest.approx(expected[1], rel=1e-5)


def test_a_scaled_target_is_scaled_back() -> None:
    model = make("values", "float64")
    scaled = model.network.predict(model.params, model.features(X))
    np.testing.assert_allclose(model.predict(X), scaled * VALUES.std(axis=0) + VALUES.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(model.targets(VALUES).std(axis=0), 1, rtol=1e-12)


@pytest.mark.parametrize("shape", [(3, 5), (3, 3), (4,), (2, 4, 1), (0, 5)])
def test_another_number_of_features(shape: tuple[int, ...]) -> None:
    message = f"features: expected the shape (n_samples, 4), as in training; received the shape {shape}"
    with pytest.raises(ModelFormatError, match=re.escape(message)):
        make("text").predict(np.ones(shape))


def test_no_samples() -> None:
    for name in CASES:
        assert len(make(name).predict(X[:0])) == 0


def test_a_label_that_was_not_in_training() -> None:
    with pytest.raises(DataError, match="unknown label: expected one of Öl, été, 犬; received 'chat' in row 2"):
        make("text").evaluate(X[:2], np.asarray(["Öl", "chat"]))


def test_a_model_says_what_it_is_for() -> None:
    network = Network([2, 3, 2])
    model = Model(network, network.init().vector, "classification", np.asarray(["no", "yes"]), target_name="answer")
    assert repr(model) == (
        "<Model for classification: 2 -> 3 -> 2, 17 parameters; target 'answer'; 2 classes ['no', 'yes']>"
    )
    many = replace(model, feature_names=("size", "weight"), classes=None, target_name=None)
    assert repr(many).endswith("; features ['size', 'weight']>")


@pytest.mark.parametrize("name", CASES)
def test_an_ensemble_predicts_the_mean_and_comes_back_from_its_file(name: str, tmp_path: Path) -> None:
    one, y = make(name, "float64"), CASES[name].y
    vectors = np.stack([one.vector, one.vector + 0.1, one.vector * 0.8])
    several = replace(one, vector=vectors)
    assert len(several.members) == 3
    logits = [one.network.forward(member, several.features(X)) for member in several.members]
    expected = one.network.outputs(np.mean(logits, axis=0))
    np.testing.assert_allclose(several.outputs(X), expected, rtol=1e-10)
    assert several.predict(X).shape == y.shape
    save_model(tmp_path / "m.safetensors", several)
    loaded = load_model(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(loaded.vector, vectors)
    np.testing.assert_array_equal(loaded.outputs(X), several.outputs(X))
    assert loaded.evaluate(X, y) == several.evaluate(X, y)
    single = replace(one, vector=vectors[:1])
    np.testing.assert_allclose(single.outputs(X), one.outputs(X), rtol=1e-12)


def test_targets_of_another_length_are_refused() -> None:
    for name, case in CASES.items():
        model = make(name)
        for y in (case.y[:-1], np.concatenate([case.y, case.y])):
            for evaluate in (model.evaluate, model.assess):
                with pytest.raises(DataError, match=f"received 30 rows, {len(y)} targets"):
                    evaluate(X, y)


def test_a_model_without_labels_has_the_indices_of_its_classes() -> None:
    network = Network([4, 3])
    model = Model(network, network.init().vector, "classification")
    y = model.predict(X)
    assert model.evaluate(X, y)["accuracy"] == 1
    assert model.evaluate(X[:1], y[:1])["accuracy"] == 1
    for labels in (np.resize([3, 5], 30), np.resize(["a", "b"], 30)):
        with pytest.raises(DataError, match="unknown label: expected one of 0, 1, 2; received"):
            model.evaluate(X, labels)


@pytest.mark.parametrize("scaler", [None, "none", "standard"])
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e39 * 1e250])
def test_no_prediction_for_what_is_no_number(scaler: str | None, value: float) -> None:
    model = replace(make("integers"), scaler=scaler and fit_scaler(scaler, X))
    x = X.copy()
    x[3, 2] = value
    for predict in (model.predict, model.predict_proba, lambda x: model.evaluate(x, CASES["integers"].y)):
        with pytest.raises(DataError, match=r"expected (finite )?(numbers|values)"):
            predict(x)


def test_a_frame_is_taken_by_the_names_of_its_columns() -> None:
    pandas = pytest.importorskip("pandas")
    model = replace(make("integers"), feature_names=("a", "b", "c", "d"))
    frame = pandas.DataFrame(X, columns=["a", "b", "c", "d"])
    np.testing.assert_array_equal(model.outputs(frame[["d", "b", "a", "c"]]), model.outputs(X))
    with pytest.raises(DataError, match="received none named 'c'"):
        model.predict(frame.rename(columns={"c": "C"}))


def test_thousands_of_classes_take_little_memory() -> None:
    network, n = Network([2, 3, 3000]), 10_000
    model = Model(network, network.init(dtype="float32").vector, "classification", np.arange(3000))
    x, y = np.random.default_rng(0).standard_normal((n, 2)), np.arange(n) % 3000
    expected = model.predict_proba(x).argmax(axis=1)
    for predict in (model.predict, lambda x: model.assess(x, y)[1]):
        with traced() as peak:
            predicted = predict(x)
        np.testing.assert_array_equal(predicted, expected)
        assert peak() < 70e6  # the probabilities of all samples are 120 MB


def test_a_source_brings_its_own_targets() -> None:
    y = CASES["integers"].y
    with pytest.raises(InvalidParameterError, match="y must be omitted when x is a Source"):
        make("integers").evaluate(ArraySource(X, y), y)
