#!/usr/bin/env python
"""What hidden units look for
==========================

The weights of a unit of the first layer have the shape of the image: they show for which pattern the unit looks.
"""

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits

import xpnet
from xpnet.plot import exciting_patterns, hidden_units

x, y = load_digits(return_X_y=True)
network = xpnet.Network([64, 24, 10], l2=0.01)
run = xpnet.Trainer(network, epochs=60, device="cpu").fit(x / 16, y)
model = xpnet.Model(network, run.params.vector, "classification", image_shape=(8, 8))
print(f"accuracy: {model.evaluate(x / 16, y)['accuracy']:.3f}")

# %%
# Bright blue pixels raise the unit's input, orange ones lower it.
hidden_units(model)

# %%
# Beside the pattern, the samples that excite the unit most:
exciting_patterns(model, x / 16)
plt.show()
