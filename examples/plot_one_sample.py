#!/usr/bin/env python
"""One sample's way through a network
===================================

The forward and the backward pass of a single sample, with all their numbers. The network learns XOR: the output is 1 if
exactly one of the inputs is 1.
"""

import matplotlib.pyplot as plt
import numpy as np

import xpnet
from xpnet.plot import backward_pass, forward_pass

x = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
y = np.array([0, 1, 1, 0])
network = xpnet.Network([2, 3, 2], activation="tanh")
run = xpnet.Trainer(network, learning_rate=0.05, batch_size=None, epochs=60, seed=1, device="cpu").fit(x, y)
model = xpnet.Model(network, run.params.vector, "classification")
print(f"predictions: {model.predict(x).tolist()}")

# %%
# Forward: each layer multiplies its inputs by its weights, adds the biases, and applies its activation function.
forward_pass(model, x[1])

# %%
# Backward: delta is the derivative of the loss with respect to z. The gradient of a weight is its input times delta.
backward_pass(model, x[1], y[1])
plt.show()
