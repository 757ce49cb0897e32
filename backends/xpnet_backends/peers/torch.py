"""Peers: PyTorch eager, with `torch.compile`, and with the whole step captured as a CUDA graph.

Each uses modules, autograd and a fused optimizer, and keeps the data on the device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from xpnet.errors import DeviceUnavailableError

__all__ = ["create_torch", "create_torch_compile", "create_torch_graph", "predict_torch"]

_ACTIVATIONS = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid}
_OPTIMIZERS: dict[str, tuple[Any, dict[str, float]]] = {
    "sgd": (torch.optim.SGD, {}),
    "momentum": (torch.optim.SGD, {"momentum": 0.9}),
    "adam": (torch.optim.Adam, {}),
}
_WARM_UP = 3  # steps before a capture, in which libraries allocate their workspaces

Start = Callable[..., Callable[[np.ndarray, int], float]]


class _Setup(NamedTuple):
    """A model on a device, with its optimizer and the data."""

    model: Any
    update: Any
    inputs: Any
    targets: Any
    device: Any

    def step(self, row: Any, loss_of: Any) -> Any:
        """Do one step and return the loss, which stays on the device."""
        self.update.zero_grad(set_to_none=True)
        loss = loss_of(self.inputs.index_select(0, row), self.targets.index_select(0, row))
        loss.backward()
        self.update.step()
        return loss.detach()

    def loss(self, x: Any, y: Any) -> Any:
        return nn.functional.cross_entropy(self.model(x), y)


def _set_up(
    device: Any,
    *,
    x: np.ndarray,
    y: np.ndarray,
    layers: list[tuple[np.ndarray, np.ndarray]],
    activation: str,
    optimizer: str,
    learning_rate: float,
    batch: int,
    capturable: bool = False,
) -> _Setup:
    model = _model(device, layers, activation)
    rule, settings = _OPTIMIZERS[optimizer]
    if capturable and optimizer == "adam":
        settings = {**settings, "capturable": True}
    # Fused: one kernel does the whole update, on the CPU and on GPUs.
    update = rule(model.parameters(), lr=learning_rate, fused=True, **settings)
    inputs = torch.from_numpy(x).to(device)
    targets = torch.from_numpy(y).to(device, torch.int64)
    return _Setup(model, update, inputs, targets, device)


def _model(device: Any, layers: list[tuple[np.ndarray, np.ndarray]], activation: str) -> Any:
    """Return the network, whose outputs are logits."""
    modules: list[Any] = []
    for W, b in layers:
        linear: Any = nn.utils.skip_init(nn.Linear, *W.shape, device=device)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(W.T))
            linear.bias.copy_(torch.from_numpy(b))
        modules += [linear, _ACTIVATIONS[activation]()]
    return nn.Sequential(*modules[:-1])


def _device(kind: str) -> Any:
    if kind == "gpu" and not torch.cuda.is_available():
        raise DeviceUnavailableError(
            f"PyTorch finds no CUDA GPU: expected at least one; received {torch.__version__} with a count of 0. "
            "Install a CUDA build of PyTorch and NVIDIA's driver."
        )
    return torch.device("cuda" if kind == "gpu" else "cpu")


def create_torch(kind: str) -> Start:
    """Return a function that starts PyTorch eager."""
    device = _device(kind)

    def start(**work: Any) -> Callable[[np.ndarray, int], float]:
        setup = _set_up(device, **work)
        return _loop(setup, setup.loss)

    return start


def predict_torch(kind: str) -> Callable[..., Callable[[np.ndarray], np.ndarray]]:
    """Return a function that makes an eager network for predictions; see `xpnet_backends.peers`."""
    device = _device(kind)

    def start(*, layers: list[tuple[np.ndarray, np.ndarray]], activation: str) -> Callable[[np.ndarray], np.ndarray]:
        model = _model(device, layers, activation).eval()

        def predict(x: np.ndarray) -> np.ndarray:
            with torch.inference_mode():
                probabilities: np.ndarray = torch.softmax(model(torch.from_numpy(x).to(device)), dim=1).cpu().numpy()
            return probabilities

        return predict

    return start


def create_torch_compile(kind: str) -> Start:
    """Return a function that starts PyTorch with compiled forward and backward passes, on GPUs as CUDA graphs."""
    device = _device(kind)
    mode = "reduce-overhead" if kind == "gpu" else "default"
    try:
        torch.compile(torch.sin, mode=mode)(torch.ones(8, device=device))
    except (RuntimeError, ImportError, OSError) as exc:  # its compilers raise RuntimeErrors
        reason = " ".join(str(exc).split())[:300]
        raise DeviceUnavailableError(
            f"torch.compile does not work here: expected a compiler for the {kind}; received "
            f"{type(exc).__name__}: {reason}"
        ) from exc

    def start(**work: Any) -> Callable[[np.ndarray, int], float]:
        torch._dynamo.reset()
        setup = _set_up(device, **work)
        return _loop(setup, torch.compile(setup.loss, mode=mode))

    return start


def _loop(setup: _Setup, loss_of: Any) -> Callable[[np.ndarray, int], float]:
    def run(order: np.ndarray, seed: int) -> float:
        total = torch.zeros((), device=setup.device)
        for epoch in order:
            rows = torch.from_numpy(epoch).to(setup.device)
            total = torch.zeros((), device=setup.device)
            for row in rows:
                total += setup.step(row, loss_of)  # stays on the device
        return float(total.item()) / len(order[0])

    return run


def create_torch_graph(kind: str) -> Start:
    """Return a function that starts PyTorch with the whole step, from gather to update, captured as a CUDA graph."""
    if kind == "cpu":
        raise DeviceUnavailableError("CUDA graphs need a GPU: expected torch-graph:gpu; received torch-graph:cpu.")
    device = _device(kind)

    def start(**work: Any) -> Callable[[np.ndarray, int], float]:
        setup = _set_up(device, capturable=True, **work)
        total, counter = torch.zeros((), device=device), torch.zeros(1, dtype=torch.int64, device=device)
        captured: dict[int, tuple[Any, Any]] = {}

        def one(rows: Any) -> None:
            total.add_(setup.step(rows.index_select(0, counter).view(-1), setup.loss))
            counter.add_(1)

        def capture(rows: Any) -> Any:
            before = [p.detach().clone() for p in setup.model.parameters()]
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(_WARM_UP):
                    counter.zero_()
                    one(rows)
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            setup.update.zero_grad(set_to_none=True)
            with torch.cuda.graph(graph):
                one(rows)
            # The warm-up changed the state, so it is restored. The first step starts from a velocity of zeros.
            with torch.no_grad():
                for p, value in zip(setup.model.parameters(), before, strict=True):
                    p.copy_(value)
                for state in setup.update.state.values():
                    for value in state.values():
                        if isinstance(value, torch.Tensor):
                            value.zero_()
            return graph

        def run(order: np.ndarray, seed: int) -> float:
            steps = order.shape[1]
            if steps not in captured:
                rows = torch.from_numpy(order[0]).to(device)
                captured[steps] = rows, capture(rows)
            rows, graph = captured[steps]
            for epoch in order:
                rows.copy_(torch.from_numpy(epoch))
                counter.zero_()
                total.zero_()
                for _ in range(steps):
                    graph.replay()
            mean: float = total.item() / steps
            return mean

        return run

    return start
