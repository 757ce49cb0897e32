#!/usr/bin/env python
"""One sample forward and backward
==================================

A network for XOR, small enough to follow every number. Forward, each layer multiplies its inputs by the weights and
adds the biases. Backward, delta is the gradient of the loss by z, and the gradient of the weights is the table of the
products of a and delta.
"""

import matplotlib.pyplot as plt
import numpy as np

import xpnet
from xpnet import plot

X, y = np.asarray([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], np.float32), np.asarray([0, 1, 1, 0])
network = xpnet.Network([2, 3, 2], activation="tanh")
run = xpnet.Trainer(network, epochs=20, learning_rate=0.05, batch_size=None).fit(X, y)
model = xpnet.Model(network, run.params.vector, "classification", np.asarray(["equal", "unequal"]))

figure, ax = plt.subplots(figsize=plot.passes.passes_size(model), layout="constrained")
plot.forward_pass(model, [1, 0], ax)

# %%
# The target is the one-hot row t. With softmax and cross-entropy, delta of the output is simply y - t:
figure, ax = plt.subplots(figsize=plot.passes.passes_size(model), layout="constrained")
plot.backward_pass(model, [1, 0], "unequal", ax)

values = plot.passes.values_of(model, [1, 0], "unequal")
print(f"loss: {values.loss:.3f}")
print(f"delta of the output: {values.layers[-1].delta.round(3).tolist()}")
