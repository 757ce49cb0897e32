"""Networks, data and first states of the training steps that the tests of the emitters compile."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet.backend import get_backend
from xpnet.nn.network import Network
from xpnet.nn.optimizers import get_optimizer
from xpnet.nn.step import init_state
from xpnet.training.rate_factors import rate_factors
from xpnet.training.schedules import get_schedule

BACKEND = get_backend("cpu")
N, BATCH = 90, 32
CLOCKED = {"rate_factor": get_schedule("coslog4").step_factor}  # options of a step whose state has a clock
CASES = {
    "classes": {"layer_sizes": (7, 20, 4)},
    "no hidden layer": {"layer_sizes": (7, 4)},
    "as wide as a batch": {"layer_sizes": (7, BATCH, BATCH, 4)},  # weights and activations have one shape
    "long rows": {"layer_sizes": (7, 300, 200, 5), "activation": ("relu", "tanh")},
    "many classes": {"layer_sizes": (7, 30, 200), "activation": "selu"},
    "dropout and slopes": {"layer_sizes": (7, 300, 30, 5), "activation": ("prelu", "rrelu"), "dropout": 0.3},
    "penalties": {"layer_sizes": (7, 20, 4), "l1": 0.01, "l2": 0.1},
    "shared penalties": {"layer_sizes": (7, 300, 4), "l2": 0.1, "penalty_reduction": "mean"},
    "smoothing": {"layer_sizes": (7, 20, 4), "label_smoothing": 0.1},
    "labels": {"layer_sizes": (7, 20, 3), "loss": "binary_cross_entropy", "activation": "sigmoid"},
    "values": {"layer_sizes": (7, 20, 3), "loss": "huber", "reduction": "sum"},
    "rates": {"layer_sizes": (7, 20, 1), "loss": "poisson", "activation": "softplus"},
    "squares": {"layer_sizes": (7, 20, 3), "loss": "squared_error", "output": "sigmoid"},
    "forward scaling": {
        "layer_sizes": (7, 300, 30, 5), "activation": ("selu", "mish"), "parametrization": "ntk", "input_scale": True,
    },
}  # fmt: skip


def data_of(network: Network, dtype: str, *, weighted: bool, as_bytes: bool = False) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(1)
    n_out = network.layer_sizes[-1]
    x = rng.standard_normal((N, network.layer_sizes[0])).astype(dtype)
    x = (40 * x + 100).clip(0, 255).astype(np.uint8) if as_bytes else x
    if network.loss == "cross_entropy":
        y = rng.integers(0, n_out, N, dtype=np.int32)
    else:
        y = rng.integers(0, 2, (N, n_out)).astype(dtype)
    for array in (x, y):
        array.flags.writeable = False  # a batch is never written
    return (x, y, rng.random(N).astype(dtype)) if weighted else (x, y)


def at_rate(network: Network, state: Any, rate: float, dtype: str, *, clocked: bool = False) -> Any:
    """Return a state with a learning rate: one for all parameters, or with a clock one for each kind of parameter."""
    array = np.asarray(rate, dtype=dtype)
    state = state._replace(optimizer=state.optimizer._replace(learning_rate=array))
    if not clocked:
        return state
    factors = state.rate_factors or (rate_factors(network, {"biases": 0.1, "weights": 0.5}).astype(dtype),)
    return state._replace(rate_factors=factors, clock=tuple(np.asarray(n, dtype=np.int32) for n in (3, 40)))


def started(network: Network, optimizer: str, dtype: str) -> tuple[np.ndarray, Any]:
    params = network.init(3, dtype=dtype).vector
    return params, init_state(network, get_optimizer(optimizer), params, 5, BACKEND)
