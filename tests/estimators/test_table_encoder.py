"""The encoding of tables as a scikit-learn transformer."""

from __future__ import annotations

import pickle

import numpy as np
import pyarrow as pa
import pytest
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator

from xpnet import TableEncoder
from xpnet.data.tables.encoding import TableEncoding
from xpnet.errors import DataError, InvalidParameterError

pd = pytest.importorskip("pandas")

FRAME = pd.DataFrame(
    {
        "age": [31, np.nan, 7, 50, 21, 34],
        "city": ["Rome", "Oslo", "Rome", None, "Oslo", "Bern"],
        "member": [True, False, True, True, False, False],
        "since": pd.to_datetime(["2012-01-01", "2012-03-04", "2012-05-06", "2013-01-01", "2014-08-01", None]),
        "id": [9, 8, 7, 6, 5, 4],
        "kind": ["x"] * 6,
    }
)


@pytest.mark.parametrize("estimator", [TableEncoder(), TableEncoder(scale="standard")])
def test_scikit_learns_checks(estimator):
    results = check_estimator(estimator, on_skip=None, on_fail=None)
    assert len(results) > 40
    assert {each["check_name"]: each["exception"] for each in results if each["status"] == "failed"} == {}


def test_every_library_gives_the_same():
    encoder = TableEncoder().fit(FRAME)
    x = encoder.transform(FRAME)
    assert x.dtype == np.float64
    assert x.shape == (6, len(encoder.get_feature_names_out()))
    tables = {
        "arrow": pa.Table.from_pandas(FRAME),
        "dict": {name: FRAME[name] for name in reversed(FRAME.columns)},
        "more columns": FRAME.assign(z=1),
        "array": FRAME.to_numpy(),
        "list": FRAME.to_numpy().tolist(),
        "text": FRAME.astype(str).where(FRAME.notna(), None),
    }
    for name, table in tables.items():
        np.testing.assert_array_equal(encoder.transform(table), x, err_msg=name)
    np.testing.assert_array_equal(TableEncoder().fit_transform(tables["arrow"]), x)
    unnamed = TableEncoder().fit(tables["array"])
    np.testing.assert_array_equal(unnamed.transform(tables["array"]), x)
    assert not hasattr(unnamed, "feature_names_in_")
    np.testing.assert_array_equal(unnamed.transform(FRAME), x)


def test_polars_gives_the_same():
    pl = pytest.importorskip("polars")
    encoder = TableEncoder().fit(FRAME)
    np.testing.assert_array_equal(encoder.transform(pl.from_pandas(FRAME)), encoder.transform(FRAME))
    assert isinstance(encoder.set_output(transform="polars").transform(FRAME), pl.DataFrame)


def test_what_is_fitted():
    encoder = TableEncoder(drop=["id"], categorical=["age"]).fit(FRAME)
    assert encoder.n_features_in_ == 6
    assert encoder.feature_names_in_.tolist() == list(FRAME.columns)
    assert encoder.encoding_.input_names == ("age", "city", "member", "since")
    assert [plan.kind for plan in encoder.plans_] == ["category", "category", "boolean", "date", "left out", "left out"]
    loaded = TableEncoding.from_dict(encoder.encoding_.to_dict())
    np.testing.assert_array_equal(loaded.transform(pa.Table.from_pandas(FRAME), np.float64), encoder.transform(FRAME))
    again = pickle.loads(pickle.dumps(encoder))
    np.testing.assert_array_equal(again.transform(FRAME), encoder.transform(FRAME))
    copy = clone(encoder)
    assert copy.get_params() == encoder.get_params()
    with pytest.raises(NotFittedError):
        copy.transform(FRAME)


def test_output_as_a_data_frame_and_in_a_pipeline():
    x = TableEncoder().set_output(transform="pandas").fit_transform(FRAME)
    assert isinstance(x, pd.DataFrame)
    assert x.columns[:2].tolist() == ["age", "age (missing)"]
    y = [0, 1, 0, 1, 0, 1]
    assert make_pipeline(TableEncoder(), LogisticRegression()).fit(FRAME, y).score(FRAME, y) > 0.9
    part = make_column_transformer((TableEncoder(), ["age", "city"]), ("passthrough", ["id"]))
    assert part.fit_transform(FRAME).shape[0] == 6
    assert "tableencoder__age" in part.get_feature_names_out()


def test_errors_name_columns_and_parameters():
    encoder = TableEncoder().fit(FRAME)
    with pytest.raises(DataError, match="without city"):
        encoder.transform(FRAME.drop(columns="city"))
    with pytest.raises(DataError, match="X has 2 features, but TableEncoder is expecting 6"):
        encoder.transform(np.eye(2))
    with pytest.raises(DataError, match="no samples"):
        encoder.transform(FRAME.iloc[:0])
    with pytest.raises(InvalidParameterError, match="categorical: expected a column of features; received 'cty'"):
        TableEncoder(categorical=["cty"]).fit(FRAME)
    with pytest.raises(InvalidParameterError, match="drop: expected a sequence of names; received the text 'id'"):
        TableEncoder(drop="id").fit(FRAME)
    with pytest.raises(InvalidParameterError, match="unknown scaling"):
        TableEncoder(scale="best").fit(FRAME)
    with pytest.raises(DataError, match="no features"):
        TableEncoder().fit(FRAME[["kind"]])
    with pytest.raises(ValueError, match="input_features is not equal to feature_names_in_"):
        encoder.get_feature_names_out(["a"])
