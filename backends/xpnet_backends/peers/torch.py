"""PyTorch eager as its users write it: modules, autograd, a fused optimizer; the data stay on the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from xpnet.errors import DeviceUnavailableError

__all__ = ["create_torch"]

_ACTIVATIONS = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid}
_OPTIMIZERS: dict[str, tuple[Any, dict[str, float]]] = {
    "sgd": (torch.optim.SGD, {}),
    "momentum": (torch.optim.SGD, {"momentum": 0.9}),
    "adam": (torch.optim.Adam, {}),
}


def create_torch(kind: str) -> Callable[..., Callable[[np.ndarray, int], float]]:
    """Return what starts it on a kind of device."""
    if kind == "gpu" and not torch.cuda.is_available():
        raise DeviceUnavailableError(f"PyTorch finds no CUDA GPU: expected one; received {torch.__version__} without.")
    device = torch.device("cuda" if kind == "gpu" else "cpu")

    def start(
        *,
        x: np.ndarray,
        y: np.ndarray,
        layers: list[tuple[np.ndarray, np.ndarray]],
        activation: str,
        optimizer: str,
        learning_rate: float,
        batch: int,
    ) -> Callable[[np.ndarray, int], float]:
        modules: list[Any] = []
        for W, b in layers:
            linear: Any = nn.utils.skip_init(nn.Linear, *W.shape, device=device)
            with torch.no_grad():
                linear.weight.copy_(torch.from_numpy(W.T))
                linear.bias.copy_(torch.from_numpy(b))
            modules += [linear, _ACTIVATIONS[activation]()]
        model = nn.Sequential(*modules[:-1])
        rule, settings = _OPTIMIZERS[optimizer]
        # Fused: one kernel for the whole update, on the CPU and on GPUs.
        update = rule(model.parameters(), lr=learning_rate, fused=True, **settings)
        inputs = torch.from_numpy(x).to(device)
        targets = torch.from_numpy(y).to(device, torch.int64)

        def run(order: np.ndarray, seed: int) -> float:
            total = torch.zeros((), device=device)
            for epoch in order:
                rows = torch.from_numpy(epoch).to(device)
                total = torch.zeros((), device=device)
                for row in rows:
                    update.zero_grad(set_to_none=True)
                    loss = nn.functional.cross_entropy(model(inputs.index_select(0, row)), targets.index_select(0, row))
                    loss.backward()
                    update.step()
                    total += loss.detach()  # stays on the device
            return float(total.item()) / len(order[0])

        return run

    return start
