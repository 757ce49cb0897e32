#!/usr/bin/env python
"""What hidden units look for
============================

The weights of a unit of the first layer have the shape of an image: blue pixels excite the unit, orange ones calm it.
Beside the weights of some units are the digits that excite them most.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

import xpnet
from xpnet import plot

X, y = load_digits(return_X_y=True)
X = (X / 16).astype(np.float32)
network = xpnet.Network([64, 32, 10], l2=1e-3)
run = xpnet.Trainer(network, epochs=40, learning_rate=0.005).fit(X, y)
model = xpnet.Model(network, run.params.vector, "classification", image_shape=(8, 8))
print(f"accuracy: {model.evaluate(X, y)['accuracy']:.3f}")

figure, ax = plt.subplots(figsize=(8, 4.4), layout="constrained")
plot.hidden_units(model, ax=ax)

# %%
# The unit's weights, and the samples for which its output is largest:
figure, ax = plt.subplots(figsize=(7, 6), layout="constrained")
plot.exciting_patterns(model, X, ax=ax)
