"""The mathematics: a network, its losses and activations, backpropagation, optimizers, and one training step."""

from xpnet.submodules import submodules_of

__getattr__ = submodules_of(__name__)
