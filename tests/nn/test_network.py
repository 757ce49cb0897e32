"""The network: forward, backward, objective, parameters, errors."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from scipy import special
from sklearn.neural_network import MLPClassifier

from xpnet.errors import InvalidParameterError, UnknownNameError
from xpnet.model.model import Model
from xpnet.model.model_file import load_model, save_model
from xpnet.nn.backprop import objective_and_gradient
from xpnet.nn.counter_rng import uniform_bits, uniform_floats
from xpnet.nn.network import Network, Parameters

_rng = np.random.default_rng(2)
X = _rng.standard_normal((9, 4)).astype("float32").astype("float64")
Y = np.asarray([0, 2, 1, 0, 1, 2, 2, 0, 1])
WEIGHT = np.asarray([1.0, 2.0, 0.0, 0.5, 1.0, 3.0, 1.0, 0.25, 1.0])


def _layers(network: Network, put: Any, seed: int = 0) -> list[tuple[Any, Any]]:
    """Return parameters that are all different from zero, as plain pairs."""
    rng = np.random.default_rng(seed)
    sizes = network.layer_sizes
    return [(put(0.5 * rng.standard_normal((m, n))), put(0.1 * rng.standard_normal(n))) for m, n in pairwise(sizes)]


def test_forward_by_hand(put: Any, close: Any) -> None:
    # 2-2-1: z1 = (1*1 + 2*3 - 1, 1*2 - 2*4 + 1) = (6, -5), relu (6, 0); 6*0.5 + 0*7 + 0.25
    layers = [(put([[1.0, 2.0], [3.0, -4.0]]), put([-1.0, 1.0])), (put([[0.5], [7.0]]), put([0.25]))]
    network = Network([2, 2, 1], "relu", loss="squared_error")
    x = put([[1.0, 2.0]])
    close(network.forward(layers, x), [[3.25]])
    # The residual 3.25 - 1.25 goes back: 2 * 6, 2 * 0; 2 * 0.5 * relu'(6) * x, and nothing through the dead unit.
    loss, grads = network.loss_and_grads(layers, x, put([[1.25]]))
    close(loss, 0.5 * 2**2)
    close(grads[1][0], [[12.0], [0.0]])
    close(grads[1][1], [2.0])
    close(grads[0][0], [[1.0, 0.0], [2.0, 0.0]])
    close(grads[0][1], [1.0, 0.0])


@pytest.mark.parametrize(
    ("options", "y", "output", "delta"),
    [
        ({}, Y, lambda z: special.softmax(z, axis=1), lambda a: a - np.eye(3)[Y]),
        ({"loss": "binary_cross_entropy"}, np.eye(3)[Y], special.expit, lambda a: a - np.eye(3)[Y]),
        ({"loss": "squared_error"}, np.eye(3)[Y], lambda z: z, lambda a: a - np.eye(3)[Y]),
        ({"loss": "poisson"}, np.eye(3)[Y], np.exp, lambda a: a - np.eye(3)[Y]),
        (
            {"loss": "squared_error", "output": "sigmoid"},
            np.eye(3)[Y],
            special.expit,
            lambda a: (a - np.eye(3)[Y]) * a * (1 - a),
        ),
    ],
    ids=["softmax", "logistic", "linear", "poisson", "perceptron"],
)
def test_without_hidden_layer_it_is_a_generalised_linear_model(
    options: Any, y: Any, output: Any, delta: Any, put: Any, close: Any, backend: Any
) -> None:
    network = Network([4, 3], **options)
    layers = _layers(network, put)
    W, b = (backend.to_numpy(array).astype("float64") for array in layers[0])
    a = output(X @ W + b)
    close(network.predict(layers, put(X)), a, terms=10)
    _, grads = network.loss_and_grads(layers, put(X), put(y))
    close(grads[0][0], X.T @ delta(a) / len(X), terms=10)
    close(grads[0][1], delta(a).mean(axis=0), terms=10)


def test_each_layer_has_its_own_activation(put: Any, close: Any, backend: Any) -> None:
    network = Network([4, 5, 6, 3], ("tanh", "silu"), "sigmoid", loss="squared_error")
    layers = _layers(network, put)
    (W1, b1), (W2, b2), (W3, b3) = ([backend.to_numpy(array).astype("float64") for array in pair] for pair in layers)
    z2 = np.tanh(X @ W1 + b1) @ W2 + b2
    close(network.predict(layers, put(X)), special.expit(z2 * special.expit(z2) @ W3 + b3), terms=10)
    assert network.activation_names == ("tanh", "silu", "sigmoid")


def _torch_gradient(
    network: Network, vector: np.ndarray, weight: np.ndarray | None, key: np.ndarray | None
) -> tuple[float, np.ndarray]:
    """Return the objective of the deep mixed network below and its gradient by PyTorch's autograd."""
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    with torch.enable_grad():
        flat = torch.tensor(vector, requires_grad=True)
        pieces = [
            piece.reshape(s.shape)
            for piece, s in zip(flat.split([s.size for s in network.segments]), network.segments, strict=True)
        ]
        Ws, bs, (slope,) = pieces[:5], pieces[5:10], pieces[10:]
        rrelu = torch.tensor((0.1 + 0.5) / 2, dtype=torch.float64)
        masks = [None] * 4
        if key is not None:
            draws = [uniform_bits(np, key, stream, (len(X), 6)) for stream in range(8)]
            rrelu = torch.tensor(0.1 + 0.4 * uniform_floats(np, draws[5], np.float64))
            keep = network.keep_probabilities
            masks = [
                torch.tensor((draws[2 * i] + 2.0**31 < keep[i] * 2.0**32) / keep[i]) if keep[i] < 1 else None
                for i in range(4)
            ]
        functions = [
            lambda z: functional.prelu(z, slope),
            torch.tanh,
            lambda z: torch.where(z > 0, z, rrelu * z),
            functional.gelu,
            lambda z: z,
        ]
        a = torch.tensor(X)
        for W, b, f, mask in zip(Ws, bs, functions, [*masks, None], strict=True):
            a = f(a @ W + b)
            a = a if mask is None else a * mask
        each = functional.cross_entropy(a, torch.tensor(Y), reduction="none", label_smoothing=network.label_smoothing)
        weights = torch.ones(len(X), dtype=torch.float64) if weight is None else torch.tensor(weight)
        value = (each * weights).sum()
        if network.reduction == "mean":
            value = value / weights.sum()
        penalty = sum(0.5 * network.l2 * (W**2).sum() + network.l1 * W.abs().sum() for W in Ws)
        value = value + (penalty / weights.sum() if network.penalty_reduction == "mean" else penalty)
        (gradient,) = torch.autograd.grad(value, flat)
    return float(value.detach()), gradient.numpy()


