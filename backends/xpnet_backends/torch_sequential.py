"""Plain layers as a ``torch.nn.Sequential`` of the library's own modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

__all__ = ["Exp", "sequential"]


class Exp(nn.Module):  # type: ignore[misc] # mypy does not read the library
    """The exponential function, for which the library has no module."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``exp(x)``."""
        return torch.exp(x)


# (n_units, **options) -> module, for the activations and output functions of xpnet.
_MODULES: dict[str, Callable[..., nn.Module]] = {
    "identity": lambda n: nn.Identity(),
    "sigmoid": lambda n: nn.Sigmoid(),
    "tanh": lambda n: nn.Tanh(),
    "relu": lambda n: nn.ReLU(),
    "leaky_relu": lambda n, slope=0.01: nn.LeakyReLU(slope),
    "prelu": lambda n, slope=0.25: nn.PReLU(n, slope),
    "rrelu": lambda n, lower=1 / 8, upper=1 / 3: nn.RReLU(lower, upper),
    "elu": lambda n, alpha=1.0: nn.ELU(alpha),
    "selu": lambda n: nn.SELU(),
    "softplus": lambda n: nn.Softplus(threshold=40.0),
    "gelu": lambda n: nn.GELU(),
    "gelu_tanh": lambda n: nn.GELU("tanh"),
    "silu": lambda n: nn.SiLU(),
    "mish": lambda n: nn.Mish(),
    "softmax": lambda n: nn.Softmax(dim=1),
    "exp": lambda n: Exp(),
}


def sequential(layers: Any) -> nn.Sequential:
    """Return the module of `xpnet.model.layers.PlainLayers`, in evaluation mode."""
    modules: list[nn.Module] = []
    for layer in layers.layers:
        n_out, n_in = layer.weight.shape
        linear = nn.utils.skip_init(nn.Linear, n_in, n_out)
        function = _MODULES[layer.function](n_out, **layer.options)
        with torch.no_grad():
            linear.weight = nn.Parameter(torch.asarray(layer.weight, copy=True))
            linear.bias = nn.Parameter(torch.asarray(layer.bias, copy=True))
            if layer.slopes is not None:
                function.weight = nn.Parameter(torch.asarray(layer.slopes, copy=True))
        modules += [linear, function]
    if layers.limits is not None:
        modules.append(nn.Hardtanh(*layers.limits))
    return nn.Sequential(*modules).eval()
