"""Learning-rate factors for kinds of parameters: biases that learn slowly, an input scale that learns fast."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from xpnet.constraints import real
from xpnet.errors import InvalidParameterError, UnknownNameError, shown
from xpnet.nn.network import Network
from xpnet.nn.parameters import KINDS

__all__ = ["check_rate_factors", "rate_factors"]

_ABOVE_0 = real(0, closed=False)


def rate_factors(network: Network, factors: Mapping[str, float]) -> np.ndarray | None:
    """Return the factor on the learning rate of each parameter, (n_parameters,), or None if all are 1.

    Parameters
    ----------
    network : Network
    factors : mapping of str to float
        Of `check_rate_factors`; the other kinds have the factor 1.

    Examples
    --------
    >>> import xpnet
    >>> from xpnet.training.rate_factors import rate_factors
    >>> rate_factors(xpnet.Network([2, 2]), {"biases": 0.1}).tolist()
    [1.0, 1.0, 1.0, 1.0, 0.1, 0.1]
    """
    if all(factor == 1 for factor in factors.values()):
        return None
    return np.concatenate([np.full(segment.size, factors.get(segment.kind, 1.0)) for segment in network.segments])


def check_rate_factors(network: Network, factors: Mapping[str, float]) -> None:
    """Check factors by kind of parameter, in `xpnet.nn.parameters.KINDS`.

    Raises
    ------
    UnknownNameError
        There is no such kind of parameter.
    InvalidParameterError
        The network has no parameters of this kind, or a factor is not above 0.
    """
    present = {segment.kind for segment in network.segments}
    for kind, factor in factors.items():
        if kind not in KINDS:
            raise UnknownNameError.among("kind of parameter in learning_rate_factors", kind, KINDS)
        if kind not in present:
            raise InvalidParameterError(
                f"learning_rate_factors: expected kinds of parameters that the network has, "
                f"{', '.join(kind for kind in KINDS if kind in present)}; received {shown(kind)}."
            )
        if not _ABOVE_0.holds(factor):
            raise InvalidParameterError(
                f"learning_rate_factors: expected {_ABOVE_0.expected} for {kind}; received {shown(factor)}."
            )