@pytest.mark.needs("torch")
@pytest.mark.parametrize("key", [None, [3, 17]], ids=["prediction", "training"])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("penalty_reduction", ["none", "mean"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_deep_mixed_network_with_every_regularisation_agrees_with_autograd(
    reduction: str, penalty_reduction: str, weight: Any, key: Any, xp: Any, put: Any, close: Any
) -> None:
    network = Network(
        [4, 6, 6, 6, 6, 3],
        ("prelu", "tanh", "rrelu:lower=0.1,upper=0.5", "gelu"),
        dropout=(0.3, 0.0, 0.5, 0.2),
        l2=0.02,
        l1=0.01,
        label_smoothing=0.1,
        reduction=reduction,
        penalty_reduction=penalty_reduction,
    )
    vector = np.random.default_rng(1).standard_normal(network.n_parameters).astype("float32").astype("float64") * 0.5
    expected = _torch_gradient(network, vector, weight, None if key is None else np.asarray(key, dtype=np.int32))
    batch = (put(X), put(Y)) if weight is None else (put(X), put(Y), put(weight))
    value, gradient = objective_and_gradient(network, xp, put(vector), batch, None if key is None else put(key))
    close(value, expected[0], terms=20)
    close(gradient, expected[1], terms=20)


def test_penalties_touch_weights_only(put: Any, backend: Any) -> None:
    # Weighted with zeros, the batch says nothing, and only the penalties are left.
    network = Network([4, 5, 3], "prelu", l2=0.5, l1=0.25)
    layers = _layers(network, put)
    loss, grads = network.loss_and_grads(layers, put(X), put(Y), put(np.zeros(len(X))))
    total = 0.0
    for (W, _), (grad_W, grad_b) in zip(layers, grads, strict=True):
        W = backend.to_numpy(W)
        np.testing.assert_allclose(backend.to_numpy(grad_W), 0.5 * W + 0.25 * np.sign(W), rtol=1e-6)
        assert (backend.to_numpy(grad_b) == 0).all()
        total += 0.5 * 0.5 * (W**2).sum() + 0.25 * np.abs(W).sum()
    assert (backend.to_numpy(grads.slopes[0]) == 0).all()
    assert float(loss) == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("penalties", [{"l2": 0.7}, {"l1": 0.4}, {"l2": 0.7, "l1": 0.4}], ids=["l2", "l1", "both"])
@pytest.mark.parametrize("penalty_reduction", ["none", "mean"])
def test_penalised_gradients_are_central_differences(penalty_reduction: str, penalties: Any, weight: Any) -> None:
    network = Network([4, 5, 3], "tanh", **penalties, penalty_reduction=penalty_reduction)
    vector = 0.5 * np.random.default_rng(3).standard_normal(network.n_parameters)

    def loss_at(i: int, change: float) -> float:
        moved = vector.copy()
        moved[i] += change
        return float(network.loss_and_grads(Parameters(moved, network), X, Y, weight)[0])

    _, grads = network.loss_and_grads(Parameters(vector, network), X, Y, weight)
    numeric = [(loss_at(i, 1e-6) - loss_at(i, -1e-6)) / 2e-6 for i in range(vector.size)]
    np.testing.assert_allclose(grads.vector, numeric, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["unweighted", "weighted"])
def test_the_mean_penalty_is_scikit_learns_alpha(weight: Any, put: Any, close: Any) -> None:
    pytest.importorskip("sklearn", "1.7")  # the first that weighs samples
    network = Network([4, 5, 6, 3], "tanh", l2=0.7, penalty_reduction="mean")
    layers = _layers(network, np.asarray)
    peer = MLPClassifier(network.layer_sizes[1:-1], "tanh", alpha=0.7)
    peer.coefs_, peer.intercepts_ = map(list, zip(*layers, strict=True))
    peer.n_layers_, peer.out_activation_ = len(network.layer_sizes), "softmax"
    activations, deltas, Ws, bs = ([X, *[None] * 3], *([None] * 3 for _ in range(3)))
    loss, *_ = peer._backprop(X, np.eye(3)[Y], weight, activations, deltas, Ws, bs)
    batch = (put(X), put(Y)) if weight is None else (put(X), put(Y), put(weight))
    own_loss, grads = network.loss_and_grads([(put(W), put(b)) for W, b in layers], *batch)
    close(own_loss, loss, terms=10)
    for (W, b), W_peer, b_peer in zip(grads, Ws, bs, strict=True):
        close(W, W_peer, terms=10)
        close(b, b_peer, terms=10)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_batch_of_zero_weights_has_no_gradient(reduction: str, put: Any, backend: Any) -> None:
    network = Network([4, 5, 3], "prelu", l2=0.5, l1=0.25, reduction=reduction, penalty_reduction="mean")
    loss, grads = network.loss_and_grads(_layers(network, put), put(X), put(Y), put(np.zeros(len(X))))
    assert float(loss) == 0
    np.testing.assert_array_equal(backend.to_numpy(grads.vector), np.zeros(network.n_parameters))


def test_the_penalty_reduction_survives_a_model_file(tmp_path: Path) -> None:
    network = Network([4, 3], l2=0.5, penalty_reduction="mean")
    save_model(tmp_path / "new", Model(network, network.init().vector, "classification"))
    assert load_model(tmp_path / "new").network == network


def test_a_model_file_from_before_the_penalty_reduction_loads(tmp_path: Path) -> None:
    network = Network([4, 3], l2=0.5)
    save_model(tmp_path / "new", Model(network, network.init().vector, "classification"))
    with safe_open(tmp_path / "new", framework="numpy") as file:
        specification = json.loads(file.metadata()["xpnet"])
    del specification["network"]["penalty_reduction"]
    save_file(load_file(tmp_path / "new"), tmp_path / "old", {"xpnet": json.dumps(specification)})
    loaded = load_model(tmp_path / "old").network
    assert loaded == network
    assert loaded.penalty_reduction == "none"


def test_params_are_one_weight_matrix_and_bias_a_layer(backend: Any, dtype: str) -> None:
    network = Network([4, 5, 6, 3], ("prelu", "relu"))
    params = network.init(0, backend, dtype)
    assert len(params) == network.n_layers == 3
    assert [(tuple(W.shape), tuple(b.shape)) for W, b in params] == [((4, 5), (5,)), ((5, 6), (6,)), ((6, 3), (3,))]
    assert params[-1][0].shape == (6, 3)
    assert [len(pair) for pair in params[:2]] == [2, 2]
    assert [None if s is None else tuple(s.shape) for s in params.slopes] == [(5,), None, None]
    assert network.n_weights == 20 + 30 + 18
    assert network.n_parameters == params.vector.shape[0] == 68 + 14 + 5


def test_plain_pairs_are_as_good_as_parameters(put: Any, backend: Any) -> None:
    network = Network([4, 5, 3], "prelu")
    layers = _layers(network, put)
    packed = network.pack(layers)
    assert isinstance(packed, Parameters)
    assert network.pack(packed) is packed
    np.testing.assert_array_equal(backend.to_numpy(packed.slopes[0]), np.full(5, 0.25))
    for plain, flat in zip(layers, packed, strict=True):
        for one, other in zip(plain, flat, strict=True):
            np.testing.assert_array_equal(backend.to_numpy(one), backend.to_numpy(other))
    by_pairs = network.loss_and_grads(layers, put(X), put(Y))
    by_vector = network.loss_and_grads(packed, put(X), put(Y))
    assert float(by_pairs[0]) == float(by_vector[0])
    np.testing.assert_array_equal(backend.to_numpy(by_pairs[1].vector), backend.to_numpy(by_vector[1].vector))


@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error", "poisson", "huber", "binary_cross_entropy"])
def test_nothing_is_written(loss: str) -> None:
    network = Network([4, 5, 3], "relu", loss=loss, dropout=0.5, l2=0.1, l1=0.1, label_smoothing=0.1)
    vector, x, y, weight, key = network.init(0).vector, X.copy(), np.eye(3)[Y], WEIGHT.copy(), np.zeros(2, np.int32)
    for array in (vector, x, y, weight, key):
        array.flags.writeable = False
    network.loss_and_grads(Parameters(vector, network), x, y, weight)
    objective_and_gradient(network, np, vector, (x, y, weight), key)
    objective_and_gradient(network, np, vector, (x, Y, weight), key)
    network.predict(Parameters(vector, network), x)


@pytest.mark.parametrize("n_hidden", [0, 1])
def test_the_network_without_hidden_layer_returns_no_view_of_the_batch(n_hidden: int) -> None:
    network = Network([3] * (2 + n_hidden), "identity", loss="squared_error")
    x, y = np.ones((2, 3)), np.zeros((2, 3))
    _, grads = network.loss_and_grads(network.init(0), x, y)
    assert not np.shares_memory(grads.vector, x)
    assert not np.shares_memory(network.predict(network.init(0), x), x)


def test_the_input_is_brought_to_the_dtype_of_the_parameters(backend: Any, dtype: str, close: Any) -> None:
    network = Network([4, 3])
    params = network.init(0, backend, dtype)
    x = np.arange(8).reshape(2, 4) % 3
    loss, _ = network.loss_and_grads(params, backend.asarray(x.astype("int32")), backend.asarray(Y[:2].astype("int32")))
    host, _ = network.loss_and_grads(network.init(0), x.astype("float64"), Y[:2])
    close(loss, host, terms=4)


# Each field, the wrong value, and what the message must say.
BAD = [
    ({"layer_sizes": [4]}, r"layer_sizes: expected sizes of input, hidden layers and output; received \(4,\)"),
    ({"layer_sizes": [4, 0, 3]}, "layer_sizes: expected an integer of at least 1; received 0"),
    ({"layer_sizes": [4, 10**30, 3]}, "layer_sizes: expected fewer parameters; received"),
    ({"layer_sizes": [4, 2.5, 3]}, "layer_sizes: expected an integer of at least 1; received 2.5"),
    ({"layer_sizes": [4, 5, 1]}, "layer_sizes: expected at least 2 outputs for the loss 'cross_entropy'; received 1"),
    ({"activation": "relo"}, "unknown activation: .* received 'relo'. Did you mean 'relu'"),
    (
        {"activation": ("relu", "tanh")},
        "activation: expected one value, or one for each of the 1 hidden layers; received 2",
    ),
    ({"activation": "softmax"}, "unknown activation: .* received 'softmax'"),
    ({"loss": "mse"}, "unknown loss: .* received 'mse'"),
    ({"output": "sigmoid"}, "output: expected 'softmax', which the loss 'cross_entropy' demands; received 'sigmoid'"),
    (
        {"output": "softmax", "loss": "squared_error"},
        "output: expected an elementwise activation for the loss 'squared_error'; received 'softmax'",
    ),
    (
        {"output": "linear", "loss": "squared_error"},
        "unknown output: .* softmax, .* received 'linear'. Did you mean 'identity'.* softmax for cross_entropy",
    ),
    ({"initializer": "he"}, "unknown initializer: .* received 'he'"),
    ({"dropout": 1.0}, "dropout: expected a finite number of at least 0 and below 1; received 1.0"),
    ({"dropout": (0.1, 0.2)}, "dropout: expected one value, or one for each of the 1 hidden layers; received 2"),
    ({"dropout": (-0.1,)}, "dropout: expected .*; received -0.1"),
    ({"l2": -1}, "l2: expected a finite number of at least 0; received -1"),
    ({"l1": float("nan")}, "l1: expected a finite number of at least 0; received nan"),
    ({"label_smoothing": 1}, "label_smoothing: expected .* below 1; received 1"),
    ({"reduction": "max"}, "^reduction: expected one of 'mean', 'sum'; received 'max'"),
    ({"reduction": ["sum"]}, r"^reduction: expected one of 'mean', 'sum'; received \['sum'\]"),
    *(
        ({"layer_sizes": value}, "^layer_sizes: expected .*; received ")
        for value in (None, 5, "abc", [2.0, 3], [2, None])
    ),
    *(
        ({"layer_sizes": value}, "^layer_sizes: expected .*; received ")
        for value in ([2, (3,), 2], np.asarray(3), b"ab")
    ),
    *(({"activation": value}, "^activation: expected .*; received ") for value in (None, 3, [3], b"relu", len)),
    *(({"loss": value}, "^loss: expected .*; received ") for value in (None, 3, ["huber"])),
    *(({"initializer": value}, "^initializer: expected .*; received ") for value in (3, [3, 3], len)),
    ({"penalty_reduction": "sum"}, "penalty_reduction: expected one of 'none', 'mean'; received 'sum'"),
]


@pytest.mark.parametrize(("options", "message"), BAD)
def test_a_specification_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidParameterError, match=message) as caught:
        Network(**{"layer_sizes": [4, 5, 3], **options})
    assert isinstance(caught.value, UnknownNameError) == ("unknown" in message)


@pytest.mark.parametrize(
    "layers",
    [
        [(np.zeros((4, 5)), np.zeros(5))],
        [(np.zeros((4, 5)), np.zeros(5)), (np.zeros((3, 5)), np.zeros(3))],
        [(np.zeros((4, 5)), np.zeros(4)), (np.zeros((5, 3)), np.zeros(3))],
        [],
    ],
)
def test_parameters_of_another_shape(layers: Any) -> None:
    with pytest.raises(
        InvalidParameterError, match=r"parameters: expected the shapes \[\(\(4, 5\), \(5,\)\), .*received"
    ):
        Network([4, 5, 3]).loss_and_grads(layers, X, Y)


@pytest.mark.parametrize(
    "network",
    [
        Network([4, 3]),
        Network([4, 5, 6, 1], ["tanh", "leaky_relu:slope=0.2"], "sigmoid", "huber:delta=2", "normal", [0.1, 0.2], 0.1),
        Network([4, 5, 3], "prelu", l1=0.5, label_smoothing=0.1, reduction="sum"),
        Network([4, 5, 3], l2=0.5, penalty_reduction="mean"),
    ],
)
def test_the_specification_survives_json(network: Network) -> None:
    again = Network(**json.loads(json.dumps(network.to_dict())))
    assert again == network
    assert again.to_dict() == network.to_dict()
    assert hash(again) == hash(network)


def test_what_is_not_given_is_filled_in() -> None:
    assert Network([4, 3]).output == "softmax"
    assert Network([4, 3], loss="binary_cross_entropy").output == "sigmoid"
    assert Network([4, 3], loss="poisson").output == "exp"
    assert Network([4, 3], loss="squared_error").output == "identity"
    assert Network([4, 3], "relu").keep_probabilities == (1.0,)
    assert Network([4, 5, 3], dropout=0.25).keep_probabilities == (0.75, 1.0)


def test_targets_of_another_width_are_refused() -> None:
    network = Network([2, 3], loss="squared_error")
    with pytest.raises(InvalidParameterError, match=r"^y: expected 3 targets a sample; received \(4,\)"):
        network.loss_and_grads(network.init(), np.zeros((4, 2)), np.zeros(4))


def test_weights_of_another_dtype_do_not_widen_the_gradient(put: Any, backend: Any, dtype: str) -> None:
    network = Network([2, 3])
    params = network.init(0, backend, dtype)
    y = backend.asarray(np.zeros(4, dtype=np.int32))
    weight = backend.asarray(np.ones(4, dtype=np.float32))
    loss, grads = network.loss_and_grads(params, put(np.ones((4, 2))), y, weight)
    assert loss.dtype == grads.vector.dtype == params.vector.dtype


def test_hardmax_decides(backend: Any, dtype: str) -> None:
    network = Network([2, 3])
    params = network.init(1, backend, dtype)
    x = backend.asarray(np.random.default_rng(0).standard_normal((5, 2)).astype(dtype))
    soft, hard = (backend.to_numpy(network.predict(params, x, output=name)) for name in (None, "hardmax"))
    np.testing.assert_array_equal(hard, soft == soft.max(axis=1, keepdims=True))


def test_numbers_of_numpy_are_as_good_as_others() -> None:
    network = Network(np.asarray([2, 3, 2]), dropout=np.float32(0.25), l2=np.float64(0.1))
    assert network == Network([2, 3, 2], dropout=0.25, l2=0.1)
    assert json.loads(json.dumps(network.to_dict()))["layer_sizes"] == [2, 3, 2]


def test_predictions_stay_in_the_range_of_the_outputs_and_training_does_not_see_it(
    backend: Any, dtype: str, put: Any, close: Any
) -> None:
    free = Network([4, 5, 2], loss="squared_error")
    network = replace(free, output_range=([-0.1, 0], [0.2, 0]))
    assert network.output_range == ((-0.1, 0.0), (0.2, 0.0))
    assert Network(**network.to_dict()) == network
    x, y = np.random.default_rng(0).standard_normal((2, 30, 4))
    params = network.init(3, backend, dtype)
    predicted = network.predict(params, put(x))
    expected = np.clip(free.predict(free.init(3), x), [-0.1, 0], [0.2, 0])
    close(predicted, expected, terms=50)
    assert (expected[:, 0] != free.predict(free.init(3), x)[:, 0]).any()
    clipped, whole = (each.loss_and_grads(params, put(x), put(y[:, :2]))[0] for each in (network, free))
    assert float(clipped) == float(whole)


@pytest.mark.parametrize("limits", [([1, 0], [0, 0]), ([0], [1]), ([0, 0], [1]), ([float("nan"), 0], [1, 1])])
def test_ranges_that_are_none(limits: Any) -> None:
    with pytest.raises(InvalidParameterError, match="output_range: expected low <= high, one a unit; received"):
        Network([4, 2], loss="squared_error", output_range=limits)
