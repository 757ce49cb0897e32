"""Messages show received values as Python's own, on one line and of limited length, wherever they are checked."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import xpnet
from xpnet.bench.results import load as load_results
from xpnet.cli.unchanged import check_unchanged
from xpnet.errors import XpnetError, shown


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.int64(7), "7"),
        (np.uint8(7), "7"),
        (np.float64(0.1), "0.1"),
        (np.float32(0.1), "0.1"),
        (np.float16("nan"), "nan"),
        (np.bool_(True), "True"),
        (np.str_("a"), "'a'"),
        (np.complex128(1j), "1j"),
        ("a\nb", r"'a\nb'"),
        (None, "None"),
        ([np.int64(1), (np.str_("b"),)], "[1, ('b',)]"),
        ({np.str_("a"): np.float32(0.5)}, "{'a': 0.5}"),
        (np.array([[1, 2], [3, 4]]), "array([[1, 2], [3, 4]])"),
        (np.array(4), "array(4)"),
        (10**20, "1" + 20 * "0"),
        pytest.param(-(10**5000), "an integer of 16610 bits", id="5000 digits"),
    ],
)
def test_values(value: Any, text: str) -> None:
    assert shown(value) == text


def test_long_values_are_cut() -> None:
    endless: list[Any] = []
    endless.append(endless)
    for value in ("x" * 10**6, [1] * 10**6, {i: i for i in range(10**5)}, endless, [[[[[[[[[[1]]]]]]]]]] * 1000):
        assert len(shown(value)) < 2000


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("cannot be shown")


def test_a_value_that_cannot_be_shown() -> None:
    assert "Unprintable" in shown(Unprintable())


X, Y = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 2
ONE, FLOAT, TEXT = np.int64(-7), np.float32(-0.1), np.str_("nonsense")
NETWORK: dict[str, Any] = {"layer_sizes": [3, 4, 2], "loss": "softmax_cross_entropy"}

Call = Callable[[], object]


def network(**changes: Any) -> Call:
    return lambda: xpnet.Network(**NETWORK | changes)


def trainer(**changes: Any) -> Call:
    return lambda: xpnet.Trainer(xpnet.Network(**NETWORK), **changes).fit(X, Y)


def classifier(**changes: Any) -> Call:
    return lambda: xpnet.MLPClassifier(**changes).fit(X, Y)


CALLS: dict[str, Call] = {
    "layer_sizes": network(layer_sizes=[np.int64(3), ONE]),
    "one size": network(layer_sizes=[np.int64(3)]),
    "activation": network(activation=TEXT),
    "activations": network(activation=[TEXT, TEXT]),
    "option of an activation": network(activation=np.str_("elu:alpha=-1e400")),
    "dropout": network(dropout=FLOAT),
    "initializer": network(initializer=TEXT),
    "loss": network(loss=TEXT),
    "output": network(output=np.str_("softmax"), loss="mse"),
    **{
        name: trainer(**{name: value})
        for name, value in {
            "epochs": ONE, "batch_size": ONE, "learning_rate": FLOAT, "seed": ONE, "optimizer": TEXT, "schedule": TEXT,
            "clip_norm": FLOAT, "weight_decay": FLOAT, "label_smoothing": FLOAT, "device": TEXT, "dtype": TEXT,
            "callbacks": [ONE], "micro_batch_size": ONE, "class_weight": {0: FLOAT}, "learning_rate_factors": {TEXT: 1},
            "early_stopping": TEXT,
        }.items()
    },
    **{
        f"classifier {name}": classifier(**{name: value})
        for name, value in {
            "hidden_layer_sizes": [ONE], "activation": TEXT, "alpha": FLOAT, "batch_size": ONE, "solver": TEXT,
            "learning_rate": TEXT, "max_iter": ONE, "learning_rate_init": FLOAT, "tol": FLOAT, "momentum": FLOAT,
            "class_weight": {0: FLOAT, 1: 1}, "validation_fraction": FLOAT, "random_state": ONE,
        }.items()
    },
    "tabular": lambda: xpnet.TabularClassifier(n_ensemble=ONE, max_iter=ONE, validation_fraction=FLOAT).fit(X, Y),
    "another label": lambda: xpnet.MLPClassifier().partial_fit(X, Y, classes=[0, 1]).partial_fit(X, Y + 5),
    "threads": lambda: xpnet.Trainer(xpnet.Network(**NETWORK), threads=ONE).fit(X, Y),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_no_message_shows_a_type_of_numpy(name: str) -> None:
    with pytest.raises((XpnetError, TypeError, ValueError)) as caught:
        CALLS[name]()
    message = str(caught.value)
    assert not re.search(r"np\.\w+\(", message), message
    assert "\n" not in message


DEEP = 100_000 * "[" + 100_000 * "]"


def test_json_that_is_nested_too_deeply(tmp_path: Any) -> None:
    for path in (tmp_path / "results.json", tmp_path / "data.json"):
        path.write_text(DEEP)
    with pytest.raises(XpnetError, match="expected results"):
        load_results(tmp_path / "results.json")
    with pytest.raises(XpnetError, match="damaged"):
        check_unchanged(tmp_path, "d.csv", {}, b"")
