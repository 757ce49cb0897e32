"""What the trainer refuses before anything is trained."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from xpnet.backend import Backend
from xpnet.errors import (
    DataError,
    DivergenceError,
    InvalidParameterError,
    UnknownBackendError,
    UnknownNameError,
    XpnetError,
)
from xpnet.nn.network import Network
from xpnet.training.callbacks import Callback
from xpnet.training.trainer import Trainer

NETWORK = Network([2, 3])
X = np.arange(12.0).reshape(6, 2)
Y = np.asarray([0, 1, 2, 0, 1, 2])
NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        # Below that number, float32 may round it to 0.
        *(
            ("learning_rate", v, "a finite number of at least 1.17549e-38, or None")
            for v in (0, 1e-60, 1e-39, -0.1, NAN, INF, "0.1", True)
        ),
        *(("clip_norm", v, "a finite number above 0, or None") for v in (0.0, -1, NAN)),
        *(("batch_size", v, "an integer of at least 1, 'auto', or None") for v in (0, -1, 2.0, True)),
        *(("epochs", v, "an integer of at least 1") for v in (0, -1, 1.5, None)),
        *(("seed", v, "an integer of at least 0") for v in (-1, 0.5, None)),
        *(("shuffle", v, "True, False or a function") for v in ("yes", None)),
        *(("dtype", v, "one of 'float32', 'float64'") for v in ("float16", np.float32, None)),
        *(("drop_last", v, "True or False") for v in (0, "no", None)),
    ],
)
def test_constraints(option: str, value: Any, expected: str) -> None:
    with pytest.raises(InvalidParameterError, match=f"^{option}: expected {expected}; received ") as caught:
        Trainer(NETWORK, **{option: value})
    assert str(caught.value).endswith(f"received {value!r}.")


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("optimizer", "adm", "unknown optimizer: .*Did you mean 'adam'"),
        ("optimizer", "adam:rho=1", "unknown option of optimizer adam"),
        ("schedule", "cosin", "unknown schedule: .*Did you mean 'cosine'"),
        (
            "early_stopping",
            "los",
            "unknown early_stopping: expected one of accuracy, auc, balanced_accuracy, f1, loss, mae, r2, rmse, "
            "training_loss",
        ),
        ("early_stopping", "loss:patience=0", "patience: expected a number of at least 1, or inf; received '0'"),
    ],
)
def test_names(option: str, value: str, message: str) -> None:
    with pytest.raises(InvalidParameterError, match=message):
        Trainer(NETWORK, **{option: value})


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("network", value) for value in (None, 3, [2, 3], Network)),
        *(("optimizer", value) for value in (None, 3, ["adam"], b"adam", len)),
        *(("schedule", value) for value in (None, 3, ["step"])),
        *(("early_stopping", value) for value in (3, True, ["loss"])),
        *(("callbacks", value) for value in (None, 3, "abc", [3], Callback(), [Callback], (Callback(), 3))),
        *(("batch_size", value) for value in (2.0, [1], np.asarray([1, 2]))),
        *(("shuffle", value) for value in (2, [1], np.asarray([1, 2]))),
        *(("on_divergence", value) for value in (3, ["stop"])),
    ],
)
def test_wrong_types(option: str, value: Any) -> None:
    with pytest.raises(InvalidParameterError, match=f"^{option}: expected .*; received "):
        Trainer(**{"network": NETWORK, option: value})


@pytest.mark.parametrize(
    ("said", "arguments"),
    [
        ("validation", {"validation": 3}),
        ("validation", {"validation": (X,)}),
        ("validation", {"validation": (X, Y, Y)}),
        ("sample_weight", {"sample_weight": ["a"] * 6}),
        ("parameters", {"params": 3}),
        ("parameters", {"params": "ab"}),
    ],
)
def test_wrong_types_of_data(said: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameterError, match=f"^{said}: expected .*; received "):
        Trainer(NETWORK).fit(X, Y, **arguments)


@pytest.mark.parametrize("device", [3, ["cpu"]])
def test_a_device_of_a_wrong_type(device: Any) -> None:
    with pytest.raises(InvalidParameterError, match=r"^device: expected .*; received "):
        Trainer(NETWORK, device=device).fit(X, Y)


def test_a_weight_of_a_class_that_is_no_number() -> None:
    with pytest.raises(InvalidParameterError, match=r"^class_weight: expected numbers; received \['a', 1.0, 1.0\]"):
        Trainer(NETWORK, class_weight={0: "a"}).fit(X, Y)  # type: ignore[dict-item]


def test_rows_of_several_lengths() -> None:
    with pytest.raises(DataError, match="rows of one length"):
        Trainer(NETWORK).fit([[1, 2], [3]], [0, 1])


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        ({"bias": 0.1}, "unknown kind of parameter in learning_rate_factors: expected one of .*Did you mean 'biases'"),
        ({"input_scale": 6}, "expected kinds of parameters that the network has, weights, biases; received 'input_s"),
        ({"slopes": 1}, "expected kinds of parameters that the network has, weights, biases; received 'slopes'"),
        ({"biases": 0}, "learning_rate_factors: expected a finite number above 0 for biases; received 0"),
        ({"weights": 2, "biases": INF}, "expected a finite number above 0 for biases; received inf"),
        ({"weights": "2"}, "expected a finite number above 0 for weights; received '2'"),
    ],
)
def test_learning_rate_factors(factors: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidParameterError, match=message):
        Trainer(NETWORK, learning_rate_factors=factors)


@pytest.mark.parametrize(
    ("loss", "y", "expected"),
    [
        ("binary_cross_entropy", [[1.0], [1.5]], "from 0 to 1 for the loss 'binary_cross_entropy'; received 1 to 1.5"),
        ("poisson", [[2.0], [-1.0]], "from 0 to inf for the loss 'poisson'; received -1 to 2"),
    ],
)
def test_targets_outside_the_range_of_the_loss(loss: str, y: Any, expected: str) -> None:
    with pytest.raises(InvalidParameterError, match=f"^y: expected numbers {expected}"):
        Trainer(Network([2, 1], loss=loss), batch_size=1).fit(X[:2], np.asarray(y))


def nan_at(row: int, column: int) -> np.ndarray:
    x = X.copy()
    x[row, column] = NAN
    return x


BAD_DATA: dict[str, tuple[Any, Any, type[XpnetError], str]] = {
    "too wide": (np.ones((6, 3)), Y, InvalidParameterError, "x: expected the shape (n_samples, 2); received (6, 3)"),
    "flat": (np.ones(6), Y, InvalidParameterError, "received (6,)"),
    "text": (np.asarray([["a", "b"]] * 6), Y, DataError, "features: expected real numbers"),
    "none": (X[:0], Y[:0], DataError, "no samples"),
    "fewer targets": (X, Y[:5], DataError, "received 6 rows, 5 targets"),
    "nan": (nan_at(3, 1), Y, DataError, "features: expected finite numbers; received nan in column 2, row 4"),
    "infinite": (X, np.asarray([[INF] * 3] * 6), DataError, "targets: expected finite numbers"),
    "class 3": (X, Y + 1, InvalidParameterError, "y: expected class indices from 0 to 2; received 1 to 3"),
    "class -1": (X, Y - 1, InvalidParameterError, "received -1 to 1"),
    "class 2**32": (X, Y + 2**32, InvalidParameterError, "received 4294967296 to 4294967298"),
    "float classes": (X, Y.astype(float), InvalidParameterError, "y: expected integers of shape (6,) or numbers of"),
    "two outputs": (X, np.ones((6, 2)), InvalidParameterError, "of shape (6, 3); received float64 of shape (6, 2)"),
    "text classes": (X, np.asarray(list("abcabc")), InvalidParameterError, "received <U1 of shape (6,)"),
}


@pytest.mark.parametrize("case", BAD_DATA)
@pytest.mark.parametrize("part", ["training", "validation"])
def test_bad_data(case: str, part: str) -> None:
    x, y, error, message = BAD_DATA[case]
    data = {"x": x, "y": y} if part == "training" else {"x": X, "y": Y, "validation": (x, y)}
    with pytest.raises(error, match=re.escape(message)):
        Trainer(NETWORK, batch_size=2, callbacks=[Untouched()]).fit(**data)


class Untouched(Callback):
    def on_start(self, n_steps: int, epochs: int) -> None:
        raise AssertionError("the run has begun")


@pytest.mark.parametrize("dtype", ["float32"], indirect=True)
def test_bad_data_on_the_device(backend: Backend, dtype: str, put: Any) -> None:
    trainer = Trainer(NETWORK, batch_size=2)
    for x, y, error, message in (
        (X, Y[:5], DataError, "received the shapes"),
        (X[:0], Y[:0], DataError, "at least one"),
        (nan_at(3, 1), Y, DataError, "x: expected finite numbers"),
        (X, Y + 1, InvalidParameterError, "received 1 to 3"),
        (X[:, :1], Y, InvalidParameterError, "x: expected the shape"),
    ):
        if backend.name != "numpy:cpu":
            with pytest.raises(error, match=re.escape(message)):
                trainer.fit(put(x), put(y))
            with pytest.raises(error):
                trainer.fit(put(x), y)
        with pytest.raises(error):
            trainer.fit(x, put(y))


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.ones(5), "sample_weight: expected the shape (6,); received (5,)"),
        (np.ones((6, 1)), "received (6, 1)"),
        (-np.ones(6), "weights: expected finite numbers of at least 0"),
        (np.full(6, NAN), "weights: expected finite"),
    ],
)
def test_bad_sample_weights(weight: np.ndarray, message: str) -> None:
    with pytest.raises(InvalidParameterError, match=re.escape(message)):
        Trainer(NETWORK, batch_size=2).fit(X, Y, sample_weight=weight)


@pytest.mark.parametrize("class_weight", ["balance", {3: 1.0}, {"a": 1.0}, 2.0])
def test_bad_class_weights(class_weight: Any) -> None:
    with pytest.raises(InvalidParameterError, match="class_weight: expected 'balanced' or a mapping of class indices"):
        Trainer(NETWORK, batch_size=2, class_weight=class_weight).fit(X, Y)


def test_class_weights_need_classes_and_may_name_one_that_is_missing() -> None:
    with pytest.raises(InvalidParameterError, match="class_weight: expected class indices as targets"):
        Trainer(Network([2, 1], loss="squared_error"), batch_size=2, class_weight="balanced").fit(X, X[:, :1])
    Trainer(NETWORK, batch_size=2, epochs=1, class_weight={0: 2.0, 2: 3.0}).fit(X, np.minimum(Y, 1))


def test_a_batch_larger_than_the_set() -> None:
    for x in (X, X.tolist()):
        with pytest.raises(InvalidParameterError, match=r"batch_size: expected at most .* samples, 6; received 7"):
            Trainer(NETWORK, batch_size=7).fit(x, Y)


def test_early_stopping_needs_its_metric() -> None:
    with pytest.raises(InvalidParameterError, match="early_stopping: expected a validation part; received none"):
        Trainer(NETWORK, batch_size=2, early_stopping="loss").fit(X, Y)
    expected = "expected one of training_loss, loss, accuracy, balanced_accuracy, f1, auc; received 'r2'"
    with pytest.raises(InvalidParameterError, match=f"early_stopping: {expected}"):
        Trainer(NETWORK, batch_size=2, early_stopping="r2").fit(X, Y, validation=(X, Y))


BAD_ORDERS = {
    "short": (np.arange(5), "int64 of shape (5,) from 0 to 4"),
    "long": (np.arange(7) % 6, "int64 of shape (7,) from 0 to 5"),
    "above": (np.arange(6) + 1, "int64 of shape (6,) from 1 to 6"),
    "below": (np.arange(6) - 1, "int64 of shape (6,) from -1 to 4"),
    "floats": (np.arange(6.0), "float64 of shape (6,)."),
    "a mask": (np.ones(6, dtype=bool), "bool of shape (6,)."),
    "a column": (np.arange(6)[:, None], "int64 of shape (6, 1)"),
    "none": (np.arange(0), "int64 of shape (0,)."),
}


@pytest.mark.parametrize("case", BAD_ORDERS)
def test_orders_that_are_none(case: str) -> None:
    order, received = BAD_ORDERS[case]
    message = f"shuffle: expected the function to return 6 indices from 0 to 5; received {received}"
    with pytest.raises(InvalidParameterError, match=re.escape(message)):
        Trainer(NETWORK, batch_size=2, shuffle=lambda epoch, n: order).fit(X, Y)


@pytest.mark.parametrize("order", [[5, 4, 3, 2, 1, 0], np.asarray([0, 0, 1, 1, 2, 2], dtype=np.uint8)])
def test_any_sequence_of_samples_is_an_order(order: Any) -> None:
    run = Trainer(NETWORK, batch_size=2, epochs=1, shuffle=lambda epoch, n: order).fit(X, Y)
    kept = np.asarray(order)
    expected = Trainer(NETWORK, batch_size=2, epochs=1, shuffle=False).fit(X[kept], Y[kept])
    np.testing.assert_array_equal(run.params.vector, expected.params.vector)


def test_unknown_devices() -> None:
    with pytest.raises(UnknownBackendError):
        Trainer(NETWORK, device="nympy").fit(X, Y)
    assert issubclass(UnknownBackendError, UnknownNameError)


def test_an_optimizer_that_froze_is_reported() -> None:
    # The loss stays finite, but the second moment overflows, and from then on nothing moves.
    x = np.full((8, 2), 1e25)
    trainer = Trainer(Network([2, 1], loss="huber"), batch_size=4, epochs=3)
    with pytest.raises(DivergenceError, match="finite parameters"):
        trainer.fit(x, np.arange(8.0))


def test_target_probabilities_sum_to_one() -> None:
    with pytest.raises(InvalidParameterError, match="rows that sum to 1, for the loss 'cross_entropy'"):
        Trainer(NETWORK, batch_size=1).fit(X[:1], np.asarray([[1.0, 1.0, 0.0]]))


def test_the_batch_size_fits_itself_to_little_data() -> None:
    assert len(Trainer(NETWORK, epochs=np.int64(1)).fit(X, Y).history) == 1
    with pytest.raises(InvalidParameterError, match="batch_size: expected at most"):
        Trainer(NETWORK, batch_size=32).fit(X, Y)
