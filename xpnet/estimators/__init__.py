"""Estimators that replace scikit-learn's ``MLPClassifier`` and ``MLPRegressor``, and estimators of tables."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xpnet.estimators.classifier import MLPClassifier
    from xpnet.estimators.regressor import MLPRegressor
    from xpnet.estimators.table_encoder import TableEncoder
    from xpnet.estimators.tabular import TabularClassifier, TabularRegressor
    from xpnet.estimators.tabular_fit import fit

__all__ = ["MLPClassifier", "MLPRegressor", "TableEncoder", "TabularClassifier", "TabularRegressor", "fit"]

# Imported when a name is first asked for: those of tables need pyarrow.
_MODULE_OF = {
    "MLPClassifier": "classifier",
    "MLPRegressor": "regressor",
    "TableEncoder": "table_encoder",
    "TabularClassifier": "tabular",
    "TabularRegressor": "tabular",
    "fit": "tabular_fit",
}


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
        return value
    from xpnet.submodules import submodules_of

    return submodules_of(__name__)(name)


def __dir__() -> list[str]:
    return __all__
