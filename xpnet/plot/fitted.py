"""What the pictures take: a `Model`, or an estimator that can be made one."""

from __future__ import annotations

from typing import Any

from xpnet.errors import InvalidParameterError, shown
from xpnet.model.model import Model

__all__ = ["as_model"]


def as_model(model: Any) -> Model:
    """Return a model, or that of a fitted estimator of xpnet.

    Raises
    ------
    InvalidParameterError
        It is neither.
    NotFittedError
        The estimator is not fitted.
    """
    if isinstance(model, Model):
        return model
    if not hasattr(model, "to_model"):
        raise InvalidParameterError(
            f"model: expected a Model or a fitted estimator of xpnet; received {shown(model):.60}."
        )
    converted: Model = model.to_model()
    return converted
