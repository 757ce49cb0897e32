"""xpnet: train multilayer perceptrons on NumPy, CuPy, PyTorch and JAX from one array-API source.

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

from xpnet.backend import Backend, get_backend, list_backends
from xpnet.callbacks import Callback, EpochRecord, StopTraining
from xpnet.datasets import load_dataset
from xpnet.errors import XpnetError
from xpnet.gradcheck import check_gradients
from xpnet.model import Model
from xpnet.model_io import load_model, save_model
from xpnet.network import Network, Parameters
from xpnet.trainer import Run, RunState, Trainer

__all__ = [
    "Backend",
    "Callback",
    "EpochRecord",
    "Model",
    "Network",
    "Parameters",
    "Run",
    "RunState",
    "StopTraining",
    "Trainer",
    "XpnetError",
    "__version__",
    "check_gradients",
    "get_backend",
    "list_backends",
    "load_dataset",
    "load_model",
    "save_model",
]

__version__ = "0.1.0"
