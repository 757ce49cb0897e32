"""Pictures of what a network learns and of how well it does, drawn with Matplotlib.

Each function takes a `Model` or a fitted estimator, draws on the axes `ax`, or on new ones, and returns the axes. None
calls ``show``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xpnet.plot.classification import confusion_matrix, precision_recall, reliability_diagram, roc
    from xpnet.plot.curves import learning_curves
    from xpnet.plot.diagram import network_diagram
    from xpnet.plot.equal_weights import symmetry
    from xpnet.plot.films import Frames, film
    from xpnet.plot.importance import feature_importance
    from xpnet.plot.layers import activation_distributions, gradient_norms, weight_distributions
    from xpnet.plot.passes import backward_pass, forward_pass
    from xpnet.plot.regions import decision_regions, decision_regions_beside_linear
    from xpnet.plot.regression import error_histogram, predicted_against_true, residuals
    from xpnet.plot.samples import wrong_samples
    from xpnet.plot.units import exciting_patterns, hidden_units

__all__ = [
    "Frames",
    "activation_distributions",
    "backward_pass",
    "confusion_matrix",
    "decision_regions",
    "decision_regions_beside_linear",
    "error_histogram",
    "exciting_patterns",
    "feature_importance",
    "film",
    "forward_pass",
    "gradient_norms",
    "hidden_units",
    "learning_curves",
    "network_diagram",
    "precision_recall",
    "predicted_against_true",
    "reliability_diagram",
    "residuals",
    "roc",
    "symmetry",
    "weight_distributions",
    "wrong_samples",
]

# Imported when a name is first asked for.
_MODULES: dict[str, tuple[str, ...]] = {
    "xpnet.plot.classification": (
        "confusion_matrix",
        "precision_recall",
        "reliability_diagram",
        "roc",
    ),
    "xpnet.plot.curves": ("learning_curves",),
    "xpnet.plot.diagram": ("network_diagram",),
    "xpnet.plot.films": (
        "Frames",
        "film",
    ),
    "xpnet.plot.importance": ("feature_importance",),
    "xpnet.plot.layers": (
        "activation_distributions",
        "gradient_norms",
        "weight_distributions",
    ),
    "xpnet.plot.passes": (
        "backward_pass",
        "forward_pass",
    ),
    "xpnet.plot.regions": (
        "decision_regions",
        "decision_regions_beside_linear",
    ),
    "xpnet.plot.regression": (
        "error_histogram",
        "predicted_against_true",
        "residuals",
    ),
    "xpnet.plot.samples": ("wrong_samples",),
    "xpnet.plot.equal_weights": ("symmetry",),
    "xpnet.plot.units": (
        "exciting_patterns",
        "hidden_units",
    ),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        value = globals()[name] = getattr(import_module(_MODULE_OF[name]), name)
        return value
    from xpnet.submodules import submodules_of

    return submodules_of("xpnet.plot")(name)


def __dir__() -> list[str]:
    return __all__
