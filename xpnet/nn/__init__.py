"""The mathematics: a network, its losses and activations, backpropagation, optimizers, and one training step."""
