"""Train multilayer perceptrons on NumPy, CuPy, PyTorch and JAX from one array-API source.

A `Network` describes the layers and the loss, a `Trainer` trains it, and a `Model` predicts and can be saved.
`MLPClassifier` and `MLPRegressor` take the place of scikit-learn's. `TabularClassifier` and `TabularRegressor` take
data frames as they are, and `fit` trains on one in one call.

Examples
--------
>>> import xpnet
>>> from sklearn.datasets import load_iris
>>> x, y = load_iris(return_X_y=True)
>>> network = xpnet.Network([4, 16, 3], activation="tanh")
>>> run = xpnet.Trainer(network, epochs=100, learning_rate=0.01, seed=1).fit(x, y)
>>> model = xpnet.Model(network, run.params.vector, task="classification")
>>> model.evaluate(x, y)["accuracy"] > 0.95
True
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xpnet.backend import Backend, get_backend, list_backends
    from xpnet.data.named import load_dataset
    from xpnet.data.streams import ArraySource, IterableSource, Source, open_source
    from xpnet.errors import XpnetError, XpnetWarning
    from xpnet.estimators.classifier import MLPClassifier
    from xpnet.estimators.regressor import MLPRegressor
    from xpnet.estimators.table_encoder import TableEncoder
    from xpnet.estimators.tabular import TabularClassifier, TabularRegressor
    from xpnet.estimators.tabular_fit import fit
    from xpnet.model.model import Model
    from xpnet.model.model_file import load_model, save_model
    from xpnet.nn.gradcheck import check_gradients
    from xpnet.nn.network import Network, Parameters
    from xpnet.training.callbacks import Callback, Interrupt, LearningRateSchedule, StopTraining, TimeLimit
    from xpnet.training.checkpoint import Checkpoint
    from xpnet.training.checkpoint_file import load_state, save_state
    from xpnet.training.history import EpochRecord
    from xpnet.training.metrics_file import MetricsFile
    from xpnet.training.mlflow_logger import MLflowLogger
    from xpnet.training.progress import Progress
    from xpnet.training.tensorboard_logger import TensorBoardLogger
    from xpnet.training.trainer import Run, RunState, Trainer

__all__ = [
    "ArraySource",
    "Backend",
    "Callback",
    "Checkpoint",
    "EpochRecord",
    "Interrupt",
    "IterableSource",
    "LearningRateSchedule",
    "MLPClassifier",
    "MLPRegressor",
    "MLflowLogger",
    "MetricsFile",
    "Model",
    "Network",
    "Parameters",
    "Progress",
    "Run",
    "RunState",
    "Source",
    "StopTraining",
    "TableEncoder",
    "TabularClassifier",
    "TabularRegressor",
    "TensorBoardLogger",
    "TimeLimit",
    "Trainer",
    "XpnetError",
    "XpnetWarning",
    "__version__",
    "check_gradients",
    "fit",
    "get_backend",
    "list_backends",
    "load_dataset",
    "load_model",
    "load_state",
    "open_source",
    "save_model",
    "save_state",
]

__version__ = "0.1.0"


# Imported when a name is first asked for: a program waits only for what it uses.
_MODULES = {
    "xpnet.backend": ("Backend", "get_backend", "list_backends"),
    "xpnet.data.named": ("load_dataset",),
    "xpnet.data.streams": ("ArraySource", "IterableSource", "Source", "open_source"),
    "xpnet.errors": ("XpnetError", "XpnetWarning"),
    "xpnet.estimators.classifier": ("MLPClassifier",),
    "xpnet.estimators.regressor": ("MLPRegressor",),
    "xpnet.estimators.table_encoder": ("TableEncoder",),
    "xpnet.estimators.tabular": ("TabularClassifier", "TabularRegressor"),
    "xpnet.estimators.tabular_fit": ("fit",),
    "xpnet.model.model": ("Model",),
    "xpnet.model.model_file": ("load_model", "save_model"),
    "xpnet.nn.gradcheck": ("check_gradients",),
    "xpnet.nn.network": ("Network", "Parameters"),
    "xpnet.training.callbacks": ("Callback", "Interrupt", "LearningRateSchedule", "StopTraining", "TimeLimit"),
    "xpnet.training.checkpoint": ("Checkpoint",),
    "xpnet.training.checkpoint_file": ("load_state", "save_state"),
    "xpnet.training.history": ("EpochRecord",),
    "xpnet.training.metrics_file": ("MetricsFile",),
    "xpnet.training.mlflow_logger": ("MLflowLogger",),
    "xpnet.training.progress": ("Progress",),
    "xpnet.training.tensorboard_logger": ("TensorBoardLogger",),
    "xpnet.training.trainer": ("Run", "RunState", "Trainer"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        value = globals()[name] = getattr(import_module(_MODULE_OF[name]), name)
        return value
    from xpnet.submodules import submodules_of  # `import xpnet` alone imports no module

    return submodules_of("xpnet")(name)


def __dir__() -> list[str]:
    return __all__
