"""Train multilayer perceptrons on NumPy, CuPy, PyTorch and JAX from one array-API source.

A `Network` describes the layers and the loss, a `Trainer` trains it, and a `Model` predicts and can be saved.
`MLPClassifier` and `MLPRegressor` take the place of scikit-learn's. `TabularClassifier` and `TabularRegressor` take
data frames as they are.

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

from xpnet.backend import Backend, get_backend, list_backends
from xpnet.data.named import load_dataset
from xpnet.data.streams import ArraySource, IterableSource, Source, open_source
from xpnet.errors import XpnetError, XpnetWarning
from xpnet.model.model import Model
from xpnet.model.model_file import load_model, save_model
from xpnet.nn.gradcheck import check_gradients
from xpnet.nn.network import Network, Parameters
from xpnet.training.callbacks import Callback, Interrupt, LearningRateSchedule, StopTraining, TimeLimit
from xpnet.training.checkpoint import Checkpoint
from xpnet.training.checkpoint_file import load_state, save_state
from xpnet.training.history import EpochRecord
from xpnet.training.metrics_file import MetricsFile
from xpnet.training.progress import Progress
from xpnet.training.trainer import Run, RunState, Trainer

if TYPE_CHECKING:
    from xpnet.estimators.classifier import MLPClassifier
    from xpnet.estimators.regressor import MLPRegressor
    from xpnet.estimators.table_encoder import TableEncoder
    from xpnet.estimators.tabular import TabularClassifier, TabularRegressor

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
    "TimeLimit",
    "Trainer",
    "XpnetError",
    "XpnetWarning",
    "__version__",
    "check_gradients",
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


# Imported late: scikit-learn takes most of a second, and tables need pyarrow.
_LATE = {
    "MLPClassifier": "xpnet.estimators.classifier",
    "MLPRegressor": "xpnet.estimators.regressor",
    "TableEncoder": "xpnet.estimators.table_encoder",
    "TabularClassifier": "xpnet.estimators.tabular",
    "TabularRegressor": "xpnet.estimators.tabular",
}


def __getattr__(name: str) -> Any:
    if name in _LATE:
        return getattr(import_module(_LATE[name]), name)
    raise AttributeError(f"module 'xpnet' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
