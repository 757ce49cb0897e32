#!/usr/bin/env python
"""Activation functions
====================

Every activation function of xpnet, and its derivative, from the table that training uses.
"""

import matplotlib.pyplot as plt
import numpy as np

from xpnet.nn.activations import ACTIVATIONS, get_activation

z = np.linspace(-4, 4, 401)
figure, axes = plt.subplots(3, 5, figsize=(10, 6), sharex=True, sharey=True, layout="constrained")
for ax, name in zip(axes.flat, ACTIVATIONS, strict=False):
    activation = get_activation(name)
    a = activation.function(np, z, activation.slope)
    # The backward pass multiplies a gradient by the derivative, which it takes from the output or the input.
    saved = a if activation.from_output else z
    derivative = activation.backward(np, np.ones_like(z), saved, activation.slope)
    print(f"{name:10} largest derivative {derivative.max():.2f}")
    ax.plot(z, a, label="function")
    ax.plot(z, derivative, "--", label="derivative")
    ax.set(title=name, ylim=(-2, 4), xticks=[-4, 0, 4], yticks=[-2, 0, 2, 4])
    ax.grid(alpha=0.4)
legend, *empty = axes.flat[len(ACTIVATIONS) :]
legend.legend(*axes.flat[0].get_legend_handles_labels(), loc="center", frameon=False)
for ax in (legend, *empty):
    ax.axis("off")
