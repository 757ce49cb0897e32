"""Training: batches, the loop over epochs, callbacks, checkpoints, schedules, early stopping, evaluation."""

from xpnet.submodules import submodules_of

__getattr__ = submodules_of(__name__)
